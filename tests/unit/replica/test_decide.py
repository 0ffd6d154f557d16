"""Homes: who decides, at once or later, once each, and what becomes of it when a home moves, is lost or cloned."""

import shutil
from pathlib import Path
from threading import Thread
from typing import Any

import msgspec
import pytest

from antiphon import Agent, Conflict, Domain, InvalidInput, Kind, NotFound, Rejected, Unavailable
from antiphon.domains.tasks import TASKS, Tasks
from antiphon.domains.wisdom import INSIGHTS, Wisdom
from antiphon.log import kinds
from antiphon.log.store import LogRole
from antiphon.model.event import Draft, Event, Ref, Role, Scope, encode_body
from antiphon.model.text import id_text, parse_entity, parse_id
from antiphon.replica import decide
from antiphon.replica.commit import Batch
from antiphon.replica.core import Replica
from antiphon.replica.decide import Decided, Requested, answer_requests
from antiphon.replica.homes import hear_homes, move_home, take_in
from antiphon.views.commands import draft_of
from antiphon.views.domain import Registry
from antiphon.views.store import OF_ASKED
from antiphon.world.clock import ManualClock
from tests.unit.replica.boards import Fleet, principal_of, row


def said(agent: Agent, *wanted: str) -> list[Event]:
    return [event for event in agent.log() if event.kind in wanted]


