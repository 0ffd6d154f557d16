"""Rules of merging against a plain reading of the design; and by hand what `simulation/test_views.py` looks for."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import Any

import pytest

from antiphon.model.event import NEW, Draft, Event, Scope, encode_body
from antiphon.model.table import Table, Type
from antiphon.model.values import key_of
from antiphon.replica import forget
from antiphon.replica.commit import Batch
from antiphon.views.domain import Op, Write
from antiphon.views.grants import Grant
from antiphon.views.merge import Placed, merge
from tests.simulation.views_world import Cast, World, check, held, opened
from tests.unit.views.every_rule import TABLES, Known, Say, domain, row_of
from tests.unit.views.every_rule import World as Given


def together(world: World, author: int, *said: tuple[str, Any, bytes | None]) -> list[Event]:
    """Several events in one commit."""
    drafts = [Draft(kind, encode_body(body), entity=entity, scope=Scope.PUBLIC) for kind, body, entity in said]
    made = world.source.commit(Batch(world.cast.logs[author], drafts, [None] * len(drafts)))
    return [world.source.event(world.cast.logs[author], made.first + at) for at in range(len(drafts))]


def both(world: World) -> None:
    world.deliver_all(0)
    world.deliver_all(1, (5, 4, 3, 2, 1, 0))
    check(world)


def test_a_row_made_and_changed_in_one_commit_keeps_what_made_it(world: World) -> None:
    board = {"name": "amber", "title": "first", "owner": None}
    together(world, 0, ("board.put", board, None), ("board.changed", {"name": "amber", "tags": ["x"]}, None))
    both(world)
    world.write(1, "board.changed", {"name": "amber", "tags": ["y"]}, entity=None)
    both(world)
    assert held(world.replicas[0])["boards"][("amber",)][0]["tags"] == ["x", "y"]


def test_a_change_before_the_row_in_one_commit_is_older(world: World) -> None:
    board = {"name": "amber", "title": "newer", "owner": None}
    together(world, 0, ("board.changed", {"name": "amber", "title": "older"}, None), ("board.put", board, None))
    both(world)
    assert held(world.replicas[0])["boards"][("amber",)][0]["title"] == "newer"


def test_two_rows_of_one_key_and_a_change_in_one_commit(world: World) -> None:
    first = {"name": "amber", "title": "first", "owner": None}
    second = {"name": "amber", "title": "second", "owner": None}
    changed = ("board.changed", {"name": "amber", "title": "third"}, None)
    together(world, 0, ("board.put", first, None), ("board.put", second, None), changed)
    both(world)
    assert held(world.replicas[0])["boards"][("amber",)][0]["title"] == "third"


def ballot(world: World, who: int, thing: bytes | None, weight: str = "1.50") -> dict[str, Any]:
    return {"thing": thing, "agent": world.cast.agents[who], "vote": 1, "weight": weight}


def test_votes_that_came_before_their_thing_count_once(world: World) -> None:
    made = world.write(0, "thing.made", {"name": "amber"}, entity=NEW)
    world.write(1, "ballot.cast", ballot(world, 1, made.entity), entity=None)
    world.write(2, "ballot.cast", ballot(world, 2, made.entity), entity=None)
    for log in (*world.cast.homes, *world.cast.logs[1:], world.cast.logs[0]):
        world.deliver(1, log)
    both(world)
    row = held(world.replicas[1])["things"][(made.entity,)][0]
    assert (row["votes"], str(row["weight"])) == (2, "3.00")


def test_a_thing_and_its_vote_in_one_commit_count_once(world: World) -> None:
    made = together(world, 0, ("thing.made", {"name": "amber"}, NEW))[0]
    together(
        world, 0, ("thing.changed", {"prize": "p", "love": 3}, made.entity),
        ("ballot.cast", ballot(world, 0, made.entity), None),
    )  # fmt: skip
    both(world)
    world.replicas[0].refold("every_rule")
    check(world)


def test_figures_go_with_what_is_forgotten_here(people: Cast) -> None:
    world = World(people, domain, replicas=0)
    try:
        made = world.write(0, "thing.made", {"name": "amber"}, entity=NEW)
        world.write(1, "ballot.cast", ballot(world, 1, made.entity), entity=None)
        world.write(1, "ballot.cast", {**ballot(world, 1, made.entity), "vote": 9}, entity=None)
        world.source.file.settle()
        with opened(people, world.source.file.path, [domain()], world.clock) as own:
            own.refold("every_rule")
            assert held(own)["things"][(made.entity,)][0]["votes"] == 1
            assert len(own.rejections.list()) == 1
            head = own.head(people.logs[1])
            forget.forget(own, [(head.no, 0), (head.no, 1)], reason="asked")
            row = held(own)["things"][(made.entity,)][0]
            assert (row["votes"], row["voters"], row["top"], row["weight"]) == (0, [], None, 0)
            assert held(own)["ballots_hourly"] == {}
            assert own.rejections.list() == []
    finally:
        world.close()


def test_a_column_may_have_more_writers_than_its_row(world: World) -> None:
    job = world.write(0, "job.given", {"home": None, "keeper": None}, entity=NEW)
    world.write(3, "job.changed", {"note": "anyone may"}, entity=job.entity)
    world.write(3, "job.changed", {"note": "but not this", "keeper": world.cast.agents[3]}, entity=job.entity)
    both(world)
    row = held(world.replicas[0])["jobs"][(job.entity,)][0]
    assert (row["note"], row["keeper"]) == ("anyone may", None)


def test_a_lie_about_a_row_does_not_hide_the_event_that_makes_it(world: World) -> None:
    made = world.write(0, "thing.made", {"name": "amber"}, entity=NEW)
    world.write(3, "thing.changed", {"name": "mine"}, entity=made.entity)
    world.write(3, "thing.gone", {}, entity=made.entity)
    for log in (*world.cast.homes, world.cast.logs[3], world.cast.logs[0]):
        world.deliver(1, log)
    both(world)
    world.write(0, "thing.changed", {"labels": ["yes"]}, entity=made.entity)
    both(world)
    assert held(world.replicas[1])["things"][(made.entity,)][0]["labels"] == ["yes"]


# -- one row, every rule -----------------------------------------------------------------------------------------------

AGENTS = [bytes([at]) * 32 for at in (11, 12, 13, 14)]
LOGS = [bytes([at]) * 32 for at in (24, 23, 22, 21)]
OWNER = {AGENTS[0]: b"1", AGENTS[1]: b"1", AGENTS[2]: b"2", AGENTS[3]: b"2"}


HOME = bytes([31]) * 32
_ENDED = {LOGS[0]: 2, LOGS[2]: 1}
GRANTED = {
    (HOME, seq): Known(by, agent, what, tables, ceiling, bytes([seq]) * 32, ended)
    for seq, (by, agent, what, tables, ceiling, ended) in enumerate(
        [
            (by, agent, what, tables, ceiling, ended)
            for by in (b"1", b"2")
            for agent in AGENTS
            for what, tables, ceiling, ended in (
                ("monitor", None, None, None), ("chief", None, 70, None), ("chief", ["notices", "alarms"], 60, _ENDED),
                ("monitor", ["cases"], None, _ENDED), ("elder", ["things"], 100, None), ("elder", None, 3, _ENDED),
            )
        ]
    )
}  # fmt: skip
GIVEN = Given(OWNER.get, GRANTED, frozenset({b"1"}))


class Kin:
    """Two principals, with two agents each; no home ever moved; many grants."""

    def principal_of(self, agent: bytes) -> bytes | None:
        return OWNER.get(agent)

    def decides(self, home: bytes, log: bytes, seq: int) -> bool:
        return home == log

    def grant(self, agent: bytes, log: bytes, seq: int) -> Grant | None:
        known = GRANTED.get((log, seq))
        if known is None or known.agent != agent:
            return None
        ended = None if known.ended is None else tuple(known.ended.items())
        tables = None if known.tables is None else tuple(known.tables)
        return Grant(log, seq, known.leaf, known.principal, known.agent, known.role, tables, known.ceiling, 0, ended)

    def trusts(self, principal: bytes) -> bool:
        return principal in GIVEN.trusted


def _cited(author: bytes, chance: Random) -> tuple[tuple[bytes, int, bytes], ...]:
    """Some grants: most of the writer's own, some of others, some that are no grants."""
    own = [name for name, known in GRANTED.items() if known.agent == author]
    names = chance.sample(own, chance.randrange(6)) + chance.sample(sorted(GRANTED), chance.randrange(2))
    return tuple((log, seq, GRANTED[log, seq].leaf if chance.random() < 0.95 else bytes(32)) for log, seq in names)


