"""Room `engines` (imports all below it): `query.source.Source` in PostgreSQL: plans as SQL, under a reader's policies.

Every read is a transaction in the role `agent`, with the reader's id in the setting that the policies ask: what it may
not see is not there for limits, pages or neighbours either. Rows are numbered as they came to this server.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final, NamedTuple

from antiphon.engines.postgres import ddl
from antiphon.engines.postgres.access import SETTING, match_name, role_name
from antiphon.engines.postgres.binary import selected, value_of
from antiphon.engines.postgres.connection import NO_OPERATOR, NOT_KEPT, Server, Session, enter, unavailable
from antiphon.engines.postgres.ddl import NUMBER, quoted
from antiphon.engines.postgres.values import asked, parameter
from antiphon.model.errors import Corrupt, Unavailable
from antiphon.model.table import Table
from antiphon.model.values import key_values
from antiphon.query.access import Reader, seen_by
from antiphon.query.plan import Path, Plan, Position, Stretch, Term, stretches
from antiphon.query.reach import Found, refuse_unsealed
from antiphon.query.source import Part
from antiphon.views.store import StoredRow

ELSEWHERE: Final = -1
"""The log number and seq of rows whose log is not here."""
_OPERATORS: Final = {"cosine": "<=>", "l2": "<->", "ip": "<#>"}
CANDIDATES_MIN: Final = 40


class Sql(NamedTuple):
    """A piece of a statement and its values."""

    text: str
    values: tuple[Any, ...] = ()


class PostgresSource:
    """Rows in one schema of a PostgreSQL database, as one agent may read them; see `Source` for the promises."""

    def __init__(self, url: str, declared: Mapping[str, Table], *, schema: str = "antiphon", **limits: Any) -> None:
        self._server = Server(url, schema=schema, writes=False, **limits)
        self._declared = declared
        self._schema = schema
        self._inside = threading.local()

    def close(self) -> None:
        """Ends the connection."""
        self._server.close()

    @contextmanager
    def reading(self) -> Iterator[None]:
        """What is read inside is of one moment; one agent reads inside."""
        if getattr(self._inside, "session", None) is not None:
            yield
            return
        with self._server.transaction() as session:
            self._inside.session = session
            try:
                yield
            finally:
                self._inside.session = None

    @contextmanager
    def _as(self, reader: Reader, table: Table) -> Iterator[Session]:
        refuse_unsealed(table, "PostgreSQL")
        seen_by(reader, table, self._declared)  # refuses what nobody may read alone, in the same words as the file does
        with self.reading():
            session: Session = self._inside.session
            enter(session, role_name(self._schema, "agent"), {SETTING: reader.agent.hex()})
            said = f"the table {table.name!r} is not kept in this PostgreSQL, or not as it is declared here"
            with unavailable(said, NOT_KEPT):
                yield session

    # -- as a place within reach ---------------------------------------------------------------------------------

    name: Final = "store"

    def find(self, table: Table, key: bytes, reader: Reader) -> Found | None:
        """A row, its author and its age; see `query/reach.py`. *Cost*: four round trips.

        That a row is gone, or is another's, no reader may learn here: None.
        """
        where = self._where_key(table, key)
        ago = "(extract(epoch FROM clock_timestamp() - pulse) * 1000)::bigint"
        age = f"(SELECT {ago} FROM {quoted(self._schema)}._fence)"
        text = f"SELECT {self._shown(table)}, {ddl.AUTHOR}, {age} FROM {self._name(table)} {where.text}"
        try:
            with self._as(reader, table) as session:
                row = session.execute(text, where.values, binary=True).fetchone()
        except Unavailable as error:
            if isinstance(error.__cause__, NOT_KEPT):  # of this table it knows nothing; of others it may
                return None
            raise
        if row is None:
            return None
        if row[-1] is None:
            raise Unavailable("nobody has fed this PostgreSQL to the end yet")
        author = None if row[-2] is None else bytes(row[-2])
        return Found(_stored(table, row[:-2]).values, author, max(0, int(row[-1])))

    def keep(self, table: Table, key: bytes, found: Found) -> None:
        """Nothing: what is here comes from the feed alone."""

    # -- rows ----------------------------------------------------------------------------------------------------

    def row(self, table: Table, key: bytes, reader: Reader) -> StoredRow | None:
        found = self._rows(table, reader, self._where_key(table, key))
        return found[0] if found else None

    def _where_key(self, table: Table, key: bytes) -> Sql:
        parts = [(table.column(name), v) for name, v in zip(table.key, key_values(table, key), strict=True)]
        where = " AND ".join(f"{quoted(column.name)} = {asked(column)}" for column, _ in parts)
        return Sql(f"WHERE {where}", tuple(parameter(column, value) for column, value in parts))

    def page(self, plan: Plan, reader: Reader, *, after: Position | None, limit: int, scanned_max: int) -> Part:
        found: list[StoredRow] = []
        scanned = 0
        with self.reading():
            for stretch in stretches(plan, after):
                most = scanned_max - scanned if plan.tests else limit + 1 - len(found)
                part = self._stretch(plan, stretch, reader, most, limit + 1 - len(found))
                found += [row for row, passed, _ in part if passed]
                scanned += part[-1][2] if part else 0
                if len(found) > limit:
                    return Part(found[:limit], _position(plan, found[limit - 1]), scanned)
                if plan.tests and scanned >= scanned_max:
                    return Part(found, _position(plan, part[-1][0]), scanned)
        return Part(found, None, scanned)

    def _stretch(
        self, plan: Plan, stretch: Stretch, reader: Reader, scanned_max: int, limit: int
    ) -> list[tuple[StoredRow, bool, int]]:
        """(row, whether it passed tests, how many were looked at up to it): those that passed, and the last of all."""
        sql = self.statement(plan, stretch, reader, scanned_max)
        with self._as(reader, plan.table) as session:
            rows = session.execute(f"{sql.text} LIMIT {limit + 1:d}", sql.values, binary=True).fetchall()
        return [(_stored(plan.table, row[2:]), bool(row[0]), int(row[1])) for row in rows]

    def statement(self, plan: Plan, stretch: Stretch, reader: Reader, scanned_max: int) -> Sql:
        """The rows of one stretch that pass the plan's tests, and the last one that may be looked at."""
        tests, along = _all(plan.table, plan.tests), self._along(plan, stretch.tests)
        where, values = along
        if stretch.after is not None:
            where += f" AND {NUMBER} {'<' if plan.backward else '>'} %s"
            values += (stretch.after,)
        order = [f"{quoted(name)} {_way(plan.path, descending)}" for name, descending in stretch.order]
        order.append(f"{NUMBER} {'DESC' if plan.backward else 'ASC'}")
        names = ", ".join([NUMBER, *(quoted(column.name) for column in plan.table.columns)])
        inner = (
            f"SELECT {names} FROM {self._name(plan.table)} {where} ORDER BY {', '.join(order)} LIMIT {scanned_max:d}"
        )
        if not plan.tests:
            return Sql(f"SELECT TRUE, row_number() OVER (), {self._shown(plan.table)} FROM ({inner}) AS along", values)
        return Sql(
            f"SELECT passed, looked, {self._shown(plan.table)} FROM (SELECT ({tests.text}) IS TRUE AS passed, "
            f"row_number() OVER () AS looked, * FROM ({inner}) AS along) AS tested "
            f"WHERE passed OR looked = {scanned_max:d}",
            (*tests.values, *values),
        )

    def _shown(self, table: Table) -> str:
        return ", ".join([NUMBER, *(selected(column, quoted(column.name)) for column in table.columns)])

    def _along(self, plan: Plan, tests: Sequence[Term]) -> Sql:
        held = _all(plan.table, tests)
        terms = [held.text]
        if plan.path.index is not None and plan.path.index.where is not None:
            condition = ddl.where_of(plan.path.index).replace("%", "%%")  # declared values are no placeholders
            terms.append(f"({condition})")  # as in the index, or it would not be used
        return Sql(f"WHERE {' AND '.join(terms)}", held.values)

    def _rows(self, table: Table, reader: Reader, rest: Sql, *, extra: str = "") -> list[StoredRow]:
        shown = [selected(column, quoted(column.name)) for column in table.columns]
        text = f"SELECT {NUMBER}, {', '.join(shown)} FROM {self._name(table)} {rest.text}"
        with self._as(reader, table) as session:
            rows = session.execute(text, rest.values, binary=True).fetchall()
        return [_stored(table, row) for row in rows]

    def _name(self, table: Table) -> str:
        return f"{quoted(self._schema)}.{quoted(table.name)}"

    def nearest(
        self, plan: Plan, reader: Reader, column: str, wanted: Sequence[float], *, metric: str, k: int
    ) -> list[tuple[float, int]]:
        """By the HNSW index where the plan asks for nothing else and the metric is the declared one: approximate.

        Without pgvector there is no answer: Raises Unavailable.
        """
        if not self._server.dialect.vectors:
            raise Unavailable("this PostgreSQL has no pgvector: it finds no neighbours")
        along = self._along(plan, (*plan.served, *plan.bounds, *plan.tests))
        size = plan.table.column(column).size
        far = f"{quoted(column)} {_OPERATORS[metric]} %s::vector({size})"
        vector = "[" + ",".join(map(repr, wanted)) + "]"
        text = (
            f"SELECT {far}, {NUMBER} FROM {self._name(plan.table)} {along.text} AND {quoted(column)} IS NOT NULL "
            f"ORDER BY {far} LIMIT {k:d}"
        )
        arrays = (
            f"the vectors of {plan.table.name!r} are arrays in this PostgreSQL: `antiphon migrate` makes them vectors"
        )
        with self._as(reader, plan.table) as session, unavailable(arrays, NO_OPERATOR):
            session.execute(f"SET LOCAL hnsw.ef_search = {min(1_000, max(CANDIDATES_MIN, 4 * k)):d}")
            session.execute("SET LOCAL hnsw.iterative_scan = strict_order")
            found = session.execute(text, (vector, *along.values, vector)).fetchall()
        return sorted((float(distance), int(n)) for distance, n in found)

    def repeated(
        self, plan: Plan, reader: Reader, columns: Sequence[str], *, limit: int
    ) -> list[tuple[tuple[Any, ...], int]]:
        along = self._along(plan, [Term(name, "some") for name in columns])
        declared = [plan.table.column(name) for name in columns]
        listed = ", ".join(quoted(name) for name in columns)
        shown = ", ".join(selected(column, quoted(column.name)) for column in declared)
        text = (
            f"SELECT {shown}, many FROM (SELECT {listed}, count(*) AS many FROM {self._name(plan.table)} {along.text} "
            f"GROUP BY {listed} HAVING count(*) > 1 ORDER BY {listed} LIMIT {limit:d}) AS found ORDER BY {listed}"
        )
        with self._as(reader, plan.table) as session:
            found = session.execute(text, along.values, binary=True).fetchall()
        return [
            (tuple(value_of(column, value) for column, value in zip(declared, values, strict=True)), int(count))
            for *values, count in found
        ]

    def rows(self, table: Table, numbers: Sequence[int], reader: Reader) -> dict[int, StoredRow]:
        found = self._rows(table, reader, Sql(f"WHERE {NUMBER} = ANY(%s)", (list(map(int, numbers)),)))
        return {row.n: row for row in found}

    def match(
        self, table: Table, text: str, tests: Sequence[Term], reader: Reader, limit: int
    ) -> list[tuple[int, float]]:
        assert table.fulltext is not None
        held = _all(table, tests)
        words = ddl.words_of(table)
        rank = f"ts_rank({words}, plainto_tsquery('simple', %s))"
        if seen_by(reader, table, self._declared).all:
            found_in = f"{self._name(table)} WHERE {words} @@ plainto_tsquery('simple', %s)"
        else:
            found_in = f"{quoted(self._schema)}.{quoted(match_name(table))}(%s) WHERE TRUE"
        statement = (
            f"SELECT {NUMBER}, {rank} AS rank FROM {found_in} AND {held.text} "
            f"ORDER BY rank DESC, {NUMBER} LIMIT {limit:d}"
        )
        with self._as(reader, table) as session:
            found = session.execute(statement, (text, text, *held.values)).fetchall()
        return [(int(n), float(relevance)) for n, relevance in found]

    def values(self, plan: Plan, reader: Reader, column: str, *, limit: int) -> list[Any]:
        declared = plan.table.column(column)
        along = self._along(plan, ())
        name = quoted(column)
        shown = selected(declared, name)
        text = (
            f"SELECT {shown} FROM (SELECT DISTINCT {name} FROM {self._name(plan.table)} {along.text} "
            f"AND {name} IS NOT NULL ORDER BY {name} LIMIT {limit:d}) AS found ORDER BY {name}"
        )
        with self._as(reader, plan.table) as session:
            return [
                value_of(declared, value) for (value,) in session.execute(text, along.values, binary=True).fetchall()
            ]


