"""Replicas that hear the same events in whatever order hold the same rows: those of a plain reading of the design."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from antiphon.replica.hear import hear
from tests.simulation.views_world import NEW, Cast, World, check
from tests.unit.views.every_rule import domain

GRANTING = ("grant", "withdraw", "lose", "alarm", "quiet", "unalarm", "post", "star", "prize", "open", "recase")
OF_KIND = {"star": "notice", "prize": "thing", "recase": "case"}
WORDS = ("amber", "birch", "cedar")
AGAIN = {"suppress_health_check": [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example]}


small = st.integers(0, 3)
act = st.tuples(
    st.sampled_from(
        ("make", "make", "change", "change", "vote", "vote", "vote", "revote", "unvote", "say", "say", "give", "decide",
         "decide", "note", "put", "put", "seal", "tag", "motto", "motto", "remotto", "diary", "drop", "unput", "lie",
         "steal", "spoil", "unread", "unknown", "erase", "revoke", "ahead", "behind", "later", "grant", "grant",
         "alarm", "alarm", "star", "post")
    ),
    small, small, small, st.booleans(), st.sampled_from((0, 0, 1, 5_000, 3_600_000)),
)  # fmt: skip
delivery = st.tuples(
    st.sampled_from(("hear", "hear", "hear", "refold", "catch up")), st.integers(0, 1), st.integers(0, 5)
)
story = st.lists(st.one_of(act, act, act, delivery), min_size=12, max_size=36)


class Author:
    """Turns what was drawn into what an author writes."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.kinds: dict[bytes | None, str] = {}

    def act(self, verb: str, who: int, what: int, how: int, odd: bool, pass_ms: int) -> None:
        world = self.world
        world.clock.pass_ms(pass_ms)
        word, agents, logs = WORDS[how % 3], world.cast.agents, world.cast.logs
        entity = world.entities[-1 - what % len(world.entities)] if world.entities else bytes(16)
        number = (what - 1) * 40 + how
        names = what if odd else None
        if verb == "make":
            made = world.write(
                who, "thing.made", {"name": word, "first": word if odd else None}, entity=NEW, private=what == 3
            )
            self.kinds[made.entity] = "thing"
        elif verb == "change":
            bodies: list[dict[str, Any]] = [
                {"name": f"{word} {number}"}, {"prize": word, "love": number}, {"labels": [word, WORDS[what % 3]]},
                {"first": word, "name": None if odd else word},
            ]  # fmt: skip
            world.write(who, "thing.changed", bodies[how], entity=entity)
        elif verb in ("vote", "revote"):
            kind = "ballot.cast" if verb == "vote" else "ballot.changed"
            voter = agents[(who + (odd and how == 3)) % 4]
            body = {
                "thing": entity,
                "agent": voter,
                "vote": -1 if how == 1 else 1,
                "weight": (None, "1.25", "2", "0.5")[how],
            }
            world.write(who, kind, body, entity=None)
        elif verb == "unvote":
            world.write(who, "ballot.gone", {"thing": entity, "agent": agents[who]}, entity=None, names=names)
        elif verb == "say":
            body = {"one": agents[what], "other": agents[(what + 1) % 4], "terms": word, "benefit": number}
            world.write(who, "pair.said", body, entity=None)
        elif verb == "give":
            body = {"home": None if odd else logs[how], "keeper": agents[what]}
            world.write(who, "job.given", body, entity=NEW)
        elif verb == "decide":
            world.write(who, "job.changed", {"status": ("taken", "done", "open", "nonsense")[how]}, entity=entity)
        elif verb == "note":
            body = {"note": word} if odd else {"note": word, "keeper": agents[how]}
            world.write(who, "job.changed", body, entity=entity)
        elif verb == "put":
            body = {"name": WORDS[what % 3], "title": word if odd else None, "owner": agents[how]}
            world.write(who, "board.put", body, entity=None)
        elif verb == "seal":
            world.write(who, "board.changed", {"name": WORDS[what % 3], "sealed": odd}, entity=None)
        elif verb == "tag":
            body = (
                {"name": WORDS[what % 3], "tags": [word], "title": f"{word}!"}
                if odd
                else {"name": word, "tags": [word]}
            )
            world.write(who, "board.changed", body, entity=None)
        elif verb == "motto":
            body = {"agent": agents[what if odd else who], "motto": word}
            world.write(who, "motto.said", body, entity=None, private=how == 3)
        elif verb == "remotto":
            world.write(who, "motto.changed", {"agent": agents[what], "motto": word}, entity=None)
        elif verb == "diary":
            world.write(who, "diary.wrote", {"text": word}, entity=NEW, private=odd)
        elif verb == "drop":
            world.write(who, "thing.gone" if how else "job.gone", {}, entity=entity, names=names)
        elif verb == "unput":
            world.write(who, "board.gone", {"name": WORDS[what % 3]}, entity=None, names=names)
        elif verb == "lie":
            world.write(who, "thing.made", {"name": word}, entity=entity)
        elif verb == "steal":
            bodies = [{"votes": 9}, {"prize": word, "love": 10**9}, {"love": 1 << 63}, {"labels": "all"}]
            world.write(who, "thing.changed", bodies[how], entity=entity)
        elif verb == "spoil":
            spoilt: list[Any] = [
                {"thing": entity, "agent": agents[who], "vote": 2},
                {"thing": entity, "agent": agents[who], "vote": 1 << 63},
                {"thing": b"short", "agent": agents[who], "vote": 1},
                {"thing": entity, "agent": agents[who], "vote": 1, "weight": "1.234"},
            ]  # fmt: skip
            world.write(who, "ballot.cast", spoilt[how], entity=None)
        elif verb == "unread":
            world.write(
                who, ("thing.made", "ballot.cast", "board.put", "thing.changed")[how], b"\xc1" * what, entity=NEW
            )
        elif verb == "unknown":
            world.write(who, "nobody.knows", {"it": word}, entity=NEW)
        elif verb == "erase":
            world.erase(who, what * 4 + how)
        elif verb == "revoke" and odd:
            world.revoke(who)
        elif verb in GRANTING:
            self.grant_or_go_by_one(verb, who, what, how, odd)
        elif verb == "ahead":
            world.clock.pass_ms(400_000)
        elif verb == "behind":
            world.clock.pass_ms(-400_000)
        elif verb == "later":
            world.here.pass_ms(400_000)

    def grant_or_go_by_one(self, verb: str, who: int, what: int, how: int, odd: bool) -> None:
        world = self.world
        word, agents, logs = WORDS[how % 3], world.cast.agents, world.cast.logs
        of_kind = [entity for entity in world.entities if self.kinds.get(entity) == OF_KIND.get(verb)] or [bytes(16)]
        entity = of_kind[-1 - what % len(of_kind)]
        home = world.cast.homes[1 if how == 3 else 0]
        mine = [grant for grant in world.grants if grant.decoded()["agent"] == agents[who]][-3:]
        others = [grant for grant in world.grants if grant not in mine]
        leaf = bytes(32) if odd and how == 2 else None
        cites = [world.cite(grant, leaf=leaf) for grant in mine]
        if odd and others:
            cites = [*cites[:1], world.cite(others[-1])]
        if verb == "grant":
            roles = ("monitor", "chief", "monitor", "nonsense!" if odd and how == 2 else "chief")
            tables = (["alarms", "cases"], ["notices"], ["things"], ["alarms", "notices"])[how] if odd else None
            log = logs[who] if odd and how == 1 and what == 1 else home  # his own word for it
            world.grant(log, who, roles[what], tables=tables, ceiling=(None, 70, 20, 90)[how])
        elif verb == "withdraw" and world.grants:
            grant = world.grants[-1 - what % len(world.grants)]
            size = world.source.head(logs[who]).size
            sizes = [] if odd else [(logs[who], max(0, size - how))]
            world.withdraw(home if how else grant.log, grant, sizes)
        elif verb == "lose" and world.grants:
            world.lose(world.grants[-1 - what % len(world.grants)])
        elif verb == "alarm":
            body = {"agent": agents[what % 3], "name": word, "level": how}
            world.write(who, "alarm.raised", body, entity=None, cites=cites)
        elif verb == "quiet":
            body = {"agent": agents[what], "name": word, "quiet": odd} | ({"level": 9} if how == 0 else {})
            world.write(who, "alarm.changed", body, entity=None, cites=cites)
        elif verb == "unalarm":
            world.write(who, "alarm.gone", {"agent": agents[what], "name": word}, entity=None, cites=cites)
        elif verb == "post":
            made = world.write(who, "notice.posted", {"text": word}, entity=NEW, cites=cites)
            self.kinds[made.entity] = "notice"
        elif verb in ("star", "prize"):
            said = {"prize": f"{word} {what}"} if verb == "prize" else {"star": f"{word} {what}"}
            love = (40, 65, 65, 1_000)[how]
            world.write(who, f"{OF_KIND[verb]}.changed", {**said, "love": love}, entity=entity, cites=cites)
        elif verb == "open":
            made = world.write(who, "case.opened", {"owner": agents[what], "text": word}, entity=NEW, cites=cites)
            self.kinds[made.entity] = "case"
        elif verb == "recase":
            body = {"text": f"{word}!"} if odd else {"owner": agents[what]}
            world.write(who, "case.changed" if how else "case.gone", body if how else {}, entity=entity, cites=cites)