def lie(replica: Replica, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets a file record whatever it likes: its code does not judge what it writes."""
    monkeypatch.setattr(replica.views, "apply", lambda *args, **how: set())


def test_a_home_in_the_same_file_decides_in_the_same_commit(fleet: Fleet) -> None:
    task = Tasks(fleet.ada).create("x").entity or ""
    commits = fleet.ada.replica.state.events
    got = Tasks(fleet.ada).claim(task)
    assert isinstance(got, Decided)
    assert got.wait() is got
    assert fleet.ada.replica.state.events == commits + 2
    decision = fleet.ada.event(got.event)
    (cause,) = decision.header.refs or ()
    assert (cause.log, cause.seq) == (fleet.ada.log_id, fleet.ada.event(got.request).seq)
    assert fleet.ada.verify().ok


def test_a_refusal_leaves_nothing(fleet: Fleet) -> None:
    task = Tasks(fleet.ada).create("x").entity or ""
    Tasks(fleet.ada).claim(task)
    before = fleet.ada.replica.head(fleet.ada.log_id)
    with pytest.raises(Conflict, match="is claimed already"):
        Tasks(fleet.ada).claim(task)
    assert fleet.ada.replica.head(fleet.ada.log_id) == before
    assert fleet.ada.replica.mentions.find(OF_ASKED) == []
    Tasks(fleet.ada).start(task)


def test_a_home_elsewhere_answers_in_its_order_once_each(fleet: Fleet) -> None:
    task = Tasks(fleet.ada).create("x").entity or ""
    fleet.sync()
    fleet.clock.pass_ms(10)
    second = Tasks(fleet.cyd).claim(task)
    fleet.clock.set_wall(fleet.clock.now_ms() - 5)
    first = Tasks(fleet.bob).claim(task)
    assert isinstance(first, Requested)
    assert isinstance(second, Requested)
    assert first.decision() is None
    with pytest.raises(Unavailable, match="has not answered"):
        first.wait(0.03)
    fleet.sync()
    assert [event.kind for event in answer_requests(fleet.ada.replica)] == ["task.claimed", "request.refused"]
    assert answer_requests(fleet.ada.replica) == []
    fleet.sync()
    assert answer_requests(fleet.ada.replica) == []
    assert fleet.bob.event(first.wait(0).event).kind == "task.claimed"
    with pytest.raises(Conflict, match="is claimed already"):
        second.wait(0)
    rows = [row(agent, task) for agent in (fleet.ada, fleet.bob, fleet.cyd)]
    assert rows[0] == rows[1] == rows[2]
    assert rows[0]["assigned_to"] == parse_id(fleet.bob.id)


def test_nothing_is_decided_by_rows_that_are_not_current(fleet: Fleet) -> None:
    """They are being folded again, or newer code has folded them: requests wait, and those of other domains do not."""
    task = Tasks(fleet.ada).create("x").entity or ""
    fleet.sync()
    asked = Tasks(fleet.bob).claim(task)
    fleet.sync()
    here = fleet.ada.replica
    live, here.views.live = here.views.live, here.views.live - {"tasks"}
    folded, here.state.folded = here.state.folded, {**here.state.folded, "tasks": "99"}
    before = here.head(fleet.ada.log_id)
    with pytest.raises(Unavailable, match="newer version"):
        Tasks(fleet.ada).claim(task)
    with pytest.raises(Unavailable, match="newer version"):
        decide.RowsHere(here).row("tasks", parse_entity(task))
    with pytest.raises(Unavailable, match="newer version"):
        decide.RowsHere(here).select("tasks", status="open")
    assert answer_requests(here) == []
    assert here.head(fleet.ada.log_id) == before
    here.views.live, here.state.folded = live, folded
    assert [event.kind for event in answer_requests(here)] == ["task.claimed"]
    fleet.sync()
    assert isinstance(asked, Requested)
    assert asked.wait(0)


def test_whoever_waits_hears_as_soon_as_the_answer_comes(fleet: Fleet) -> None:
    task = Tasks(fleet.ada).create("x").entity or ""
    fleet.sync()
    asked = Tasks(fleet.bob).claim(task)
    fleet.sync()
    heard: list[Decided] = []
    waiting = Thread(target=lambda: heard.append(asked.wait(30)))  # type: ignore[arg-type]
    waiting.start()
    answer_requests(fleet.ada.replica)
    fleet.sync(fleet.ada, fleet.bob)
    waiting.join(20)
    assert [fleet.bob.event(found.event).kind for found in heard] == ["task.claimed"]


def test_a_crash_between_answers_decides_nothing_twice(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    tasks = [Tasks(fleet.ada).create(f"{n}").entity or "" for n in range(5)]
    fleet.sync()
    for task in tasks:
        Tasks(fleet.bob).claim(task)
    fleet.sync()
    monkeypatch.setattr(decide, "ANSWERS_PER_COMMIT", 2)
    real, calls = decide._answer, 0

    def crash(*args: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 4:
            raise KeyboardInterrupt
        return real(*args)

    monkeypatch.setattr(decide, "_answer", crash)
    with pytest.raises(KeyboardInterrupt):
        answer_requests(fleet.ada.replica)
    assert len(said(fleet.ada, "task.claimed")) == 2
    assert len(answer_requests(fleet.ada.replica)) == 3
    fleet.sync()
    assert [row(fleet.bob, task)["status"] for task in tasks] == ["claimed"] * 5


def test_a_decider_that_fails_holds_nobody_else_up(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    tasks = [Tasks(fleet.ada).create(f"{n}").entity or "" for n in range(3)]
    fleet.sync()
    asked = [Tasks(fleet.bob).claim(task) for task in tasks]
    fleet.sync()

    def fails(replica: Any, event: Event, body: Any) -> Any:
        if event.entity == parse_entity(tasks[1]):
            raise KeyError("a decider of no use")
        return real(replica, event, body)

    real = fleet.ada.replica.registry.deciders["task.claim"]
    monkeypatch.setitem(fleet.ada.replica.registry.deciders, "task.claim", fails)
    made = answer_requests(fleet.ada.replica)
    assert [event.kind for event in made] == ["task.claimed", "request.refused", "task.claimed"]
    fleet.sync()
    with pytest.raises(Conflict, match="a decider of no use"):
        asked[1].wait(0)


def test_what_is_no_request_or_asks_elsewhere_is_left_alone(fleet: Fleet) -> None:
    task = Tasks(fleet.ada).create("x").entity or ""
    with pytest.raises(Rejected, match="nobody decides"):
        fleet.ada.request("task.voted", {"task": bytes(16), "vote": 1}, home=fleet.ada.log_id, entity=task)
    fleet.sync()
    with pytest.raises(Conflict, match="names another home"):
        fleet.bob.request("task.claim", {}, home=fleet.bob.log_id, entity=task)
    asked = fleet.bob.request("task.claim", {}, home=bytes(32), entity=task)
    fleet.sync()
    assert answer_requests(fleet.ada.replica) == []
    assert isinstance(asked, Requested)
    assert asked.decision() is None


def test_a_decision_by_somebody_else_is_none(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    """A liar's log holds decisions on Ada's board, one of them naming Bob's request: nobody believes either."""
    task = Tasks(fleet.ada).create("x").entity or ""
    fleet.sync()
    asked = Tasks(fleet.bob).claim(task)
    fleet.sync()
    kind = fleet.cyd.replica.registry.kind("task.claimed")
    body = kind.body(parse_id(fleet.cyd.id))
    bobs = fleet.cyd.replica.head(fleet.bob.log_id)
    draft = draft_of(kind, body, entity=parse_entity(task), scope=Scope.PUBLIC)
    liar = fleet.cyd.replica
    with pytest.raises(InvalidInput, match="alone"):
        liar.commit(Batch(fleet.cyd.log_id, [draft], [body]))
    draft.refs = (Ref(Role.CAUSE, bobs.id, 0, liar.reader.leaf(bobs, 0)),)
    lie(liar, monkeypatch)
    liar.commit(Batch(fleet.cyd.log_id, [draft], [body]))
    fleet.sync()
    for agent in (fleet.ada, fleet.bob):
        assert row(agent, task)["status"] == "open"
        listed = agent.replica.rejections.list(table="tasks")
        assert [(one[1], one[4]) for one in listed] == [(parse_entity(task), "writers")]
    assert isinstance(asked, Requested)
    assert asked.decision() is None
    assert [event.kind for event in answer_requests(fleet.ada.replica)] == ["task.claimed"]


def test_what_others_write_into_anothers_rows_is_listed(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    """Retiring another's task, editing another's insight, voting for another: kept in the log, never in a row."""
    task = Tasks(fleet.ada).create("x").entity or ""
    insight = Wisdom(fleet.ada).share("tides turn").entity or ""
    fleet.sync()
    liar = fleet.cyd.replica
    lie(liar, monkeypatch)
    for name, body, entity in (("task.retired", {}, task), ("insight.edited", {"content": "no"}, insight),
                               ("insight.withdrawn", {}, insight)):  # fmt: skip
        kind = liar.registry.kind(name)
        value = msgspec.convert(body, kind.body)
        draft = draft_of(kind, value, entity=parse_entity(entity), scope=Scope.PUBLIC)
        liar.commit(Batch(fleet.cyd.log_id, [draft], [value]))
    fleet.sync()
    for agent in (fleet.ada, fleet.bob):
        assert row(agent, task)["title"] == "x"
        kept = agent.replica.tables.row(INSIGHTS, parse_entity(insight))
        assert kept is not None
        assert kept.values["content"] == "tides turn"
        rules = [(one[0], one[4]) for one in agent.replica.rejections.list()]
        assert sorted(rules) == [("insights", "writers"), ("insights", "writers"), ("tasks", "writers")]


def test_nobody_forgets_anothers_events(fleet: Fleet) -> None:
    made = Tasks(fleet.ada).create("x")
    fleet.sync()
    with pytest.raises(InvalidInput, match="only its owner"):
        fleet.bob.forget(made.event)
    with pytest.raises(NotFound, match="nothing to forget"):
        fleet.bob.forget(entity=made.entity)


def test_decisions_come_after_what_they_decide_about(fleet: Fleet) -> None:
    """Bob's clock is four minutes ahead: a task that he puts on Ada's board is older than what she decides about it."""
    ahead = ManualClock(fleet.clock.now_ms() + 240_000)
    fleet.bob.replica.clock = ahead
    task = Tasks(fleet.bob).create("x", home=id_text(fleet.ada.log_id)).entity
    asked = Tasks(fleet.bob).claim(task or "")
    fleet.sync()
    assert [event.kind for event in answer_requests(fleet.ada.replica)] == ["task.claimed"]
    fleet.sync()
    assert row(fleet.ada, task)["status"] == row(fleet.cyd, task)["status"] == "claimed"
    assert asked.wait(0)


def test_a_request_forgotten_before_its_answer_is_not_answered(fleet: Fleet) -> None:
    task = Tasks(fleet.ada).create("x").entity or ""
    fleet.sync()
    asked = Tasks(fleet.bob).claim(task)
    fleet.bob.forget(asked.event)
    fleet.sync()
    assert answer_requests(fleet.ada.replica) == []


# -- homes that move -------------------------------------------------------------------------------------------------


def test_a_home_moves_and_takes_its_later_decisions_back(fleet: Fleet) -> None:
    first, second = (Tasks(fleet.ada).create(f"{n}").entity or "" for n in range(2))
    Tasks(fleet.ada).claim(first)
    size = fleet.ada.replica.head(fleet.ada.log_id).size
    fleet.sync()
    Tasks(fleet.ada).claim(second)
    fleet.clock.pass_ms(1)
    asked = Tasks(fleet.cyd).claim(second)
    fleet.sync()
    assert row(fleet.bob, second)["status"] == "claimed"
    assert answer_requests(fleet.bob.replica) == []
    move_home(*principal_of(fleet.ada), fleet.bob.replica, source=fleet.ada.log_id, target=fleet.bob.log_id, size=size)
    assert (row(fleet.bob, first)["status"], row(fleet.bob, second)["status"]) == ("claimed", "open")
    made = answer_requests(fleet.bob.replica)  # Ada's claim is void and asked again, before Cyd's
    assert [event.kind for event in made] == ["task.claimed", "request.refused"]
    hear_homes(fleet.bob.replica, fleet.bob.record_of_agent.principal_log, fleet.ada.replica)
    hear_homes(fleet.bob.replica, fleet.bob.record_of_agent.principal_log, fleet.cyd.replica)
    fleet.sync()
    rows = [row(agent, second) for agent in (fleet.ada, fleet.bob, fleet.cyd)]
    assert rows[0] == rows[1] == rows[2]
    assert rows[0]["assigned_to"] == parse_id(fleet.ada.id)
    with pytest.raises(Conflict):
        asked.wait(0)
    assert isinstance(Tasks(fleet.ada).start(first), Requested), "the old home asks the new one"


def test_a_lost_home_is_moved_by_its_principal(fleet: Fleet) -> None:
    task = Tasks(fleet.ada).create("x").entity or ""
    fleet.sync()
    fleet.ada.replica.file.close()  # her machine is gone, and what Bob holds of her log is all there is
    asked = Tasks(fleet.cyd).claim(task)
    fleet.sync(fleet.bob, fleet.cyd)
    assert answer_requests(fleet.bob.replica) == []
    move_home(*principal_of(fleet.bob), fleet.bob.replica, source=fleet.ada.log_id, target=fleet.bob.log_id)
    assert [event.kind for event in answer_requests(fleet.bob.replica)] == ["task.claimed"]
    hear_homes(fleet.bob.replica, fleet.bob.record_of_agent.principal_log, fleet.cyd.replica)
    fleet.sync(fleet.bob, fleet.cyd)
    assert asked.wait(0)
    assert row(fleet.cyd, task)["assigned_to"] == parse_id(fleet.cyd.id)


def test_a_clone_never_inherits_a_home(fleet: Fleet, own_home: Path) -> None:
    task = Tasks(fleet.ada).create("x").entity or ""
    fleet.ada.replica.tidy()
    shutil.copytree(own_home / "one", own_home / "clone")
    with Agent.open("ada", home=own_home / "clone", clock=fleet.clock) as clone:
        assert clone.log_id != fleet.ada.log_id
        asked = Tasks(clone).claim(task)
        assert isinstance(asked, Requested)
        assert answer_requests(clone.replica) == []
        assert row(clone, task)["status"] == "open"
        own = Tasks(clone).create("on a board of the clone's own").entity or ""
        with pytest.raises(Conflict, match="has not certified"):
            Tasks(clone).claim(own)
    assert isinstance(Tasks(fleet.ada).claim(task), Decided)


def test_a_restored_backup_of_a_certified_agent_asks_the_old_home(fleet: Fleet, own_home: Path) -> None:
    task = Tasks(fleet.ada).create("x").entity or ""
    path = fleet.ada.snapshot(own_home / "saved.antiphon")
    fleet.ada.remember("what the backup does not have")
    fleet.ada.close()
    shutil.copy(path, own_home / "one" / "agents" / "ada.antiphon")
    with Agent.open("ada", home=own_home / "one", clock=fleet.clock) as restored:
        old = [head for head in restored.replica.heads_of(parse_id(restored.id)) if head.role == LogRole.PAST]
        assert isinstance(Tasks(restored).claim(task), Requested)
        move_home(*principal_of(restored), restored.replica, source=old[0].id, target=restored.log_id)
        assert [event.kind for event in answer_requests(restored.replica)] == ["task.claimed"]
        assert row(restored, task)["status"] == "claimed"


def test_only_moves_that_count_can_be_made(fleet: Fleet) -> None:
    Tasks(fleet.ada).create("x")
    Tasks(fleet.bob).create("y")
    Tasks(fleet.cyd).create("z")
    fleet.sync()
    ada, bob, cyd = fleet.ada.log_id, fleet.bob.log_id, fleet.cyd.log_id
    here = (*principal_of(fleet.ada), fleet.ada.replica)
    with pytest.raises(InvalidInput, match="none that this principal has certified"):
        move_home(*here, source=ada, target=cyd)
    with pytest.raises(InvalidInput, match="none that this principal has certified"):
        move_home(*here, source=cyd, target=ada)
    with pytest.raises(InvalidInput, match="cannot be cut"):
        move_home(*here, source=ada, target=bob, size=99)
    with pytest.raises(NotFound, match="nothing is here"):
        move_home(*here, source=bytes(32), target=bob)
    move_home(*here, source=ada, target=bob)
    with pytest.raises(InvalidInput, match="gave this home up"):
        move_home(*here, source=bob, target=ada)
    with pytest.raises(InvalidInput, match="gave this home up"):
        move_home(*here, source=bob, target=bob)


def test_a_move_said_by_somebody_else_says_nothing(fleet: Fleet) -> None:
    """Cyd's principal moves Ada's home to Cyd: it is not his to move."""
    task = Tasks(fleet.ada).create("x").entity or ""
    fleet.sync()
    replica, log = principal_of(fleet.cyd)
    body = kinds.HomeMoved(fleet.ada.log_id, 0, bytes(32), fleet.cyd.log_id)
    replica.commit(Batch(log, [Draft(kinds.HOME_MOVED, encode_body(body))], [body]))
    hear_homes(replica, log, fleet.cyd.replica)
    fleet.sync()
    assert fleet.cyd.replica.authority.moves() == {}
    assert isinstance(Tasks(fleet.cyd).claim(task), Requested)


def test_a_log_is_taken_in_as_far_as_it_is_new(fleet: Fleet) -> None:
    Tasks(fleet.ada).create("x")
    fleet.sync()
    assert take_in(fleet.ada.replica, fleet.ada.log_id, fleet.bob.replica) == 0
    Tasks(fleet.ada).create("y")
    assert take_in(fleet.ada.replica, fleet.ada.log_id, fleet.bob.replica) == 1
    assert take_in(fleet.bob.replica, fleet.ada.log_id, fleet.ada.replica) == 0


def test_a_request_must_name_the_home_it_asks() -> None:
    class Homeless(msgspec.Struct):
        pass

    kind = Kind("thing.wanted", Homeless)
    with pytest.raises(InvalidInput, match="does not name the `home`"):
        Registry([Domain("things", (kind,), deciders={"thing.wanted": TASKS.deciders["task.claim"]})])
