"""Room `engines` (imports all below it): `query.source.Source` in SQLite: plans as SQL, each along the index it names.

`INDEXED BY` makes SQLite use that index or fail; the equal values of a stretch and one range are its search, and the
order is the index's own, so nothing is sorted.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Final, NamedTuple

from antiphon.engines.sqlite.codec import from_stored, is_converted, sql_type, to_stored
from antiphon.engines.sqlite.file import SqliteFile, rows
from antiphon.engines.sqlite.search import SqliteText
from antiphon.engines.sqlite.tables import SqliteTables, index_name, index_where
from antiphon.identity.keystore import unwrap, wrap_same
from antiphon.knowledge.recall import fts_query
from antiphon.model import limits
from antiphon.model.declared import GENERATION
from antiphon.model.errors import InvalidInput, Unavailable, WrongKey
from antiphon.model.table import Table, below_sql, below_values
from antiphon.query import near
from antiphon.query.access import Reader, Seen, seen_by
from antiphon.query.cursor import raw_of, read
from antiphon.query.plan import MADE, Plan, Position, Stretch, Term, stretches
from antiphon.query.source import Part
from antiphon.views.store import StoredRow

_CURSOR: Final = "cursor"
_LEAST: Final = {"TEXT": "''", "BLOB": "x''", "INTEGER": "-9e999", "REAL": "-9e999"}
"""No value of a column of this type is less: what is not null is at least this, and an index finds it so."""


class Sql(NamedTuple):
    """A statement and its values."""

    text: str
    values: tuple[Any, ...]


class SqliteSource:
    """Rows of one file as one agent may read them; see `Source` for the promises."""

    def __init__(self, file: SqliteFile, tables: SqliteTables, declared: Mapping[str, Table]) -> None:
        self._file, self._tables, self._declared = file, tables, declared
        self._text = SqliteText(file, tables)
        self._seen_last: dict[str, tuple[Reader, Seen]] = {}
        self._names: dict[str, tuple[int, dict[str, str]]] = {}

    def reading(self) -> AbstractContextManager[None]:
        return self._file.snapshot()

    def row(self, table: Table, key: bytes, reader: Reader) -> StoredRow | None:
        seen = self._seen_of(table, reader)
        found = self._tables.row(table, key)
        return found if found is not None and seen.holds(reader.agent, found.log, found.values) else None

    def page(self, plan: Plan, reader: Reader, *, after: Position | None, limit: int, scanned_max: int) -> Part:
        self._seen(plan.table, reader)  # refused even where there is nothing yet
        if not self._tables.exists(plan.table):
            return Part([], None, 0)
        with self._file.snapshot():
            return self._page(plan, reader, after, limit, scanned_max)

    def _page(self, plan: Plan, reader: Reader, after: Position | None, limit: int, scanned_max: int) -> Part:
        found: list[tuple[Any, ...]] = []
        last: tuple[Any, ...] = ()
        scanned = others = 0
        for stretch in stretches(plan, self._opened(plan, after)):
            most = scanned_max - scanned if plan.tests else limit + 1 - len(found)
            sql = self.statement(plan, stretch, reader, most + limits.ROWS_PASSED_MAX - others)
            for seen, passed, *row in self._file.reader.execute(*sql):
                last = tuple(row)
                if not seen:
                    others += 1
                    if others >= limits.ROWS_PASSED_MAX:
                        break
                    continue
                scanned += 1
                if passed:
                    found.append(last)
                if len(found) > limit or (plan.tests and scanned >= scanned_max):
                    break
            if len(found) > limit or (plan.tests and scanned >= scanned_max) or others >= limits.ROWS_PASSED_MAX:
                break
        kept = [self._tables.loaded(plan.table, row) for row in found[:limit]]
        if len(found) > limit:
            return Part(kept, _position(plan, kept[-1]), scanned)
        if plan.tests and scanned >= scanned_max:
            return Part(kept, _position(plan, self._tables.loaded(plan.table, last)), scanned)
        if others >= limits.ROWS_PASSED_MAX:
            return Part(kept, self._sealed(plan, _position(plan, self._tables.loaded(plan.table, last))), scanned)
        return Part(kept, None, scanned)

    def _sealed(self, plan: Plan, at: Position) -> Position:
        """A position that says nothing of the row at which it is."""
        return Position(sealed=wrap_same(raw_of(plan, at), name=_CURSOR, kek=self._file.key_for(_CURSOR.encode())))

    def _opened(self, plan: Plan, at: Position | None) -> Position | None:
        if at is None or not at.sealed:
            return at
        try:
            return read(plan, unwrap(at.sealed, name=_CURSOR, kek=self._file.key_for(_CURSOR.encode())))
        except WrongKey:
            raise InvalidInput("this is no cursor of this file: give one that a page ended with, unchanged") from None

    def statement(self, plan: Plan, stretch: Stretch, reader: Reader, limit: int) -> Sql:
        """The SQL of one stretch: whether the agent sees each row, whether it passes the plan's tests, and the row."""
        seen, tests = self._seen(plan.table, reader), _all(plan.table, plan.tests)
        along = self._along(plan, stretch.tests)
        where, values = along.text, along.values
        if stretch.after is not None:
            where += f" AND n {'<' if plan.backward else '>'} ?"
            values += (stretch.after,)
        order = [f'"{name}" {"DESC" if descending else "ASC"}' for name, descending in stretch.order]
        order.append(f"n {'DESC' if plan.backward else 'ASC'}")
        what = f"{seen.text}, {tests.text}, {self._tables.columns(plan.table)}"
        text = f"SELECT {what} {where} ORDER BY {', '.join(order)} LIMIT ?"
        return Sql(text, (*seen.values, *tests.values, *values, limit))

    def _along(self, plan: Plan, tests: Sequence[Term], reader: Reader | None = None) -> Sql:
        """FROM and WHERE of the rows on a stretch, of those that an agent sees."""
        seen = Sql("1", ()) if reader is None else self._seen(plan.table, reader)
        held = _all(plan.table, tests)
        terms = [held.text, seen.text]
        if plan.path.index is not None and plan.path.index.where is not None:
            terms.append(index_where(plan.table, plan.path.index))  # as in the index, or SQLite would not use it
        text = f'FROM "{plan.table.name}" {self._indexed(plan)} WHERE {" AND ".join(terms)}'
        return Sql(text, (*held.values, *seen.values))

    def nearest(
        self, plan: Plan, reader: Reader, column: str, wanted: Sequence[float], *, metric: str, k: int
    ) -> list[tuple[float, int]]:
        return near.nearest(self._vectors(plan, reader, column), wanted, metric=metric, k=k)

    def _vectors(self, plan: Plan, reader: Reader, column: str) -> Iterator[tuple[int, bytes]]:
        self._seen(plan.table, reader)
        if not self._tables.exists(plan.table):
            return
        along = self._along(plan, (*plan.served, *plan.bounds, *plan.tests), reader)
        text = f'SELECT n, "{column}" {along.text} AND "{column}" NOT NULL'
        yield from self._file.reader.execute(text, along.values)

    def rows(self, table: Table, numbers: Sequence[int], reader: Reader) -> dict[int, StoredRow]:
        seen = self._seen(table, reader)
        if not numbers or not self._tables.exists(table):
            return {}
        listed = ",".join(map(str, map(int, numbers)))
        text = f'SELECT {self._tables.columns(table)} FROM "{table.name}" WHERE n IN ({listed}) AND {seen.text}'
        return {row[0]: self._tables.loaded(table, row) for row in rows(self._file.reader, text, seen.values)}

    def match(
        self, table: Table, text: str, tests: Sequence[Term], reader: Reader, limit: int
    ) -> list[tuple[int, float]]:
        seen, held = self._seen(table, reader, "t."), _all(table, tests, "t.")
        terms = [] if (seen.text, held.text) == ("1", "1") else [seen.text, held.text]
        values = (*seen.values, *held.values)
        return self._text.match(table, fts_query(text), terms=terms, values=values, limit=limit)[:limit]

    def values(self, plan: Plan, reader: Reader, column: str, *, limit: int) -> list[Any]:
        self._seen(plan.table, reader)
        if not self._tables.exists(plan.table):
            return []
        along = self._along(plan, (), reader)
        text = f'SELECT DISTINCT "{column}" {along.text} AND "{column}" NOT NULL ORDER BY 1 LIMIT ?'
        found = [value for (value,) in rows(self._file.reader, text, (*along.values, limit))]
        declared = plan.table.column(column)
        load: Callable[[Any], Any] | None = from_stored(declared) if is_converted(declared) else None
        return found if load is None else [load(value) for value in found]

    def repeated(
        self, plan: Plan, reader: Reader, columns: Sequence[str], *, limit: int
    ) -> list[tuple[tuple[Any, ...], int]]:
        self._seen(plan.table, reader)
        if not self._tables.exists(plan.table):
            return []
        along = self._along(plan, [Term(name, "some") for name in columns], reader)
        listed = ", ".join(f'"{name}"' for name in columns)
        text = f"SELECT {listed}, COUNT(*) {along.text} GROUP BY {listed} HAVING COUNT(*) > 1 ORDER BY {listed} LIMIT ?"
        loads = _loads(plan.table, columns)
        found = rows(self._file.reader, text, (*along.values, limit))
        return [(_loaded(loads, values), count) for *values, count in found]

    def _indexed(self, plan: Plan) -> str:
        return "NOT INDEXED" if plan.path.name == MADE else f'INDEXED BY "{self.index_of(plan)}"'

    def index_of(self, plan: Plan) -> str:
        """The index that SQLite must use. One that was made in a fold beside the old keeps that generation's name."""
        table, path = plan.table, plan.path
        wanted = f"{table.name}_key" if path.index is None else index_name(table, path.index)
        version: int = self._file.reader.execute("PRAGMA schema_version").get
        known = self._names.get(table.name)
        if known is None or known[0] != version:
            found = rows(
                self._file.reader, "SELECT name FROM sqlite_schema WHERE type='index' AND tbl_name=?", (table.name,)
            )
            known = version, {_plain(table.name, name): name for (name,) in found}
            self._names[table.name] = known
        name = known[1].get(wanted)
        if name is None:
            raise Unavailable(
                f"table {table.name!r} was made by another version, without {path}: open the file to write, and it is "
                "folded again",
                table=table.name,
            )
        return name

    def _seen_of(self, table: Table, reader: Reader) -> Seen:
        """What `seen_by` says, remembered: it is asked for with every row."""
        known = self._seen_last.get(table.name)
        if known is None or known[0] is not reader:
            known = self._seen_last[table.name] = reader, seen_by(reader, table, self._declared)
        return known[1]

    def _seen(self, table: Table, reader: Reader, prefix: str = "") -> Sql:
        """The condition that the agent sees a row."""
        seen = self._seen_of(table, reader)
        if seen.all:
            return Sql("1", ())
        terms = [f"{prefix}log IN ({','.join(map(str, seen.logs))})"] if seen.logs else []
        terms += [f'{prefix}"{name}"=?' for name in seen.columns]
        values: tuple[Any, ...] = (reader.agent,) * len(seen.columns)
        if seen.besides is not None:
            name, open_to_all = seen.besides
            terms.append(f'{prefix}"{name}" IN ({",".join("?" * len(open_to_all))})')
            values += open_to_all
        return Sql(f"({' OR '.join(terms) or '0'})", values)


