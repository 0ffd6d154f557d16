"""Room `engines` (imports all below it): deleting what is older than a version, a page at a time.

One statement over all of a large table would end at its time limit, and begin anew for ever. A page is a transaction of
its own, bounded by rows, along an index; what is done stays done.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Final

from antiphon.engines.postgres.connection import Session
from antiphon.engines.postgres.ddl import NUMBER, VERSION, literal, quoted
from antiphon.model.table import Table

PAGE_ROWS: Final = 10_000
"""How many rows a transaction looks at."""

Hold = Callable[[], AbstractContextManager[Session]]
"""Begins a transaction that holds the fence."""


class Deleting:
    """Deletes rows and tombstones of one schema. What a lost connection interrupts goes on behind the last page."""

    def __init__(self, schema: str) -> None:
        self._schema = quoted(schema)
        self._at: dict[tuple[str, int], Any] = {}

    def rows(self, hold: Hold, table: Table, version: int) -> int:
        """Deletes the rows of a table that are older than a version, along their numbers; how many."""
        return self._paged(hold, f"{self._schema}.{quoted(table.name)}", NUMBER, "TRUE", VERSION, version)

    def tombstones(self, hold: Hold, table: Table, version: int) -> int:
        """Deletes the tombstones of a table that are older than a version, along their keys; how many."""
        return self._paged(hold, f"{self._schema}._gone", "key", f"name = {literal(table.name)}", "version", version)

    def _paged(self, hold: Hold, of: str, along: str, where: str, stamp: str, version: int) -> int:
        """*Cost*: an index entry for each row that stays, and each that goes."""
        what, count = (f"{of} {where}", version), 0
        while True:
            after = self._at.get(what)
            begin = where if after is None else f"{where} AND {along} > %(after)s"
            with hold() as session:
                last = session.execute(
                    f"SELECT {along} FROM {of} WHERE {begin} ORDER BY {along} OFFSET {PAGE_ROWS - 1} LIMIT 1",
                    {"after": after},
                ).fetchone()
                end = "TRUE" if last is None else f"{along} <= %(last)s"
                count += session.execute(
                    f"DELETE FROM {of} WHERE {begin} AND {end} AND {stamp} < %(version)s",
                    {"after": after, "last": last and last[0], "version": version},
                ).rowcount
            if last is None:
                self._at.pop(what, None)
                return count
            self._at[what] = last[0]
