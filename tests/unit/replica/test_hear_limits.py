"""What one event of somebody else's may cost, and that none holds the others up, whatever folding it raises."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import apsw
import msgspec
import pytest

from antiphon.model import limits
from antiphon.model.errors import DiskFull, LimitExceeded, Rejected
from antiphon.model.event import NEW, Draft, Event, Scope, encode_body
from antiphon.model.table import ANYONE, Column, Table, Type
from antiphon.replica import hear as hearing
from antiphon.replica.commit import Batch
from antiphon.replica.core import Replica
from antiphon.replica.hear import hear
from antiphon.views.domain import AssertRow, Domain, Kind, Op, Write, write
from antiphon.world.clock import ManualClock
from tests.simulation.views_world import Cast, World, check, held, opened, refused
from tests.unit.views.every_rule import domain

WORDS = Table(
    "words", key="word", columns=(Column("word", Type.TEXT, nullable=False), Column("said", Type.INTEGER)),
    writers=ANYONE, shared=True,
)  # fmt: skip


class _Spoken(msgspec.Struct):
    words: list[str]


class _Word(msgspec.Struct):
    word: str


def _each(event: Event, body: _Spoken) -> Iterable[Write]:
    for word in body.words:
        yield write(WORDS, Op.ASSERT, {"word": word, "said": event.seq})


SPEECH = Domain(
    "speech",
    kinds=(Kind("speech.given", _Spoken), Kind("word.said", _Word)),
    tables=(WORDS,),
    folds={"speech.given": (_each,), "word.said": (AssertRow(WORDS, word="word"),)},
)


@pytest.fixture
def speech(people: Cast) -> Iterator[World]:
    made = World(people, lambda: SPEECH, replicas=1)
    yield made
    made.close()


def words(replica: Replica) -> int:
    return replica.tables.count(WORDS)


# -- limits ----------------------------------------------------------------------------------------------------------


def test_a_step_of_hearing_ends_when_enough_was_written(speech: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hearing, "STEP_WRITES_MAX", 50)
    here, steps = speech.replicas[0], list[hearing.Heard]()
    fold = hearing.fold_due

    def noted(*given: Any, **named: Any) -> hearing.Heard:
        steps.append(fold(*given, **named))
        return steps[-1]

    monkeypatch.setattr(hearing, "fold_due", noted)
    for at in range(20):
        speech.write(0, "speech.given", {"words": [f"{at} {n}" for n in range(20)]}, entity=None)
    for log in (*speech.cast.homes, speech.cast.logs[0]):
        speech.deliver(0, log)
    assert words(here) == 400
    assert max(step.writes for step in steps) <= 50 + 20
    assert sum(step.writes for step in steps) == 400
    assert here.heard_to(here.head(speech.cast.logs[0]).no) == 20
    assert here.feed_is_whole()
    before = held(here)
    here.refold("speech")
    assert held(here) == before


def test_one_event_writes_to_so_many_rows_and_no_more(speech: World, people: Cast) -> None:
    most = limits.EVENT_WRITES_MAX
    many = {"words": [f"{n}" for n in range(most + 1)]}
    event = speech.write(0, "speech.given", many, entity=None)
    speech.write(0, "speech.given", {"words": many["words"][:most]}, entity=None)
    speech.deliver_all(0)
    here = speech.replicas[0]
    assert words(here) == most
    assert refused(here)[1] == {(event.log, event.seq)}
    local = opened(people, people.source, [SPEECH], speech.clock)
    draft = Draft("speech.given", encode_body(many), entity=None, scope=Scope.PUBLIC)
    with local, pytest.raises(LimitExceeded, match="EVENT_WRITES_MAX"):
        local.commit(Batch(people.logs[0], [draft], [None]))


@pytest.mark.parametrize("kind", ["word.said", "speech.given"])
def test_a_key_is_so_long_and_no_longer(speech: World, people: Cast, kind: str) -> None:
    def body(length: int) -> dict[str, Any]:
        return {"word": "x" * length} if kind == "word.said" else {"words": ["x" * length]}

    event = speech.write(0, kind, body(limits.KEY_BYTES_MAX), entity=None)  # a key's bytes are a few more
    speech.write(0, kind, body(limits.KEY_BYTES_MAX - 8), entity=None)
    speech.deliver_all(0)
    assert words(speech.replicas[0]) == 1
    assert refused(speech.replicas[0])[1] == {(event.log, event.seq)}
    local = opened(people, people.source, [SPEECH], speech.clock)
    draft = Draft(kind, encode_body(body(2_000)), entity=None, scope=Scope.PUBLIC)
    with local, pytest.raises(LimitExceeded, match="KEY_BYTES_MAX"):
        local.commit(Batch(people.logs[0], [draft], [None]))


# -- faults ----------------------------------------------------------------------------------------------------------


def poisoned(monkeypatch: pytest.MonkeyPatch, replica: Replica, error: Exception) -> None:
    """Whatever puts a row with the title "poison" in its place raises this, once the row is half there."""
    put = replica.views._put

    def touchy(table: Any, key: bytes, old: Any, row: Any) -> bool:
        changed = put(table, key, old, row)
        if row is not None and "poison" in row:
            raise error
        return changed

    monkeypatch.setattr(replica.views, "_put", touchy)


@pytest.mark.parametrize(
    "error", [TypeError("odd"), ZeroDivisionError("odd"), RuntimeError("odd"), apsw.ConstraintError("odd")]
)
def test_an_event_that_makes_anything_fail_is_kept_and_listed(
    world: World, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    here, poison = world.replicas[0], []
    poisoned(monkeypatch, here, error)
    for at in range(7):
        world.write(0, "board.put", {"name": f"good {at}", "title": "fine", "owner": None}, entity=None)
        if at in (2, 5):
            body = {"name": f"bad {at}", "title": "poison", "owner": None}
            poison.append(world.write(0, "board.put", body, entity=None))
        world.write(0, "thing.made", {"name": f"thing {at}"}, entity=NEW)
    world.deliver_all(0)
    world.deliver_all(1)
    assert sorted(row["name"] for row, _ in held(here)["boards"].values()) == [f"good {at}" for at in range(7)]
    assert len(held(here)["things"]) == 7
    assert refused(here)[1] == {(event.log, event.seq) for event in poison}
    assert all("odd" in said for said in refused(here)[2])
    assert [here.event(event.log, event.seq) for event in poison] == poison
    assert here.feed_is_whole()
    monkeypatch.undo()
    here.refold("every_rule")
    check(world)


def test_what_the_disk_does_is_no_events_fault(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    here = world.replicas[0]
    world.write(0, "board.put", {"name": "amber", "title": "poison", "owner": None}, entity=None)
    world.deliver(0, world.cast.logs[0])
    with monkeypatch.context() as patched:
        poisoned(patched, here, apsw.FullError("no room"))
        with pytest.raises(DiskFull):
            world.deliver(0, world.cast.homes[0])
    assert refused(here)[1] == set()
    world.deliver_all(0)
    world.deliver_all(1)
    hear(here)
    check(world)


def test_a_command_whose_row_cannot_be_made_fails_whole(people: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    here = opened(people, people.source, [domain()], World(people, domain, replicas=0).clock)
    with here:
        poisoned(monkeypatch, here, KeyError("odd"))
        before = here.head(people.logs[0]).size
        drafts = [
            Draft("board.put", encode_body({"name": name, "title": title, "owner": None}), scope=Scope.PUBLIC)
            for name, title in (("a", "fine"), ("b", "poison"))
        ]
        with pytest.raises(Rejected, match=r"odd.*nothing was recorded"):
            here.commit(Batch(people.logs[0], drafts, [None, None]))
        assert here.head(people.logs[0]).size == before
        assert held(here)["boards"] == {}
        here.commit(Batch(people.logs[0], drafts[:1], [None]))
        assert len(held(here)["boards"]) == 1


# -- one order in a file ---------------------------------------------------------------------------------------------


def test_what_is_said_after_is_stamped_after_in_one_file(people: Cast) -> None:
    clock = ManualClock(1_700_000_010_000)  # it stands still
    with opened(people, people.source, [domain()], clock) as here:
        stamps = []
        for at in range(12):
            if at == 6:
                clock.set_wall(clock.now_ms() - 60_000)
            log = sorted(people.logs, reverse=True)[at % 4]
            draft = Draft("board.changed", encode_body({"name": "amber", "tags": ["x"]}), scope=Scope.PUBLIC)
            stamps.append(here.event(log, here.commit(Batch(log, [draft], [None])).first).stamp)
        assert stamps == sorted(set(stamps))


def test_a_clock_that_ran_far_ahead_drags_no_other_log_along(people: Cast) -> None:
    clock = ManualClock(1_700_000_010_000)
    draft = Draft("board.changed", encode_body({"name": "amber", "tags": ["x"]}), scope=Scope.PUBLIC)
    with opened(people, people.source, [domain()], clock) as here:
        now = clock.now_ms()
        clock.set_wall(now + limits.CLOCK_AHEAD_MS_MAX + 1_000)
        here.commit(Batch(people.logs[0], [draft], [None]))
        ahead = here.head(people.logs[0]).hlc
        clock.set_wall(now)
        here.commit(Batch(people.logs[1], [draft], [None]))
        assert here.head(people.logs[1]).hlc >> 16 == now
        clock.set_wall(now + 2_000)  # by now it may be seen
        here.commit(Batch(people.logs[2], [draft], [None]))
        assert here.head(people.logs[2]).hlc == ahead + 1
