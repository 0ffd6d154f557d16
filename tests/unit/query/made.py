"""Tables, rows and questions of any shape, by Hypothesis; and what a plain list answers to them."""

from collections.abc import Mapping, Sequence
from datetime import date
from decimal import Decimal
from functools import cmp_to_key
from typing import Any, NamedTuple

from hypothesis import strategies as st

from antiphon.engines.sqlite.file import SqliteFile
from antiphon.engines.sqlite.select import SqliteSource
from antiphon.engines.sqlite.tables import SqliteTables
from antiphon.model.table import ANYONE, READ_ALL, Access, Column, Index, Table, Type
from antiphon.query.access import Reader
from antiphon.query.plan import Ask, Range, Term, meets
from antiphon.query.rows import Rows

ME, YOU, THEM = (bytes([at]) * 32 for at in (1, 2, 3))
LOGS = {ME: (1, 4), YOU: (2,), THEM: (3,)}

FEW: dict[Type, Sequence[Any]] = {
    Type.TEXT: ["", "a", "a-b", "a.b", "a.b.c", "a/b", "b", "é", "a\0"],
    Type.ENUM: ["new", "open", "shut"],
    Type.INTEGER: [-(1 << 63) + 1, -1, 0, 1, 2, (1 << 63) - 1],
    Type.REAL: [-1.5, 0.0, 0.1, 2.0, 1e300],
    Type.DECIMAL: [Decimal("-1.000000"), Decimal("0.000001"), Decimal("2.500000")],
    Type.BOOLEAN: [False, True],
    Type.DATE: [date(1969, 12, 31), date(2024, 2, 29), date(2025, 1, 1)],
    Type.TIMESTAMP: [-5, 0, 1_700_000_000_000],
    Type.BYTES: [b"", b"\0", b"\xff\xff"],
    Type.AGENT: [ME, YOU, THEM],
}
NO_KEY = (Type.REAL, Type.DECIMAL, Type.BOOLEAN)


class Held(NamedTuple):
    """A row as a test put it: n, log, values."""

    n: int
    log: int
    values: dict[str, Any]


def columns() -> st.SearchStrategy[tuple[Column, ...]]:
    def made(types: list[tuple[Type, bool]]) -> tuple[Column, ...]:
        return tuple(
            Column(f"c{at}", kind, nullable=free, values=tuple(FEW[kind]) if kind == Type.ENUM else ())
            for at, (kind, free) in enumerate(types)
        )

    return st.lists(st.tuples(st.sampled_from(list(FEW)), st.booleans()), min_size=2, max_size=5).map(made)


@st.composite
def tables(draw: st.DrawFn) -> Table:
    found = (Column("id", Type.INTEGER, nullable=False), *draw(columns()))
    names = [column.name for column in found]
    able = [column.name for column in found[1:] if column.type not in NO_KEY]
    key = ("id", *draw(st.lists(st.sampled_from(able), max_size=2, unique=True))) if able else ("id",)
    if draw(st.booleans()):
        key = key[::-1]
    indexes: dict[Any, Index] = {}
    for _ in range(draw(st.integers(0, 3))):
        over = tuple(draw(st.lists(st.sampled_from(names), min_size=1, max_size=3, unique=True)))
        by = draw(st.sampled_from(found[1:]))
        values = draw(st.lists(st.sampled_from(FEW[by.type]), min_size=1, max_size=2, unique=True))
        where = (by.name, values[0] if len(values) == 1 else tuple(values)) if draw(st.integers(0, 3)) == 0 else None
        if where is not None and by.type not in (Type.TEXT, Type.ENUM, Type.INTEGER, Type.BOOLEAN):
            where = None
        more = draw(st.lists(st.sampled_from(names), max_size=1, unique=True)) if draw(st.booleans()) else []
        include = tuple(name for name in more if name not in over)
        name = (over, where[0] if where else None)
        indexes[name] = Index(over, descending=draw(st.booleans()), where=where, include=include)
    access = draw(st.sampled_from([READ_ALL, Access("own"), _parties(found)]))
    words = [column.name for column in found if column.type == Type.ENUM]
    if access.rule != "all" and words and draw(st.booleans()):
        access = Access(access.rule, access.columns, (words[0], ("open", "new")))
    return Table(
        "made", key, found, indexes=tuple(indexes.values()), minted=False, shared=True, writers=ANYONE, access=access
    )


def _parties(found: Sequence[Column]) -> Access:
    named = tuple(column.name for column in found if column.type == Type.AGENT)
    return Access("parties", named) if named else Access("own")