def perform(world: World, todo: list[Any]) -> None:
    author = Author(world)
    for step in todo:
        if len(step) == 6:
            author.act(*step)
        elif step[0] == "hear":
            world.deliver(step[1], [*world.cast.homes, *world.cast.logs][step[2]])
        elif step[0] == "refold":
            world.replicas[step[1]].refold("every_rule")
        else:
            hear(world.replicas[step[1]])


def told(people: Cast, todo: list[Any], orders: tuple[list[int], list[int]]) -> None:
    world = World(people, domain)
    try:
        perform(world, todo)
        world.here.set_wall(max(world.clock.now_ms(), world.here.now_ms(), world.latest_ms()))
        for at, order in enumerate(orders):
            world.deliver_all(at, order)
        check(world)
        world.replicas[0].refold("every_rule")
        check(world)
    finally:
        world.close()


orders = st.tuples(st.lists(st.integers(0, 5), max_size=6), st.lists(st.integers(0, 5), max_size=6))


@settings(max_examples=150, **AGAIN)  # type: ignore[arg-type]
@given(story, orders)
def test_any_order_gives_the_same_rows(people: Cast, todo: list[Any], orders: tuple[list[int], list[int]]) -> None:
    told(people, todo, orders)


@settings(max_examples=150, **AGAIN)  # type: ignore[arg-type]
@given(story, orders)
def test_any_order_gives_the_same_rows_on_tips(
    people: Cast, todo: list[Any], orders: tuple[list[int], list[int]]
) -> None:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("antiphon.views.rows.TIP_EVENTS_MIN", 1)
        told(people, todo, orders)