KEYS: dict[str, tuple[Any, ...]] = {
    "things": (bytes(16),), "ballots": (bytes(16), AGENTS[1]), "pairs": (AGENTS[0], AGENTS[2]), "jobs": (bytes(16),),
    "boards": ("amber",), "mottos": (AGENTS[0],), "diary": (bytes(16),), "alarms": (AGENTS[2], "amber"),
    "notices": (bytes(16),), "cases": (bytes(16),),
}  # fmt: skip


CASES = 3_000
"""Rows of each table; drawn by a plain generator, which is denser and faster than a search that would shrink."""
GOOD: dict[Type, tuple[Any, ...]] = {
    Type.TEXT: ("a", "b", "c"), Type.INTEGER: (1, 1, 50, 51, 900), Type.DECIMAL: ("1", "1.50"),
    Type.SET: (["x"], ["y", "x"]), Type.AGENT: tuple(AGENTS), Type.LOG: tuple(LOGS), Type.ENUM: ("taken", "done"),
    Type.BOOLEAN: (True, False), Type.TIMESTAMP: (1, 2),
}  # fmt: skip
BAD: dict[Type, tuple[Any, ...]] = {
    Type.INTEGER: (1 << 63, "1", -1), Type.DECIMAL: ("1.234", "99999"), Type.SET: ("x", [1]), Type.ENUM: ("none",),
}  # fmt: skip


