"""Room `engines` (imports all below it): `TableStore` in SQLite, from declarations."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from operator import itemgetter
from typing import Any, Final

import apsw
import msgspec

from antiphon.engines.sqlite import fulltext
from antiphon.engines.sqlite.codec import (
    KEY_AS_IS,
    computed,
    from_stored,
    is_converted,
    sql_type,
    stored_form,
    to_stored,
)
from antiphon.engines.sqlite.file import SqliteFile, rows
from antiphon.engines.sqlite.gone import SqliteGone
from antiphon.engines.sqlite.made import is_made
from antiphon.model.declared import GENERATION
from antiphon.model.errors import InvalidInput, Rejected
from antiphon.model.table import Column, Index, Table, below_sql, below_values
from antiphon.model.values import default_of, key_of, key_values
from antiphon.views.generations import Made
from antiphon.views.store import StoredRow

_MADE: Final = "made/"
_PAGE: Final = 1_024
_DECLARED: Final = (
    "SELECT DISTINCT tbl_name FROM sqlite_schema WHERE type='index' AND "
    f"(name = tbl_name || '_key' OR name GLOB tbl_name || '{GENERATION}*_key')"
)
"""The tables of declarations: their key's index says so, under the name of the generation in which they were made."""


def ddl(table: Table) -> list[str]:
    """The statements that make a table, its indexes and its full text."""
    columns = ["n INTEGER PRIMARY KEY", "log INTEGER NOT NULL", "seq INTEGER NOT NULL"]
    for column in table.columns:
        required = "" if column.nullable and column.name not in table.key else " NOT NULL"
        columns.append(f'"{column.name}" {sql_type(column)}{required}')
    key = ", ".join(f'"{name}"' for name in table.key)
    made = [
        f'CREATE TABLE "{table.name}"({", ".join(columns)})',
        f'CREATE UNIQUE INDEX "{table.name}_key" ON "{table.name}"({key})',
    ]
    made += [_index_ddl(table, index) for index in table.indexes]
    return made + (fulltext.ddl(table) if table.fulltext else [])


def index_name(table: Table, index: Index) -> str:
    """What a declared index is called in the file."""
    return index.name_in(table.name)


def index_where(table: Table, index: Index) -> str:
    """The condition of a partial index. A query must say it in these words, or SQLite does not use the index."""
    assert index.where is not None
    column = table.column(index.where[0])
    if index.accepted == (None,):
        return f'"{column.name}" IS NULL'
    literals = [_literal(to_stored(column, value)) for value in index.accepted]
    only = len(literals) == 1
    return f'"{column.name}" = {literals[0]}' if only else f'"{column.name}" IN ({", ".join(literals)})'


def _index_ddl(table: Table, index: Index) -> str:
    order = " DESC" if index.descending else ""
    columns = ", ".join([*(f'"{column}"{order}' for column in index.columns), *(f'"{c}"' for c in index.include)])
    where = "" if index.where is None else f" WHERE {index_where(table, index)}"
    return f'CREATE INDEX "{index_name(table, index)}" ON "{table.name}"({columns}){where}'


def _literal(value: Any) -> str:
    if isinstance(value, bytes):
        return f"x'{value.hex()}'"
    if isinstance(value, str) and "\0" in value:
        return f"CAST(x'{value.encode().hex()}' AS TEXT)"  # the text of a statement ends at a NUL
    return "'" + value.replace("'", "''") + "'" if isinstance(value, str) else str(value)


@contextlib.contextmanager
def _refusing(table: Table) -> Iterator[None]:
    """Says in our words that a row does not fit its table: the fold that made it is wrong."""
    try:
        yield
    except (
        apsw.ConstraintError, apsw.MismatchError, TypeError, ValueError, ArithmeticError, AttributeError,
    ) as error:  # fmt: skip
        raise Rejected(f"a row does not fit the table {table.name!r}: {error}", table=table.name) from error


def _default(column: Column) -> str:
    value = None if column.derived is not None else to_stored(column, default_of(column))
    return f'{"NULL" if value is None else _literal(value)} AS "{column.name}"'


def columns_sql(table: Table) -> str:
    """What a row is read from and written to, in the declaration's order: columns that were added later stand last."""
    return ", ".join(["n", "log", "seq", *(f'"{name}"' for name in table.names)])


Held = Callable[[str, bytes, int, int], Any]
"""(table, key, log number, seq) -> what that event wrote to the table's held column in that row."""