def granted_story(chance: Random) -> tuple[list[Any], tuple[list[int], list[int]]]:
    """Grants, what goes by them, their ends, and deliveries between: by a plain generator, which is dense enough that
    most writes have a grant to go by.
    """
    todo: list[Any] = [("hear", replica, home) for replica in (0, 1) for home in (0, 1)]
    todo += [("grant", who, what, chance.randrange(3), False, 0) for who in range(4) for what in (0, 1)]
    todo += [("make", who, 0, 0, False, 0) for who in (0, 3)] + [("post", who, 0, 0, False, 0) for who in (0, 1)]
    for _ in range(chance.randint(12, 40)):
        if chance.random() < 0.3:
            what = chance.choice(("hear", "hear", "refold", "catch up"))
            todo.append((what, chance.randrange(2), chance.randrange(6)))
            continue
        verb = chance.choice((*GRANTING, "grant", "withdraw", "alarm", "alarm", "post", "star", "star", "star", "prize",
                              "open", "recase", "make", "drop", "erase"))  # fmt: skip
        draw = (chance.randrange(4) for _ in range(3))
        todo.append((verb, *draw, chance.random() < 0.4, chance.choice((0, 1, 5_000))))
    first, second = ([chance.randrange(6) for _ in range(chance.randrange(7))] for _ in range(2))
    return todo, (first, second)


def some_grants(people: Cast, seed: int, cases: int) -> None:
    for case in range(cases):
        print(f"case {case}")
        told(people, *granted_story(Random(f"{seed} {case}")))


def test_any_order_of_grants_their_ends_and_what_goes_by_them_gives_the_same_rows(people: Cast, sim_seed: int) -> None:
    some_grants(people, sim_seed, 100)


@pytest.mark.slow
def test_any_order_of_grants_gives_the_same_rows_three_thousand_times(people: Cast, sim_seed: int) -> None:
    some_grants(people, sim_seed + 1, 3_000)


@pytest.mark.slow
@settings(max_examples=10_000, **AGAIN)  # type: ignore[arg-type]
@given(st.lists(st.one_of(act, act, act, delivery), min_size=12, max_size=50), orders)
def test_any_order_gives_the_same_rows_ten_thousand_times(
    people: Cast, todo: list[Any], orders: tuple[list[int], list[int]]
) -> None:
    told(people, todo, orders)
