"""Room `domains` (imports `views` and below): insights that agents share, and what they agree on.

It plugs in by the same public way as anyone's domain: kinds, tables and folds in a `Domain`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from antiphon.domains.wisdom.declare import (
    AKASHIC_RECORDS,
    CRYSTAL_ACKNOWLEDGEMENTS,
    INSIGHT_ACKNOWLEDGEMENTS,
    INSIGHTS,
    WISDOM,
    WISDOM_CRYSTALS,
)

if TYPE_CHECKING:
    from antiphon.domains.wisdom.commands import Wisdom

__all__ = [
    "AKASHIC_RECORDS",
    "CRYSTAL_ACKNOWLEDGEMENTS",
    "INSIGHTS",
    "INSIGHT_ACKNOWLEDGEMENTS",
    "WISDOM",
    "WISDOM_CRYSTALS",
    "Wisdom",
]


def __getattr__(name: str) -> Any:
    """Loads the commands when they are first used: every home needs the declarations, few the commands."""
    if name != "Wisdom":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from antiphon.domains.wisdom.commands import Wisdom

    return Wisdom