def _values(table: Table, chance: Random) -> dict[str, Any]:
    found = {}
    few = chance.random() < 0.5
    for column in table.columns:
        if column.derived is not None or column.name in table.key or (few and chance.random() < 0.6):
            continue
        odd = chance.random()
        kind = column.type
        found[column.name] = None if odd < 0.04 else chance.choice(BAD.get(kind, (7,)) if odd < 0.06 else GOOD[kind])
    return found


def _said(table: Table, chance: Random) -> Iterator[tuple[int, int, str, dict[str, Any], dict[int, int]]]:
    """(author, how much later, what, values, what a delete names)."""
    who = AGENTS.index(KEYS[table.name][-1]) if KEYS[table.name][-1] in AGENTS else 0
    yield who, 0, "assert", _values(table, chance), {}
    rest = ("update",) * 8 + ("delete",) + ("assert",) * (1 if table.minted else 4)
    for _ in range(chance.randint(1, 10)):
        author = who if chance.random() < 0.5 else chance.randrange(4)
        named = {chance.randrange(4): chance.randrange(6)} if chance.random() < 0.5 else {}
        yield author, chance.randrange(3), chance.choice(rest), _values(table, chance), named


@pytest.mark.parametrize("name", list(KEYS))
def test_one_row_is_what_a_plain_reading_gives(name: str, sim_seed: int) -> None:
    table = next(table for table in TABLES if table.name == name)
    for case in range(CASES):
        print(f"case {case}")
        _one_row(table, KEYS[name], Random(f"{sim_seed} {case}"))


def _one_row(table: Table, key: tuple[Any, ...], chance: Random) -> None:
    raw = key_of(table, dict(zip(table.key, key, strict=True)))
    says, placed = [], []
    seqs, stamps = [0] * 4, [0] * 4
    maker: int | None = None
    for who, later, what, values, named in _said(table, chance):
        seq, stamp = seqs[who], stamps[who] + later
        seqs[who], stamps[who] = seq + 1, stamp
        made = table.minted and what == "assert" and maker in (None, who) and seq == 0
        maker = who if made else maker
        said = {} if what == "delete" else dict(values)
        if what == "assert":
            said |= dict(zip(table.key, key, strict=True))
        logs = {LOGS[other]: upto for other, upto in named.items()}
        op = {"assert": Op.ASSERT, "update": Op.UPDATE, "delete": Op.DELETE}[what]
        write = Write(table.name, raw, op, said, tuple(logs.items()) if what == "delete" else ())
        cited = _cited(AGENTS[who], chance)
        placed.append(Placed(stamp, LOGS[who], seq, write, 0, AGENTS[who], made, cited))
        if what == "delete":
            logs[LOGS[who]] = max(seq, logs.get(LOGS[who], -1))
        says.append(Say((stamp, LOGS[who], seq), AGENTS[who], what, said, made, logs, cited))
    says.sort(key=lambda say: say.order)
    row, refused = row_of(table, key, says, GIVEN)
    named_agent = next((part for part in key if part in AGENTS), None)
    chance.shuffle(placed)
    outcome = merge(table, [*placed, *placed[:3]], Kin(), named=named_agent)
    assert {(one.log, one.seq, one.rule) for one in outcome.refused} == set(refused)
    if row is None:
        assert outcome.row is None
        return
    assert outcome.row is not None
    found = dict(zip(table.names, outcome.row.values, strict=True))
    for column in table.columns:
        if column.derived is None:
            assert found[column.name] == row[0][column.name], column.name
    assert (outcome.row.log, outcome.row.seq) == row[1]


