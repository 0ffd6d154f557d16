"""Many agents: in one file and in many."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from antiphon import Agent, Conflict, Fleet, InvalidInput, NotFound, Unavailable, verify_proof
from antiphon.model.text import parse_id
from tests.unit.views.notes import NOTES_DOMAIN


@pytest.fixture(params=["one file", "many files"])
def fleet(request: pytest.FixtureRequest, own_home: Path) -> Iterator[Fleet]:
    with Fleet.create(own_home / "fleet", one_file=request.param == "one file", domains=[NOTES_DOMAIN]) as made:
        yield made


@pytest.fixture
def shared(own_home: Path) -> Iterator[Fleet]:
    with Fleet.create(own_home / "fleet", domains=[NOTES_DOMAIN]) as made:
        yield made


def texts(fleet: Fleet, query: str, **filters: object) -> list[tuple[str, str]]:
    return sorted((hit.author, hit.text) for hit in fleet.recall(query, **filters))  # type: ignore[arg-type]


def test_agents_are_added_and_found_by_name(fleet: Fleet) -> None:
    ada = fleet.add("ada")
    fleet.add_all(["bob", "eve"])
    assert fleet.names() == ["ada", "bob", "eve"]
    assert fleet.agent("ada") is ada
    assert len({fleet.agent(name).id for name in fleet.names()}) == 3
    assert len({fleet.agent(name).principal for name in fleet.names()}) == 1
    with pytest.raises(Conflict):
        fleet.add("bob")
    with pytest.raises(NotFound):
        fleet.agent("zoe")
    with pytest.raises(InvalidInput):
        fleet.add("../zoe")


def test_what_agents_know_is_recalled_across_and_proved(fleet: Fleet) -> None:
    for name in ("ada", "bob", "eve"):
        fleet.add(name).remember(f"{name} saw a boat", occurred="2020-01-01")
    fleet.agent("eve").remember("another boat", occurred="2021-01-01")
    every = [("ada", "ada saw a boat"), ("bob", "bob saw a boat"), ("eve", "another boat"), ("eve", "eve saw a boat")]
    assert texts(fleet, "boat") == every
    assert texts(fleet, "boat", agents=["ada", "bob"]) == every[:2]
    assert texts(fleet, "boat", since="2020-06-01") == [("eve", "another boat")]
    assert texts(fleet, "boat", until="2020-06-01", agents=["eve"]) == [("eve", "eve saw a boat")]
    assert len(fleet.recall("boat", limit=2)) == 2
    for hit in fleet.recall("boat"):
        agent = fleet.agent(hit.author)
        assert verify_proof(agent.prove(hit.event), principal=parse_id(agent.principal)).agent == parse_id(agent.id)
    with pytest.raises(NotFound):
        fleet.recall("boat", agents=["zoe"])


def test_everything_verifies_and_is_there_again(fleet: Fleet, own_home: Path) -> None:
    for name in ("ada", "bob"):
        fleet.add(name).remember(f"a boat of {name}")
    verdicts = list(fleet.verify())
    assert all(verdict.ok for verdict in verdicts)
    assert {fleet.log_of(name).id for name in fleet.names()} <= {verdict.log for verdict in verdicts}
    fleet.close()
    with Fleet.open(own_home / "fleet", domains=[NOTES_DOMAIN]) as again:
        assert texts(again, "boat") == [("ada", "a boat of ada"), ("bob", "a boat of bob")]
        assert all(verdict.ok for verdict in again.verify())
        again.agent("ada").remember("a second boat")
        assert len(again.recall("boat")) == 3
    with pytest.raises(Conflict):
        Fleet.create(own_home / "fleet")


def test_an_agent_is_forgotten_and_the_rest_stays(fleet: Fleet) -> None:
    ada, bob = fleet.add("ada"), fleet.add("bob")
    ada.remember("a boat", user="Eve")
    ada.record("note.written", {"text": "boat note"})
    ada.reflect("boat?", "boat!")
    kept = bob.remember("a boat of bob")
    outcome = fleet.forget_agent("ada")
    assert len(outcome.events) == 4
    assert texts(fleet, "boat note") == [("bob", "a boat of bob")]
    assert all(verdict.ok for verdict in fleet.verify())
    assert verify_proof(bob.prove(kept.event)).certified
    with pytest.raises(NotFound):
        fleet.forget_agent("ada")
    fleet.agent("ada").remember("a new boat")
    assert len(fleet.recall("boat")) == 2


def test_a_person_is_forgotten_by_every_agent(fleet: Fleet) -> None:
    for name in ("ada", "bob", "eve"):
        fleet.add(name)
    for name in ("ada", "bob"):
        fleet.agent(name).remember(f"{name}: Zoe likes boats", user="Zoe")
    fleet.agent("eve").remember("boats are fine")
    done = fleet.forget_person("Zoe")
    assert len(done) == 2
    assert all(outcome.complete for outcome in done)
    assert texts(fleet, "Zoe boats") == [("eve", "boats are fine")]
    with pytest.raises(NotFound):
        fleet.forget_person("Zoe")
    assert all(verdict.ok for verdict in fleet.verify())


def test_only_so_many_files_are_open(own_home: Path) -> None:
    names = [f"a{at}" for at in range(6)]
    with Fleet.create(own_home / "fleet", one_file=False, open_files_max=2) as fleet:
        fleet.add_all(names)
        first = fleet.agent("a0")
        for name in names:
            fleet.agent(name).remember(f"boat {name}")
        assert len(fleet._open) == 2
        with pytest.raises(Unavailable, match="closed"):
            first.remember("too late")
        assert len(fleet.recall("boat", limit=10)) == 6
        assert len(fleet._open) == 2
        assert all(verdict.ok for verdict in fleet.verify())


def test_one_file_refuses_what_only_it_can_do(own_home: Path) -> None:
    with Fleet.create(own_home / "fleet", one_file=False) as fleet:
        with pytest.raises(InvalidInput):
            fleet.add_all(["ada"], own_principals=True)
        with pytest.raises(InvalidInput):
            _ = fleet.replica


def test_agents_can_have_principals_of_their_own(shared: Fleet) -> None:
    counted: list[int] = []
    shared.add_all(["ada", "bob"], own_principals=True, progress=counted.append)
    shared.add("eve")
    assert sum(counted) == 2
    assert len({shared.agent(name).principal for name in shared.names()}) == 3
    event = shared.agent("ada").remember("boat").event
    proof = shared.agent("ada").prove(event)
    assert verify_proof(proof, principal=parse_id(shared.agent("ada").principal)).seq == 0
    assert all(verdict.ok for verdict in shared.verify())


def test_a_batch_of_many_agents_is_all_or_nothing(shared: Fleet) -> None:
    shared.add_all(["ada", "bob"])
    with shared.batch() as batch:
        for at in range(100):
            batch.remember("ada", f"boat {at}", occurred="2020-01-01")
            batch.remember("bob", f"train {at}", tags=["rail"])
    assert len(batch.recorded) == 200
    assert len(shared.recall("boat", limit=1_000)) == len(shared.recall("rail", limit=1_000)) == 100
    with pytest.raises(RuntimeError), shared.batch() as batch:  # noqa: PT012  # nothing of it may stay
        batch.remember("ada", "never")
        raise RuntimeError
    for wrong in (
        {"user": "sixteen letters!"},
        {"type": 5},
        {"metadata": {"x": object()}},
        {"expires": 1 << 63},
        {"text": 5},
    ):
        with pytest.raises(InvalidInput), shared.batch() as batch:
            batch.remember("bob", **{"text": "fine", **wrong})  # type: ignore[arg-type]
    assert shared.recall("never fine") == []
    assert all(verdict.ok for verdict in shared.verify())


def test_agents_of_one_file_do_not_see_or_change_one_anothers_rows(shared: Fleet) -> None:
    ada, bob = shared.add("ada"), shared.add("bob")
    memory = ada.remember("a boat", user="Zoe")
    note = ada.record("note.written", {"text": "a boat"})
    assert memory.entity
    assert bob.recall("boat") == []
    assert bob.get(memory.entity) is None
    assert bob.history(memory.entity) == []
    assert bob.pseudonym("Zoe") is None
    for change in (
        lambda: bob.update(memory.entity or "", text="mine"),
        lambda: bob.supersede(memory.entity or "", "mine"),
        lambda: bob.record("note.changed", {"text": "mine"}, entity=note.entity),
        lambda: bob.forget(entity=memory.entity),
        lambda: bob.forget(person="Zoe"),
    ):
        with pytest.raises((NotFound, InvalidInput)):
            change()
    assert isinstance(bob, Agent)
    assert [hit.text for hit in ada.recall("boat")] == ["a boat", "a boat"]
