"""What is past is dropped by whole partitions or chunks, what comes has its partition already; `check` knows it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import psycopg
import pytest

from antiphon import Agent, AssertRow, Column, Domain, Kind, Table, Type
from antiphon.engines.postgres.tables import PostgresTables
from antiphon.engines.sealing import SealedSink
from antiphon.model.errors import Conflict
from antiphon.model.places import DAY_MS, HOUR_MS, Places, Relational, Series
from antiphon.model.table import Retention
from antiphon.model.values import key_of
from antiphon.replica.follow import Follower
from antiphon.world.clock import SystemClock
from servers.places import PostgresPlace
from tests.contracts.engines import PATIENCE_MS, seals

pytestmark = pytest.mark.server
KEEP_DAYS = 10


def table(places: Places) -> Table:
    return Table(
        "readings",
        key=("time", "name"),
        columns=(
            Column("time", Type.TIMESTAMP, nullable=False),
            Column("name", Type.TEXT, nullable=False),
            Column("value", Type.INTEGER),
        ),
        minted=False,
        retention=Retention("time", KEEP_DAYS * DAY_MS),
        places=places,
    )


RANGED = table(Places(relational=Relational(by_time="time", every_ms=DAY_MS)))
CHUNKED = table(Places(relational=Relational(), series=Series("time", DAY_MS)))
SORTS = (
    pytest.param(RANGED, id="partitions"),
    pytest.param(CHUNKED, id="chunks", marks=pytest.mark.needs("timescaledb")),
)
PLAIN = table(Places(relational=Relational()))


class Read(msgspec.Struct):
    time: int
    name: str
    value: int


def made(agent_home: Path, of: Table) -> Agent:
    folds = {"reading.read": (AssertRow(of, time="time", name="name", value="value"),)}
    return Agent.create(
        "ada", home=agent_home, domains=[Domain("readings", (Kind("reading.read", Read),), (of,), folds)]
    )


def today() -> int:
    return SystemClock().now_ms() // DAY_MS * DAY_MS


def days_there(url: str) -> list[int]:
    """How many days ago each row is, oldest last."""
    with psycopg.connect(url) as session:
        rows = session.execute("SELECT (extract(epoch FROM time) * 1000)::bigint FROM antiphon.readings").fetchall()
    return sorted((today() - int(at)) // DAY_MS for (at,) in rows)


@pytest.fixture
def url(postgres: PostgresPlace) -> str:
    return postgres.url(postgres.make_database("kept"))


@pytest.mark.parametrize("of", SORTS)
def test_what_is_past_is_dropped_and_not_missed(own_home: Path, url: str, of: Table) -> None:
    aged = [*range(KEEP_DAYS + 5), 400]
    with made(own_home / "home", of) as agent:
        sink: Any = SealedSink(PostgresTables(url), seals())
        follower: Follower = agent.follow(sink, name="store", tables=["readings"])
        with agent.batch():
            for age in aged:
                agent.record("reading.read", Read(today() - age * DAY_MS, "a", age))
        follower.run(patience_ms=PATIENCE_MS)
        assert sink.horizon(of) == today() - KEEP_DAYS * DAY_MS
        kept = [age for age in aged if age <= KEEP_DAYS]
        assert days_there(url) == kept
        assert follower.check() == []
        agent.record("reading.read", Read(today() - 300 * DAY_MS, "late", 1))
        follower.run(patience_ms=PATIENCE_MS)
        assert days_there(url) == kept, "what is past comes to no engine"
        assert follower.check() == []
        with psycopg.connect(url, autocommit=True) as session:
            session.execute("DELETE FROM antiphon.readings WHERE value = 3")
        (missed,) = follower.check()
        assert missed.how == "missing"
        sink.close()


def row(of: Table, at: int) -> Any:
    from antiphon.views.feed import Change, version_of

    values = {"time": at, "name": "a", "value": 1}
    return Change(of.name, key_of(of, values), version_of(1, 1), values)


@pytest.mark.parametrize("of", SORTS)
def test_partitions_go_when_they_are_wholly_past_and_not_before(url: str, of: Table) -> None:
    sink = PostgresTables(url)
    sink.prepare([of])
    assert sink.fence(0, 1)
    horizon = sink.horizon(of)
    assert horizon is not None
    sink.apply(1, [row(of, horizon - 3 * DAY_MS), row(of, horizon - 1), row(of, horizon), row(of, horizon + HOUR_MS)])
    assert len(sink.rows(of, after=None, limit=10)) == 4
    with pytest.raises(Conflict):
        sink.retire(0, [of])
    assert sink.retire(1, [of]) == 2
    assert [one.row["time"] for one in sink.rows(of, after=None, limit=10) if one.row] == [horizon, horizon + HOUR_MS]
    assert sink.retire(1, [of]) == 0
    sink.close()


def partitions(url: str) -> set[str]:
    with psycopg.connect(url) as session:
        found = session.execute(
            "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'antiphon.readings'::regclass"
        ).fetchall()
    return {name.rpartition("_")[2] for (name,) in found}


def test_tomorrow_has_its_partition_today(url: str) -> None:
    sink = PostgresTables(url)
    sink.prepare([RANGED])
    assert sink.fence(0, 1)
    sink.retire(1, [RANGED])
    day = today() // DAY_MS
    assert partitions(url) == {"default", f"p{day}", f"p{day + 1}"}
    sink.close()


def test_a_table_that_is_read_for_long_keeps_its_past_until_the_next_time(url: str) -> None:
    sink = PostgresTables(url)
    sink.prepare([RANGED])
    assert sink.fence(0, 1)
    old = today() - 50 * DAY_MS
    sink.apply(1, [row(RANGED, old)])
    with psycopg.connect(url) as session:
        session.execute("SELECT * FROM antiphon.readings").fetchall()
        assert sink.retire(1, [RANGED]) == 0
    assert sink.retire(1, [RANGED]) == 1
    sink.close()


def test_without_partitions_nothing_is_dropped(url: str) -> None:
    sink = PostgresTables(url)
    sink.prepare([PLAIN])
    assert sink.fence(0, 1)
    sink.apply(1, [row(PLAIN, 0)])
    assert sink.retire(1, [PLAIN]) == 0
    assert sink.horizon(PLAIN) is None
    assert len(sink.rows(PLAIN, after=None, limit=10)) == 1
    sink.close()
