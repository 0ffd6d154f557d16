"""Homes by hand: who may hold one, also where it merges; moves in circles; listing, answering, refusing, moving."""

import shutil
from pathlib import Path

import pytest

from antiphon import Agent, Conflict, InvalidInput, LimitExceeded, NotFound
from antiphon.domains.tasks import Tasks
from antiphon.identity.signing import SigningKey
from antiphon.log import kinds
from antiphon.model.event import Draft, Scope, encode_body
from antiphon.model.text import id_text, parse_entity, parse_id
from antiphon.replica.commit import Batch
from antiphon.replica.decide import Decided, answer_requests
from antiphon.replica.enrol import certify
from antiphon.replica.homes import hear_homes, take_in_all
from tests.unit.replica.boards import Fleet, principal_of, row

# -- who may hold a home, also where it merges -----------------------------------------------------------------------


def test_what_a_clone_decides_counts_once_its_principal_has_certified_it(fleet: Fleet, own_home: Path) -> None:
    """Also where a clone does not ask its own code whether it may: the merge does."""
    fleet.ada.replica.tidy()
    shutil.copytree(own_home / "one", own_home / "clone")
    with Agent.open("ada", home=own_home / "clone", clock=fleet.clock) as clone:
        own = Tasks(clone).create("on a board of the clone's own").entity or ""
        assert clone.replica.authority.provisional() == {clone.log_id}
        with pytest.raises(InvalidInput, match="home"):
            clone.record("task.claimed", {"agent": parse_id(clone.id)}, entity=own, scope=Scope.PUBLIC)
        with pytest.MonkeyPatch.context() as patch:  # as a liar's code would
            patch.setattr(type(clone.replica.authority), "decides", lambda *_: True)
            clone.record("task.claimed", {"agent": parse_id(clone.id)}, entity=own, scope=Scope.PUBLIC)
        clone.replica.refold("tasks")
        assert row(clone, own)["status"] == "open"
        assert [(one[1], one[4]) for one in clone.replica.rejections.list(table="tasks")] == [
            (parse_entity(own), "home")
        ]
        principal = fleet.ada._principal()
        assert principal is not None
        hear_homes(principal, fleet.ada.record_of_agent.principal_log, clone.replica)
        assert row(clone, own)["status"] == "open", "it has heard of its principal, which has not heard of it"
        key = SigningKey(clone.replica.keys.get(f"log:{clone.log_id.hex()}"))
        certify(principal, fleet.ada.record_of_agent.principal_log, clone.replica, clone.log_id, key)
        hear_homes(principal, fleet.ada.record_of_agent.principal_log, clone.replica)
        assert clone.replica.authority.provisional() == frozenset()
        assert (row(clone, own)["status"], clone.replica.rejections.list(table="tasks")) == ("claimed", [])
        assert isinstance(Tasks(clone).start(own), Decided)
        take_in_all(clone.replica, fleet.bob.replica)
        hear_homes(principal, fleet.ada.record_of_agent.principal_log, fleet.bob.replica)
        assert row(fleet.bob, own) == row(clone, own)


def test_homes_that_were_moved_in_circles_are_decided_alike_everywhere(fleet: Fleet) -> None:
    """A principal whose tools do not look says so; nobody loops, and everybody comes to the same rows."""
    boards = [Tasks(agent).create("x").entity or "" for agent in (fleet.ada, fleet.bob)]
    fleet.sync()
    principal, log = principal_of(fleet.ada)
    ada, bob = fleet.ada.log_id, fleet.bob.log_id

    def say(*moves: tuple[bytes, bytes]) -> None:
        for source, target in moves:
            body = kinds.HomeMoved(source, fleet.ada.replica.head(source).size, bytes(32), target)
            principal.commit(Batch(log, [Draft(kinds.HOME_MOVED, encode_body(body))], [body]))
        for agent in (fleet.ada, fleet.bob, fleet.cyd):
            hear_homes(principal, log, agent.replica)
            answer_requests(agent.replica)
        fleet.sync()

    asked = [Tasks(fleet.cyd).claim(task) for task in boards]
    fleet.sync()
    say((ada, bob), (bob, ada), (bob, bob))
    for agent in (fleet.ada, fleet.bob, fleet.cyd):
        authority = agent.replica.authority
        assert (authority.line(ada), authority.line(bob)) == ([ada, bob], [bob])
        assert (authority.current(ada), authority.current(bob)) == (bob, bob)
    say((bob, ada))
    for agent in (fleet.ada, fleet.bob, fleet.cyd):
        authority = agent.replica.authority
        assert (authority.line(ada), authority.line(bob)) == ([ada, bob], [bob, ada])
    for task in boards:
        rows = [row(agent, task) for agent in (fleet.ada, fleet.bob, fleet.cyd)]
        assert rows[0] == rows[1] == rows[2]
        assert (rows[0]["status"], rows[0]["assigned_to"]) == ("claimed", parse_id(fleet.cyd.id))
    assert [one.wait(0).entity for one in asked] == boards


