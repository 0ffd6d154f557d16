"""Rows of many events take another without reading the others; what was said early costs its own row alone."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from antiphon.engines.sqlite.file import rows
from antiphon.model.errors import InvalidInput
from antiphon.model.event import NEW, Draft, Scope, encode_body
from antiphon.model.table import Table
from antiphon.model.values import key_of
from antiphon.replica import forget
from antiphon.replica.commit import Batch
from antiphon.replica.core import Replica
from antiphon.views.domain import Op, Write
from antiphon.views.merge import Placed, Tip, merge, merge_on
from antiphon.views.tips import TIP_BYTES_MAX, TIP_EVENTS_MIN, packed, unpacked
from antiphon.world.clock import ManualClock
from tests.simulation.views_world import Cast, World, check, held, opened
from tests.unit.views.every_rule import BALLOTS, BOARDS, JOBS, THINGS, domain

MANY = 3 * TIP_EVENTS_MIN
BOARD = {"name": "amber", "title": "first", "owner": None}


@pytest.fixture
def replica(people: Cast) -> Iterator[Replica]:
    """One file in which all four agents write."""
    made = opened(people, people.source, [domain()], ManualClock(1_700_000_010_000))
    yield made
    made.close()
    made.file.path.unlink()


def write(replica: Replica, log: bytes, kind: str, body: dict[str, Any], entity: bytes | None = None) -> bytes | None:
    draft = Draft(kind, encode_body(body), entity=entity, scope=Scope.PUBLIC)
    return replica.commit(Batch(log, [draft], [None])).headers[0].entity


def computed(replica: Replica, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The tables of the rows that are computed again from all their events, from now on."""
    found: list[str] = []
    whole = replica.views.recompute

    def counted(state: Any, key: Any, *given: Any, **named: Any) -> bool:
        found.append(key[0])
        return whole(state, key, *given, **named)

    monkeypatch.setattr(replica.views, "recompute", counted)
    return found


def as_refolded(replica: Replica) -> None:
    """The rows are those of all events read again."""
    before = held(replica)
    replica.refold("every_rule")
    assert held(replica) == before


def test_a_row_of_many_events_takes_another_without_reading_them(
    people: Cast, replica: Replica, monkeypatch: pytest.MonkeyPatch
) -> None:
    logs = people.logs
    write(replica, logs[0], "board.put", {**BOARD, "owner": people.agents[0]})
    thing = write(replica, logs[0], "thing.made", {"name": "it"}, NEW)
    for at in range(MANY):
        write(replica, logs[at % 3], "board.changed", {"name": "amber", "title": f"{at}", "tags": [f"{at}"]})
        write(replica, logs[0], "thing.changed", {"prize": f"{at}", "love": at % 60, "first": f"{at}"}, thing)
    again = computed(replica, monkeypatch)
    for at in range(MANY):
        write(replica, logs[1 + at % 3], "board.changed", {"name": "amber", "title": f"b {at}", "tags": [f"b {at}"]})
        write(replica, logs[0], "thing.changed", {"prize": f"b {at}", "love": at % 60, "labels": [f"{at}"]}, thing)
        with pytest.raises(InvalidInput, match="written by owner alone"):
            write(replica, logs[1], "board.changed", {"name": "amber", "sealed": True})
        with pytest.raises(InvalidInput, match="its author"):
            write(replica, logs[2], "thing.changed", {"name": "mine"}, thing)
    assert not again
    as_refolded(replica)


def test_deletes_and_what_is_forgotten_are_computed_from_all(people: Cast, replica: Replica) -> None:
    logs = people.logs
    write(replica, logs[0], "board.put", BOARD)
    for at in range(MANY):
        write(replica, logs[at % 3], "board.changed", {"name": "amber", "title": f"{at}"})
    head = replica.head(logs[(MANY - 1) % 3])
    forget.forget(replica, [(head.no, head.size - 1)], reason="asked")
    assert [row["title"] for row, _ in held(replica)["boards"].values()] == [f"{MANY - 2}"]
    write(replica, logs[0], "board.gone", {"name": "amber"})
    as_refolded(replica)
    write(replica, logs[0], "board.put", {**BOARD, "title": "back"})
    for at in range(MANY):
        write(replica, logs[at % 3], "board.changed", {"name": "amber", "tags": [f"{at}"]})
    as_refolded(replica)