@st.composite
def held(draw: st.DrawFn, table: Table) -> list[Held]:
    rows = []
    for n in range(1, draw(st.integers(0, 30)) + 1):
        values: dict[str, Any] = {"id": draw(st.sampled_from([n, -n]))}
        for column in table.columns[1:]:
            can = [*FEW[column.type], None] if column.nullable and column.name not in table.key else FEW[column.type]
            values[column.name] = draw(st.sampled_from(can))
        rows.append(Held(n * 3, draw(st.integers(1, 4)), values))
    return rows


@st.composite
def asks(draw: st.DrawFn, table: Table) -> Ask:
    """Questions, of which many follow an index and others none."""
    paths = [table.key, *(index.columns for index in table.indexes)]
    path = draw(st.sampled_from(paths))
    cut = draw(st.integers(0, len(path)))
    names = [column.name for column in table.columns]
    picked = {*path[:cut], *draw(st.lists(st.sampled_from(names), max_size=1))}
    for index in table.indexes:
        if index.columns == path and index.where is not None and draw(st.booleans()):
            picked.add(index.where[0])
    equal = {}
    for name in sorted(picked):
        column = table.column(name)
        free = column.nullable and name not in table.key
        equal[name] = draw(st.sampled_from([*_values(column), None] if free else _values(column)))
    rest = [*path[cut:], draw(st.sampled_from(names))]
    within = below = None
    if draw(st.booleans()):
        within = draw(ranges(table.column(rest[0])))
    elif table.column(rest[0]).type == Type.TEXT:
        below = rest[0], draw(st.sampled_from(["a", "a.b", "b"]))
    order = tuple(path[cut : draw(st.integers(cut, len(path)))]) if draw(st.booleans()) else ()
    return Ask(equal, within, below, order or draw(st.sampled_from([(), ("n",)])), draw(st.booleans()))


def _values(column: Column) -> Sequence[Any]:
    return range(-5, 30) if column.name == "id" else FEW[column.type]


@st.composite
def ranges(draw: st.DrawFn, column: Column) -> Range:
    ends = {}
    if draw(st.booleans()):
        ends[draw(st.sampled_from(["least", "above"]))] = draw(st.sampled_from(_values(column)))
    if draw(st.booleans()) or not ends:
        ends[draw(st.sampled_from(["most", "under"]))] = draw(st.sampled_from(_values(column)))
    return Range(column.name, **ends)


# -- what a plain list answers --------------------------------------------------------------------------------------


def sees(table: Table, agent: bytes, row: Held) -> bool:
    if table.access.rule == "all" or row.log in LOGS[agent]:
        return True
    besides = table.access.besides
    if besides is not None and row.values[besides[0]] in besides[1]:
        return True
    return any(row.values[name] == agent for name in table.access.columns)


def fits(ask: Ask, row: Held) -> bool:
    values = row.values
    ok = all(values[name] == value for name, value in ask.equal.items())
    if ask.within is not None:
        for name, op in (("least", ">="), ("above", ">"), ("most", "<="), ("under", "<")):
            bound = getattr(ask.within, name)
            ok = ok and (bound is None or meets(Term("", op, bound), values[ask.within.column]))
    if ask.below is not None:
        text = values[ask.below[0]]
        ok = ok and text is not None and (text == ask.below[1] or text.startswith(ask.below[1] + "."))
    return ok


def in_order(ask: Ask, rows: Sequence[Mapping[str, Any]]) -> bool:
    """Whether rows stand in the order that was asked for; nulls are least."""
    ordered = [name for name in ask.order if name != "n"]

    def compare(one: Mapping[str, Any], other: Mapping[str, Any]) -> int:
        for name in ordered:
            mine, theirs = one[name], other[name]
            if mine != theirs:
                less = mine is None or (theirs is not None and mine < theirs)
                return (-1 if less else 1) * (-1 if ask.descending else 1)
        return 0

    return list(rows) == sorted(rows, key=cmp_to_key(compare))


# -- an engine -------------------------------------------------------------------------------------------------------


class Store:
    """One file with the rows of one table, and readers of it."""

    def __init__(self, file: SqliteFile, table: Table) -> None:
        self.file, self.table = file, table
        self.tables = SqliteTables(file)
        self.source = SqliteSource(file, self.tables, {table.name: table})

    def put(self, rows: Sequence[Held]) -> None:
        names = self.table.names
        with self.file.transaction():
            self.tables.insert(self.table, [(row.n, row.log, 0, *(row.values[name] for name in names)) for row in rows])

    def rows(self, agent: bytes = ME) -> Rows:
        return Rows(self.source, self.table, lambda: Reader(agent, LOGS[agent]))

    def clear(self) -> None:
        with self.file.transaction():
            self.tables.drop(self.table)
        self.tables.forget_caches()