# -- by hand ---------------------------------------------------------------------------------------------------------


def test_an_agent_lists_and_answers_what_waits(fleet: Fleet) -> None:
    tasks = [Tasks(fleet.ada).create(f"{n}").entity or "" for n in range(3)]
    fleet.sync()
    asked = [Tasks(fleet.bob).claim(task) for task in tasks]
    ids = [one.event for one in asked]
    (mine, *_) = fleet.bob.requests()
    assert (mine.request, mine.kind, mine.entity, mine.agent) == (ids[0], "task.claim", tasks[0], fleet.bob.id)
    assert (mine.home, mine.here) == (id_text(fleet.ada.log_id), False)
    fleet.sync()
    assert [(one.request, one.here) for one in fleet.ada.requests()] == [(one, True) for one in ids]
    assert fleet.cyd.requests() == [], "they are neither its own nor its to answer"
    with pytest.raises(NotFound, match="waits here for this agent"):
        fleet.bob.answer_requests(ids[0])
    for reason in ("", "  ", "x" * 1_001):
        with pytest.raises((InvalidInput, LimitExceeded)):
            fleet.ada.answer_requests(ids[0], refuse=reason)
    with pytest.raises(InvalidInput, match="name the requests"):
        fleet.ada.answer_requests(refuse="no")
    assert [event.kind for event in fleet.ada.answer_requests(ids[1], refuse="Bob has enough to do")] == [
        "request.refused"
    ]
    assert [event.kind for event in fleet.ada.answer_requests(ids[2])] == ["task.claimed"]
    assert [one.request for one in fleet.ada.requests()] == ids[:1]
    assert [event.kind for event in fleet.ada.answer_requests()] == ["task.claimed"]
    assert fleet.ada.requests() == fleet.ada.answer_requests() == []
    fleet.sync()
    assert fleet.bob.requests() == []
    with pytest.raises(Conflict, match="Bob has enough to do"):
        asked[1].wait(0)


def test_an_agent_lists_homes_and_moves_one_to_itself(fleet: Fleet) -> None:
    task = Tasks(fleet.ada).create("x").entity or ""
    fleet.sync()
    ada, bob = id_text(fleet.ada.log_id), id_text(fleet.bob.log_id)
    (found,) = fleet.bob.homes()
    assert (found.home, found.decides, found.agent, found.here, found.rows) == (
        ada, ada, fleet.ada.id, False, {"tasks": 1},
    )  # fmt: skip
    assert fleet.ada.homes()[0].here
    asked = Tasks(fleet.cyd).claim(task)
    fleet.sync()
    fleet.bob.move_home(ada)
    (found,) = fleet.bob.homes()
    assert (found.home, found.decides, found.agent, found.here, found.line) == (ada, bob, fleet.bob.id, True, [bob])
    assert [event.kind for event in fleet.bob.answer_requests()] == ["task.claimed"]
    hear_homes(*principal_of(fleet.bob), fleet.cyd.replica)
    fleet.sync()
    assert asked.wait(0)
    with pytest.raises(InvalidInput, match="gave this home up"):
        fleet.bob.move_home(bob, ada)
    with pytest.raises(InvalidInput, match="not an id"):
        fleet.bob.move_home("ada")
