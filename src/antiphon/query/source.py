"""Room `query` (imports `knowledge` and below): the port behind which rows are read.

Every method is given the agent that asks, and puts `access.seen_by` into its query: rows that it does not see are not
counted, not tested and not in the way of a limit.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

import msgspec

from antiphon.model.table import Table
from antiphon.query.access import Reader
from antiphon.query.plan import Plan, Position, Term
from antiphon.views.store import StoredRow


class Part(msgspec.Struct, frozen=True):
    """Some rows of an answer, and where to go on: None at the end. `scanned` rows were looked at, besides others'."""

    rows: list[StoredRow]
    end: Position | None
    scanned: int


class Source(Protocol):
    """Rows of declared tables, as one agent may read them."""

    def reading(self) -> AbstractContextManager[None]:
        """What is read inside is of one moment."""
        ...

    def row(self, table: Table, key: bytes, reader: Reader) -> StoredRow | None:
        """One row by key; None also when this agent may not read it."""
        ...

    def page(self, plan: Plan, reader: Reader, *, after: Position | None, limit: int, scanned_max: int) -> Part:
        """The next rows; fewer than `limit`, with an end, where `scanned_max` rows were looked at before, or
        ROWS_PASSED_MAX that are not for this agent: what those say is not to be read from the end.
        """
        ...

    def nearest(
        self, plan: Plan, reader: Reader, column: str, wanted: Sequence[float], *, metric: str, k: int
    ) -> list[tuple[float, int]]:
        """(distance, n) of the k rows of the plan whose vectors are nearest, nearest first, then by n.

        An engine with an index may be approximate; the file is exact. Raises LimitExceeded.
        """
        ...

    def repeated(
        self, plan: Plan, reader: Reader, columns: Sequence[str], *, limit: int
    ) -> list[tuple[tuple[Any, ...], int]]:
        """The values of the plan's first columns that several rows have, in order, and how many rows; without null."""
        ...

    def rows(self, table: Table, numbers: Sequence[int], reader: Reader) -> dict[int, StoredRow]:
        """Rows by their number n."""
        ...

    def match(
        self, table: Table, text: str, tests: Sequence[Term], reader: Reader, limit: int
    ) -> list[tuple[int, float]]:
        """(n, relevance) of the rows whose full text matches best, best first."""
        ...

    def values(self, plan: Plan, reader: Reader, column: str, *, limit: int) -> list[Any]:
        """The different values of the plan's first column, in ascending order, without null."""
        ...