class _Reading:
    """What reading a row of a table needs, computed once: it is a third of the cost of reading one."""

    def __init__(self, table: Table, missing: Collection[str]) -> None:
        self.names = table.names
        self.missing = missing
        self.special = tuple((c.name, from_stored(c)) for c in table.columns if is_converted(c) and not c.held)
        self.computed = tuple(c for c in table.columns if c.derived is not None and c.derived.of)
        self.held = table.held
        self.is_id = len(table.key) == 1 and table.column(table.key[0]).type in KEY_AS_IS
        self.where = " AND ".join(f'"{name}"=?' for name in table.key)
        self.into = columns_sql(table)
        self.columns = ", ".join(
            ["n", "log", "seq", *(_default(c) if c.name in missing else f'"{c.name}"' for c in table.columns)]
        )
        self.by_key = f'SELECT {self.columns} FROM "{table.name}" WHERE {self.where}'


def _nothing_held(table: str, key: bytes, log: int, seq: int) -> None:
    """No log beside these tables: what it would hold is not known."""


class SqliteTables:
    """Tables in one file; see `TableStore` for the promises."""

    def __init__(self, file: SqliteFile, held: Held | None = None) -> None:
        self._file = file
        self.held = held or _nothing_held
        self._made: set[str] = set()
        self._shown: set[str] = set()
        self._codecs: dict[str, tuple[tuple[int, Callable[[Any], Any]], ...]] = {}
        self._readings: dict[str, _Reading] = {}
        self._gone = SqliteGone(file)
        self.know_held()

    def know_held(self) -> None:
        """Makes known to SQL the function that reads held columns."""
        self._file.add_function(fulltext.HELD, 4, self.held)

    def forget_caches(self) -> None:
        """Drops what another writer, or a rollback, may have changed."""
        self._made.clear()
        self._shown.clear()
        self._gone.forget_caches()
        for name in [name for name, reading in self._readings.items() if reading.missing]:
            del self._readings[name]

    def exists(self, table: Table) -> bool:
        """Whether the table was made yet."""
        reader = self._file.reader
        if table.name in (self._made if reader is self._file.writer else self._shown):
            return True
        found = is_made(reader, table.name)
        if found and reader is not self._file.writer:
            self._shown.add(table.name)  # what another thread makes is not there for us before it commits
        return found

    def _make(self, table: Table) -> None:
        if table.name in self._made:
            return
        if not self.exists(table):
            self._free_names(table)
            for statement in ddl(table):
                self._file.writer.execute(statement)
            self.note(table)
        self._made.add(table.name)

    def _free_names(self, table: Table) -> None:
        """Drops the indexes, named as this table's, of one that a swap has put away under another name."""
        away = "SELECT name FROM sqlite_schema WHERE type='index' AND tbl_name GLOB ?"
        for (name,) in rows(self._file.writer, away, (f"{table.name}{GENERATION}*x",)):
            self._file.writer.execute(f'DROP INDEX "{name}"')

    def note(self, table: Table) -> None:
        """Keeps beside a table how it was declared when it was made."""
        self._file.put(_MADE + table.name, msgspec.msgpack.encode(Made.of(table)))

    def made(self, table: Table) -> Made | None:
        """How a table was declared when it was made; None where it was not, or nobody noted it."""
        raw = self._file.get(_MADE + table.name)
        return None if raw is None else msgspec.msgpack.decode(raw, type=Made)

    def add_columns(self, table: Table, columns: Iterable[Column], *, note: bool = True) -> None:
        """Gives a table that is there more columns, which hold their defaults. *Cost*: none a row."""
        for column in columns:
            default = to_stored(column, default_of(column))
            said = "" if default is None else f" DEFAULT {_literal(default)}"
            required = "" if column.nullable or default is None else " NOT NULL"
            self._file.writer.execute(
                f'ALTER TABLE "{table.name}" ADD COLUMN "{column.name}" {sql_type(column)}{said}{required}'
            )
        if note:
            self.note(table)
        self._readings.pop(table.name, None)
        self._codecs.pop(table.name, None)

    def _changing(self, table: Table) -> tuple[tuple[int, Callable[[Any], Any]], ...]:
        """Where a row holds what is stored in another form, or not at all (what the log holds, or reading computes)."""
        found = self._codecs.get(table.name)
        if found is None:
            found = self._codecs[table.name] = tuple(
                (3 + at, stored_form(c)) for at, c in enumerate(table.columns) if is_converted(c)
            )
        return found

    def _stored(self, table: Table, rows: Sequence[tuple[Any, ...]]) -> Sequence[tuple[Any, ...]]:
        changing = self._changing(table)
        if not changing:
            return rows
        fetch = itemgetter(*(at for at, _ in changing))
        empty = None if len(changing) == 1 else (None,) * len(changing)
        return [row if fetch(row) == empty else _changed(row, changing) for row in rows]

    def insert(self, table: Table, rows: Sequence[tuple[Any, ...]]) -> None:
        self._make(table)
        columns, marks = self._reading(table).into, ",".join("?" * (3 + len(table.columns)))
        with _refusing(table):
            stored = self._stored(table, rows)
            self._file.writer.executemany(f'INSERT INTO "{table.name}"({columns}) VALUES({marks})', stored)

    def insert_new(self, table: Table, rows: Sequence[tuple[Any, ...]]) -> set[int]:
        self._make(table)
        columns, marks = self._reading(table).into, ",".join("?" * (3 + len(table.columns)))
        key = ", ".join(f'"{name}"' for name in table.key)
        with _refusing(table):
            before = self._file.writer.total_changes()
            self._file.writer.executemany(
                f'INSERT INTO "{table.name}"({columns}) VALUES({marks}) ON CONFLICT({key}) DO NOTHING',
                self._stored(table, rows),
            )
            if self._file.writer.total_changes() - before == len(rows):
                return {row[0] for row in rows}
        found = self._file.writer.execute(
            f'SELECT n FROM "{table.name}" WHERE n BETWEEN ? AND ?', (rows[0][0], rows[-1][0])
        )
        return {n for (n,) in found}

    def _key_of(self, table: Table, key: bytes) -> tuple[Any, ...]:
        """The stored values of a row's key."""
        if self._reading(table).is_id:
            return (key,)
        columns = [table.column(name) for name in table.key]
        return tuple(to_stored(c, value) for c, value in zip(columns, key_values(table, key), strict=True))

    def where_key(self, table: Table, key: bytes) -> tuple[str, tuple[Any, ...]]:
        """The condition that a row has this key, and its values."""
        return self._reading(table).where, self._key_of(table, key)

    def replace(self, table: Table, key: bytes, row: tuple[Any, ...] | None) -> bool:
        self._make(table)
        writer = self._file.writer
        old = writer.execute(self._reading(table).by_key, self._key_of(table, key)).fetchone()
        if old is None and row is None:
            return False
        with _refusing(table):
            new = None if row is None else self._stored(table, [row])[0]
        if old is not None:
            if new is not None:
                new = (old[0], *new[1:])
            if new == old:
                return False
            if table.fulltext:
                fulltext.remove(self._file, table, old[0])
            writer.execute(f'DELETE FROM "{table.name}" WHERE n=?', (old[0],))
        if new is not None:
            with _refusing(table):
                marks = ",".join("?" * len(new))
                writer.execute(f'INSERT INTO "{table.name}"({self._reading(table).into}) VALUES({marks})', new)
            if table.fulltext and old is not None:
                fulltext.restore(self._file, table, old[0])
        else:
            self._gone.add(table.name, key)
        return True

    def knows(self, table: Table, key: bytes) -> bool:
        return self._gone.has(table.name, key) or (self.exists(table) and self.row(table, key) is not None)

    def _reading(self, table: Table) -> _Reading:
        found = self._readings.get(table.name)
        if found is None:
            found = self._readings[table.name] = _Reading(table, self._missing(table))
        return found

    def _missing(self, table: Table) -> list[str]:
        """The columns that a table lacks or has of another type, as other code made it: they read as their defaults."""
        there = {name: kind for _, name, kind, *_ in rows(self._file.reader, f'PRAGMA table_info("{table.name}")')}
        return [c.name for c in table.columns if there and there.get(c.name) != sql_type(c)]

    def columns(self, table: Table) -> str:
        """What to select for `loaded`."""
        return self._reading(table).columns

    def loaded(self, table: Table, row: tuple[Any, ...]) -> StoredRow:
        """A row from its columns as `columns_sql` lists them."""
        reading = self._reading(table)
        values = dict(zip(reading.names, row[3:], strict=True))
        for name, load in reading.special:
            value = values[name]
            if value is not None:
                values[name] = load(value)
        for column in reading.computed:
            values[column.name] = computed(column, values)
        if reading.held is not None:
            key = values[table.key[0]] if reading.is_id else key_of(table, values)
            values[reading.held] = self.held(table.name, key, row[1], row[2])
        return StoredRow(row[0], row[1], row[2], values)

    def row(self, table: Table, key: bytes) -> StoredRow | None:
        if not self.exists(table):
            return None
        found = self._file.reader.execute(self._reading(table).by_key, self._key_of(table, key)).fetchone()
        return None if found is None else self.loaded(table, found)

    def rows(self, table: Table, numbers: Sequence[int]) -> dict[int, StoredRow]:
        """Rows by their number n."""
        if not numbers or not self.exists(table):
            return {}
        listed = ",".join(map(str, numbers))
        found = rows(self._file.reader, f'SELECT {self.columns(table)} FROM "{table.name}" WHERE n IN ({listed})')
        return {row[0]: self.loaded(table, row) for row in found}

    def by_keys(self, table: Table, keys: Sequence[bytes], *, at_once: int = 256) -> dict[bytes, StoredRow]:
        """Rows by key, those that there are. *Cost*: a third of asking for each, where the key is an id alone."""
        if not self.exists(table):
            return {}
        reading = self._reading(table)
        if not reading.is_id:
            found = ((key, self.row(table, key)) for key in keys)
            return {key: row for key, row in found if row is not None}
        name, loaded = table.key[0], {}
        for start in range(0, len(keys), at_once):
            part = tuple(keys[start : start + at_once])
            marks = ",".join("?" * len(part))
            sql = f'SELECT {reading.columns} FROM "{table.name}" WHERE "{name}" IN ({marks})'
            for raw in rows(self._file.reader, sql, part):
                row = self.loaded(table, raw)
                loaded[row.values[name]] = row
        return loaded

    def page(self, table: Table, after: int, limit: int) -> list[StoredRow]:
        """Rows whose numbers n come after this one, in order."""
        sql = f'SELECT {self.columns(table)} FROM "{table.name}" WHERE n>? ORDER BY n LIMIT ?'
        return [self.loaded(table, row) for row in rows(self._file.reader, sql, (after, limit))]

    def all_rows(self, table: Table) -> Iterator[StoredRow]:
        """Every row by its number: rows may change meanwhile, but not come."""
        found = self.page(table, 0, _PAGE) if self.exists(table) else []
        while found:
            yield from found
            found = self.page(table, found[-1].n, _PAGE)

    def select(
        self,
        table: Table,
        equal: Mapping[str, Any],
        *,
        order: str,
        descending: bool = False,
        limit: int = 100,
        logs: Sequence[int] | None = None,
        below: tuple[str, str] | None = None,
    ) -> list[StoredRow]:
        if order not in ("n", "seq"):
            table.column(order)
        for name in equal:
            table.column(name)
        if limit < 0:
            raise InvalidInput("a limit cannot be negative")
        if not self.exists(table):
            return []
        terms = [f'"{name}" IS ?' for name in equal]
        values = [to_stored(table.column(name), value) for name, value in equal.items()]
        if below is not None:
            terms.append(below_sql(f'"{table.column(below[0]).name}"'))
            values += below_values(below[1])
        if logs is not None:
            terms.append(f"log IN ({','.join(map(str, logs))})")
        where = " WHERE " + " AND ".join(terms) if terms else ""
        direction = "DESC" if descending else "ASC"
        found = rows(
            self._file.reader,
            f'SELECT {self.columns(table)} FROM "{table.name}"{where} '
            f'ORDER BY "{order}" {direction}, n {direction} LIMIT ?',
            (*values, limit),
        )
        return [self.loaded(table, row) for row in found]

    def distinct(self, table: Table, column: str, *, logs: Sequence[int] | None = None) -> list[Any]:
        name = table.column(column).name
        if not self.exists(table):
            return []
        where = "" if logs is None else f" WHERE log IN ({','.join(map(str, logs))})"
        found = rows(self._file.reader, f'SELECT DISTINCT "{name}" FROM "{table.name}"{where} ORDER BY 1')
        return [row[0] for row in found]

    def count(self, table: Table) -> int:
        if not self.exists(table):
            return 0
        found: int = self._file.reader.execute(f'SELECT count(*) FROM "{table.name}"').get
        return found

    def next_numbers(self) -> dict[str, int]:
        """The number that the next row of each table gets, from what is there: above its rows and what was indexed."""
        found = {}
        for (name,) in rows(self._file.reader, _DECLARED):
            if GENERATION in name:
                continue
            last = self._file.reader.execute(f'SELECT max(n) FROM "{name}"').get or 0
            found[name] = max(last, fulltext.indexed(self._file, name)) + 1
        return found

    def drop(self, table: Table) -> None:
        if self.exists(table):
            self.drop_named(table.name)

    def drop_named(self, name: str) -> None:
        """Removes a table with its indexes and full text, by the name it has in the file."""
        fulltext.drop(self._file, name)  # an older declaration may have had one
        self._file.writer.execute(f'DROP TABLE "{name}"')
        self._file.drop(_MADE + name)
        self._readings.pop(name, None)
        self._made.discard(name)
        self._shown.discard(name)

    def drop_all_but(self, names: Collection[str]) -> list[str]:
        """Removes the tables of every other name; which ones. In a transaction."""
        others = [name for (name,) in rows(self._file.writer, _DECLARED) if name not in names]
        for name in others:
            self.drop_named(name)
        return others


def _changed(row: tuple[Any, ...], changing: tuple[tuple[int, Callable[[Any], Any]], ...]) -> tuple[Any, ...]:
    plain = list(row)
    for at, form in changing:
        if plain[at] is not None:
            plain[at] = form(plain[at])
    return tuple(plain)
