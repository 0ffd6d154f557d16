"""Room `engines` (imports all below it): `FigureStore` and `RejectionStore` in SQLite."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from antiphon.engines.sqlite.codec import from_stored, is_converted, to_stored
from antiphon.engines.sqlite.file import SqliteFile, rows
from antiphon.engines.sqlite.made import MadeWhenWritten
from antiphon.engines.sqlite.tables import SqliteTables
from antiphon.model.declared import GENERATION
from antiphon.model.table import Column, Table
from antiphon.views.rollups import whole, within_64_bits

_HALF: Final = 1 << 62
"""Two numbers below it add up to one that SQLite can keep."""


class SqliteFigures:
    """Figures over the tables of one file; see `FigureStore` for the promises."""

    def __init__(self, file: SqliteFile, tables: SqliteTables) -> None:
        self._file, self._tables = file, tables

    def change(self, table: Table, key: bytes, *, add: Mapping[str, int], put: Mapping[str, Any]) -> bool:
        if not self._tables.exists(table):
            return False
        if not add and not put:
            return self._tables.row(table, key) is not None
        terms = [f'"{name}"=coalesce("{name}",0)+?' for name in add] + [f'"{name}"=?' for name in put]
        values = [to_stored(table.column(name), value) for name, value in put.items()]
        where, parts = self._tables.where_key(table, key)
        writer = self._file.writer
        if all(-_HALF < by < _HALF for by in add.values()):
            small = "".join(f' AND coalesce("{name}",0) BETWEEN {-_HALF} AND {_HALF}' for name in add)
            sql = f'UPDATE "{table.name}" SET {", ".join(terms)} WHERE {where}{small}'
            writer.execute(sql, (*add.values(), *values, *parts))
            if writer.changes() > 0:
                return True
        return self._change_large(table, where, parts, add, put, values)

    def _change_large(
        self,
        table: Table,
        where: str,
        parts: Sequence[Any],
        add: Mapping[str, int],
        put: Mapping[str, Any],
        values: Sequence[Any],
    ) -> bool:
        """As `change`, where SQLite's own addition would leave the integers."""
        writer = self._file.writer
        listed = ", ".join(f'coalesce("{name}",0)' for name in add) or "1"
        found = writer.execute(f'SELECT {listed} FROM "{table.name}" WHERE {where}', tuple(parts)).fetchone()
        if found is None:
            return False
        sums = [within_64_bits(old + by) for old, by in zip(found, add.values(), strict=False)]
        terms = ", ".join(f'"{name}"=?' for name in (*add, *put))
        writer.execute(f'UPDATE "{table.name}" SET {terms} WHERE {where}', (*sums, *values, *parts))
        return True

    def aggregate(
        self, table: Table, function: str, column: str, equal: Mapping[str, Any], within: tuple[str, int, int] | None
    ) -> Any:
        if not self._tables.exists(table):
            return {"count": 0, "sum": 0, "set": []}.get(function)
        terms = [f'"{name}" IS ?' for name in equal]
        values = tuple(to_stored(table.column(name), value) for name, value in equal.items())
        if within is not None:
            terms.append(f'"{within[0]}" >= ? AND "{within[0]}" < ?')
            values += within[1:]
        where = " AND ".join(terms) or "1"
        if function == "count":
            return self._file.reader.execute(f'SELECT count(*) FROM "{table.name}" WHERE {where}', values).get
        of = table.column(column)
        if function in ("min", "max"):
            sql = f'SELECT {function}("{column}") FROM "{table.name}" WHERE {where}'
            return _value(of, self._file.reader.execute(sql, values).get)
        distinct = "DISTINCT " if function == "set" else ""
        sql = f'SELECT {distinct}"{column}" FROM "{table.name}" WHERE {where} AND "{column}" NOT NULL'
        found = rows(self._file.reader, sql, values)
        listed = [_value(of, row[0]) for row in found]
        return sorted(listed) if function == "set" else within_64_bits(sum(whole(of, value) for value in listed))

    def has(self, table: Table, column: str, equal: Mapping[str, Any]) -> bool:
        if not self._tables.exists(table):
            return False
        terms = [f'"{name}" IS ?' for name in equal] + ([f'"{column}" NOT NULL'] if column else [])
        values = tuple(to_stored(table.column(name), value) for name, value in equal.items())
        sql = f'SELECT 1 FROM "{table.name}" WHERE {" AND ".join(terms) or "1"} LIMIT 1'
        return self._file.reader.execute(sql, values).fetchone() is not None

    def fill(self, table: Table, column: Column, value: Any) -> None:
        if self._tables.exists(table):
            self._file.writer.execute(f'UPDATE "{table.name}" SET "{column.name}"=?', (to_stored(column, value),))


def _value(column: Column, stored: Any) -> Any:
    return from_stored(column)(stored) if stored is not None and is_converted(column) else stored


class SqliteRejections:
    """Rejections of one file; see `RejectionStore` for the promises. *Cost*: nothing while there are none."""

    def __init__(self, file: SqliteFile) -> None:
        self._file = file
        self._made = MadeWhenWritten(file, "rejections")

    def forget_caches(self) -> None:
        """Drops what another writer, or a rollback, may have changed."""
        self._made.forget()

    def put(self, table: str, key: bytes, refused: Sequence[tuple[int, int, str, str]]) -> None:
        if not refused and not self._made.is_there:
            return
        if self._made.is_there:
            self._file.writer.execute("DELETE FROM rejections WHERE tbl=? AND key=?", (table, key))
        self._insert(table, key, refused)

    def add(self, table: str, key: bytes, refused: Sequence[tuple[int, int, str, str]]) -> None:
        self._insert(table, key, refused)

    def _insert(self, table: str, key: bytes, refused: Sequence[tuple[int, int, str, str]]) -> None:
        self._file.writer.execute(
            "CREATE TABLE IF NOT EXISTS rejections(tbl TEXT, key BLOB, log INTEGER, seq INTEGER, rule TEXT, "
            "detail TEXT, PRIMARY KEY(tbl, key, log, seq)) WITHOUT ROWID"
        )
        self._file.writer.executemany(
            "INSERT OR REPLACE INTO rejections VALUES(?,?,?,?,?,?)", [(table, key, *one) for one in refused]
        )

    def list(self, *, table: str | None = None, limit: int = 1_000) -> list[tuple[str, bytes, int, int, str, str]]:
        if not self._made.is_there:
            return []
        where, values = ("", ()) if table is None else (" AND tbl=?", (table,))
        return rows(
            self._file.reader,
            "SELECT tbl, key, log, seq, rule, detail FROM rejections "
            f"WHERE instr(tbl, '{GENERATION}') = 0{where} ORDER BY log, seq LIMIT ?",
            (*values, limit),
        )

    def drop(self, tables: Sequence[str]) -> None:
        if self._made.is_there:
            self._file.writer.executemany("DELETE FROM rejections WHERE tbl=?", [(name,) for name in tables])
