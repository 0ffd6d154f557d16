"""Reads through the whole path: process, file, Valkey, PostgreSQL; bounded, labelled; the file alone if all is down."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from antiphon import Agent
from antiphon.domains.tasks.commands import Tasks
from antiphon.engines.postgres.source import PostgresSource
from antiphon.engines.postgres.tables import PostgresTables
from antiphon.engines.redis.source import RedisRows
from antiphon.engines.redis.tables import RedisTables
from antiphon.model.text import parse_entity
from antiphon.query.access import Reader
from antiphon.query.reach import Found, Gone
from antiphon.replica.follow import Follower
from antiphon.world.clock import ManualClock, SystemClock
from servers import Postgres, Valkey
from servers.proxy import WITHIN_S
from tests.contracts.engines import OWN_BOTH, PATIENCE_MS

pytestmark = [*OWN_BOTH]
TABLES = ["tasks"]
STALE_MS_MAX = 600_000  # a server takes its time to start again on a busy machine


class World:
    """Ada writes tasks and feeds both servers from her file; Bob, in a home of his own, reads through them."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.postgres, self.valkey = Postgres().start(), Valkey().start()
        self.clock = ManualClock(SystemClock().now_ms())
        self.ada = Agent.create("ada", home=home / "ada")
        self.bob = Agent.create("bob", home=home / "bob", clock=self.clock)
        registry = self.bob.replica.registry.tables
        self.sinks: list[Any] = [PostgresTables(self.postgres.url()), RedisTables(self.valkey.url())]
        self.followers: list[Follower] = [
            self.ada.follow(sink, name=name, tables=TABLES)
            for sink, name in zip(self.sinks, ("store", "cache"), strict=True)
        ]
        self.places: list[Any] = [
            RedisRows(self.valkey.url(), registry, answer_s_max=WITHIN_S),
            PostgresSource(self.postgres.url(), registry, silence_s_max=WITHIN_S),
        ]
        self.reach = self.bob.reach(self.places, stale_ms_max=STALE_MS_MAX)

    def feed(self, *which: int) -> None:
        for at in which or (0, 1):
            self.followers[at].run(patience_ms=PATIENCE_MS)

    def close(self) -> None:
        for one in (*self.followers, *self.sinks, *self.places, self.ada, self.bob):
            one.close()
        self.postgres.remove()
        self.valkey.remove()


@pytest.fixture
def world(own_home: Path) -> Iterator[World]:
    made = World(own_home)
    yield made
    made.close()


def hits(world: World) -> tuple[int, int]:
    return world.reach.stats["cache"].hits, world.reach.stats["store"].hits


def test_a_row_is_found_in_the_nearest_place_that_has_it(world: World) -> None:
    shared = Tasks(world.ada).create("a shared task").entity
    own = Tasks(world.bob).create("a task of my own").entity
    assert world.reach.get("tasks", own).source == "file"
    assert world.reach.get("tasks", shared) is None
    world.feed(0)
    world.clock.pass_ms(60_000)
    found = world.reach.get("tasks", shared)
    assert found is not None
    assert (found["title"], found.source) == ("a shared task", "store")
    assert 0 <= found.stale_ms_max < STALE_MS_MAX
    world.feed(1)
    found = world.reach.get("tasks", shared)
    assert (found["title"], found.source) == ("a shared task", "cache")
    assert hits(world) == (1, 1)
    assert dict(found) == dict(world.ada.table("tasks").get(shared) or {})


def test_what_was_read_from_afar_is_kept_nearer_and_any_feeder_overrules_it(world: World) -> None:
    shared = Tasks(world.ada).create("first").entity
    world.feed(1)
    world.feed(0)
    world.sinks[1]._client.delete(b"row:tasks:" + bytes(world.ada.table("tasks").select(limit=1)[0]["id"]))
    assert world.reach.get("tasks", shared).source == "store"
    assert world.reach.get("tasks", shared).source == "cache", "kept there by the read before"
    Tasks(world.ada).vote(shared, 1)
    world.feed(1)
    found = world.reach.get("tasks", shared)
    assert (found.source, found["upvotes"]) == ("cache", 1)


