"""Logs of strangers that come in whole: what they say of others' loops is listed, and changes no row."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from antiphon import Agent, AntiphonError, Conflict, Fleet
from antiphon.domains.loops import LOOPS, Loops, names
from antiphon.model.event import Scope
from antiphon.model.text import parse_entity, parse_id
from antiphon.replica.decide import answer_requests
from antiphon.replica.homes import take_in_all
from antiphon.world.clock import ManualClock


class Two:
    """Ada's file, and Mal's, that has heard nothing of it."""

    def __init__(self, folder: Path) -> None:
        self.clock = ManualClock(1_800_000_000_000)
        self.fleets = [Fleet.create(folder / name, clock=self.clock, domains=[LOOPS]) for name in ("ada", "mal")]
        self.ada, self.mal = (fleet.add(name) for fleet, name in zip(self.fleets, ("ada", "mal"), strict=True))

    def hear(self) -> None:
        self.clock.pass_ms(10)
        take_in_all(self.fleets[1].replica, self.fleets[0].replica)

    def rows(self) -> dict[str, list[str]]:
        return made_rows(self.fleets[0])


def made_rows(fleet: Fleet) -> dict[str, list[str]]:
    """The rows of the domain in a file."""
    replica = fleet.replica
    return {
        name: sorted(repr(row.values) for row in replica.tables.all_rows(table))
        for name, table in replica.registry.tables.items()
        if replica.registry.domain_of_table[name] == LOOPS.name
    }


@pytest.fixture
def two(tmp_path: Path) -> Iterator[Two]:
    made = Two(tmp_path)
    yield made
    for fleet in made.fleets:
        fleet.close()


def says(agent: Agent, kind: str, body: dict[str, Any], entity: str | None = None) -> Any:
    return agent.record(kind, body, entity=entity, scope=Scope.PUBLIC)


LIES: dict[str, list[tuple[str, dict[str, Any]]]] = {
    "loop": [
        (names.BLESSED, {"consensus": bytes(16)}), (names.FORKED, {"parent": bytes(16), "depth": 9}),
        (names.ARCHIVED, {}), (names.CREATED, {}), (names.FELT, {"emotional_tone": "mine"}),
        (names.LOOP_FOLLOWED, {"columns": {"blessed": True, "whisper_origin": "mine"}}),
    ],
    "user": [
        (names.BALANCED, {"balance": 1_000_000, "change": 1}), (names.USER_CHANGED, {"username": "mal"}),
        (names.USER_RETIRED, {}), (names.USER_FOLLOWED, {"columns": {"emotional_credits": 9}}),
    ],
    "guild": [(names.MEMBERED, {"members": [bytes(32)]})],
    "consensus": [(names.DECIDED, {"status": "passed", "consensus_score": "1", "voters": []}),
                  (names.CONSENSUS_FOLLOWED, {"columns": {"status": "passed"}})],
    "prophecy": [(names.JUDGED, {"status": "fulfilled"}),
                 (names.PROPHECY_FOLLOWED, {"columns": {"prophecy_text": "x"}})],
    "run": [(names.MOVED, {"status": "done"}), (names.RUN_FOLLOWED, {"columns": {"priority": 1}})],
    "cluster": [(names.DISSOLVED, {}), (names.CLUSTER_CHANGED, {"name": "mine"})],
    "story": [(names.RETOLD, {"content": "mine"})],
}  # fmt: skip


def made_by(ada: Agent) -> dict[str, str]:
    """One of each of Ada's."""
    mine = Loops(ada)
    loop = mine.whisper("watch").entity or ""
    guild = mine.found("elders").entity or ""
    found = {
        "loop": loop, "guild": guild, "user": mine.register_user("grace", "g@x").entity,
        "consensus": mine.ask(guild, "q", loop=loop).entity, "prophecy": mine.prophesy("p", loops=[loop]).entity,
        "run": mine.queue(loop).entity, "cluster": mine.form("c", [loop]).entity,
        "story": mine.tell("t", "once").entity,
    }  # fmt: skip
    return {name: entity or "" for name, entity in found.items()}


@pytest.mark.parametrize("what", LIES)
def test_what_a_stranger_says_of_anothers_row_is_refused(two: Two, what: str) -> None:
    entity = made_by(two.ada)[what]
    before = two.rows()
    for kind, body in LIES[what]:
        says(two.mal, kind, body, entity)
    two.hear()
    assert two.rows() == before
    listed = {seq for _, _, _, seq, _, _ in two.fleets[0].replica.rejections.list(limit=1_000)}
    assert len(listed) == len(LIES[what]), "each of them is listed"


@pytest.mark.parametrize("kind", [names.LOOP_BROUGHT, names.USER_BROUGHT, names.RUN_BROUGHT])
def test_a_stranger_cannot_bring_anothers_row(two: Two, kind: str) -> None:
    made = made_by(two.ada)
    entity = made[{names.LOOP_BROUGHT: "loop", names.USER_BROUGHT: "user", names.RUN_BROUGHT: "run"}[kind]]
    before = two.rows()
    columns: dict[str, Any] = {names.LOOP_BROUGHT: {"blessed": True}, names.RUN_BROUGHT: {"operation": "mine"}}.get(
        kind, {"username": "mal", "email": "m@x"}
    )
    says(two.mal, kind, {"columns": columns}, entity)
    assert all(not rows for name, rows in made_rows(two.fleets[1]).items()), "it is no row there either"
    two.hear()
    assert two.rows() == before


def test_a_strangers_loop_decides_nothing_here(two: Two) -> None:
    """Who names Ada's log as the home of a row cannot write what she decides, and she decides by her own rows."""
    home = two.ada.log_id
    loop = says(two.mal, names.WHISPERED, {"whisper_origin": "hers", "home": home}).entity
    with pytest.raises(AntiphonError, match="home"):
        says(two.mal, names.ARCHIVED, {}, loop)
    asked = Loops(two.mal).begin(loop)
    two.hear()
    (row,) = two.ada.table("loops").every({})
    assert row["state"] == "whisper"
    answer_requests(two.fleets[0].replica)
    take_in_all(two.fleets[0].replica, two.fleets[1].replica)
    assert asked.wait(0).entity == loop
    assert [row["state"] for row in two.mal.table("loops").every({})] == ["loop"]


def test_votes_from_strangers_count_for_nothing(two: Two) -> None:
    mine = Loops(two.ada)
    guild = mine.found("elders", quorum=1).entity or ""
    asked = mine.ask(guild, "open?").entity or ""
    mine.vote(asked, -1)
    says(two.mal, names.VOTED, {"consensus": parse_entity(asked), "vote": 1})
    two.hear()
    mine.close(asked)
    (row,) = two.ada.table("guild_consensus").every({})
    assert (row["votes_for"], row["status"], row["voters"]) == (1, "failed", [parse_id(two.ada.id)])


def test_two_homes_may_name_one_user_and_each_keeps_its_own(two: Two) -> None:
    Loops(two.ada).register_user("grace", "g@x")
    Loops(two.mal).register_user("grace", "other@x")
    two.hear()
    assert len(two.rows()["users"]) == 2
    assert [row["email"] for row in two.ada.table("users").every({})] == ["g@x"], "another's users are not hers to see"
    with pytest.raises(Conflict, match="username"):
        Loops(two.ada).register_user("grace", "third@x")
