"""Roles and grants: who may write by one, whoever hears of it when; and every way in which one is not to be had."""

from __future__ import annotations

from typing import Any

import pytest

from antiphon.log import kinds
from antiphon.model.event import NEW, Draft, Event, encode_body
from antiphon.replica import granting
from antiphon.replica.commit import Batch
from antiphon.views.store import of_cause
from tests.simulation.views_world import World, check, held, refused


def alarm(world: World, who: int, about: int, *grants: Event, level: int = 3, **odd: Any) -> Event:
    """An alarm of one agent about another, by these grants."""
    body = {"agent": world.cast.agents[about], "name": "fire", "level": level}
    return world.write(who, "alarm.raised", body, entity=None, cites=[world.cite(grant, **odd) for grant in grants])


def levels(world: World, replica: int) -> list[int]:
    """The levels of all alarms that count in a replica."""
    return sorted(row["level"] for row, _ in held(world.replicas[replica])["alarms"].values())


def rules(world: World, replica: int) -> list[str]:
    """The rules that writes to alarms broke there."""
    return [rule for table, _, _, _, rule in refused(world.replicas[replica])[0] if table == "alarms"]


def both(world: World) -> None:
    """Everything reaches both replicas: in one with the agents' words last, in the other first."""
    world.deliver_all(0)
    world.deliver_all(1, (2, 3, 4, 5, 0, 1))
    check(world)


def test_whoever_holds_the_role_writes_and_nobody_else_the_row_s_own_agent_included(world: World) -> None:
    grant = world.grant(world.cast.homes[0], 1, "monitor")
    alarm(world, 1, 0, grant)
    alarm(world, 2, 2, level=4)
    both(world)
    assert levels(world, 0) == levels(world, 1) == [3]
    assert rules(world, 0) == ["role"]


def test_another_principal_s_agent_holds_a_role_as_well(world: World) -> None:
    alarm(world, 3, 0, world.grant(world.cast.homes[0], 3, "monitor"))
    both(world)
    assert levels(world, 0) == [3]


def test_a_grant_that_comes_late_lets_what_waited_count(world: World) -> None:
    world.deliver_all(1)
    grant = world.grant(world.cast.homes[0], 1, "monitor")
    alarm(world, 1, 0, grant)
    world.deliver(1, world.cast.logs[1])
    assert (levels(world, 1), rules(world, 1)) == ([], ["role"])
    feed = world.replicas[1].state.version
    world.deliver(1, world.cast.homes[0])
    assert (levels(world, 1), rules(world, 1)) == ([3], [])
    assert world.replicas[1].state.version > feed
    both(world)


def test_what_comes_after_the_end_of_a_grant_is_void_and_what_came_before_stands(world: World) -> None:
    home, log = world.cast.homes[0], world.cast.logs[1]
    grant = world.grant(home, 1, "monitor")
    alarm(world, 1, 0, grant, level=1)
    size = world.source.head(log).size
    alarm(world, 1, 2, grant, level=2)
    both(world)
    assert levels(world, 0) == [1, 2]
    world.withdraw(home, grant, [(log, size)])
    world.deliver(0, home)
    assert (levels(world, 0), rules(world, 0)) == ([1], ["role"])
    both(world)
    world.withdraw(home, grant, [(log, size + 1)])  # a wrong size put right
    both(world)
    assert levels(world, 1) == [1, 2]
    world.withdraw(home, grant, [])
    both(world)
    assert levels(world, 1) == []


def test_only_who_gave_it_ends_a_grant(world: World) -> None:
    grant = world.grant(world.cast.homes[0], 1, "monitor")
    alarm(world, 1, 0, grant)
    world.withdraw(world.cast.homes[1], grant, [])
    world.withdraw(world.cast.logs[1], grant, [])
    both(world)
    assert levels(world, 0) == [3]


def test_nobody_lets_go_of_a_grant_that_its_log_says_it_erased(world: World) -> None:
    """Else a replica that heard of it before would have other rows than one that hears now: a grant is withdrawn."""
    grant = world.grant(world.cast.homes[0], 1, "monitor")
    alarm(world, 1, 0, grant)
    world.deliver_all(0)
    world.lose(grant)
    both(world)
    assert levels(world, 0) == levels(world, 1) == [3]


HOSTILE: dict[str, Any] = {
    "of a principal who has no say about the row": lambda world: [world.grant(world.cast.homes[1], 1, "monitor")],
    "his own word for it": lambda world: [world.grant(world.cast.logs[1], 1, "monitor")],
    "given to another": lambda world: [world.grant(world.cast.homes[0], 2, "monitor")],
    "for another role": lambda world: [world.grant(world.cast.homes[0], 1, "chief")],
    "for another table": lambda world: [world.grant(world.cast.homes[0], 1, "monitor", tables=["notices"])],
    "for a role that is no name": lambda world: [world.grant(world.cast.homes[0], 1, "Monitor!")],
    "with a ceiling below nothing": lambda world: [world.grant(world.cast.homes[0], 1, "monitor", ceiling=-1)],
    "for no table": lambda world: [world.grant(world.cast.homes[0], 1, "monitor", tables=[])],
    "not cited": lambda world: world.grant(world.cast.homes[0], 1, "monitor") and [],
}


@pytest.mark.parametrize("how", HOSTILE)
def test_no_grant_but_the_right_one_will_do(how: str, world: World) -> None:
    alarm(world, 1, 0, *HOSTILE[how](world))
    both(world)
    assert (levels(world, 0), rules(world, 1)) == ([], ["role"])


