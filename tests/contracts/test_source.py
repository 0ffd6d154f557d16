"""What every `Source` promises: rows along an index, in order, page by page, and no row that the reader may not see."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from antiphon.engines.sqlite import fulltext
from antiphon.engines.sqlite.file import SqliteFile
from antiphon.engines.sqlite.select import SqliteSource
from antiphon.engines.sqlite.tables import SqliteTables
from antiphon.model.errors import InvalidInput
from antiphon.model.table import ANYONE, Column, FullText, Index, Table, Type, parties
from antiphon.model.values import canonical, key_of
from antiphon.query.access import Reader
from antiphon.query.plan import Ask, Position, Range, Term, plan
from antiphon.query.source import Source
from antiphon.views.feed import Change, version_of
from servers.places import own_name

ME, YOU = bytes([1]) * 32, bytes([2]) * 32
TABLE = Table(
    "letters_sent",
    key=("day", "no"),
    columns=(
        Column("day", Type.DATE, nullable=False),
        Column("no", Type.INTEGER, nullable=False),
        Column("to", Type.AGENT),
        Column("at", Type.TIMESTAMP),
        Column("words", Type.TEXT),
        Column("vec", Type.VECTOR, size=2),
    ),
    indexes=(Index(("at",), descending=True), Index(("to", "at"))),
    fulltext=FullText("words", time="at"),
    minted=False,
    writers=ANYONE,
    access=parties("to"),
)


class Engine(NamedTuple):
    source: Source
    fill: Callable[[list[tuple[Any, ...]]], None]
    """Takes rows of (n, log, seq, *columns)."""


POSTGRES = pytest.param("postgres", marks=pytest.mark.server)


@pytest.fixture(params=["sqlite/aegis", "sqlite/sqlcipher", POSTGRES])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    made = _postgres(request) if request.param == "postgres" else _sqlite(request.param, tmp_path)
    with contextmanager(lambda: made)() as found:
        yield found


def _sqlite(kind: str, tmp_path: Path) -> Iterator[Engine]:
    file = SqliteFile(tmp_path / "x", bytes(32), cipher=kind.partition("/")[2], create=True)
    tables = SqliteTables(file)

    def fill(rows: list[tuple[Any, ...]]) -> None:
        with file.transaction():
            tables.insert(TABLE, rows)
        with file.transaction():
            fulltext.catch_up(file, TABLE, rows_max=100)

    yield Engine(SqliteSource(file, tables, {TABLE.name: TABLE}), fill)
    file.close()


def _postgres(request: pytest.FixtureRequest) -> Iterator[Engine]:
    from antiphon.engines.postgres.source import PostgresSource
    from antiphon.engines.postgres.tables import PostgresTables

    url, schema = request.getfixturevalue("postgres").url(), own_name("source")
    sink = PostgresTables(url, schema=schema)
    sink.prepare([TABLE])
    sink.fence(0, 1)

    def fill(rows: list[tuple[Any, ...]]) -> None:
        for n, log, _, *values in rows:
            row = {c.name: canonical(c, v) for c, v in zip(TABLE.columns, values, strict=True)}
            author = {1: ME, 2: YOU}[log]
            sink.apply(1, [Change(TABLE.name, key_of(TABLE, row), version_of(1, n), row, author)])

    source = PostgresSource(url, {TABLE.name: TABLE}, schema=schema)
    yield Engine(source, fill)
    source.close()
    sink.close()


MINE, YOURS = Reader(ME, (1,)), Reader(YOU, (2,))


def fill(engine: Engine) -> None:
    """Rows 1 to 6: odd ones are of log 1, even ones of log 2; number 4 is to ME."""
    rows: list[tuple[Any, ...]] = []
    for n in range(1, 7):
        to, at = ME if n == 4 else None, None if n == 5 else n * 10
        rows.append((n, 2 - n % 2, n, "2025-01-01", n, to, at, f"owl {n}", [float(n), 1.0]))
    engine.fill(rows)


def numbers(engine: Engine, ask: Ask, reader: Reader = MINE, **how: Any) -> list[int]:
    given = {"after": None, "limit": 10, "scanned_max": 100, **how}
    return [row.n for row in engine.source.page(plan(TABLE, ask), reader, **given).rows]


def test_a_table_never_written_has_no_rows(engine: Engine) -> None:
    made = plan(TABLE, Ask())
    assert numbers(engine, Ask()) == []
    assert engine.source.nearest(made, MINE, "vec", [1.0, 1.0], metric="l2", k=3) == []
    assert engine.source.match(TABLE, "owl", [], MINE, 5) == []
    assert engine.source.values(plan(TABLE, Ask(order=("at",))), MINE, "at", limit=5) == []
    assert engine.source.rows(TABLE, [1], MINE) == {}


def test_rows_come_in_the_order_of_the_index(engine: Engine) -> None:
    fill(engine)
    assert numbers(engine, Ask()) == [1, 3, 4, 5]
    assert numbers(engine, Ask(descending=True)) == [5, 4, 3, 1]
    assert numbers(engine, Ask(order=("at",))) == [5, 1, 3, 4], "null is least"
    assert numbers(engine, Ask(order=("at",), descending=True), limit=2) == [4, 3]
    assert numbers(engine, Ask(within=Range("at", above=10, most=40))) == [3, 4]
    assert numbers(engine, Ask({"to": ME})) == [4]
    assert numbers(engine, Ask({"to": None}), YOURS) == [2, 6]
    assert numbers(engine, Ask({"to": ME}), YOURS) == [4]
    assert numbers(engine, Ask({"day": "2025-01-01", "no": 3})) == [3]


def test_a_page_ends_where_the_next_begins(engine: Engine) -> None:
    fill(engine)
    made = plan(TABLE, Ask(order=("at",), descending=True))
    part = engine.source.page(made, MINE, after=None, limit=3, scanned_max=100)
    assert ([row.n for row in part.rows], part.end) == ([4, 3, 1], Position((10,), 1))
    part = engine.source.page(made, MINE, after=part.end, limit=3, scanned_max=100)
    assert ([row.n for row in part.rows], part.end) == ([5], None), "null is last downwards"


def test_what_is_scanned_ends_a_page(engine: Engine) -> None:
    fill(engine)
    made = plan(TABLE, Ask({"words": "owl 4"}, order=("at",)))
    part = engine.source.page(made, MINE, after=None, limit=3, scanned_max=2)
    assert (part.rows, part.scanned, part.end) == ([], 2, Position((10,), 1))
    part = engine.source.page(made, MINE, after=part.end, limit=3, scanned_max=2)
    assert [row.n for row in part.rows] == [4]


def test_values_that_several_rows_have_are_counted_for_who_sees_them(engine: Engine) -> None:
    assert engine.source.repeated(plan(TABLE, Ask(order=("at",))), MINE, ("at",), limit=5) == []
    said = [(ME, 5), (ME, 5), (YOU, 5), (ME, None), (ME, None), (None, 7), (None, 7), (YOU, 6), (ME, 6)]
    engine.fill([(n, 2, n, "2025-01-01", n, to, at, "", None) for n, (to, at) in enumerate(said, 1)])
    by_both, by_time = plan(TABLE, Ask(order=("to", "at"))), plan(TABLE, Ask(order=("at",), descending=True))
    assert engine.source.repeated(by_both, MINE, ("to", "at"), limit=5) == [((ME, 5), 2)]
    assert engine.source.repeated(by_time, MINE, ("at",), limit=5) == [((5,), 2)]
    assert engine.source.repeated(by_time, YOURS, ("at",), limit=5) == [((5,), 3), ((6,), 2), ((7,), 2)]
    assert engine.source.repeated(by_time, YOURS, ("at",), limit=2) == [((5,), 3), ((6,), 2)]
    assert engine.source.repeated(by_both, YOURS, ("to",), limit=5) == [((ME,), 5), ((YOU,), 2)]


def test_nobody_sees_more_than_its_rows(engine: Engine) -> None:
    fill(engine)
    every = [1, 2, 3, 4, 5, 6]
    assert sorted(engine.source.rows(TABLE, every, MINE)) == [1, 3, 4, 5]
    assert sorted(engine.source.rows(TABLE, every, YOURS)) == [2, 4, 6]
    key = key_of(TABLE, {"day": date(2025, 1, 1), "no": 2})
    assert engine.source.row(TABLE, key, YOURS) is not None
    assert engine.source.row(TABLE, key, MINE) is None
    nearest = engine.source.nearest(plan(TABLE, Ask()), YOURS, "vec", [5.5, 1.0], metric="l2", k=2)
    assert nearest == [(0.5, 6), (1.5, 4)]
    assert sorted(n for n, _ in engine.source.match(TABLE, "owl", [], YOURS, 10)) == [2, 4, 6]
    assert [n for n, _ in engine.source.match(TABLE, "owl", [Term("to", "=", ME)], YOURS, 10)] == [4]
    assert engine.source.values(plan(TABLE, Ask(order=("at",))), YOURS, "at", limit=10) == [20, 40, 60]
    nobody = Reader(bytes(32), ())
    assert numbers(engine, Ask(), nobody) == []


def test_a_rollup_of_others_rows_is_refused(engine: Engine) -> None:
    rolled = Table(
        "rolled", "hour", (Column("hour", Type.TIMESTAMP, nullable=False),), minted=False, rollup_of=TABLE.name
    )
    with pytest.raises(InvalidInput, match="rolled"):
        engine.source.row(rolled, b"\x91\x00", MINE)