def _position(plan: Plan, row: StoredRow) -> Position:
    return Position(tuple(row.values[name] for name, _ in plan.order), row.n)


def _way(path: Path, descending: bool) -> str:
    """An order as the index has it: nulls are least in declared indexes; a key has none."""
    if path.index is None:
        return "DESC" if descending else "ASC"
    return "DESC NULLS LAST" if descending else "ASC NULLS FIRST"


def _all(table: Table, tests: Sequence[Term]) -> Sql:
    """The condition that a row meets all of these."""
    terms: list[str] = []
    values: list[Any] = []
    for test in tests:
        column = table.column(test.column)
        name = quoted(column.name)
        match test.op:
            case "null":
                terms.append(f"{name} IS NULL")
            case "some":
                terms.append(f"{name} IS NOT NULL")
            case "below":
                terms.append(f"({name} = %s OR ({name} >= %s AND {name} < %s))")
                values += [test.value, test.value + ".", test.value + "/"]
            case _:
                terms.append(f"{name} {test.op} {asked(column)}")
                values.append(parameter(column, test.value))
    return Sql(" AND ".join(terms) or "TRUE", tuple(values))


def _stored(table: Table, row: Sequence[Any]) -> StoredRow:
    try:
        values = {column.name: value_of(column, raw) for column, raw in zip(table.columns, row[1:], strict=True)}
    except (AttributeError, TypeError, ValueError) as error:
        raise Corrupt(f"a row of {table.name!r} in PostgreSQL is not as declared: {error}") from error
    return StoredRow(int(row[0]), ELSEWHERE, ELSEWHERE, values, PostgresSource.name)
