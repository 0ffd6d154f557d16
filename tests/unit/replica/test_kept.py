"""What a home keeps true of its rows together: at once for its own commands, by refusals for what others ask of it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from antiphon import Agent, Column, Conflict, Domain, Index, Kind, LimitExceeded, Table, Type
from antiphon.log import kinds
from antiphon.model import limits
from antiphon.model.event import Event, Scope
from antiphon.model.table import READ_ALL, Merge
from antiphon.model.text import parse_entity
from antiphon.replica.decide import Requested, answer_requests
from antiphon.replica.homes import take_in_all
from antiphon.views.domain import Decision, Op, Rows, UpdateRow, Write, write

CHAIRS = Table(
    "chairs",
    key="id",
    columns=(
        Column("id", Type.ID, nullable=False),
        Column("home", Type.LOG, nullable=False, merge=Merge.ONCE),
        Column("hall", Type.TEXT, merge=Merge.ONCE),
        Column("seat", Type.INTEGER, merge=Merge.DECIDED),
        Column("behind", Type.ID, merge=Merge.DECIDED),
        Column("note", Type.TEXT),
    ),
    indexes=(Index(("seat", "hall")), Index(("behind",))),
    unique=(("seat", "hall"),),
    acyclic=("behind",),
    home="home",
    shared=True,
    access=READ_ALL,
)


class Made(msgspec.Struct):
    hall: str
    home: bytes | None = None


class Asked(msgspec.Struct):
    home: bytes
    seat: int | None = None
    behind: bytes | None = None


class Given(msgspec.Struct):
    seat: int | msgspec.UnsetType | None = msgspec.UNSET
    behind: bytes | msgspec.UnsetType | None = msgspec.UNSET


class Noted(msgspec.Struct):
    note: str


def _make(event: Event, body: Made) -> list[Write]:
    values = {"id": event.entity, "hall": body.hall, "home": body.home or event.log}
    return [write(CHAIRS, Op.ASSERT, values)]


def _decide(rows: Rows, event: Event, body: Asked) -> Decision:
    """Gives whatever is asked for: what it may not give is not its business."""
    return Decision("chair.given", Given(body.seat) if body.behind is None else Given(behind=body.behind))


HALLS = Domain(
    "halls",
    (Kind("chair.made", Made), Kind("chair.ask", Asked), Kind("chair.given", Given), Kind("chair.noted", Noted)),
    (CHAIRS,),
    {
        "chair.made": (_make,),
        "chair.given": (UpdateRow(CHAIRS, seat="seat", behind="behind"),),
        "chair.noted": (UpdateRow(CHAIRS, note="note"),),
    },
    deciders={"chair.ask": _decide},
)


@pytest.fixture
def ada(own_home: Path) -> Iterator[Agent]:
    with Agent.create("ada", home=own_home / "one", domains=[HALLS]) as agent:
        yield agent


@pytest.fixture
def bob(own_home: Path) -> Iterator[Agent]:
    with Agent.create("bob", home=own_home / "two", domains=[HALLS]) as agent:
        yield agent


def chair(agent: Agent, hall: str = "north", home: bytes | None = None) -> str:
    return agent.record("chair.made", Made(hall, home), scope=Scope.PUBLIC).entity or ""


def ask(agent: Agent, entity: str, home: Agent, **wanted: Any) -> Any:
    return agent.request("chair.ask", wanted, home=home.log_id, entity=entity)


def row(agent: Agent, entity: str) -> Any:
    return agent.table("chairs").get(parse_entity(entity))


def test_what_is_taken_is_refused_at_once_and_leaves_nothing(ada: Agent) -> None:
    one, two, south = chair(ada), chair(ada), chair(ada, "south")
    ask(ada, one, ada, seat=7)
    ask(ada, south, ada, seat=7)
    before = ada.replica.head(ada.log_id)
    with pytest.raises(Conflict, match=f"chairs: seat 7, hall 'north' is taken by {one}"):
        ask(ada, two, ada, seat=7)
    with pytest.raises(Conflict, match="is taken"):
        ada.record("chair.given", Given(7), entity=two, scope=Scope.PUBLIC)  # by its home, without having been asked
    assert ada.replica.head(ada.log_id) == before
    assert row(ada, two)["seat"] is None
    ask(ada, one, ada, seat=7)
    ask(ada, one, ada, seat=8)
    ask(ada, two, ada, seat=7)
    assert [row(ada, one)["seat"], row(ada, two)["seat"]] == [8, 7]
    assert ada.duplicates() == []


def test_nothing_is_no_value_that_two_could_share(ada: Agent) -> None:
    for entity in (chair(ada), chair(ada)):
        ask(ada, entity, ada, seat=None)
    assert ada.duplicates() == []


def test_who_asks_from_elsewhere_is_refused_and_told_why(ada: Agent, bob: Agent) -> None:
    one = chair(ada)
    ask(ada, one, ada, seat=7)
    two, three = (chair(bob, home=ada.log_id) for _ in range(2))
    asked = [ask(bob, entity, ada, seat=seat) for entity, seat in ((two, 7), (three, 9))]
    assert all(isinstance(each, Requested) for each in asked)
    take_in_all(bob.replica, ada.replica)
    assert {event.kind for event in answer_requests(ada.replica)} == {kinds.REQUEST_REFUSED, "chair.given"}
    take_in_all(ada.replica, bob.replica)
    with pytest.raises(Conflict, match="seat 7, hall 'north' is taken by"):
        asked[0].wait(0)
    assert asked[1].wait(0).entity == three
    assert [row(bob, entity)["seat"] for entity in (one, two, three)] == [7, None, 9]


def test_two_homes_may_give_the_same_and_both_are_listed(ada: Agent, bob: Agent) -> None:
    one, two = chair(ada), chair(bob)
    ask(ada, one, ada, seat=7)
    ask(bob, two, bob, seat=7)
    take_in_all(bob.replica, ada.replica)
    (listed,) = ada.duplicates("chairs")
    assert (listed.values, listed.count) == ({"seat": 7, "hall": "north"}, 2)
    assert {(holder.key["id"], holder.author) for holder in listed.rows} == {(one, ada.id), (two, bob.id)}
    ask(ada, one, ada, seat=8)
    assert ada.duplicates("chairs") == []
    ask(ada, one, ada, seat=7)  # it is for Ada's home to give among its own, whoever has it at Bob's
    assert len(ada.duplicates("chairs")) == 1


def test_what_was_broken_before_stops_no_other_write(ada: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    one, two = chair(ada), chair(ada)
    with monkeypatch.context() as older:
        older.setattr("antiphon.views.maintain.check_together", lambda *_: None)
        for entity in (one, two):
            ask(ada, entity, ada, seat=7)
    assert [listed.count for listed in ada.duplicates("chairs")] == [2]
    ada.record("chair.noted", Noted("creaks"), entity=one, scope=Scope.PUBLIC)
    assert row(ada, one)["note"] == "creaks"
    with pytest.raises(Conflict, match="is taken"):
        ask(ada, one, ada, seat=7)
    ask(ada, one, ada, seat=8)
    assert ada.duplicates("chairs") == []


def test_circles_are_refused_however_long(ada: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    chairs = [chair(ada) for _ in range(5)]
    for at in range(4):
        ask(ada, chairs[at], ada, behind=parse_entity(chairs[at + 1]))
    for at in range(5):
        with pytest.raises(Conflict, match=f"behind would lead from {chairs[4]} back to itself"):
            ask(ada, chairs[4], ada, behind=parse_entity(chairs[at]))
    assert ada.circles("chairs") == []
    monkeypatch.setattr(limits, "DEPENDENCY_WALK_MAX", 3)
    with pytest.raises(LimitExceeded, match="DEPENDENCY_WALK_MAX"):
        ask(ada, chair(ada), ada, behind=parse_entity(chairs[0]))