def test_in_a_plain_table_too_what_was_said_before_the_row_is_older(world: World) -> None:
    mine = world.cast.agents[0]
    older, newer = {"agent": mine, "motto": "older"}, {"agent": mine, "motto": "newer"}
    together(world, 0, ("motto.changed", older, None), ("motto.said", newer, None))
    both(world)
    assert held(world.replicas[0])["mottos"][(mine,)][0]["motto"] == "newer"


def test_an_older_word_that_comes_late_does_not_count_for_a_newer_one(world: World) -> None:
    mine, kin = world.cast.agents[:2]
    assert mine != kin
    for log in world.cast.homes:
        world.deliver(1, log)
    world.write(0, "motto.said", {"agent": mine, "motto": "first"}, entity=None)
    world.deliver(1, world.cast.logs[0])
    world.clock.pass_ms(1_000)
    world.write(0, "motto.changed", {"agent": mine, "motto": "second"}, entity=None)
    world.clock.pass_ms(1_000)
    world.write(1, "motto.changed", {"agent": mine, "motto": "third"}, entity=None)
    world.deliver(1, world.cast.logs[1])
    world.deliver(1, world.cast.logs[0])
    both(world)
    assert held(world.replicas[1])["mottos"][(mine,)][0]["motto"] == "third"


def test_figures_follow_when_rows_come_change_and_go(world: World) -> None:
    made = world.write(0, "thing.made", {"name": "amber"}, entity=NEW)
    for who, weight in enumerate(("0.50", "2.00", "1.25")):
        world.write(who, "ballot.cast", ballot(world, who, made.entity, weight), entity=None)
    world.write(3, "ballot.cast", {**ballot(world, 3, made.entity, "3.00"), "vote": -1}, entity=None)
    both(world)

    def figures() -> tuple[Any, ...]:
        row = held(world.replicas[1])["things"][(made.entity,)][0]
        hourly = [row for row, _ in held(world.replicas[1])["ballots_hourly"].values() if row["vote"] == 1]
        return (row["votes"], row["ups"], *((str(one["least"]), str(one["most"]), one["rows"]) for one in hourly))

    assert figures() == (4, 3, ("0.50", "2.00", 3))
    world.write(1, "ballot.gone", {"thing": made.entity, "agent": world.cast.agents[1]}, entity=None)
    both(world)
    assert figures() == (3, 2, ("0.50", "1.25", 2))
    changed = {"thing": made.entity, "agent": world.cast.agents[0], "weight": "1.00"}
    world.write(0, "ballot.changed", changed, entity=None)
    both(world)
    assert figures() == (3, 2, ("1.00", "1.25", 2))
    changed = {"thing": made.entity, "agent": world.cast.agents[0], "vote": -1}
    world.write(0, "ballot.changed", changed, entity=None)
    both(world)
    assert figures() == (3, 1, ("1.25", "1.25", 1))


def test_a_clock_put_right_puts_rows_right(world: World) -> None:
    world.here.pass_ms(3_600_000)
    for log in world.cast.homes:
        world.deliver(1, log)
    put = {"name": "amber", "title": "at first", "owner": None}
    world.write(1, "board.put", put, entity=None)
    world.clock.pass_ms(400_000)
    world.write(0, "board.changed", {"name": "amber", "title": "by a clock that is ahead"}, entity=None)
    world.clock.pass_ms(-370_000)
    world.write(1, "board.changed", {"name": "amber", "title": "later in truth"}, entity=None)
    world.deliver(1, world.cast.logs[1])
    world.deliver(1, world.cast.logs[0])
    assert held(world.replicas[1])["boards"][("amber",)][0]["title"] == "by a clock that is ahead"
    world.clock.pass_ms(-10_000)
    world.write(0, "nobody.knows", {}, entity=None)
    both(world)
    assert held(world.replicas[1])["boards"][("amber",)][0]["title"] == "later in truth"
