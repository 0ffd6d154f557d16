"""Room `domains` (imports `views` and below): loops: whispers, runs, blessings, prophecies, guilds, clusters, drift.

It plugs in by the same public way as anyone's domain: kinds, tables, folds and deciders in a `Domain`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from antiphon.domains.loops.declare import LOOPS

if TYPE_CHECKING:
    from antiphon.domains.loops.commands import Loops

__all__ = ["LOOPS", "Loops"]


def __getattr__(name: str) -> Any:
    """Loads the commands when they are first used: every home needs the declarations, few the commands."""
    if name != "Loops":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from antiphon.domains.loops.commands import Loops

    return Loops
