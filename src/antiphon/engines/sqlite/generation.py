"""Room `engines` (imports all below it): a generation of tables beside the one in use: where its rows go, and the swap.

Names are mapped here alone. Whoever reads uses declared names; a swap renames, so that every reader's snapshot has one
generation or the other, whole.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

import msgspec

from antiphon.engines.sqlite import fulltext
from antiphon.engines.sqlite.codec import sql_type
from antiphon.engines.sqlite.figures import SqliteFigures, SqliteRejections
from antiphon.engines.sqlite.file import SqliteFile, rows
from antiphon.engines.sqlite.made import is_made
from antiphon.engines.sqlite.tables import SqliteTables
from antiphon.model.declared import GENERATION
from antiphon.model.table import Column, Table
from antiphon.views.generations import name_in
from antiphon.views.store import StoredRow

_AWAY: Final = "x"
"""What follows the name of a table that a swap has put away."""


class BuildingTables(SqliteTables):
    """The same tables, of which some are another generation's. Others are those in use."""

    def __init__(self, file: SqliteFile, live: SqliteTables, names: Collection[str], number: int) -> None:
        self._live, self._names, self._number = live, frozenset(names), number
        self._renamed: dict[str, Table] = {}
        super().__init__(file, live.held)

    def know_held(self) -> None:
        """Nothing: the tables in use have made the function known, and it takes names of every generation."""

    def note(self, table: Table) -> None:
        """Nothing: that is noted when the table takes its place."""

    def at(self, table: Table) -> Table:
        """The table under the name that it has here."""
        if table.name not in self._names:
            return table
        found = self._renamed.get(table.name)
        if found is None:
            found = self._renamed[table.name] = msgspec.structs.replace(table)
            msgspec.structs.force_setattr(found, "name", name_in(table.name, self._number))
        return found

    def exists(self, table: Table) -> bool:
        return super().exists(self.at(table))

    def insert(self, table: Table, rows: Sequence[tuple[Any, ...]]) -> None:
        super().insert(self.at(table), rows)

    def insert_new(self, table: Table, rows: Sequence[tuple[Any, ...]]) -> set[int]:
        return super().insert_new(self.at(table), rows)

    def where_key(self, table: Table, key: bytes) -> tuple[str, tuple[Any, ...]]:
        return super().where_key(self.at(table), key)

    def replace(self, table: Table, key: bytes, row: tuple[Any, ...] | None) -> bool:
        return super().replace(self.at(table), key, row)

    def row(self, table: Table, key: bytes) -> StoredRow | None:
        return super().row(self.at(table), key)

    def drop(self, table: Table) -> None:
        super().drop(self.at(table))

    def take_over(self, table: Table) -> None:
        """Puts this generation's table in place of the one in use, which is put away. In a transaction."""
        here = self.at(table)
        self._put_away(table, here.name + _AWAY)
        if not super().exists(here):
            return
        writer = self._file.writer
        writer.execute(f'ALTER TABLE "{here.name}" RENAME TO "{table.name}"')
        if table.fulltext is not None:
            writer.execute(f'ALTER TABLE "{here.name}_fts" RENAME TO "{table.name}_fts"')
            writer.execute(f'CREATE VIEW "{table.name}_text" AS SELECT * FROM "{here.name}_text"')
            fulltext.move_cursor(self._file, here.name, table.name)
        self._live.note(table)
        self._live.forget_caches()
        self.forget_caches()

    def _put_away(self, table: Table, name: str) -> None:
        """Renames the table in use: to clear it at once would keep everybody waiting for as long as it is large."""
        if not self._live.exists(table):
            return
        writer, index = self._file.writer, fulltext.put_away(self._file, table.name)
        writer.execute(f'ALTER TABLE "{table.name}" RENAME TO "{name}"')
        if index:
            writer.execute(f'ALTER TABLE "{table.name}_fts" RENAME TO "{name}_fts"')
        self._live.forget_caches()


class BuildingFigures(SqliteFigures):
    """Figures of a generation that is being made; those of other domains' tables are counted again at the swap."""

    def __init__(self, file: SqliteFile, tables: BuildingTables, names: Collection[str]) -> None:
        super().__init__(file, tables)
        self._names, self._at = frozenset(names), tables.at

    def change(self, table: Table, key: bytes, *, add: Mapping[str, int], put: Mapping[str, Any]) -> bool:
        if table.name not in self._names:
            return True
        return super().change(self._at(table), key, add=add, put=put)

    def aggregate(
        self, table: Table, function: str, column: str, equal: Mapping[str, Any], within: tuple[str, int, int] | None
    ) -> Any:
        return super().aggregate(self._at(table), function, column, equal, within)

    def has(self, table: Table, column: str, equal: Mapping[str, Any]) -> bool:
        return super().has(self._at(table), column, equal)


