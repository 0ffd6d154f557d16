"""Reads through the whole path: process, file, Valkey, PostgreSQL; bounded, labelled; the file alone if all is down."""

from __future__ import annotations

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
from antiphon.replica.follow import Follower
from antiphon.world.clock import ManualClock, SystemClock
from servers import Postgres, Valkey

pytestmark = pytest.mark.server
TABLES = ["tasks"]


class World:
    """Ada writes tasks and feeds both servers from her file; Bob, in a home of his own, reads through them."""

    def __init__(self, home: Path) -> None:
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
            RedisRows(self.valkey.url(), registry, answer_s_max=1),
            PostgresSource(self.postgres.url(), registry, silence_s_max=1),
        ]
        self.reach = self.bob.reach(self.places, stale_ms_max=5_000)

    def feed(self, *which: int) -> None:
        for at in which or (0, 1):
            self.followers[at].run(patience_ms=5_000)

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
    assert 0 <= found.stale_ms_max < 5_000
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
    import time

    time.sleep(0.05)
    assert strict.get("tasks", shared) is None
    assert strict.stats["cache"].stale == 1
    assert strict.stats["store"].stale == 1