def test_what_arrives_late_is_merged_where_it_can_be(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.write(0, "board.put", BOARD, entity=None)
    for replica in (0, 1):
        world.deliver_all(replica)
    for at in range(MANY):
        world.clock.pass_ms(1)
        world.write(at % 4, "board.changed", {"name": "amber", "title": f"{at}", "tags": [f"{at}"]}, entity=None)
    world.here.set_wall(world.clock.now_ms())
    world.deliver_all(0)
    again = computed(world.replicas[0], monkeypatch)
    for at in range(MANY):
        world.clock.pass_ms(1)
        world.write(at % 4, "board.changed", {"name": "amber", "title": f"b {at}", "tags": [f"b {at}"]}, entity=None)
        world.write(at % 4, "board.changed", {"name": "amber", "sealed": True}, entity=None)  # is not theirs: judged
    world.here.set_wall(world.clock.now_ms())
    for log in reversed(world.cast.logs):
        world.deliver(0, log)
    sealed = [name for name in again if name == "boards"]
    assert len(sealed) <= len(world.cast.logs)  # once a log at most, for what hangs on the row's owner
    world.deliver_all(1, (5, 4, 3, 2))
    check(world)


def test_late_titles_alone_read_nothing_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.write(0, "board.put", BOARD, entity=None)
    again: list[str] = []
    for _ in range(2):
        for at in range(MANY):
            world.clock.pass_ms(1)
            world.write(at % 4, "board.changed", {"name": "amber", "title": f"{at}", "tags": [f"{at}"]}, entity=None)
        world.here.set_wall(world.clock.now_ms())
        again = computed(world.replicas[0], monkeypatch)
        for log in (*reversed(world.cast.logs), *world.cast.homes):
            world.deliver(0, log)
    world.deliver_all(1)
    assert not again
    check(world)


def test_what_was_said_early_of_one_row_costs_the_others_nothing(
    people: Cast, replica: Replica, monkeypatch: pytest.MonkeyPatch
) -> None:
    ballot = {"thing": bytes(16), "agent": people.agents[0], "vote": 1}
    write(replica, people.logs[0], "ballot.changed", ballot)
    again = computed(replica, monkeypatch)
    write(replica, people.logs[0], "ballot.cast", {**ballot, "thing": b"1" * 16})
    assert not again
    write(replica, people.logs[0], "ballot.cast", {**ballot, "vote": -1})
    assert again == ["ballots"]
    write(replica, people.logs[0], "ballot.gone", ballot)
    again.clear()
    write(replica, people.logs[0], "ballot.cast", {**ballot, "thing": b"2" * 16})
    assert not again
    write(replica, people.logs[0], "ballot.cast", ballot)
    assert again == ["ballots"]
    assert rows(replica.file.reader, "SELECT key FROM expected WHERE tbl='ballots'") == []
    as_refolded(replica)


def test_deletes_by_others_read_nothing_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Or whoever likes makes a row of a million events cost half a minute, each time."""
    thing = world.write(0, "thing.made", {"name": "it"}, entity=NEW).entity
    for at in range(MANY):
        world.write(0, "thing.changed", {"first": f"{at}"}, entity=thing)
    world.deliver_all(0)
    again = computed(world.replicas[0], monkeypatch)
    world.write(1, "thing.gone", {}, entity=thing)
    world.deliver(0, world.cast.logs[1])
    world.write(1, "thing.changed", {"name": "mine"}, entity=thing)
    world.deliver(0, world.cast.logs[1])
    assert not again
    world.deliver_all(1)
    check(world)
    world.write(0, "thing.gone", {}, entity=thing)
    world.deliver_all(0)
    assert again == ["things"]
    world.deliver_all(1)
    check(world)


def test_early_writes_on_a_row_to_come_read_nothing_again(
    people: Cast, replica: Replica, monkeypatch: pytest.MonkeyPatch
) -> None:
    for at in range(MANY):
        write(replica, people.logs[at % 3], "board.changed", {"name": "amber", "tags": [f"{at}"]})
    again = computed(replica, monkeypatch)
    for at in range(MANY):
        write(replica, people.logs[at % 3], "board.changed", {"name": "amber", "tags": [f"b {at}"]})
    assert not again
    write(replica, people.logs[1], "board.put", BOARD)
    assert len(held(replica)["boards"][("amber",)][0]["tags"]) == 2 * MANY
    as_refolded(replica)


def test_figures_of_a_row_to_come_are_counted_when_it_comes(world: World) -> None:
    thing = world.write(0, "thing.made", {"name": "it"}, entity=NEW).entity
    assert thing is not None
    world.write(1, "ballot.cast", {"thing": thing, "agent": world.cast.agents[1], "vote": 1}, entity=None)
    target = world.replicas[0]
    for log in (*world.cast.homes, world.cast.logs[1]):
        world.deliver(0, log)
    assert rows(target.file.reader, "SELECT tbl, key FROM expected") == [("things", thing)]
    world.deliver(0, world.cast.logs[0])
    assert rows(target.file.reader, "SELECT tbl, key FROM expected") == []
    world.deliver_all(1)
    check(world)


def test_nothing_is_kept_of_a_row_that_was_forgotten(people: Cast, replica: Replica) -> None:
    for at in range(MANY):
        write(replica, people.logs[0], "board.changed", {"name": "amber secret", "tags": [f"{at}"]})
    key = key_of(BOARDS, {"name": "amber secret"})
    assert replica.tips.find(BOARDS, key)
    head = replica.head(people.logs[0])
    gone = [(head.no, event.seq) for event in replica.reader.events(head) if event.kind == "board.changed"]
    forget.forget(replica, gone, reason="asked")
    assert not replica.tips.find(BOARDS, key)
    assert rows(replica.file.reader, "SELECT * FROM expected") == []


def test_a_rollback_takes_tips_back(people: Cast, replica: Replica, monkeypatch: pytest.MonkeyPatch) -> None:
    write(replica, people.logs[0], "board.put", BOARD)
    for at in range(MANY):
        write(replica, people.logs[at % 3], "board.changed", {"name": "amber", "title": f"{at}"})
    bad = Draft("board.put", encode_body({**BOARD, "name": "b", "owner": 7}), entity=None, scope=Scope.PUBLIC)
    good = Draft("board.changed", encode_body({"name": "amber", "title": "no"}), entity=None, scope=Scope.PUBLIC)
    with pytest.raises(Exception, match="owner"):
        replica.commit(Batch(people.logs[0], [good, bad], [None, None]))
    write(replica, people.logs[1], "board.changed", {"name": "amber", "tags": ["x"]})
    as_refolded(replica)


AGENTS = [bytes([at]) * 32 for at in range(1, 4)]
WORDS = ("amber", "birch", "cedar")
HOMES = {"home": AGENTS[0]}


def said(table: Table, how: int, word: str, agent: bytes) -> dict[str, Any]:
    """Values that some event writes to a row of one of these tables."""
    choices: dict[str, tuple[dict[str, Any], ...]] = {
        "boards": (
            {"title": word}, {"tags": [word]}, {"owner": agent}, {"sealed": True}, {"title": 7},
            {"tags": [word], "title": None},
        ),
        "things": (
            {"name": word}, {"prize": word, "love": len(word) * 7}, {"first": word}, {"labels": [word]},
            {"prize": word, "love": 28}, {"votes": 1},
        ),
        "jobs": ({"status": "taken"}, {"status": "done"}, {"note": word}, {"keeper": agent}, HOMES, {"keeper": None}),
        "ballots": ({"vote": 1}, {"vote": -1}, {"weight": "1.5"}, {"vote": 3}, {"weight": None}, {"at": 5}),
    }  # fmt: skip
    return choices[table.name][how]


write_of_one = st.tuples(
    st.integers(0, 12), st.integers(0, 2), st.integers(0, 5), st.sampled_from(WORDS), st.integers(0, 2),
    st.sampled_from((Op.ASSERT, Op.UPDATE, Op.UPDATE, Op.UPDATE, Op.UPDATE, Op.DELETE)),
)  # fmt: skip


@settings(max_examples=400)
@given(st.sampled_from((BOARDS, THINGS, JOBS, BALLOTS)), st.lists(write_of_one, min_size=3, max_size=14), st.randoms())
def test_going_on_from_a_tip_is_merging_all(table: Table, drawn: list[Any], chance: Random) -> None:
    key = {"name": "amber", "id": bytes(16), "thing": bytes(16), "agent": AGENTS[0]}
    raw, named = key_of(table, key), AGENTS[0] if table is BALLOTS else None
    seqs, arriving = [0, 0, 0], []
    first = Write(table.name, raw, Op.ASSERT, {**{name: key[name] for name in table.key}, "name": "x", **HOMES})
    for stamp, who, how, word, other, op in sorted([(0, 0, 0, "amber", 0, None), *drawn], key=lambda one: one[0]):
        values = {} if op == Op.DELETE else said(table, how, word, AGENTS[other])
        if op == Op.ASSERT:
            values = {**{name: key[name] for name in table.key}, "name": word, "vote": 1, **values}
        values = {name: value for name, value in values.items() if name in table.by_name}
        deleted = ((AGENTS[other], seqs[other]),) if op == Op.DELETE and how % 2 else ()
        what = Write(table.name, raw, op, values, deleted) if op is not None else first
        if op is None:
            kept = {name: value for name, value in first.values.items() if name in table.by_name}
            what = Write(table.name, raw, Op.ASSERT, kept | ({"vote": 1} if table is BALLOTS else {}))
        minted = table.minted and op is None
        arriving.append(Placed(stamp, AGENTS[who], seqs[who], what, 0, AGENTS[who], minted))
        seqs[who] += 1
    chance.shuffle(arriving)
    tip: Tip | None = None
    outcome, refused, there = merge(table, ()), set[Any](), list[Placed]()
    for placed in arriving:
        there.append(placed)
        whole = merge(table, there, named=named)
        more = None
        if tip is not None:
            row = None if outcome.row is None else dict(zip(table.names, outcome.row.values, strict=True))
            more = merge_on(table, unpacked(packed(tip) or b""), row, [placed])
        if more is not None:
            refused |= set(more.refused)
            assert (more.row, refused) == (whole.row, set(whole.refused))
        else:
            more, refused = whole, set(whole.refused)
        outcome, tip = more, more.tip


def test_what_comes_late_wins_where_it_would_have_won() -> None:
    """By hand: of equal scores the later, of firsts the earlier, of all others the later."""

    def at(stamp: int, op: Op, **values: Any) -> Placed:
        given = {"id": bytes(16), **values} if op == Op.ASSERT else values
        return Placed(stamp, AGENTS[0], stamp, Write("things", bytes(16), op, given), 0, AGENTS[0], op == Op.ASSERT)

    there = [at(1, Op.ASSERT, name="x"), at(9, Op.UPDATE, name="late", prize="late", love=20, first="late")]
    for late, prize in ((20, "late"), (19, "late"), (21, "early")):
        whole = merge(THINGS, there)
        assert whole.row is not None
        assert whole.tip is not None
        values = dict(zip(THINGS.names, whole.row.values, strict=True))
        early = at(5, Op.UPDATE, name="early", prize="early", love=late, first="early", labels=["early"])
        more = merge_on(THINGS, whole.tip, values, [early, early])
        assert more is not None
        assert more.row == merge(THINGS, [*there, early]).row
        found = dict(zip(THINGS.names, (more.row or whole.row).values, strict=True))
        assert (found["name"], found["prize"], found["first"]) == ("late", prize, "early")


places = [(1, b"l" * 32, 2, 0), (3, b"m" * 32, 4, 1)]


@pytest.mark.parametrize(
    "tip",
    [
        Tip(places[0]),
        Tip(places[0], scores={"x": 2**53 + 1, "y": 2**63 - 1}),
        Tip(places[1], b"a" * 32, places[0], places[0], {"x": places[0], "y": places[1]}, {"x": 0.5}, {b"l" * 32: 7}),
    ],
)
def test_a_tip_is_what_was_kept(tip: Tip) -> None:
    raw = packed(tip)
    assert raw is not None
    assert unpacked(raw) == tip


def test_a_tip_that_grows_too_large_is_not_kept() -> None:
    tip = Tip(places[0], floors={at.to_bytes(32, "big"): at for at in range(TIP_BYTES_MAX // 32)})
    assert packed(tip) is None
