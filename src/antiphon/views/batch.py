"""Room `views` (imports `log` and below): what the events of one commit come to, before it is written."""

from __future__ import annotations

import math
from typing import Any, Final

import msgspec

from antiphon.model.errors import InvalidInput
from antiphon.model.values import canonical
from antiphon.views.domain import AssertRow
from antiphon.views.merge import Placed

RowKey = tuple[str, bytes]
MINTED: Final = 1
"""Rows of ids that their events made: inserted without a look at what is there."""
NATURAL: Final = 2
"""Rows with keys of their own: inserted where there is none yet."""
FRESH: Final = 4
"""As MINTED, where the ids are made by the commit at hand: of older ones something was said before they were there."""
COMPUTED: Final = 3
"""Rows that are computed from all events on them."""


class Folded(msgspec.Struct):
    """What folding some events came to: the rows that did not simply come new, and how many writes there were.

    `end` is the first event that was left out, since those before it wrote enough; None where none was.
    """

    touched: set[RowKey] = set()
    writes: int = 0
    end: int | None = None


class Batch:
    """What one call of `apply` has collected."""

    def __init__(self, quick: dict[str, int], *, strict: bool, foreign: bool) -> None:
        self.quick = quick
        self.strict = strict
        self.foreign = foreign
        self.minted: dict[str, list[tuple[Any, ...]]] = {}
        self.natural: dict[str, list[tuple[Any, ...]]] = {}
        self.touched: dict[RowKey, list[Placed]] = {}
        self.mentioned: list[tuple[bytes, int, int]] = []
        self.known: set[bytes] = set()
        self.writes = 0
        self._added: list[list[tuple[Any, ...]]] = []

    def add(self, rows: dict[str, list[tuple[Any, ...]]], name: str, row: tuple[Any, ...]) -> None:
        found = rows.setdefault(name, [])
        found.append(row)
        self.writes += 1
        if not self.strict:
            self._added.append(found)

    def begin(self) -> None:
        """Says that another event comes."""
        self._added.clear()

    def undo(self) -> None:
        """Takes back what the event at hand has added."""
        for rows in self._added:
            rows.pop()
        self._added.clear()


def wholly_checked(fold: AssertRow, row: tuple[Any, ...]) -> tuple[Any, ...] | None:
    """As `checked`, every value looked at, since somebody else wrote the body; None where one does not fit."""
    try:
        return tuple(
            canonical(column, value) if name in fold.said else value
            for name, column, value in zip(fold.table.names, fold.table.columns, row, strict=True)
        )
    except InvalidInput:
        return None


def checked(fold: AssertRow, row: tuple[Any, ...]) -> tuple[Any, ...]:
    """The row with its values in their one form. Raises InvalidInput."""
    for at in fold.reals:
        value = row[at]
        if value is not None and not math.isfinite(value):
            canonical(fold.table.columns[at], value)
    if not fold.checked:
        return row
    plain = list(row)
    for at, form in fold.checked:
        plain[at] = form(plain[at])
    return tuple(plain)
