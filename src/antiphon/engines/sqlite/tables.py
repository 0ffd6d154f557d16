"""Room `engines` (imports all below it): `TableStore` and `MentionStore` in SQLite, from declarations."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from operator import itemgetter
from typing import Any

import apsw

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
from antiphon.model.errors import InvalidInput, Rejected
from antiphon.model.table import Index, Table, below_sql, below_values
from antiphon.model.values import key_of, key_values
from antiphon.views.store import StoredRow


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


def _index_ddl(table: Table, index: Index) -> str:
    name = "_".join([table.name, *index.columns])
    order = " DESC" if index.descending else ""
    columns = ", ".join([*(f'"{column}"{order}' for column in index.columns), *(f'"{c}"' for c in index.include)])
    where = ""
    if index.where is not None:
        column = table.column(index.where[0])
        literals = ", ".join(_literal(to_stored(column, value)) for value in index.accepted)
        where = f' WHERE "{column.name}" IN ({literals})' if "," in literals else f' WHERE "{column.name}" = {literals}'
        name += "_where_" + column.name
    return f'CREATE INDEX "{name}" ON "{table.name}"({columns}){where}'


def _literal(value: Any) -> str:
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


Held = Callable[[str, bytes, int, int], Any]
"""(table, key, log number, seq) -> what that event wrote to the table's held column in that row."""


class _Reading:
    """What reading a row of a table needs, computed once: it is a third of the cost of reading one."""

    def __init__(self, table: Table) -> None:
        self.names = table.names
        self.special = tuple((c.name, from_stored(c)) for c in table.columns if is_converted(c) and not c.held)
        self.computed = tuple(c for c in table.columns if c.derived is not None and c.derived.of)
        self.held = table.held
        self.is_id = len(table.key) == 1 and table.column(table.key[0]).type in KEY_AS_IS
        self.where = " AND ".join(f'"{name}"=?' for name in table.key)
        self.by_key = f'SELECT * FROM "{table.name}" WHERE {self.where}'


def _nothing_held(table: str, key: bytes, log: int, seq: int) -> None:
    """No log beside these tables: what it would hold is not known."""


class SqliteTables:
    """Tables in one file; see `TableStore` for the promises."""

    def __init__(self, file: SqliteFile, held: Held | None = None) -> None:
        self._file = file
        self._held = held or _nothing_held
        self._made: set[str] = set()
        self._shown: set[str] = set()
        self._codecs: dict[str, tuple[tuple[int, Callable[[Any], Any]], ...]] = {}
        self._readings: dict[str, _Reading] = {}
        file.add_function(fulltext.HELD, 4, self._held)

    def forget_caches(self) -> None:
        """Drops what another writer, or a rollback, may have changed."""
        self._made.clear()
        self._shown.clear()

    def exists(self, table: Table) -> bool:
        """Whether the table was made yet."""
        reader = self._file.reader
        if table.name in (self._made if reader is self._file.writer else self._shown):
            return True
        found = reader.execute("SELECT 1 FROM sqlite_schema WHERE name=?", (table.name,)).get
        if found is not None and reader is not self._file.writer:
            self._shown.add(table.name)  # what another thread makes is not there for us before it commits
        return found is not None

    def _make(self, table: Table) -> None:
        if table.name in self._made:
            return
        if not self.exists(table):
            for statement in ddl(table):
                self._file.writer.execute(statement)
        self._made.add(table.name)

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
        marks = ",".join("?" * (3 + len(table.columns)))
        with _refusing(table):
            stored = self._stored(table, rows)
            self._file.writer.executemany(f'INSERT INTO "{table.name}" VALUES({marks})', stored)

    def insert_new(self, table: Table, rows: Sequence[tuple[Any, ...]]) -> set[int]:
        self._make(table)
        marks = ",".join("?" * (3 + len(table.columns)))
        key = ", ".join(f'"{name}"' for name in table.key)
        with _refusing(table):
            before = self._file.writer.total_changes()
            self._file.writer.executemany(
                f'INSERT INTO "{table.name}" VALUES({marks}) ON CONFLICT({key}) DO NOTHING', self._stored(table, rows)
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
                writer.execute(f'INSERT INTO "{table.name}" VALUES({",".join("?" * len(new))})', new)
            if table.fulltext and old is not None:
                fulltext.restore(self._file, table, old[0])
        return True

    def _reading(self, table: Table) -> _Reading:
        found = self._readings.get(table.name)
        if found is None:
            found = self._readings[table.name] = _Reading(table)
        return found

    def _loaded(self, table: Table, row: tuple[Any, ...]) -> StoredRow:
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
            values[reading.held] = self._held(table.name, key, row[1], row[2])
        return StoredRow(row[0], row[1], row[2], values)

    def row(self, table: Table, key: bytes) -> StoredRow | None:
        if not self.exists(table):
            return None
        found = self._file.reader.execute(self._reading(table).by_key, self._key_of(table, key)).fetchone()
        return None if found is None else self._loaded(table, found)

    def rows(self, table: Table, numbers: Sequence[int]) -> dict[int, StoredRow]:
        """Rows by their number n."""
        if not numbers or not self.exists(table):
            return {}
        listed = ",".join(map(str, numbers))
        found = rows(self._file.reader, f'SELECT * FROM "{table.name}" WHERE n IN ({listed})')
        return {row[0]: self._loaded(table, row) for row in found}

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
            f'SELECT * FROM "{table.name}"{where} ORDER BY "{order}" {direction}, n {direction} LIMIT ?',
            (*values, limit),
        )
        return [self._loaded(table, row) for row in found]

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
        declared = "SELECT tbl_name FROM sqlite_schema WHERE type='index' AND name = tbl_name || '_key'"
        found = {}
        for (name,) in rows(self._file.reader, declared):
            last = self._file.reader.execute(f'SELECT max(n) FROM "{name}"').get or 0
            found[name] = max(last, fulltext.indexed(self._file, name)) + 1
        return found

    def drop(self, table: Table) -> None:
        if self.exists(table):
            self._drop(table.name)

    def _drop(self, name: str) -> None:
        fulltext.drop(self._file, name)  # an older declaration may have had one
        self._file.writer.execute(f'DROP TABLE "{name}"')
        self._made.discard(name)
        self._shown.discard(name)

    def drop_all_but(self, names: Collection[str]) -> list[str]:
        """Removes the tables of every other name; which ones. In a transaction."""
        declared = "SELECT tbl_name FROM sqlite_schema WHERE type='index' AND name = tbl_name || '_key'"
        others = [name for (name,) in rows(self._file.writer, declared) if name not in names]
        for name in others:
            self._drop(name)
        return others