def counted_values(
    file: SqliteFile, tables: SqliteTables, table: Table, columns: Sequence[str]
) -> Iterator[tuple[tuple[Any, ...], int]]:
    """The different values of columns that an index begins with, in order, and how many rows have each; not null."""
    if not tables.exists(table):
        return
    listed = ", ".join(f'"{name}"' for name in columns)
    some = " AND ".join(f'"{name}" NOT NULL' for name in columns)
    text = f'SELECT {listed}, COUNT(*) FROM "{table.name}" WHERE {some} GROUP BY {listed} ORDER BY {listed}'
    loads = _loads(table, columns)
    for *values, count in file.reader.execute(text):
        yield _loaded(loads, values), count


_Loads = list[Callable[[Any], Any] | None]


def _loads(table: Table, columns: Sequence[str]) -> _Loads:
    declared = [table.column(name) for name in columns]
    return [from_stored(column) if is_converted(column) else None for column in declared]


def _loaded(loads: _Loads, values: Sequence[Any]) -> tuple[Any, ...]:
    return tuple(value if load is None else load(value) for load, value in zip(loads, values, strict=True))


def _plain(table: str, index: str) -> str:
    """An index's name without the generation of its table."""
    return re.sub(rf"^{re.escape(table)}{GENERATION}\d+_", f"{table}_", index)


def _all(table: Table, tests: Sequence[Term], prefix: str = "") -> Sql:
    """The condition that a row meets all of these."""
    terms: list[str] = []
    values: list[Any] = []
    for test in tests:
        column = table.column(test.column)
        name = f'{prefix}"{column.name}"'
        match test.op:
            case "null":
                terms.append(f"{name} IS NULL")
            case "some":
                terms.append(f"{name} >= {_LEAST[sql_type(column)]}")
            case "below":
                terms.append(below_sql(name))
                values += below_values(test.value)
            case _:
                terms.append(f"{name} {test.op} ?")
                values.append(to_stored(column, test.value))
    return Sql(" AND ".join(terms) or "1", tuple(values))


def _position(plan: Plan, row: StoredRow) -> Position:
    return Position(tuple(row.values[name] for name, _ in plan.order), row.n)
