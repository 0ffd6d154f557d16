"""Room `domains` (imports `views` and below): mind maps: nodes with energy, links, vectors, and what minds agree on.

It plugs in by the same public way as anyone's domain: kinds, tables and folds in a `Domain`. Commands are in
`commands.py`, the designs' persistent queries in `queries.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from antiphon.domains.mindmap.declare import MINDMAP

if TYPE_CHECKING:
    from antiphon.domains.mindmap.commands import MindMap

__all__ = ["MINDMAP", "MindMap"]


def __getattr__(name: str) -> Any:
    """Loads the commands when they are first used: every home needs the declarations, few the commands."""
    if name != "MindMap":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from antiphon.domains.mindmap.commands import MindMap

    return MindMap