def test_a_grant_is_cited_by_its_leaf(world: World) -> None:
    """Whoever cites a place alone may mean another branch of a log that was forked."""
    alarm(world, 1, 0, world.grant(world.cast.homes[0], 1, "monitor"), leaf=bytes(32))
    both(world)
    assert (levels(world, 0), rules(world, 0)) == ([], ["role"])


def test_a_revoked_key_has_no_use_of_a_grant(world: World) -> None:
    grant = world.grant(world.cast.homes[0], 1, "monitor")
    alarm(world, 1, 0, grant, level=1)
    world.revoke(1)
    alarm(world, 1, 2, grant, level=2)
    both(world)
    assert levels(world, 0) == [1]


@pytest.mark.parametrize("body", [b"\xc1", encode_body({"role": "monitor"}), encode_body([1, 2]), b""])
def test_a_grant_that_cannot_be_read_holds_nothing_up(body: bytes, world: World) -> None:
    for kind in (kinds.GRANT_GIVEN, kinds.GRANT_WITHDRAWN):
        world.source.commit(Batch(world.cast.homes[0], [Draft(kind, body)], [None]))
    alarm(world, 1, 0, world.grant(world.cast.homes[0], 1, "monitor"))
    both(world)
    assert levels(world, 0) == [3]


def test_who_makes_a_case_names_whose_it_is_and_cannot_take_another_s(world: World) -> None:
    agents, homes = world.cast.agents, world.cast.homes
    ours, theirs = world.grant(homes[0], 1, "monitor"), world.grant(homes[1], 3, "monitor")
    mine = [world.cite(ours)]
    made = world.write(1, "case.opened", {"owner": agents[0], "text": "a"}, entity=NEW, cites=mine)
    world.write(3, "case.changed", {"owner": agents[3]}, entity=made.entity, cites=[world.cite(theirs)])
    world.write(1, "case.opened", {"owner": agents[3], "text": "b"}, entity=NEW, cites=mine)
    both(world)
    rows = {key[0]: row for key, (row, _) in held(world.replicas[0])["cases"].items()}
    assert {key: row["owner"] for key, row in rows.items()} == {made.entity: agents[0]}


def test_whoever_backdates_cannot_choose_whose_a_case_is(world: World) -> None:
    """A word on a row that is older than the row itself does not say who may write there."""
    agents, homes = world.cast.agents, world.cast.homes
    ours, theirs = world.grant(homes[0], 1, "monitor"), world.grant(homes[1], 3, "monitor")
    late = world.clock.now_ms()
    world.clock.pass_ms(10_000)
    cites = [world.cite(ours)]
    made = world.write(1, "case.opened", {"owner": agents[0], "text": "a"}, entity=NEW, cites=cites)
    world.clock.set_wall(late)
    world.write(3, "case.changed", {"owner": agents[3]}, entity=made.entity, cites=[world.cite(theirs)])
    both(world)
    ((row, _),) = held(world.replicas[0])["cases"].values()
    assert row["owner"] == agents[0]


def star(
    world: World, who: int, thing: bytes | None, word: str, love: int, *grants: Event, kind: str = "thing"
) -> None:
    said = {"prize" if kind == "thing" else "star": word, "love": love}
    world.write(who, f"{kind}.changed", said, entity=thing, cites=[world.cite(grant) for grant in grants])


def test_a_ceiling_is_that_of_the_grant_and_fifty_without(world: World) -> None:
    thing = world.write(0, "thing.made", {"name": "amber"}, entity=NEW).entity
    high = world.grant(world.cast.homes[0], 0, "elder", tables=["things"], ceiling=90)
    strange = world.grant(world.cast.homes[1], 0, "elder", ceiling=1_000)
    star(world, 0, thing, "capped at 90", 1_000, high)
    star(world, 0, thing, "capped at 50", 1_000, strange)
    both(world)
    assert held(world.replicas[0])["things"][(thing,)][0]["prize"] == "capped at 90"
    world.withdraw(world.cast.homes[0], high, [])
    both(world)
    assert held(world.replicas[1])["things"][(thing,)][0]["prize"] == "capped at 50"


def test_for_rows_that_are_nobody_s_those_grant_whom_the_file_trusts(world: World) -> None:
    one, other = world.cast.homes
    ours, theirs = world.grant(one, 1, "chief", ceiling=70), world.grant(other, 3, "chief", ceiling=80)
    notice = world.write(1, "notice.posted", {"text": "a"}, entity=NEW, cites=[world.cite(ours)]).entity
    star(world, 1, notice, "ours", 100, ours, kind="notice")
    star(world, 3, notice, "theirs", 100, theirs, kind="notice")
    both(world)
    assert held(world.replicas[0])["notices"][(notice,)][0]["star"] == "ours"
    everybody = frozenset(world.source.head(home).owner for home in (one, other))
    for at, replica in enumerate(world.replicas):
        granting.trust(replica, everybody)
        assert held(replica)["notices"][(notice,)][0]["star"] == "theirs", at
    world.trusted = everybody
    check(world)
    granting.trust(world.replicas[0], [])
    assert held(world.replicas[0])["notices"] == {}
    granting.trust(world.replicas[0], None)
    assert held(world.replicas[0])["notices"] == {}, "a file of no agent trusts nobody unless it is told to"


def test_what_cites_a_grant_is_found_under_it_and_goes_when_it_is_forgotten(world: World) -> None:
    grant = world.grant(world.cast.homes[0], 1, "monitor")
    made = alarm(world, 1, 0, grant)
    both(world)
    replica = world.replicas[0]
    assert [seq for _, seq in replica.mentions.find(of_cause(grant.log, grant.seq))] == [made.seq]
    world.erase(1, 0)
    both(world)
    assert replica.mentions.find(of_cause(grant.log, grant.seq)) == []
