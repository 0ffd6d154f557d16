"""Room `engines` (imports all below it): the SQLite form of `knowledge.recall.TextIndex`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from antiphon.engines.sqlite import fulltext, waiting
from antiphon.engines.sqlite.file import SqliteFile, translated
from antiphon.engines.sqlite.tables import SqliteTables
from antiphon.model.table import Table
from antiphon.views.store import StoredRow


class SqliteText:
    """Full text over the tables of one file."""

    def __init__(self, file: SqliteFile, tables: SqliteTables) -> None:
        self._file, self._tables = file, tables

    def match(
        self, table: Table, query: str, *, terms: Sequence[str], values: Sequence[Any], limit: int
    ) -> list[tuple[int, float]]:
        with translated(self._file.path):
            found = fulltext.match(self._file, table, query, terms=terms, values=values, limit=limit)
            if self._file.read_only:  # nobody could index what waits before the question was asked
                found += waiting.match(self._file, table, query, terms=terms, values=values, limit=limit)
                found.sort(key=lambda item: -item[1])
        return found

    def rows(self, table: Table, numbers: Sequence[int]) -> dict[int, StoredRow]:
        return self._tables.rows(table, numbers)

    def row(self, table: Table, key: bytes) -> StoredRow | None:
        return self._tables.row(table, key)
