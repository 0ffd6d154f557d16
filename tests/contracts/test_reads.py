"""How reads went, as a real server keeps count of them, and what of them is kept there."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from click.testing import CliRunner

from antiphon import Agent, InvalidInput, Unavailable
from antiphon.cli import main
from antiphon.domains import BUILT_IN
from antiphon.domains.tasks.commands import Tasks
from antiphon.engines.postgres.source import PostgresSource
from antiphon.engines.postgres.tables import PostgresTables
from antiphon.engines.redis.reads import HOURS_MAX, RedisReads
from antiphon.engines.redis.source import KEPT_MS, RedisRows
from antiphon.engines.redis.tables import RedisTables
from antiphon.engines.sealing import SealedPlace
from antiphon.model.places import HOUR_MS
from antiphon.query.reach import STALE_MS_MAX, Found, PlaceStats
from antiphon.views.domain import Registry
from antiphon.world.clock import ManualClock, SystemClock
from servers import Valkey
from servers.places import PostgresPlace, RedisPlace, own_name
from tests.contracts.engines import OWN_VALKEY, seals

pytestmark = pytest.mark.server
TABLES = Registry(BUILT_IN).tables


@pytest.fixture(params=("valkey", pytest.param("cluster", marks=OWN_VALKEY)))
def server(request: pytest.FixtureRequest) -> Valkey:
    return request.getfixturevalue(request.param)


@pytest.fixture
def prefix() -> str:
    return f"{{{own_name('reads')}}}:"


@pytest.fixture
def client(server: Valkey) -> Iterator[redis.Redis]:
    made = redis.Redis.from_url(server.url())
    yield made
    made.close()


def test_reads_of_all_readers_are_summed_by_hour(server: Valkey, prefix: str, client: redis.Redis) -> None:
    one, other = RedisRows(server.url(), TABLES, prefix=prefix), RedisRows(server.url(), TABLES, prefix=prefix)
    assert one.count([PlaceStats("cache", 8, 2, 0, 1), PlaceStats("store", 1, 1)])
    assert SealedPlace(other, seals()).count([PlaceStats("cache", 2, 0, 3), PlaceStats("process", 5), PlaceStats("x")])
    reads = RedisReads.at(server.url(), prefix=prefix)
    assert reads.found() == reads.found(hours=1) == [
        PlaceStats("process", 5), PlaceStats("cache", 10, 2, 3, 1), PlaceStats("store", 1, 1),
    ]  # fmt: skip
    (name,) = client.scan_iter(match=f"{prefix}antiphon:reads:*", count=1_000)
    assert (HOURS_MAX - 1) * HOUR_MS < client.pttl(name) <= HOURS_MAX * HOUR_MS
    hour = int(name.rpartition(b":")[2])
    client.rename(name, f"{prefix}antiphon:reads:{hour - 3}")
    assert reads.found(hours=1) == []
    assert reads.found(hours=24)[1].hits == 10
    assert RedisReads.at(server.url(), prefix="others:").found() == []
    for hours in (0, HOURS_MAX + 1):
        with pytest.raises(InvalidInput, match="reads of 1 to 48 hours"):
            reads.found(hours=hours)
    for made in (one, other, reads):
        made.close()


def test_what_was_read_from_afar_is_kept_a_minute_and_no_longer_than_it_may_be_stale(
    server: Valkey, prefix: str, client: redis.Redis
) -> None:
    """What is cold is asked of the store once a minute, however often it is read."""
    table, key = TABLES["tasks"], b"k" * 16
    place = RedisRows(server.url(), TABLES, prefix=prefix)
    values = dict.fromkeys(table.names) | {"id": key, "title": "cold"}
    place.keep(table, key, Found(values, None))
    name = f"{prefix}row:tasks:".encode() + key
    assert KEPT_MS - 10_000 < client.pttl(name) <= KEPT_MS <= STALE_MS_MAX
    client.pexpire(name, 5_000)
    place.keep(table, key, Found(values, None))
    assert client.pttl(name) <= 5_000
    place.close()


def test_a_row_is_found_in_the_cache_while_it_is_warm_and_in_the_store_when_it_is_cold(
    postgres: PostgresPlace, valkey: RedisPlace, own_home: Path
) -> None:
    """With a day of 600 ms. The reader's own clock is a year behind: only the server's counts."""
    prefix, schema = valkey.prefix("warm"), own_name("warm")
    clock = ManualClock(SystemClock().now_ms() - 365 * 24 * HOUR_MS)
    sinks: list[Any] = [
        PostgresTables(postgres.url(), schema=schema), RedisTables(valkey.url(), prefix=prefix, warm_ms=600)
    ]  # fmt: skip
    places: list[Any] = [
        RedisRows(valkey.url(), TABLES, prefix=prefix), PostgresSource(postgres.url(), TABLES, schema=schema)
    ]  # fmt: skip
    with Agent.create("ada", home=own_home / "a") as ada, Agent.create("bob", home=own_home / "b", clock=clock) as bob:
        task = Tasks(ada).create("a task").entity
        reach = bob.reach(places)

        def source() -> str | None:
            row = reach.get("tasks", task)
            return None if row is None else row.source

        for name, sink in zip(("store", "cache"), sinks, strict=True):
            ada.follow(sink, name=name, tables=["tasks"]).run()
        assert [source(), source()] == ["cache", "cache"]
        time.sleep(0.7)
        assert [source(), source()] == ["store", "cache"], "one read of the store, then it is kept for a minute"
        assert reach.stats["cache"].misses == 1
    for one in (*sinks, *places):
        one.close()


@pytest.mark.needs("own valkey")
def test_the_operator_sees_the_rates_and_is_told_of_a_low_one() -> None:
    def run(*args: str, code: int = 0) -> str:
        result = CliRunner().invoke(main, args)
        assert result.exit_code == code, result.output
        return result.output

    with Valkey() as server, Agent.create("ada") as ada, Agent.create("bob") as bob:
        run("engines", "add", "cache", server.url())
        assert "nobody has read through cache" in run("engines", "reads", "cache")
        tasks = [Tasks(ada).create(f"task {n}").entity for n in range(3)]
        sink, place = RedisTables(server.url()), RedisRows(server.url(), TABLES)
        ada.follow(sink, name="cache", tables=["tasks"]).run()
        reach = bob.reach([place])
        for key in (*tasks, bytes(16), b"x" * 16):
            reach.get("tasks", key)
        reach.tell()
        told = json.loads(run("engines", "reads", "cache", "--json"))
        rates = {
            (line["hours"], line["place"]): (line["asked"], line["hits"], line["hit_rate"]) for line in told["reads"]
        }
        assert rates[1, "cache"] == rates[24, "cache"] == (5, 3, 0.6)
        assert rates[24, "file"] == (5, 0, 0.0)
        assert told["server"]["keyspace_hits"] >= 3
        assert 0 < told["server"]["hit_rate"] < 1
        said = run("engines", "reads", "cache")
        assert "24\tcache\t5\t3\t2\t0\t0\t0.6" in said
        assert "less than 80% of what the cache was asked for" in said
        for made in (sink, place):
            made.close()


def test_what_cannot_count_says_so() -> None:
    run = CliRunner().invoke
    with Agent.create("ada"):
        pass
    assert run(main, ["engines", "add", "store", "postgresql://x@127.0.0.1:1/x"]).exit_code == 0
    assert run(main, ["engines", "add", "away", "redis://127.0.0.1:1/0"]).exit_code == 0
    assert "reads are counted in Redis or Valkey" in run(main, ["engines", "reads", "store"]).output
    assert run(main, ["engines", "reads", "away"]).exit_code != 0
    assert run(main, ["engines", "reads", "nobody"]).exit_code != 0
    assert run(main, ["engines", "reads"]).exit_code == 2
    with pytest.raises(Unavailable):
        RedisReads.at("redis://127.0.0.1:1/0").server()