def _changed(row: tuple[Any, ...], changing: tuple[tuple[int, Callable[[Any], Any]], ...]) -> tuple[Any, ...]:
    plain = list(row)
    for at, form in changing:
        if plain[at] is not None:
            plain[at] = form(plain[at])
    return tuple(plain)


class SqliteMentions:
    """Mentions in one file; see `MentionStore` for the promises."""

    def __init__(self, file: SqliteFile) -> None:
        self._file = file
        self._exists = False

    def forget_caches(self) -> None:
        """Drops what another writer, or a rollback, may have changed."""
        self._exists = False

    def _has_table(self) -> bool:
        if not self._exists:
            found = self._file.reader.execute("SELECT 1 FROM sqlite_schema WHERE name='mentions'").get
            self._exists = found is not None
        return self._exists

    def add(self, mentions: Iterable[tuple[bytes, int, int]]) -> None:
        self._file.writer.execute(
            "CREATE TABLE IF NOT EXISTS mentions(what BLOB, log INTEGER, seq INTEGER, PRIMARY KEY(what, log, seq)) "
            "WITHOUT ROWID"
        )
        self._file.writer.executemany("INSERT OR IGNORE INTO mentions VALUES(?,?,?)", mentions)

    def find(self, what: bytes) -> list[tuple[int, int]]:
        if not self._has_table():
            return []
        return rows(self._file.reader, "SELECT log, seq FROM mentions WHERE what=? ORDER BY log, seq", (what,))

    def has(self, what: bytes, log: int, seq: int) -> bool:
        """Whether this one mention is kept."""
        sql = "SELECT 1 FROM mentions WHERE what=? AND log=? AND seq=?"
        return self._has_table() and self._file.reader.execute(sql, (what, log, seq)).get is not None

    def ends(self, what: bytes) -> tuple[int, int] | None:
        if not self._has_table():
            return None
        lowest, highest = (
            self._file.reader.execute(
                f"SELECT log FROM mentions WHERE what=? ORDER BY what {order}, log {order} LIMIT 1", (what,)
            ).get
            for order in ("ASC", "DESC")
        )
        return None if lowest is None else (lowest, highest)

    def remove(self, mentions: Iterable[tuple[bytes, int, int]]) -> None:
        if self._has_table():
            self._file.writer.executemany("DELETE FROM mentions WHERE what=? AND log=? AND seq=?", mentions)
