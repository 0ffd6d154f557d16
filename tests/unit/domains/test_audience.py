"""People are for whoever keeps them alone: other agents read nothing of them, on this replica and on others."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from antiphon import Agent, Fleet, InvalidInput, NotFound
from antiphon.domains.audience import ALL, CIRCLE, OWN, own_circle
from antiphon.domains.loops import LOOPS, Loops
from antiphon.domains.market import MARKET, Market
from antiphon.model.event import Event, Scope
from antiphon.model.text import id_text, parse_entity, parse_id
from antiphon.query.access import Reader, seen_by
from antiphon.replica.homes import take_in_all
from antiphon.world.clock import ManualClock

CROWD = bytes(range(16))
HOW: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    OWN: ({}, {}), CIRCLE: ({"circle": CROWD}, {"circle": CROWD}), ALL: ({"publish_people": True}, {"public": True}),
}  # fmt: skip
"""By audience: what a book is made with, and what a user is registered with."""


class World:
    """Ada and Bob in one file, and Cyd in another, which has heard all that the first one says."""

    def __init__(self, folder: Path) -> None:
        self.clock = ManualClock(1_800_000_000_000)
        how: dict[str, Any] = {"clock": self.clock, "domains": [MARKET, LOOPS]}
        self.fleets = [Fleet.create(folder / name, **how) for name in ("here", "there")]
        self.ada, self.bob = (self.fleets[0].add(name) for name in ("ada", "bob"))
        self.cyd = self.fleets[1].add("cyd")

    def hear(self) -> None:
        self.clock.pass_ms(10)
        take_in_all(self.fleets[0].replica, self.fleets[1].replica)

    def seen(self, table: str) -> list[int]:
        """How many rows Ada, Bob and Cyd see."""
        return [len([*agent.table(table).every({})]) for agent in (self.ada, self.bob, self.cyd)]

    def said(self, agent: Agent, *kinds: str) -> list[Event]:
        return [event for event in agent.log() if event.kind.startswith(kinds)]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    for fleet in made.fleets:
        fleet.close()


@pytest.mark.parametrize(("audience", "seen"), [(OWN, [1, 0, 0]), (CIRCLE, [1, 1, 1]), (ALL, [1, 1, 1])])
def test_who_reads_a_person(world: World, audience: str, seen: list[int]) -> None:
    book = Market(world.ada, **HOW[audience][0])
    book.persona("Grace Hopper", email="grace@navy.example", role="admiral")
    world.hear()
    assert world.seen("personas") == seen
    (row,) = world.ada.table("personas").every({})
    assert (row["audience"], row["circle"] is None) == (audience, audience == ALL)
    for agent in (world.bob, world.cyd):
        found = agent.table("personas").select(email="grace@navy.example", home=world.ada.log_id)
        assert len(found) == seen[1], "nor is it found by its address"


@pytest.mark.parametrize("audience", [OWN, CIRCLE, ALL])
def test_all_that_is_said_of_a_person_is_for_those_whose_it_is(world: World, audience: str) -> None:
    """Whatever book says it: a book that publishes people cannot publish one that was kept."""
    kept = Market(world.ada, **HOW[audience][0])
    grace = kept.persona("Grace Hopper", email="grace@navy.example").entity
    for how, _ in HOW.values():
        market = Market(world.ada, **how)
        market.persona("Grace Hopper", email="grace@navy.example", phone=f"{len(how)} {how}")
        market.enrich(grace, role=f"{how}")
        world.clock.pass_ms(1)
        market.meet(grace, success=True)
    kept.remove(grace)
    told = world.said(world.ada, "persona.")
    assert len(told) > 8
    circle = {OWN: own_circle(parse_id(world.ada.id)), CIRCLE: CROWD, ALL: None}[audience]
    scope = Scope.PUBLIC if audience == ALL else Scope.CIRCLE
    assert {(event.header.scope, event.header.circle) for event in told} == {(scope, circle)}


@pytest.mark.parametrize("audience", [OWN, CIRCLE, ALL])
def test_all_that_is_said_of_a_user_is_for_those_whose_it_is(world: World, audience: str) -> None:
    mine = Loops(world.ada)
    user = mine.register_user("grace", "grace@navy.example", **HOW[audience][1]).entity or ""
    mine.change_user(user, email="hopper@navy.example")
    mine.credit(user, 5, reason="a present")
    mine.spend(user, 1)
    mine.retire_user(user)
    told = world.said(world.ada, "user.")
    assert [event.kind for event in told].count("user.balanced") == 2
    circle = {OWN: own_circle(parse_id(world.ada.id)), CIRCLE: CROWD, ALL: None}[audience]
    assert {event.header.circle for event in told} == {circle}
    world.hear()
    assert world.seen("users") == [0, 0, 0]


def test_users_are_read_by_whoever_keeps_them_alone(world: World) -> None:
    for audience, (_, how) in HOW.items():
        Loops(world.ada).register_user(audience, f"{audience}@x", **how)
    world.hear()
    assert world.seen("users") == [3, 0, 0]
    assert [row["audience"] for row in world.ada.table("users").every({})] == [OWN, CIRCLE, ALL]


@pytest.mark.parametrize("audience", [OWN, CIRCLE, ALL])
def test_forgetting_a_person_reaches_all_places(world: World, audience: str) -> None:
    book = Market(world.ada, **HOW[audience][0])
    grace = book.persona("Grace Hopper", email="grace@navy.example", role="admiral").entity
    book.meet(grace, success=True)
    Loops(world.ada).register_user("Grace Hopper", "grace@navy.example", **HOW[audience][1])
    world.hear()
    world.ada.forget(person="grace hopper")
    world.hear()
    world.clock.pass_ms(100 * 3_600_000)  # behind the hold
    world.hear()
    for fleet in world.fleets:
        tables = fleet.replica.registry.tables
        for name in ("personas", "users", "persona_interactions"):
            assert [*fleet.replica.tables.all_rows(tables[name])] == [], name
    bodies = b"".join(event.body or b"" for event in world.ada.log())
    assert b"navy.example" not in bodies
    assert b"Hopper" not in bodies


def test_a_circle_of_loops_keeps_all_of_them(world: World) -> None:
    mine = Loops(world.ada, circle=CROWD)
    loop = mine.whisper("watch the tide").entity or ""
    mine.begin(loop)
    mine.feel(loop, emotional_tone="calm")
    mine.whisper("by night", fork_of=loop)
    mine.prophesy("it will come", loops=[loop])
    told = [event for event in world.ada.log() if event.kind.split(".")[0] in ("loop", "prophecy")]
    assert len(told) == 8
    assert {(event.header.scope, event.header.circle) for event in told} == {(Scope.CIRCLE, CROWD)}


def test_what_another_agent_says_is_of_its_own_circle_is_not_ours(world: World) -> None:
    """The circle of one agent is told from its author: another's event cannot hide behind it, nor take it over."""
    body = {"fields": {"name": "Grace"}, "times": {"name": 1}, "fingerprint": "f"}
    circle = own_circle(parse_id(world.ada.id))
    world.bob.record("persona.recorded", body, scope=Scope.CIRCLE, circle=circle)
    (row,) = world.bob.table("personas").every({})
    assert row["audience"] == CIRCLE


