"""Reads through places: who is asked, what is counted, and who is told of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import pytest

from antiphon import Agent, InvalidInput, Unavailable
from antiphon.domains.tasks.commands import Tasks
from antiphon.model.table import Table
from antiphon.model.text import parse_entity
from antiphon.query.access import Reader
from antiphon.query.reach import PAUSE_MS_MAX, TELL_EVERY_MS, Found, Gone, PlaceStats, Reach
from antiphon.query.rows import Row
from antiphon.world.clock import ManualClock, SystemClock


class Shelf:
    """A place in memory that counts, or does not, and can be away."""

    def __init__(self, name: str, *, counts: bool = True) -> None:
        self.name, self.counts = name, counts
        self.rows: dict[bytes, Found | Gone] = {}
        self.told: list[PlaceStats] = []
        self.away = self.full = False

    def find(self, table: Table, key: bytes, reader: Reader) -> Found | Gone | None:
        if self.away:
            raise Unavailable("away")
        return self.rows.get(key)

    def keep(self, table: Table, key: bytes, found: Found) -> None:
        if self.full:
            raise Unavailable("full")
        self.rows[key] = found

    def count(self, reads: Sequence[PlaceStats]) -> bool:
        if self.away:
            raise Unavailable("away")
        self.told += [msgspec.structs.replace(one) for one in reads] if self.counts else []
        return self.counts


class World:
    def __init__(self, home: Path) -> None:
        self.clock = ManualClock(SystemClock().now_ms())
        self.agent = Agent.create("ada", home=home, clock=self.clock)
        self.near, self.far = Shelf("cache"), Shelf("store")
        self.own = Tasks(self.agent).create("a task").entity
        self.others = [bytes([n]) * 16 for n in range(1, 9)]

    def reach(self, *places: Any) -> Reach:
        return self.agent.reach(places or (self.near, self.far))

    def put(self, shelf: Shelf, key: bytes, age_ms: int = 0) -> None:
        shelf.rows[key] = Found({"id": key}, None, age_ms)


@pytest.fixture
def world(own_home: Path) -> Iterator[World]:
    made = World(own_home)
    yield made
    made.agent.close()


def source(row: Row | None) -> str | None:
    return None if row is None else row.source


def counts(stats: PlaceStats) -> tuple[int, int, int, int]:
    return stats.hits, stats.misses, stats.stale, stats.failures


def test_every_place_counts_what_it_was_asked_for(world: World) -> None:
    reach = world.reach()
    assert reach.get("tasks", world.own) is not None
    assert reach.get("tasks", world.own) is not None
    world.put(world.near, world.others[0])
    world.put(world.far, world.others[1])
    world.put(world.near, world.others[2], age_ms=10**9)
    for key in world.others[:3]:
        reach.get("tasks", key)
    world.near.away = True
    reach.get("tasks", world.others[3])
    reach.get("tasks", world.others[3])
    assert {name: counts(stats) for name, stats in reach.stats.items()} == {
        "process": (1, 6, 0, 0),
        "file": (1, 5, 0, 0),
        "cache": (1, 1, 1, 1),
        "store": (1, 3, 0, 0),
    }
    assert reach.stats["cache"].hit_rate == 1 / 4
    assert reach.stats["store"].asked == 4
    assert PlaceStats("none").hit_rate == 0.0


def test_the_nearest_place_that_counts_is_told_once_of_each_read(world: World) -> None:
    plain = Shelf("plain", counts=False)
    reach = world.reach(plain, world.near, world.far)
    for _ in range(3):
        reach.get("tasks", world.others[0])
    assert world.near.told == [], "not at each read"
    world.clock.pass_ms(TELL_EVERY_MS)
    reach.get("tasks", world.others[0])
    assert {one.name: one.misses for one in world.near.told} == {
        "process": 4, "file": 4, "plain": 3, "cache": 3, "store": 3,
    }  # fmt: skip
    assert world.far.told == []
    reach.tell()
    reach.tell()
    assert sum(one.misses for one in world.near.told if one.name == "store") == 4
    assert sum(one.asked for one in world.near.told if one.name == "process") == 4


def test_what_could_not_be_told_is_told_later(world: World) -> None:
    reach = world.reach()
    reach.get("tasks", world.others[0])
    world.near.away = world.far.away = True
    reach.tell()
    world.near.away = world.far.away = False
    reach.tell()
    assert world.near.told == [], "it is left out for a while"
    world.clock.pass_ms(2 * PAUSE_MS_MAX)
    reach.tell()
    assert {one.name: one.misses for one in world.near.told}["cache"] == 1


def test_what_a_nearer_place_knows_to_be_gone_is_asked_for_no_further(world: World) -> None:
    reach, (gone, old, *_) = world.reach(), world.others
    world.near.rows |= {gone: Gone(5), old: Gone(10**9)}
    for key in (gone, old):
        world.put(world.far, key)
    assert reach.get("tasks", gone) is None
    assert source(reach.get("tasks", old)) == "store", "a place that is behind is not believed in this either"
    assert counts(reach.stats["cache"]) == (1, 0, 1, 0)
    assert counts(reach.stats["store"]) == (1, 0, 0, 0)


def test_what_was_in_the_file_never_comes_back_from_elsewhere(world: World) -> None:
    reach, key = world.reach(), parse_entity(world.own)
    world.put(world.far, key)
    assert source(reach.get("tasks", key)) == "file"
    world.agent.forget(entity=world.own)
    assert reach.get("tasks", key) is None
    assert counts(reach.stats["store"]) == (0, 0, 0, 0), "nobody is asked"


def test_what_goes_while_a_place_is_asked_is_gone(world: World) -> None:
    class Slow(Shelf):
        def find(self, table: Table, key: bytes, reader: Reader) -> Found | Gone | None:
            made = Tasks(world.agent).create("made and deleted meanwhile").entity
            world.agent.forget(entity=made)
            self.asked = parse_entity(made)
            return Found({"id": key}, None)

    slow = Slow("slow")
    reach = Reach(
        world.agent.table, [world.near, slow], world.agent._reader, world.clock,
        knows=lambda table, key: hasattr(slow, "asked"),
    )  # fmt: skip
    assert reach.get("tasks", world.others[0]) is None
    assert world.near.rows == {}, "and is not kept nearer"


def test_a_row_of_the_file_that_is_for_others_is_asked_for_nowhere(world: World) -> None:
    hidden = world.others[0]
    reach = Reach(
        world.agent.table, [world.far], world.agent._reader, world.clock,
        knows=lambda table, key: table.name == "tasks" and key == hidden,
    )  # fmt: skip
    for key in world.others[:2]:
        world.put(world.far, key)
    assert [source(reach.get("tasks", key)) for key in world.others[:2]] == [None, "store"]


@pytest.mark.parametrize("seed", range(5))
def test_no_read_is_older_than_what_the_file_has_known(world: World, seed: int) -> None:
    """Ada writes, deletes and forgets; the places are fed late, each by itself, and keep what they answered."""
    chance, tasks, truth = Random(seed), Tasks(world.agent), dict[str, str | None]()
    reach = world.reach()
    for step in range(60):
        made = sorted(truth)
        match chance.randrange(6):
            case 0 | 1:
                title = f"task {step}"
                truth[tasks.create(title).entity] = title
            case 2 if made:
                one = chance.choice(made)
                if truth[one] is not None:
                    world.agent.forget(entity=one)
                    truth[one] = None
            case 3:
                shelf = chance.choice([world.near, world.far])
                for one in made:
                    known = truth[one]
                    if known is None and chance.random() < 0.5:
                        shelf.rows.pop(parse_entity(one), None)
                    elif known is not None:
                        shelf.rows[parse_entity(one)] = Found({"title": known}, None, 5)
            case _ if made:
                one = chance.choice(made)
                found = reach.get("tasks", one)
                assert (None if found is None else found["title"]) == truth[one], f"seed {seed}, step {step}"


def test_a_place_that_is_full_is_asked_all_the_same(world: World) -> None:
    reach = world.reach()
    world.near.full = True
    world.put(world.near, world.others[0])
    for key in world.others[1:4]:
        world.put(world.far, key)
        assert source(reach.get("tasks", key)) == "store"
        assert source(reach.get("tasks", world.others[0])) == "cache"
    assert counts(reach.stats["cache"]) == (3, 3, 0, 0)
    world.near.full = False
    world.clock.pass_ms(PAUSE_MS_MAX)
    reach.get("tasks", world.others[1])
    assert source(reach.get("tasks", world.others[1])) == "cache"


def test_a_reach_without_places_tells_nobody(world: World) -> None:
    reach = world.agent.reach(())
    assert reach.get("tasks", world.others[0]) is None
    assert reach.get("tasks", parse_entity(world.own)) is not None
    reach.tell()
    assert set(reach.stats) == {"process", "file"}
    with pytest.raises(InvalidInput):
        world.agent.reach((), stale_ms_max=0)