class BuildingRejections(SqliteRejections):
    """What does not count in a generation that is being made; nobody is shown it before the swap."""

    def __init__(self, file: SqliteFile, number: int) -> None:
        super().__init__(file)
        self._number = number

    def put(self, table: str, key: bytes, refused: Sequence[tuple[int, int, str, str]]) -> None:
        super().put(name_in(table, self._number), key, refused)

    def add(self, table: str, key: bytes, refused: Sequence[tuple[int, int, str, str]]) -> None:
        super().add(name_in(table, self._number), key, refused)

    def take_over(self, tables: Collection[str], unfoldable: Collection[bytes]) -> None:
        """Puts these in place of those of the generation in use; `unfoldable` are the keys of events that it listed."""
        self.forget_caches()
        if not self._made.is_there:
            return
        writer = self._file.writer
        writer.executemany("DELETE FROM rejections WHERE tbl='' AND key=?", [(key,) for key in unfoldable])
        writer.executemany("DELETE FROM rejections WHERE tbl=?", [(name,) for name in tables])
        writer.executemany(
            "UPDATE OR REPLACE rejections SET tbl=? WHERE tbl=?",
            [(name, name_in(name, self._number)) for name in ("", *tables)],
        )

    def discard(self) -> None:
        """Drops them all."""
        self.forget_caches()
        if self._made.is_there:
            self._file.writer.execute("DELETE FROM rejections WHERE tbl GLOB ?", (f"*{GENERATION}{self._number}",))


def discard(tables: SqliteTables, file: SqliteFile, number: int) -> None:
    """Drops the tables of a generation that nobody wants any more. In a transaction."""
    for name in building_names(file):
        if name.endswith(f"{GENERATION}{number}"):
            tables.drop_named(name)


def building_names(file: SqliteFile) -> list[str]:
    """The names of all tables of generations that are being made."""
    found = rows(file.writer, "SELECT name FROM sqlite_schema WHERE type='table' AND sql NOT LIKE 'CREATE VIRTUAL%'")
    return [name for (name,) in found if re.fullmatch(rf".+{GENERATION}\d+", name)]


def put_away(file: SqliteFile) -> list[str]:
    """The names of the tables that a swap has put away and nobody has cleared yet."""
    found = rows(file.reader, "SELECT name FROM sqlite_schema WHERE type='table' AND name GLOB ?", (f"*{_AWAY}*",))
    return [name for (name,) in found if re.fullmatch(rf".+{GENERATION}\d+{_AWAY}", name)]


def clear_some(file: SqliteFile, *, rows_max: int) -> bool:
    """Clears that many rows of what was put away; whether there was anything. In a transaction."""
    for name in put_away(file):
        for part, key in ((f"{name}_fts_data", "id"), (f"{name}_fts_docsize", "id"), (name, "n")):
            if not is_made(file.writer, part):
                continue
            file.writer.execute(
                f'DELETE FROM "{part}" WHERE {key} IN (SELECT {key} FROM "{part}" LIMIT ?)', (rows_max,)
            )
            if file.writer.changes():
                return True
        clear(file, name)
        return True
    return False


def clear(file: SqliteFile, name: str) -> None:
    """Drops a table that was put away, at once. In a transaction."""
    file.writer.execute(f'DROP TABLE IF EXISTS "{name}_fts"')
    file.writer.execute(f'DROP TABLE "{name}"')


def adapt(file: SqliteFile, tables: SqliteTables, table: Table, number: int) -> None:
    """Lets code that declares a table otherwise read the rows that older code has left, until the swap.

    Columns that are not there read as their defaults, and those of another type too.
    """
    if not tables.exists(table):
        return
    there = {name: kind for _, name, kind, *_ in rows(file.writer, f'PRAGMA table_info("{table.name}")')}
    kept = tables.made(table)
    types = {} if kept is None else dict(kept.columns)
    missing = []
    for column in table.columns:
        same = there.get(column.name) == sql_type(column) and types.get(column.name, column.type) == column.type
        if same:
            continue
        if column.name in there:
            away = name_in(column.name, number)
            file.writer.execute(f'ALTER TABLE "{table.name}" RENAME COLUMN "{column.name}" TO "{away}"')
        missing.append(_lenient(column))
    tables.add_columns(table, missing, note=False)


def has_key(file: SqliteFile, table: Table) -> bool:
    """Whether the rows that other code has made under this name are found by this declaration's key."""
    names = "SELECT name FROM sqlite_schema WHERE type='index' AND tbl_name=? AND name GLOB ?"
    found = rows(file.writer, names, (table.name, f"{table.name}*_key"))
    return any(
        tuple(name for _, _, name in rows(file.writer, f'PRAGMA index_info("{index}")')) == table.key
        for (index,) in found
    )


def spoken_by(file: SqliteFile, table: Table, log: int, seqs: Collection[int]) -> list[int]:
    """The numbers of the rows that speak by these events. *Cost*: looks at every row."""
    listed = ",".join(map(str, sorted(seqs)))
    found = rows(file.writer, f'SELECT n FROM "{table.name}" WHERE log=? AND seq IN ({listed})', (log,))
    return [n for (n,) in found]


def _lenient(column: Column) -> Column:
    """A column as readers of rows that lack it see it."""
    default = None if column.derived is not None else column.default
    return msgspec.structs.replace(column, nullable=True, default=default)