def test_every_engine_is_told_who_reads_a_person(world: World) -> None:
    tables = world.fleets[0].replica.registry.tables
    seen = seen_by(Reader(bytes(32), (7,)), tables["personas"], tables)
    assert (seen.all, seen.logs, seen.besides) == (False, (7,), ("audience", (CIRCLE, ALL)))


REFUSED: list[tuple[str, Callable[[World], Any]]] = [
    ("choose one", lambda w: Market(w.ada, circle=CROWD, publish_people=True)),
    ("named by 16 bytes", lambda w: Market(w.ada, circle=b"short")),
    ("named by 16 bytes", lambda w: Loops(w.ada, circle=b"short")),
    ("choose one", lambda w: Loops(w.ada).register_user("x", "x@y", circle=CROWD, public=True)),
    ("named by 16 bytes", lambda w: Loops(w.ada).register_user("x", "x@y", circle=b"")),
]


@pytest.mark.parametrize(("words", "act"), REFUSED)
def test_what_is_no_audience_is_refused(world: World, words: str, act: Callable[[World], Any]) -> None:
    with pytest.raises(InvalidInput, match=words):
        act(world)


def test_who_may_not_read_a_person_cannot_enrich_it(world: World) -> None:
    grace = Market(world.ada).persona("Grace").entity
    book = id_text(world.ada.log_id)
    with pytest.raises(NotFound, match="there is no person"):
        Market(world.bob, book=book).enrich(grace, role="x")
    assert parse_entity(grace)
