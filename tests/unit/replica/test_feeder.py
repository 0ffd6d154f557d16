"""What a feeder knows of its engine: how far it had come, whose it is, what it keeps of refused rows, former tables."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from antiphon import Agent, Conflict, InvalidInput, Rejected, Unavailable
from antiphon.engines.memory import MemoryTopics
from antiphon.model.text import parse_entity
from antiphon.replica.follow import Follower
from antiphon.views.feed import Change, EngineEmptied, Marks
from antiphon.world.clock import ManualClock
from tests.faults.engine import FaultyTables
from tests.unit.replica.test_follow import CARDS
from tests.unit.views.notes import NOTES_DOMAIN, Changed, Written

NEVER = 1e12


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def agent(clock: ManualClock) -> Iterator[Agent]:
    with Agent.create("ada", domains=[NOTES_DOMAIN, CARDS], clock=clock) as made:
        yield made


class Engine(FaultyTables):
    """An engine where nothing goes wrong but what a test says."""

    def __init__(self) -> None:
        super().__init__(None, None)  # type: ignore[arg-type]
        self.bad: str | None = None
        self.lost_answers = 0

    def _maybe(self, what: str) -> bool:
        return False

    def apply(self, epoch: int, changes: Sequence[Change], *, marks: Marks | None = None) -> None:
        if self.bad is not None and any(self.bad in str(change.row) for change in changes if change.row):
            raise Rejected("a rule of the engine")
        super().apply(epoch, changes, marks=marks)
        if self.lost_answers:
            self.lost_answers -= 1
            raise Unavailable("the engine did not answer")

    def words(self) -> str:
        return str([change.row for kept in self._tables.values() for change in kept.values()])


def followed(agent: Agent, engine: Any, *tables: str, save_ms: float = 0, **more: Any) -> Follower:
    chosen = [agent.replica.registry.table(name) for name in tables or ("notes",)]
    return Follower(agent.replica, engine, "rows", chosen, save_ms=save_ms, **more)


def settle(follower: Follower, clock: ManualClock) -> None:
    for _ in range(50):
        clock.pass_ms(40_000)
        follower.step()
    assert follower.idle
    assert follower.state == "following"
    assert follower.check() == []


# -- an engine in an older state ---------------------------------------------------------------------------------


@pytest.mark.parametrize("at", ["alive", "dead", "idle", "an older epoch"])
def test_what_an_engine_lost_is_delivered_again_and_what_was_forgotten_stays_so(
    agent: Agent, clock: ManualClock, at: str
) -> None:
    engine = Engine()
    secret = agent.record("note.written", Written("xylophonic")).entity
    old = agent.record("note.written", Written("first")).entity
    follower = followed(agent, engine)
    settle(follower, clock)
    before = engine.state()
    if at == "an older epoch":
        follower = followed(agent, engine)
        settle(follower, clock)
    agent.forget(entity=secret)
    agent.record("note.changed", Changed(text="second"), entity=old)
    settle(follower, clock)
    assert "xylophonic" not in engine.words()
    engine.put_back(before)
    assert "xylophonic" in engine.words()
    if at == "idle":
        clock.pass_ms(2_000)
        follower.step()
        assert follower.state == "retrying", "the next pulse notices it"
    else:
        agent.record("note.written", Written("after"))
    if at == "dead":
        follower = followed(agent, engine)
    settle(follower, clock)
    assert "xylophonic" not in engine.words()
    assert not follower.has_ended


def test_what_was_applied_before_a_crash_is_not_read_again(agent: Agent, clock: ManualClock) -> None:
    engine = Engine()
    for n in range(5):
        agent.record("note.written", Written(f"note {n}"))
    follower = followed(agent, engine, save_ms=NEVER)
    settle(follower, clock)
    follower.save(force=True)
    for n in range(3):  # delivered, and the cursor is not saved
        agent.record("note.written", Written(f"later {n}"))
        follower.step()
    again = followed(agent, engine)
    assert again.run() == 3
    assert followed(agent, engine).run() == 0


def test_a_batch_whose_answer_was_lost_is_not_read_as_a_loss(agent: Agent, clock: ManualClock) -> None:
    engine = Engine()
    for n in range(5):
        agent.record("note.written", Written(f"note {n}"))
    follower = followed(agent, engine)
    settle(follower, clock)
    epoch = engine.kept().epoch
    engine.lost_answers = 3
    agent.record("note.written", Written("later"))
    settle(follower, clock)
    assert engine.lost_answers == 0
    assert engine.kept().epoch == epoch
    assert followed(agent, engine).run() == 0


def test_an_engine_that_took_one_attempt_and_lost_the_next_is_found_out(agent: Agent, clock: ManualClock) -> None:
    engine = Engine()
    follower = followed(agent, engine)
    settle(follower, clock)
    engine.lost_answers = 1
    secret = agent.record("note.written", Written("xylophonic")).entity
    follower.step()
    before = engine.state()
    assert "xylophonic" in engine.words()
    agent.forget(entity=secret)
    settle(follower, clock)
    engine.put_back(before)
    settle(follower, clock)
    assert "xylophonic" not in engine.words()


def test_two_who_raise_the_same_epoch_in_two_pasts_are_told_apart(agent: Agent, clock: ManualClock) -> None:
    engine = Engine()
    first = followed(agent, engine)
    settle(first, clock)
    before = engine.state()
    second = followed(agent, engine)
    settle(second, clock)
    engine.put_back(before)
    raised = engine.kept().epoch + 1
    assert engine.fence(raised - 1, raised, mark=5 << 39)
    agent.record("note.written", Written("more"))
    with pytest.raises(Conflict):
        second.step()
    assert second.state == "fenced"


def test_events_are_carried_again_to_topics_that_were_put_back(agent: Agent, clock: ManualClock) -> None:
    topics = MemoryTopics()
    follower = agent.follow_events(topics, name="events", topics=["card.written"])
    agent.record("card.written", {"text": "one"})
    follower.run()
    fence, kept = topics.kept(), {name: list(said) for name, said in topics.topics.items()}
    agent.record("card.written", {"text": "two"})
    follower.run()
    topics._fence, topics.topics = fence, kept
    agent.record("card.written", {"text": "three"})
    for _ in range(5):
        clock.pass_ms(40_000)
        follower.step()
    assert not follower.has_ended
    assert len({one.id for one in topics.topics["card.written"]}) == 3


# -- whose it is -------------------------------------------------------------------------------------------------


def test_an_engine_that_another_file_feeds_is_refused_and_can_be_taken_over(
    agent: Agent, clock: ManualClock, tmp_path: Path
) -> None:
    engine = Engine()
    agent.record("note.written", Written("ada's"))
    first = followed(agent, engine)
    settle(first, clock)
    with Agent.create("bob", home=tmp_path / "other", domains=[NOTES_DOMAIN], clock=clock) as bob:
        bob.record("note.written", Written("bob's"))
        with pytest.raises(InvalidInput, match="--take-over"):
            bob.follow(engine, name="rows", tables=["notes"]).step()
        assert [one.state for one in bob.followers()] == ["stopped"]
        assert "ada's" in engine.words()
        agent.record("note.written", Written("more"))
        settle(first, clock)
        taken = bob.follow(engine, name="rows", tables=["notes"], take_over=True)
        settle(taken, clock)
        assert "ada's" not in engine.words()
        agent.record("note.written", Written("even more"))
        with pytest.raises(Conflict):
            first.step()
        with pytest.raises(InvalidInput, match="another file"):
            followed(agent, engine).step()


def test_who_has_taken_over_once_does_not_do_so_again_by_itself(
    agent: Agent, clock: ManualClock, tmp_path: Path
) -> None:
    engine = Engine()
    with Agent.create("bob", home=tmp_path / "other", domains=[NOTES_DOMAIN], clock=clock) as bob:
        settle(followed(bob, engine), clock)
        before = engine.state()
        taken = followed(agent, engine, take_over=True)
        settle(taken, clock)
        engine.put_back(before)
        agent.record("note.written", Written("more"))
        clock.pass_ms(40_000)
        taken.step()
        clock.pass_ms(40_000)
        with pytest.raises(InvalidInput, match="another file"):
            taken.step()


def test_a_copy_of_the_file_goes_on_feeding(agent: Agent, clock: ManualClock) -> None:
    engine = Engine()
    settle(followed(agent, engine), clock)
    with agent.replica.file.transaction():
        agent.replica.file.put("incarnation", b"another")
    agent.record("note.written", Written("more"))
    settle(followed(agent, engine), clock)


# -- what was refused --------------------------------------------------------------------------------------------


def test_a_refused_image_leaves_no_older_one(agent: Agent, clock: ManualClock) -> None:
    engine = Engine()
    entity = agent.record("note.written", Written("plain")).entity
    second = agent.record("note.changed", Changed(text="xylophonic"), entity=entity)
    follower = followed(agent, engine)
    settle(follower, clock)
    engine.bad = "bad"
    agent.record("note.changed", Changed(text="bad"), entity=entity)
    follower.run()
    key = parse_entity(entity or "")
    assert [(table, at) for table, at, _ in follower.letters()] == [("notes", key)]
    assert "xylophonic" not in engine.words()
    assert [one.how for one in follower.check()] == ["missing"]
    agent.forget(second.event)
    follower.run()
    assert "xylophonic" not in engine.words()
    engine.bad = None
    assert follower.drive_again() == 0
    settle(follower, clock)
    assert "bad" in engine.words()


def test_a_row_that_is_driven_again_arrives_though_nothing_was_written_since(agent: Agent, clock: ManualClock) -> None:
    engine = Engine()
    engine.bad = "bad"
    agent.record("note.written", Written("bad"))
    follower = followed(agent, engine)
    follower.run()
    assert engine.tombstones("notes") == 1
    assert follower.drive_again() == 1
    engine.bad = None
    assert follower.drive_again() == 0
    assert follower.check() == []
    assert engine.tombstones("notes") == 0


def test_driving_again_notices_an_engine_that_was_put_back(agent: Agent, clock: ManualClock) -> None:
    engine = Engine()
    engine.bad = "bad"
    follower = followed(agent, engine)
    settle(follower, clock)
    before = engine.state()
    agent.record("note.written", Written("bad"))
    agent.record("note.written", Written("good"))
    follower.run()
    engine.put_back(before)
    with pytest.raises(EngineEmptied):
        follower.drive_again()
    engine.bad = None
    settle(follower, clock)
    assert follower.letters() == []


# -- tables that are followed no more ----------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["not asked for", "not declared", "followed by an older version"])
def test_a_table_that_is_followed_no_more_is_emptied(agent: Agent, clock: ManualClock, how: str) -> None:
    engine = Engine()
    agent.record("note.written", Written("xylophonic"))
    settle(followed(agent, engine, "notes", "cards"), clock)
    assert "xylophonic" in engine.words()
    follower = followed(agent, engine, "cards")
    if how == "not declared":
        agent.replica.registry.tables.pop("notes")
    elif how == "followed by an older version":  # which kept no declarations
        with agent.replica.file.transaction():
            agent.replica.file.drop("followed/rows")
    settle(follower, clock)
    assert "xylophonic" not in engine.words()
    assert followed(agent, engine, "cards").run() == 0, "once"


def test_a_table_is_emptied_though_the_feeder_dies_before(agent: Agent, clock: ManualClock) -> None:
    engine = Engine()
    agent.record("note.written", Written("xylophonic"))
    settle(followed(agent, engine, "notes", "cards"), clock)
    followed(agent, engine, "cards").step()
    assert "xylophonic" in engine.words()
    settle(followed(agent, engine, "cards"), clock)
    assert "xylophonic" not in engine.words()


def test_a_table_that_is_followed_again_is_filled(agent: Agent, clock: ManualClock) -> None:
    engine = Engine()
    agent.record("note.written", Written("xylophonic"))
    settle(followed(agent, engine, "notes", "cards"), clock)
    followed(agent, engine, "cards").step()
    settle(followed(agent, engine, "notes", "cards"), clock)
    assert "xylophonic" in engine.words()
