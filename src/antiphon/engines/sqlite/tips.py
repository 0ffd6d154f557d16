"""Room `engines` (imports all below it): `TipStore` in SQLite. *Cost*: nothing in files that have no tips."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from antiphon.engines.sqlite.file import SqliteFile
from antiphon.engines.sqlite.made import is_made
from antiphon.model.declared import GENERATION
from antiphon.model.table import Table
from antiphon.views.generations import name_in

_DDL: Final = {
    "tips": "CREATE TABLE IF NOT EXISTS tips(tbl TEXT, key BLOB, tip BLOB, PRIMARY KEY(tbl, key)) WITHOUT ROWID",
    "expected": "CREATE TABLE IF NOT EXISTS expected(tbl TEXT, key BLOB, PRIMARY KEY(tbl, key)) WITHOUT ROWID",
}


class SqliteTips:
    """Tips of one file; see `TipStore` for the promises. Those of a generation that is made go by its number."""

    def __init__(self, file: SqliteFile, generation: int | None = None) -> None:
        self._file, self._generation = file, generation
        self._there: set[str] = set()
        self._expecting: dict[str, bool] = {}

    def forget_caches(self) -> None:
        """Drops what another writer, or a rollback, may have changed."""
        self._there.clear()
        self._expecting.clear()

    def _has(self, name: str) -> bool:
        if name not in self._there:
            if not is_made(self._file.writer, name):
                return False
            self._there.add(name)
        return True

    def _make(self, name: str) -> None:
        if not self._has(name):
            self._file.writer.execute(_DDL[name])
            self._there.add(name)

    def _name(self, table: Table) -> str:
        return table.name if self._generation is None else name_in(table.name, self._generation)

    def find(self, table: Table, key: bytes) -> bytes | None:
        if not self._has("tips"):
            return None
        sql = "SELECT tip FROM tips WHERE tbl=? AND key=?"
        found: bytes | None = self._file.writer.execute(sql, (self._name(table), key)).get
        return found

    def keep(self, table: Table, key: bytes, tip: bytes | None) -> None:
        place = (self._name(table), key)
        if tip is not None:
            self._make("tips")
            sql = "INSERT INTO tips VALUES(?,?,?) ON CONFLICT(tbl, key) DO UPDATE SET tip=excluded.tip"
            self._file.writer.execute(sql, (*place, tip))
        elif self._has("tips"):
            self._file.writer.execute("DELETE FROM tips WHERE tbl=? AND key=?", place)

    def expect(self, table: Table, key: bytes) -> None:
        self._make("expected")
        self._file.writer.execute("INSERT OR IGNORE INTO expected VALUES(?,?)", (self._name(table), key))
        self._expecting[table.name] = True

    def met(self, table: Table, key: bytes) -> None:
        if self.expects(table):
            self._file.writer.execute("DELETE FROM expected WHERE tbl=? AND key=?", (self._name(table), key))
            if self._file.writer.changes():
                del self._expecting[table.name]

    def expects(self, table: Table) -> bool:
        found = self._expecting.get(table.name)
        if found is None:
            sql = "SELECT 1 FROM expected WHERE tbl=? LIMIT 1"
            some = self._has("expected") and self._file.writer.execute(sql, (self._name(table),)).get is not None
            found = self._expecting[table.name] = some
        return found

    def is_expected(self, table: Table, key: bytes) -> bool:
        sql = "SELECT 1 FROM expected WHERE tbl=? AND key=?"
        return self.expects(table) and self._file.writer.execute(sql, (self._name(table), key)).get is not None

    def drop(self, table: Table) -> None:
        self._expecting.pop(table.name, None)
        self.drop_named(self._name(table))

    def drop_named(self, name: str) -> None:
        """Forgets all of the table that has this name in the file."""
        self._expecting.pop(name, None)
        for kept in _DDL:
            if self._has(kept):
                self._file.writer.execute(f"DELETE FROM {kept} WHERE tbl=?", (name,))

    def take_over(self, tables: Collection[str]) -> None:
        """Puts those of this generation in place of those in use. In the transaction of the swap."""
        assert self._generation is not None
        self.forget_caches()
        for name in tables:
            self.drop_named(name)
            for kept in _DDL:
                if self._has(kept):
                    sql = f"UPDATE {kept} SET tbl=? WHERE tbl=?"
                    self._file.writer.execute(sql, (name, name_in(name, self._generation)))

    def discard(self) -> None:
        """Drops all of this generation."""
        self.forget_caches()
        for kept in _DDL:
            if self._has(kept):
                self._file.writer.execute(f"DELETE FROM {kept} WHERE tbl GLOB ?", (f"*{GENERATION}{self._generation}",))
