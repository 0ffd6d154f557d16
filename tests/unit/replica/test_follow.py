"""Followers: where they go on, when they read the tables again, what is refused, who is told; and live readers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest

from antiphon import Agent, Conflict, InvalidInput, NotFound, Rejected, Unavailable
from antiphon.engines.memory import MemoryTables, MemoryTopics
from antiphon.model import limits
from antiphon.model.errors import Corrupt, LimitExceeded
from antiphon.model.places import Places, Stream
from antiphon.model.table import Column, Table, Type
from antiphon.model.text import parse_entity
from antiphon.replica.feed import PAUSE_MS_MAX, PAUSE_MS_MIN, Feed, Tail, Watch
from antiphon.replica.follow import Follower
from antiphon.views.domain import AssertRow, Domain, Kind
from antiphon.views.feed import Change, Marks, epoch_of
from antiphon.world.clock import ManualClock
from tests.unit.views.notes import NOTES_DOMAIN, Written

CARD_ROWS = Table(
    "cards",
    key="id",
    columns=(Column("id", Type.ID, nullable=False), Column("text", Type.TEXT)),
    places=Places(streams=(Stream("card.written", 4, kinds=("card.written",), by=("id",)),)),
)
CARDS = Domain(
    "cards",
    kinds=(Kind("card.written", Written),),
    tables=(CARD_ROWS,),
    folds={"card.written": (AssertRow(CARD_ROWS, text="text"),)},
)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def agent(clock: ManualClock) -> Iterator[Agent]:
    with Agent.create("ada", domains=[NOTES_DOMAIN, CARDS], clock=clock) as made:
        yield made


class Broken(MemoryTables):
    """An engine that answers every batch with this error, until it is None."""

    error: Exception | None = None
    batches = 0

    def apply(self, epoch: int, changes: Sequence[Change], *, marks: Marks | None = None) -> None:
        self.batches += 1
        if self.error is not None:
            raise self.error
        super().apply(epoch, changes, marks=marks)


def texts(engine: MemoryTables, agent: Agent) -> list[str]:
    table = agent.replica.registry.table("memories")
    return sorted(change.row["content"] for change in engine.rows(table, after=None, limit=100) if change.row)


def test_a_follower_goes_on_where_it_stopped(agent: Agent) -> None:
    engine = Broken()
    agent.remember("one")
    assert agent.follow(engine, name="rows", tables=["memories"]).run() == 1
    agent.remember("two")
    again = agent.follow(engine, name="rows", tables=["memories"])
    assert again.run() == 1
    assert texts(engine, agent) == ["one", "two"]


@pytest.mark.parametrize("why", ["other tables", "an empty engine", "another feeder since", "a copy of the file"])
def test_it_reads_the_tables_again_where_the_engine_is_not_what_it_left(agent: Agent, why: str) -> None:
    engine = MemoryTables()
    agent.remember("one")
    agent.follow(engine, name="rows", tables=["memories"]).run()
    tables = ["memories", "notes"] if why == "other tables" else ["memories"]
    if why == "an empty engine":
        engine = MemoryTables()
    elif why == "another feeder since":
        assert engine.fence(engine.kept().epoch, 9)
    elif why == "a copy of the file":
        with agent.replica.file.transaction():
            agent.replica.file.put("incarnation", b"another")
    assert agent.follow(engine, name="rows", tables=tables).run() == 1
    assert texts(engine, agent) == ["one"]


def test_what_was_left_over_is_swept(agent: Agent) -> None:
    engine = MemoryTables()
    made = agent.remember("one")
    agent.follow(engine, name="rows", tables=["memories"]).run()
    agent.unfollow("rows")
    agent.forget(made.event)
    agent.follow(engine, name="rows", tables=["memories"]).run()
    assert texts(engine, agent) == []
    assert engine.tombstones("memories") == 0


def test_a_refold_leads_to_a_new_reading_under_a_new_epoch(agent: Agent) -> None:
    engine = MemoryTables()
    agent.remember("one")
    follower = agent.follow(engine, name="rows", tables=["memories"])
    follower.run()
    before = engine.kept().epoch
    agent.replica.refold("memory")
    assert follower.run() == 1
    assert engine.kept().epoch == before + 1
    table = agent.replica.registry.table("memories")
    assert {epoch_of(change.version) for change in engine.rows(table, after=None, limit=9)} == {before + 1}


def test_a_feed_with_a_hole_is_not_followed(agent: Agent) -> None:
    engine = MemoryTables()
    follower = agent.follow(engine, name="rows", tables=["memories"])
    agent.remember("zero")
    follower.run()
    agent.remember("one")
    lost = agent.replica.stored_state().version
    agent.remember("two")
    with agent.replica.file.transaction():
        agent.replica.file.writer.execute("DELETE FROM outbox WHERE version=?", (lost,))
    follower.run()
    assert texts(engine, agent) == ["one", "two", "zero"]


def test_the_feed_is_kept_for_the_slowest_and_no_longer(agent: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "OUTBOX_COMMITS_MIN", 3)
    quick, slow = (agent.follow(MemoryTables(), name=name, tables=["memories"]) for name in ("quick", "slow"))
    agent.remember("0")
    quick.run()
    slow.run()
    for at in range(20):
        agent.remember(str(at))
    quick.run()
    count = "SELECT count(*) FROM outbox"
    assert agent.replica.file.reader.execute(count).get == 21
    slow.run()
    quick.save(force=True)
    assert agent.replica.file.reader.execute(count).get == 3
    assert quick.run() == slow.run() == 0


def test_a_laggard_past_the_limit_reads_the_tables_again(agent: Agent) -> None:
    engine = MemoryTables()
    follower = agent.follow(engine, name="rows", tables=["memories"])
    agent.remember("0")
    follower.run()
    before = engine.kept().epoch
    for at in range(5):
        agent.remember(str(at))
    with agent.replica.file.transaction():  # as a commit does past OUTBOX_COMMITS_MAX
        agent.replica.file.writer.execute("DELETE FROM outbox WHERE version < (SELECT max(version) - 2 FROM outbox)")
    assert follower.run() == 6
    assert engine.kept().epoch == before + 1


def test_a_large_commit_is_delivered_in_parts(agent: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "FEED_ROWS_MAX", 7)
    engine = MemoryTables()
    follower = agent.follow(engine, name="rows", tables=["memories"])
    follower.run()
    with agent.batch() as batch:
        for at in range(40):
            batch.remember(f"n {at}")
    assert follower.step() == 7
    assert follower.lag().events == 33
    follower.run()
    assert len(texts(engine, agent)) == 40
    assert follower.check() == []


def test_a_second_feeder_fences_the_first_off(agent: Agent) -> None:
    engine = MemoryTables()
    first = agent.follow(engine, name="rows", tables=["memories"])
    first.run()
    second = agent.follow(engine, name="rows", tables=["memories"])
    second.run()
    agent.remember("one")
    with pytest.raises(Conflict):
        first.step()
    assert first.state == "fenced"
    assert second.run() == 1
    assert [one.state for one in agent.followers()] == ["following"]


def test_an_engine_that_is_away_is_asked_less_and_less_and_costs_the_log_nothing(
    agent: Agent, clock: ManualClock
) -> None:
    engine = Broken()
    follower = agent.follow(engine, name="rows", tables=["memories"])
    follower.run()
    engine.error, engine.batches = Unavailable("the engine is down"), 0
    agent.remember("one")
    for _ in range(600):
        follower.step()
        clock.pass_ms(100)
    assert engine.batches <= 14
    assert follower.state == "retrying"
    (standing,) = agent.followers()
    assert (standing.state, standing.behind, standing.error) == ("retrying", 1, "the engine is down")
    assert standing.behind_seconds == pytest.approx(60)
    engine.error = None
    clock.pass_ms(30_000)
    assert follower.run() == 1
    (standing,) = agent.followers()
    assert (standing.state, standing.behind) == ("following", 0)


def test_run_gives_up_on_an_engine_that_stays_away(agent: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = Broken()
    engine.error = Unavailable("down")
    agent.remember("one")
    clock = agent.replica.clock
    assert isinstance(clock, ManualClock)
    monkeypatch.setattr("antiphon.replica.feeder.sleep_ms", lambda ms: clock.pass_ms(int(ms) + 1))
    with pytest.raises(Unavailable, match="down"):
        agent.follow(engine, name="rows", tables=["memories"]).run(patience_ms=5_000)


def test_what_an_engine_refuses_is_kept_by_key_and_holds_nothing_else_up(agent: Agent) -> None:
    class Picky(MemoryTables):
        def apply(self, epoch: int, changes: Sequence[Change], *, marks: Marks | None = None) -> None:
            if any(change.row and "bad" in change.row["content"] for change in changes):
                raise Rejected("content breaks a rule of the engine")
            super().apply(epoch, changes, marks=marks)

    engine = Picky()
    made = [agent.remember(f"{'bad' if at == 5 else 'good'} {at}") for at in range(9)]
    follower = agent.follow(engine, name="rows", tables=["memories"])
    follower.run()
    assert len(texts(engine, agent)) == 8
    bad = parse_entity(made[5].entity or "")
    assert follower.letters() == [("memories", bad, "content breaks a rule of the engine")]
    assert [(one.how, one.key) for one in follower.check()] == [("missing", bad)]
    assert follower.drive_again() == 1
    agent.update(made[5].entity or "", text="mended")
    follower.run()
    assert follower.letters() == []
    assert follower.check() == []


def test_what_was_refused_can_be_delivered_by_hand(agent: Agent) -> None:
    engine = Broken()
    engine.error = Rejected("no")
    agent.remember("one")
    follower = agent.follow(engine, name="rows", tables=["memories"])
    follower.run()
    assert texts(engine, agent) == []
    engine.error = None
    assert follower.run() == 0, "by hand alone"
    assert follower.drive_again() == 0
    assert texts(engine, agent) == ["one"]
    assert follower.letters() == []


def test_forget_names_the_engines_that_follow(agent: Agent) -> None:
    made = agent.remember("one")
    agent.follow(MemoryTables(), name="rows", tables=["memories"]).run()
    places = {place.name: str(place.state) for place in agent.forget(made.event).places}
    assert places["engine rows (MemoryTables)"] == "pending"


def test_forgetting_drops_letters(agent: Agent) -> None:
    engine = Broken()
    engine.error = Rejected("no")
    made = agent.remember("one")
    follower = agent.follow(engine, name="rows", tables=["memories"])
    follower.run()
    assert len(follower.letters()) == 1
    agent.forget(made.event)
    assert follower.letters() == []


def test_an_engine_that_refuses_everything_stops_its_follower(agent: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "LETTERS_MAX", 4)
    engine = Broken()
    engine.error = Rejected("no")
    for at in range(6):
        agent.remember(str(at))
    follower = agent.follow(engine, name="rows", tables=["memories"])
    with pytest.raises(LimitExceeded, match="LETTERS_MAX"):
        follower.run()
    assert follower.state == "stopped"


@pytest.mark.parametrize("error", [Corrupt("its bytes fail"), ZeroDivisionError("a driver's mistake")])
def test_an_engine_that_is_damaged_stops_its_follower_and_no_other(agent: Agent, error: Exception) -> None:
    engine = Broken()
    engine.error = error
    agent.remember("one")
    follower = agent.follow(engine, name="rows", tables=["memories"])
    with pytest.raises(type(error)):
        follower.step()
    assert follower.state == "stopped"
    with pytest.raises((Corrupt, Rejected)):
        follower.step()
    well = agent.follow(MemoryTables(), name="well", tables=["memories"])
    assert well.run() == 1
    assert {one.name: one.state for one in agent.followers()} == {"rows": "stopped", "well": "following"}


def test_check_names_every_row_that_differs(agent: Agent) -> None:
    engine = MemoryTables()
    made = [agent.remember(str(at)) for at in range(4)]
    follower = agent.follow(engine, name="rows", tables=["memories"])
    follower.run()
    keys = [parse_entity(one.entity or "") for one in made]
    kept = engine._tables["memories"]
    other = kept.pop(keys[0])
    kept[bytes(16)] = Change("memories", bytes(16), other.version, other.row)
    kept[keys[1]] = Change("memories", keys[1], other.version, {**(kept[keys[1]].row or {}), "type": "other"})
    engine._ordered.clear()
    found = {(one.key, one.how, one.columns) for one in follower.check()}
    assert found == {(keys[0], "missing", ()), (bytes(16), "extra", ()), (keys[1], "differs", ("type",))}


def test_tombstones_go_when_the_feed_is_past_them(
    agent: Agent, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "OUTBOX_COMMITS_MIN", 1)
    engine = MemoryTables()
    follower = agent.follow(engine, name="rows", tables=["memories"])
    made = agent.remember("one")
    follower.run()
    agent.forget(made.event)
    follower.run()
    assert engine.tombstones("memories") == 1
    for at in range(4):
        agent.remember(str(at))
        follower.run()
    clock.pass_ms(70_000)
    follower.run()
    assert engine.tombstones("memories") == 0


def test_a_thread_follows_until_the_agent_is_closed() -> None:
    engine = MemoryTables()
    with Agent.create("bob") as agent:
        follower = agent.follow(engine, name="rows", tables=["memories"], background=True)
        for at in range(20):
            agent.remember(str(at))
        watch = Watch(agent.replica.file, agent.replica.clock)
        for _ in range(2_000):
            if follower.lag().events == 0 and len(texts(engine, agent)) == 20:
                break
            watch.changed()
            follower._stopping.wait(0.005)
        assert len(texts(engine, agent)) == 20
    assert follower._thread is None


def test_names_and_tables_that_make_no_sense_are_refused(agent: Agent) -> None:
    for name in ("", "x" * 65, "a\nb"):
        with pytest.raises(InvalidInput):
            agent.follow(MemoryTables(), name=name)
    with pytest.raises(InvalidInput):
        agent.follow(MemoryTables(), name="rows", tables=["nope"])
    with pytest.raises(InvalidInput):
        agent.follow(MemoryTables(), name="rows", tables=[])
    with pytest.raises(InvalidInput):
        agent.follow_events(MemoryTopics(), name="events", topics=["nope"])
    with pytest.raises(NotFound):
        agent.unfollow("nobody")


# -- events ------------------------------------------------------------------------------------------------------


def test_events_of_a_topic_come_in_order_with_their_ids(agent: Agent) -> None:
    topics = MemoryTopics()
    follower = agent.follow_events(topics, name="events", topics=["card.written"])
    made = [agent.record("card.written", {"text": str(at)}) for at in range(5)]
    agent.remember("something else")
    assert follower.run() == 5
    got = topics.topics["card.written"]
    assert [one.id for one in got] == [one.event for one in made]
    assert got[0].key == parse_entity(made[0].entity or "")
    made.append(agent.record("card.written", {"text": "more"}))
    again = agent.follow_events(topics, name="events", topics=["card.written"])
    assert again.run() == 1
    assert agent.followers()[0].behind == 0


def test_what_is_forgotten_before_it_is_delivered_never_is(agent: Agent) -> None:
    topics = MemoryTopics()
    made = [agent.record("card.written", {"text": str(at)}) for at in range(3)]
    follower = agent.follow_events(topics, name="events")
    agent.forget(made[1].event)
    follower.run()
    assert [one.id for one in topics.topics["card.written"]] == [made[0].event, made[2].event]


def test_a_follower_of_events_may_begin_now(agent: Agent) -> None:
    topics = MemoryTopics()
    agent.record("card.written", {"text": "old"})
    follower = agent.follow_events(topics, name="events", from_start=False)
    assert follower.run() == 0
    made = agent.record("card.written", {"text": "new"})
    follower.run()
    assert [one.id for one in topics.topics["card.written"]] == [made.event]


# -- readers who keep no cursor ----------------------------------------------------------------------------------


def test_a_tail_shows_what_comes_and_what_goes(agent: Agent) -> None:
    table = agent.replica.registry.table("memories")
    first = agent.remember("one")
    now = Tail(Feed(agent.replica, [table]), table, from_start=False)
    start = Tail(Feed(agent.replica, [table]), table, from_start=True)
    assert now.read() == []
    assert [change.row["content"] for change in start.read() if change.row] == ["one"]
    agent.remember("two")
    agent.forget(first.event)
    for tail in (now, start):
        found = [change for _ in range(3) for change in tail.read()]
        assert sorted(change.row["content"] if change.row else "gone" for change in found) == ["gone", "two"]
    agent.replica.refold("memory")
    found = [change for _ in range(3) for change in now.read()]
    assert [change.row["content"] for change in found if change.row] == ["two"]


def test_who_waits_looks_often_while_things_happen(agent: Agent, clock: ManualClock) -> None:
    watch = Watch(agent.replica.file, clock)
    assert watch.changed()
    assert not watch.changed()
    assert watch.pause_ms == PAUSE_MS_MIN
    clock.pass_ms(80)
    assert watch.pause_ms == 10
    clock.pass_ms(10_000)
    assert watch.pause_ms == PAUSE_MS_MAX
    agent.remember("one")
    assert watch.changed()
    assert watch.pause_ms == PAUSE_MS_MIN


def test_follower_needs_a_table(agent: Agent) -> None:
    with pytest.raises(InvalidInput):
        Follower(agent.replica, MemoryTables(), "rows", [])
