"""Keys at the bounds of every type: held, they are found by their key, paged over once each, and gone when deleted."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from random import Random
from typing import Any

import psycopg
import pytest

from antiphon.model.errors import Rejected
from antiphon.model.places import Places, Relational
from antiphon.model.table import ANYONE, READ_ALL, Column, Index, Table, Type
from antiphon.model.values import INTEGER_MAX, canonical, key_of
from antiphon.query.access import Reader
from antiphon.query.plan import Ask, Plan, Range, plan
from antiphon.query.source import Source
from antiphon.views.feed import Change, Sink, version_of
from servers.places import PostgresPlace, own_name
from tests.contracts.engines import engine

ROWS = (
    "memory",
    "sealed",
    pytest.param("postgres", marks=pytest.mark.server),
    pytest.param("valkey", marks=pytest.mark.server),
)
READER = Reader(bytes(32), ())
TIMES = (
    0, -1, 1, 1_700_000_000_001, 9_007_199_254_741, 72_057_594_037_929, 100_000_000_000_001, 9_000_000_000_000_123,
    9_224_318_015_999_998, 9_224_318_015_999_999, -62_135_596_800_001, -210_000_000_000_123, -210_866_803_199_999,
    -210_866_803_200_000,
)  # fmt: skip
"""Up to the first and the last that PostgreSQL knows."""
LENGTHS = (0, -1, 1, 9_007_199_254_741, 9_223_372_036_854_775, -9_223_372_036_854_775, 9_000_000_000_000_123)
BEYOND = {
    Type.TIMESTAMP: (9_224_318_016_000_000, INTEGER_MAX, -210_866_803_200_001, -INTEGER_MAX),
    Type.DURATION: (9_223_372_036_854_776, INTEGER_MAX, -9_223_372_036_854_776, -INTEGER_MAX),
}
BYTES = (b"\0", b"\xff", b"%s", bytes(range(256)))
VALUES: dict[Type, tuple[Any, ...]] = {
    Type.TIMESTAMP: TIMES,
    Type.DURATION: LENGTHS,
    Type.INTEGER: (0, -1, 1, INTEGER_MAX, -INTEGER_MAX, 1 << 53, (1 << 53) + 1),
    Type.REAL: (0.0, 5e-324, -5e-324, 1.7976931348623157e308, -1.7976931348623157e308, 0.1, 0.1 + 2**-56),
    Type.DECIMAL: tuple(map(Decimal, ("0", "0.000001", "-0.000001", "999999999999.999999", "-999999999999.999999"))),
    Type.TEXT: ("", "%", "%s", "'", '"', "\\", "\t", "a", "A", "ä", "a" * 1_000, "\U0010ffff", "\x01", "�"),
    Type.ENUM: ("50% won", "%(s)s"),
    Type.BOOLEAN: (False, True),
    Type.DATE: (date.min, date.max, date(1970, 1, 1), date(1969, 12, 31), date(1999, 12, 31), date(2000, 1, 1)),
    Type.BYTES: (b"", *BYTES),
    **{kind: tuple(bytes([n]) * width for n in (0, 1, 127, 255)) for kind, width in (
        (Type.ID, 16), (Type.PERSON, 16), (Type.AGENT, 32), (Type.LOG, 32),
    )},
}  # fmt: skip
KEYS = [kind for kind in VALUES if kind not in (Type.DURATION, Type.REAL, Type.DECIMAL, Type.BOOLEAN)]
"""What a key may be made of."""
ORDERED = (Type.TIMESTAMP, Type.DURATION, Type.INTEGER, Type.REAL, Type.DECIMAL, Type.DATE)


def holding(kind: Type, *key: str) -> Table:
    more: dict[str, Any] = {"precision": 18, "scale": 6} if kind == Type.DECIMAL else {}
    more |= {"values": VALUES[kind]} if kind == Type.ENUM else {}
    return Table(
        f"by_{kind.name.lower()}",
        key=key,
        columns=(Column("part", kind, nullable=False, **more), Column("no", Type.INTEGER, nullable=False)),
        indexes=(Index(("part",)),),
        minted=False,
        shared=True,
        access=READ_ALL,
        writers=ANYONE,
        places=Places(relational=Relational()),
    )


def changes(table: Table, chance: Random) -> dict[bytes, Change]:
    found = {}
    for n, part in enumerate(VALUES[table.column("part").type]):
        row = {"part": canonical(table.column("part"), part), "no": n}
        found[key_of(table, row)] = Change(table.name, key_of(table, row), version_of(1, 1), row)
    every = list(found.items())
    chance.shuffle(every)
    return dict(every)


def in_pages(sink: Sink, table: Table, size: int, most: int) -> Iterator[Change]:
    after = None
    for _ in range(most + 1):
        page = sink.rows(table, after=after, limit=size)
        if not page:
            return
        yield from page
        after = page[-1].key
    raise AssertionError("the pages never end")


@contextmanager
def both(postgres: PostgresPlace, table: Table) -> Iterator[tuple[Sink, Source]]:
    from antiphon.engines.postgres.source import PostgresSource
    from antiphon.engines.postgres.tables import PostgresTables

    url, schema = postgres.url(), own_name("bounds")
    with (
        closing(PostgresTables(url, schema=schema)) as sink,
        closing(PostgresSource(url, {table.name: table}, schema=schema)) as source,
    ):
        sink.prepare([table])
        assert sink.fence(0, 1)
        yield sink, source


def parts(source: Source, asked: Plan) -> list[Any]:
    return [row.values["part"] for row in source.page(asked, READER, after=None, limit=100, scanned_max=1_000).rows]


@pytest.mark.parametrize("kind", KEYS, ids=[kind.name for kind in KEYS])
@pytest.mark.parametrize("name", ROWS)
def test_keys_at_the_bounds_are_told_apart_and_paged_over_once(
    request: pytest.FixtureRequest, name: str, kind: Type
) -> None:
    table = holding(kind, "part", "no")
    rows = changes(table, Random(kind.name))
    with engine(name, request) as sink:
        sink.prepare([table])
        assert sink.fence(sink.kept().epoch, 1)
        sink.apply(1, list(rows.values()))
        for size in (1, 3):
            found = list(in_pages(sink, table, size, len(rows)))
            assert len(found) == len(rows)
            assert {change.key: change.row for change in found} == {key: one.row for key, one in rows.items()}
        for key in rows:
            sink.apply(1, [Change(table.name, key, version_of(1, 2), None)])
        assert sink.rows(table, after=None, limit=10) == []


@pytest.mark.server
@pytest.mark.parametrize("kind", VALUES, ids=[kind.name for kind in VALUES])
def test_a_source_finds_them_by_key_by_value_and_by_bounds(postgres: PostgresPlace, kind: Type) -> None:
    table = holding(kind, *(("part", "no") if kind in KEYS else ("no",)))
    with both(postgres, table) as (sink, source):
        rows = changes(table, Random(1))
        sink.apply(1, list(rows.values()))
        for key, change in rows.items():
            found = source.row(table, key, READER)
            assert found is not None
            assert change.row is not None
            assert found.values == change.row
            assert parts(source, plan(table, Ask({"part": change.row["part"]}))) == [change.row["part"]]
        for bound in sorted(VALUES[kind]) if kind in ORDERED else ():
            over = [value for value in sorted(VALUES[kind]) if value > bound]
            assert parts(source, plan(table, Ask(within=Range("part", above=bound), order=("part",)))) == over


@pytest.mark.server
@pytest.mark.parametrize(("kind", "key"), [(Type.TIMESTAMP, ("part", "no")), (Type.DURATION, ("no",))])
def test_what_no_server_holds_is_refused_by_name_and_compared_as_it_is(
    postgres: PostgresPlace, kind: Type, key: tuple[str, ...]
) -> None:
    table = holding(kind, *key)
    with both(postgres, table) as (sink, source):
        sink.apply(1, list(changes(table, Random(1)).values()))
        for value in BEYOND[kind]:
            row = {"part": value, "no": 100}
            with pytest.raises(Rejected, match="part"):
                sink.apply(1, [Change(table.name, key_of(table, row), version_of(1, 1), row)])
            assert source.row(table, key_of(table, row), READER) is None
            assert parts(source, plan(table, Ask({"part": value}))) == []
            over = [one for one in sorted(VALUES[kind]) if one > value]
            assert parts(source, plan(table, Ask(within=Range("part", above=value), order=("part",)))) == over


WON = Table(
    "won",
    key="id",
    columns=(
        Column("id", Type.ID, nullable=False),
        Column("stage", Type.ENUM, values=("50% won", "%s", "lost"), default="lost"),
        Column("at", Type.INTEGER),
    ),
    indexes=(Index(("at",), where=("stage", "50% won")), Index(("at",), where=("stage", "%s"))),
    shared=True,
    access=READ_ALL,
    places=Places(relational=Relational()),
)


@pytest.mark.server
@pytest.mark.parametrize("stage", ["50% won", "%s"])
def test_a_percent_sign_in_the_condition_of_an_index_is_no_placeholder(postgres: PostgresPlace, stage: str) -> None:
    with both(postgres, WON) as (sink, source):
        rows: list[dict[str, Any]] = [
            {"id": bytes([n]) * 16, "stage": WON.columns[1].values[n % 3], "at": n} for n in range(9)
        ]
        sink.apply(1, [Change("won", row["id"], version_of(1, 1), row) for row in rows])
        asked = plan(WON, Ask({"stage": stage}, order=("at",)))
        assert asked.path.index is not None
        part = source.page(asked, READER, after=None, limit=10, scanned_max=100)
        assert [row.values["at"] for row in part.rows] == [row["at"] for row in rows if row["stage"] == stage]


@pytest.mark.server
def test_whoever_else_uses_the_driver_here_keeps_its_own_times(postgres: PostgresPlace) -> None:
    at, took = datetime(2026, 11, 21, tzinfo=UTC), timedelta(seconds=1)
    with both(postgres, WON), psycopg.connect(postgres.url()) as session:
        session.execute("CREATE TEMP TABLE times(at timestamptz, took interval)")
        with session.cursor().copy("COPY times FROM STDIN (FORMAT binary)") as copy:
            copy.set_types(["timestamptz", "interval"])
            copy.write_row([at, took])
        assert session.execute("SELECT * FROM times").fetchall() == [(at, took)]