def test_with_everything_down_the_file_alone_answers_and_asks_seldom(world: World) -> None:
    shared, own = Tasks(world.ada).create("shared").entity, Tasks(world.bob).create("own").entity
    world.feed()
    world.valkey.kill()
    assert world.reach.get("tasks", shared).source == "store"
    world.postgres.kill()
    assert world.reach.get("tasks", shared) is None
    assert world.reach.get("tasks", own).source == "file"
    failures = world.reach.stats["store"].failures
    for _ in range(20):
        assert world.reach.get("tasks", shared) is None
    assert world.reach.stats["store"].failures == failures, "a place that is down is left out for a while"
    world.postgres.start()
    world.clock.pass_ms(60_000)
    assert world.reach.get("tasks", shared).source == "store"


def test_a_place_too_far_behind_its_feeder_is_not_believed(world: World) -> None:
    shared = Tasks(world.ada).create("shared").entity
    world.feed()
    strict = world.bob.reach(world.places, stale_ms_max=1)
    time.sleep(0.05)
    assert strict.get("tasks", shared) is None
    assert strict.stats["cache"].stale == 1
    assert strict.stats["store"].stale == 1


def raw_of(entity: str | None) -> bytes:
    return parse_entity(entity or "")


def test_what_the_cache_knows_to_be_gone_does_not_come_back_from_a_store_that_is_behind(world: World) -> None:
    shared = Tasks(world.ada).create("xylophonic").entity
    world.feed()
    world.ada.forget(entity=shared)
    assert world.ada.reach(world.places).get("tasks", shared) is None, "Ada's own file knows best"
    world.feed(1)
    assert world.reach.get("tasks", shared) is None
    assert hits(world) == (1, 0)


def test_a_row_that_the_cache_has_for_others_is_not_asked_for_further_away(world: World) -> None:
    tables = world.ada.replica.registry.tables
    table, key = tables["memories"], raw_of(world.ada.remember("mine alone").entity)
    for sink, follower in zip(world.sinks, ("s", "c"), strict=True):
        world.ada.follow(sink, name=follower, tables=["memories"]).run(patience_ms=PATIENCE_MS)
    mine, others = (Reader(agent.record_of_agent.agent, ()) for agent in (world.ada, world.bob))
    near, far = world.places
    assert isinstance(near.find(table, key, mine), Found)
    assert isinstance(near.find(table, key, others), Gone)
    assert near.find(table, b"\x01" * 16, mine) is None
    assert far.find(table, key, others) is None


def test_a_kept_row_is_never_said_to_be_younger_than_it_is(world: World) -> None:
    """The cache is fed from another file, all the time; the store's feeder has stopped; the way there is slow."""
    eve = Agent.create("eve", home=world.home / "eve")
    feeding = eve.follow(world.sinks[1], name="cache", tables=TABLES, background=True)
    shared = Tasks(world.ada).create("v1").entity
    world.feed(0)
    table, key, reader = world.ada.replica.registry.tables["tasks"], raw_of(shared), Reader(bytes(32), ())
    near, far = world.places
    while near._client.get("antiphon:pulse") is None:
        time.sleep(0.05)
    began = time.monotonic()
    found = far.find(table, key, reader)
    assert isinstance(found, Found)
    near.find(table, key, reader)
    time.sleep(0.3)
    near.keep(table, key, found)
    for _ in range(3):
        kept = near.find(table, key, reader)
        assert isinstance(kept, Found)
        assert kept.age_ms >= found.age_ms + 300
        assert kept.age_ms >= (time.monotonic() - began) * 1_000 - 350
        assert kept.age_ms <= found.age_ms + (time.monotonic() - began) * 1_000 + 100
        time.sleep(0.7)
    row = world.reach.get("tasks", shared)
    assert (row.source, row.stale_ms_max >= found.age_ms + 2_000) == ("cache", True)
    feeding.close()
    eve.close()


def test_a_table_that_a_place_has_not_is_looked_for_further_on(world: World) -> None:
    shared = Tasks(world.ada).create("shared").entity
    world.feed()
    reach = world.bob.reach(world.places[::-1])
    for table in ("agents", "personas", "memories"):
        assert reach.get(table, bytes(32 if table == "agents" else 16)) is None
    assert reach.stats["store"].failures == 0
    assert reach.get("tasks", shared).source == "store", "the place is not left out for it"
