"""Batches of many days, sweeps of many rows, clocks that jump: bounded transactions, nothing lost, nothing for ever."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import psycopg
import pytest

from antiphon import Agent, AssertRow, Column, Domain, Kind, Table, Type
from antiphon.engines.postgres import deleting, partitions
from antiphon.engines.postgres.connection import Exhausted
from antiphon.engines.postgres.partitions import NEW_PERIODS_MAX
from antiphon.engines.postgres.tables import PostgresTables
from antiphon.model.errors import Conflict, Rejected
from antiphon.model.event import Scope
from antiphon.model.places import DAY_MS, HOUR_MS, Places, Relational, Series
from antiphon.model.table import ANYONE, READ_ALL, Index, Retention
from antiphon.model.values import key_of
from antiphon.replica import follow
from antiphon.views.feed import Change, EngineEmptied, version_of
from antiphon.world.clock import SystemClock
from servers.places import PostgresPlace
from tests.contracts.engines import PATIENCE_MS

pytestmark = pytest.mark.server


def table(places: Places, **more: Any) -> Table:
    return Table(
        "days",
        key=("at", "text"),
        columns=(Column("at", Type.TIMESTAMP, nullable=False), Column("text", Type.TEXT, nullable=False)),
        indexes=(Index(("text",)),),
        minted=False,
        shared=True,
        access=READ_ALL,
        writers=ANYONE,
        places=places,
        **more,
    )


RANGED = table(Places(relational=Relational(by_time="at", every_ms=DAY_MS)))
CHUNKED = table(Places(series=Series("at", DAY_MS)))
TIMESCALE = pytest.mark.needs("timescaledb")


@pytest.fixture
def url(postgres: PostgresPlace) -> str:
    return postgres.url(postgres.make_database("periods"))


@pytest.fixture
def sink(url: str) -> Iterator[PostgresTables]:
    with closing(PostgresTables(url)) as made:
        yield made


def begun(sink: PostgresTables, of: Table) -> None:
    sink.prepare([of])
    assert sink.fence(0, 1)


def day(of: Table, at: int, *, version: int = 1, epoch: int = 1, gone: bool = False) -> Change:
    row = {"at": at, "text": "x"}
    return Change(of.name, key_of(of, row), version_of(epoch, version), None if gone else row)


def asked(url: str, statement: str) -> Any:
    with psycopg.connect(url) as session:
        row = session.execute(statement.encode()).fetchone()
    assert row is not None
    return row[0]


def children(url: str) -> int:
    return int(asked(url, "SELECT count(*) FROM pg_inherits WHERE inhparent = 'antiphon.days'::regclass"))


def test_years_of_days_in_one_batch_arrive_and_partitions_stay_few(url: str, sink: PostgresTables) -> None:
    """Ten years: each day its own partition would take more locks than the server has, and every batch after it too."""
    begun(sink, RANGED)
    now = SystemClock().now_ms()
    days = [now - n * DAY_MS for n in range(3_650)]
    sink.apply(1, [day(RANGED, at) for at in days])
    with psycopg.connect(url) as session:
        most = partitions.periods_max(session, RANGED, sink._server.dialect)
    assert 100 < children(url) <= most + 1 < 1_000
    assert int(asked(url, "SELECT count(*) FROM antiphon.days_default")) == 3_650 - children(url) + 1
    sink.apply(1, [day(RANGED, at, version=2, gone=True) for at in days[1:]])
    assert [change.row for change in sink.rows(RANGED, after=None, limit=10)] == [{"at": days[0], "text": "x"}]
    sink.retire(1, [RANGED])
    assert f"p{now // DAY_MS + 1}" in str(asked(url, "SELECT array_agg(relname) FROM pg_class")), "room for what comes"


def test_partitions_are_made_ahead_a_few_in_a_transaction(
    url: str, sink: PostgresTables, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun(sink, RANGED)
    many: list[int] = []
    real = partitions.Partitions.make

    def counted(self: Any, session: Any, of: Any, dialect: Any, periods: Any) -> None:
        many.append(len(periods))
        real(self, session, of, dialect, periods)

    monkeypatch.setattr(partitions.Partitions, "make", counted)
    now = SystemClock().now_ms()
    sink.apply(1, [day(RANGED, now - n * DAY_MS) for n in range(100)])
    assert many == [32, 32, 32, 4]
    assert children(url) == 101
    sink.apply(1, [day(RANGED, now - n * DAY_MS, version=2) for n in range(100)])
    assert len(many) == 4, "what is known is not asked for again"


@TIMESCALE
def test_chunks_come_a_few_in_a_transaction_and_beyond_the_limit_rows_are_refused(
    url: str, sink: PostgresTables, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun(sink, CHUNKED)
    monkeypatch.setattr(partitions, "PERIODS_MAX", 100)
    sizes: list[int] = []
    real = PostgresTables._write

    def counted(self: PostgresTables, turn: Any, by_table: Any, *more: Any, **named: Any) -> None:
        real(self, turn, by_table, *more, **named)
        sizes.append(sum(map(len, by_table.values())))

    monkeypatch.setattr(PostgresTables, "_write", counted)
    sink.apply(1, [day(CHUNKED, n * DAY_MS) for n in range(90)])
    assert children(url) == 90
    assert sum(sizes) == 90
    assert max(sizes) <= NEW_PERIODS_MAX
    with pytest.raises(Rejected, match="max_locks_per_transaction"):
        sink.apply(1, [day(CHUNKED, n * DAY_MS) for n in range(500, 511)])
    sink.apply(1, [day(CHUNKED, n * DAY_MS) for n in range(500, 510)])
    with closing(PostgresTables(url)) as other:  # which knows of no chunk yet
        other.prepare([CHUNKED])
        other.apply(1, [day(CHUNKED, n * DAY_MS, version=2) for n in (3, 505)])
        with pytest.raises(Rejected):
            other.apply(1, [day(CHUNKED, 1_000 * DAY_MS)])
    assert len(sink.rows(CHUNKED, after=None, limit=1_000)) == 100


def test_a_batch_that_the_server_has_no_room_for_is_halved(
    sink: PostgresTables, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun(sink, RANGED)
    now, sizes, room = SystemClock().now_ms(), [], [10]
    real = PostgresTables._write

    def small(self: PostgresTables, turn: Any, by_table: Any, *more: Any, **named: Any) -> None:
        size = sum(map(len, by_table.values()))
        if size > room[0]:
            raise Exhausted("out of shared memory")
        sizes.append(size)
        real(self, turn, by_table, *more, **named)

    monkeypatch.setattr(PostgresTables, "_write", small)
    sink.apply(1, [day(RANGED, now + n) for n in range(75)])
    assert sum(sizes) == 75
    assert len(sink.rows(RANGED, after=None, limit=100)) == 75
    room[0] = 0
    with pytest.raises(Exhausted):
        sink.apply(1, [day(RANGED, now)])


def test_a_server_that_is_out_of_locks_is_said_so_and_may_pass(url: str, sink: PostgresTables) -> None:
    with pytest.raises(Exhausted, match="max_locks_per_transaction"), sink._server.transaction() as session:
        session.execute("DO $$ BEGIN RAISE EXCEPTION 'out of shared memory' USING ERRCODE = '53200'; END $$")


@pytest.mark.parametrize("of", [RANGED, table(Places(relational=Relational()))], ids=["partitions", "plain"])
def test_a_sweep_goes_page_by_page_and_on_where_it_was_interrupted(
    url: str, sink: PostgresTables, monkeypatch: pytest.MonkeyPatch, of: Table
) -> None:
    begun(sink, of)
    now = SystemClock().now_ms() // DAY_MS * DAY_MS
    monkeypatch.setattr(deleting, "PAGE_ROWS", 10)
    sink.apply(1, [day(of, now - n * HOUR_MS) for n in range(95)])
    sink.apply(1, [day(of, now - n * HOUR_MS, version=2, gone=True) for n in range(95, 128)])
    assert sink.fence(1, 2)
    sink.apply(2, [day(of, now - n * HOUR_MS, epoch=2) for n in range(0, 95, 5)])
    left = [4]

    def hold() -> Any:
        left[0] -= 1
        if left[0] < 0:
            raise ConnectionError("cut")
        return sink._server.transaction()

    remover = deleting.Deleting("antiphon")
    with pytest.raises(ConnectionError):
        remover.rows(hold, of, version_of(2, 0))
    assert int(asked(url, "SELECT count(*) FROM antiphon.days")) == 95 - 4 * 8, "what was swept stays swept"
    left[0] = 1_000
    assert remover.rows(hold, of, version_of(2, 0)) == 95 - 19 - 4 * 8
    assert 1_000 - left[0] == 95 // 10 + 1 - 4, "it goes on behind what is done, a transaction a page"
    sink.apply(2, [day(of, now - n * HOUR_MS, epoch=2) for n in range(95)])
    assert sink.fence(2, 3)
    assert sink.sweep(3, of, 3) == 95
    assert int(asked(url, "SELECT count(*) FROM antiphon._gone")) == 0
    assert sink.rows(of, after=None, limit=1) == []
    with pytest.raises(Conflict):
        sink.sweep(1, of, 2)


# -- clocks ------------------------------------------------------------------------------------------------------

KEEP_DAYS = 10


class Noted(msgspec.Struct):
    at: int
    text: str


class Jumping(SystemClock):
    """The real one, set forward or back."""

    by_ms = 0

    def now_ms(self) -> int:
        return super().now_ms() + self.by_ms


@pytest.mark.parametrize(
    "places",
    [
        pytest.param(RANGED.places, id="partitions"),
        pytest.param(CHUNKED.places, id="chunks", marks=TIMESCALE),
    ],
)
def test_one_clock_ahead_drops_nothing_and_what_both_dropped_comes_again(
    own_home: Path, url: str, monkeypatch: pytest.MonkeyPatch, places: Places
) -> None:
    of = table(places, retention=Retention("at", KEEP_DAYS * DAY_MS))
    domain = Domain("days", (Kind("day.noted", Noted),), (of,), {"day.noted": (AssertRow(of, at="at", text="text"),)})
    monkeypatch.setattr(follow, "TRIM_EVERY_MS", 0.0)
    real, server_ms, clock = partitions._now_ms, [0], Jumping()
    monkeypatch.setattr(partitions, "_now_ms", lambda session: real(session) + server_ms[0])
    now = SystemClock().now_ms()
    with Agent.create("ada", home=own_home / "home", domains=[domain]) as agent:
        sink = PostgresTables(url, clock=clock)
        follower = agent.follow(sink, name="store", tables=["days"])

        def count(what: str) -> int:
            agent.record("day.noted", Noted(now, what), scope=Scope.PUBLIC)
            follower.run(patience_ms=PATIENCE_MS)
            follower.run(patience_ms=PATIENCE_MS)
            return int(asked(url, "SELECT count(*) FROM antiphon.days"))

        for n in range(1, 6):
            agent.record("day.noted", Noted(now - n * DAY_MS, "w"), scope=Scope.PUBLIC)
        assert count("a") == 6
        server_ms[0] = 400 * DAY_MS
        assert count("b") == 7, "the feeder's clock does not say so"
        server_ms[0], clock.by_ms = 0, 400 * DAY_MS
        assert count("c") == 8, "the server's does not"
        server_ms[0] = 400 * DAY_MS
        assert count("d") == 0, "both say so"
        clock.by_ms = 0
        assert count("e") == 10, "they were wrong: everything comes again"
        assert follower.check() == []
        epoch = int(asked(url, "SELECT epoch FROM antiphon._fence"))
        server_ms[0] = clock.by_ms = -partitions.CLOCK_BACK_MS_MAX // 2
        assert count("f") == 11
        assert int(asked(url, "SELECT epoch FROM antiphon._fence")) == epoch, "a clock may be set back a little"
        follower.close()
        sink.close()


def test_a_longer_retention_asks_for_what_a_shorter_one_had_dropped(url: str, sink: PostgresTables) -> None:
    kept = table(RANGED.places, retention=Retention("at", KEEP_DAYS * DAY_MS))
    longer = table(RANGED.places, retention=Retention("at", 3 * KEEP_DAYS * DAY_MS))
    begun(sink, kept)
    sink.retire(1, [kept])
    with sink._server.transaction() as session:
        session.execute("UPDATE antiphon._tables SET fingerprint = %s", (longer.fingerprint,))
    sink.prepare([longer])
    with pytest.raises(EngineEmptied, match="days"):
        sink.retire(1, [longer])
    assert sink.retire(2, [longer]) == 0
