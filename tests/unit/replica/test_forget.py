"""What was forgotten is gone from rows, texts and histories as if it had never been; all else stays, provably."""

import shutil
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from antiphon import Agent, InvalidInput, NotFound, verify_proof
from antiphon.log.proof import verify_growth
from antiphon.model import limits
from antiphon.model.event import Role
from antiphon.model.text import event_text, parse_entity
from antiphon.replica import forget as forgetting
from antiphon.replica.forget import Done, Forgotten, note_copy
from antiphon.world.clock import ManualClock
from tests.unit.replica.acts import Actor, acts, check, new_agent, present
from tests.unit.views.notes import NOTES_DOMAIN


@settings(max_examples=10)
@given(acts, st.data())
def test_forgetting_any_subset_is_as_if_it_had_never_been(todo: list[Any], data: Any) -> None:
    agent, clock = new_agent()
    with agent:
        actor = Actor(agent, clock)
        actor.perform(todo)
        if not actor.events:
            return
        handed_out = agent.checkpoint()
        proofs = {event: agent.prove(event) for event in actor.events[::3]}
        gone = data.draw(st.lists(st.sampled_from(actor.events), unique=True, min_size=1))
        size = len(present(agent))
        outcome = agent.forget(gone)
        assert set(outcome.events) == set(gone)
        assert outcome.complete
        left = present(agent)
        assert not left & {*gone, *outcome.derived}
        assert _sources(agent) <= left
        check(agent, clock)
        assert agent.verify(since=handed_out).ok
        old, new = verify_growth(agent.prove_growth(handed_out))
        assert (old.size, new.size) == (size, agent.verify().size)
        for event, proof in proofs.items():
            assert verify_proof(proof).log == agent.log_id
            if event in left:
                assert verify_proof(agent.prove(event)).size == new.size
            else:
                with pytest.raises(NotFound):
                    agent.prove(event)
        actor.perform(todo)  # and it goes on
        check(agent, clock)


def _sources(agent: Agent) -> set[str]:
    refs = (ref for event in agent.log() for ref in event.header.refs or ())
    return {event_text(ref.log, ref.seq) for ref in refs if ref.role == Role.SOURCE}


@pytest.fixture
def ada(own_home: Path) -> Any:
    with Agent.create("ada", domains=[NOTES_DOMAIN], clock=ManualClock()) as agent:
        yield agent


def texts(agent: Agent, query: str, **filters: Any) -> list[str]:
    return [hit.text for hit in agent.recall(query, **filters)]


def pass_days(agent: Agent, days: int) -> None:
    clock = agent.replica.clock
    assert isinstance(clock, ManualClock)
    clock.pass_ms(days * 86_400_000)


def test_twice_the_same_is_not_found(ada: Agent) -> None:
    event = ada.remember("a secret").event
    size = ada.verify().size
    ada.forget([event, event])
    assert ada.verify().size == size + 1
    for again in (event, [event], [ada.remember("x").event, event]):
        with pytest.raises(NotFound):
            ada.forget(again)
    assert texts(ada, "x") == ["x"], "all or nothing"
    with pytest.raises(NotFound):
        ada.forget()
    with pytest.raises(NotFound):
        ada.forget("999")


def test_the_logs_own_events_are_refused(ada: Agent) -> None:
    kept = ada.remember("kept").event
    ada.forget(ada.remember("x").event)
    request = ada.request_forget(kept).event
    for event in ada.log():
        if event.kind.startswith("log."):
            with pytest.raises(InvalidInput, match=event.kind):
                ada.forget([kept, event_text(event.log, event.seq)])
    assert request in present(ada)
    assert texts(ada, "kept") == ["kept"]
    with pytest.raises(InvalidInput, match="reason"):
        ada.forget(kept, reason="because of Bob")


def test_what_was_derived_goes_too_however_far(ada: Agent) -> None:
    first = ada.remember("spring water").event
    second = ada.remember("brook water", sources=[first]).event
    note = ada.record("note.written", {"text": "river water"}, sources=[second]).event
    other = ada.remember("sea water").event
    outcome = ada.forget(first)
    assert outcome.events == [first]
    assert set(outcome.derived) == {second, note}
    assert texts(ada, "water") == ["sea water"]
    assert other in present(ada)


def test_forgetting_what_was_derived_leaves_its_source(ada: Agent) -> None:
    first = ada.remember("spring water").event
    ada.forget(ada.remember("brook water", sources=[first]).event)
    assert texts(ada, "water") == ["spring water"]
    ada.forget(first)
    assert texts(ada, "water") == []


def test_an_entity_goes_with_its_history(ada: Agent) -> None:
    memory = ada.remember("amber one")
    other = ada.remember("amber two")
    assert memory.entity
    ada.update(memory.entity, text="amber three", tags=["birch"])
    newer = ada.supersede(memory.entity, "amber four")
    outcome = ada.forget(entity=memory.entity)
    assert len(outcome.events) == 3, "the memory, its update, and the correction, which points at it"
    assert newer.event in outcome.events
    assert ada.history(memory.entity) == []
    assert ada.get(memory.entity) is None
    assert texts(ada, "amber birch") == ["amber two"]
    assert other.event in present(ada)


def test_forgetting_an_update_brings_the_older_text_back(ada: Agent) -> None:
    memory = ada.remember("amber")
    assert memory.entity
    ada.forget(ada.update(memory.entity, text="birch").event)
    assert texts(ada, "birch") == []
    assert texts(ada, "amber") == ["amber"]
    row = ada.get(memory.entity)
    assert row is not None
    assert row["event"] == memory.event


def test_forgetting_a_correction_frees_what_it_corrected(ada: Agent) -> None:
    memory = ada.remember("amber")
    assert memory.entity
    ada.forget(ada.supersede(memory.entity, "birch").event)
    assert [(hit.text, hit.superseded_by) for hit in ada.recall("amber")] == [("amber", None)]


def test_a_person_goes_by_name_under_every_pseudonym(ada: Agent) -> None:
    memory = ada.remember("Bob likes amber", user="Bob")
    assert memory.entity
    ada.update(memory.entity, text="Bob likes birch")
    ada.supersede(memory.entity, "Bob likes cedar")
    ada.record("note.written", {"text": "call Bob"}, about=["Bob", "Eve"])
    ada.remember("Eve likes dune", user="Eve")
    _name_again(ada, "Bob", "Bob likes ember")
    assert len(texts(ada, "Bob", user="Bob")) == 3
    outcome = ada.forget(person="Bob")
    assert texts(ada, "Bob call likes") == ["Eve likes dune"]
    assert len(outcome.events) == 7, "two names, four memories, a note"
    assert ada.pseudonym("Bob") is None
    assert ada.recall("amber", user="Bob") == []
    assert texts(ada, "dune", user="Eve") == ["Eve likes dune"]
    with pytest.raises(NotFound):
        ada.forget(person="Bob")
    assert ada.verify().ok
    assert b"Bob" not in b"".join(event.body or b"" for event in ada.log())


def _name_again(agent: Agent, label: str, text: str) -> None:
    """What two threads at once may do: another pseudonym for the same person."""
    from antiphon.domains.memory import commands

    person = agent.replica.entropy.bytes(16)
    agent._commit([commands.name_person(person, label), commands.remember(text, user=person)])


def test_by_age_the_old_goes_and_the_names_of_the_rest_stay(ada: Agent) -> None:
    ada.remember("Bob old", user="Bob")
    ada.remember("Eve old", user="Eve")
    ada.remember("long ago", occurred="2001-01-01")
    pass_days(ada, 40)
    ada.remember("Bob new", user="Bob")
    kept = ada.remember("recent")
    ada.remember("of a coming time", occurred="2040-01-01")
    ada.forget(older_than="30d")
    assert sorted(texts(ada, "Bob Eve recent long time coming")) == ["Bob new", "of a coming time", "recent"]
    assert texts(ada, "new", user="Bob") == ["Bob new"]
    assert ada.pseudonym("Eve") is None
    ada.forget(person="Bob")
    assert texts(ada, "Bob") == []
    with pytest.raises(NotFound):
        ada.forget(older_than="30d")
    assert kept.event in present(ada)


def test_summaries_are_made_again_from_the_rest(ada: Agent) -> None:
    made = [ada.remember(f"{word} amber", significance=0.1, user="Bob") for word in ("birch", "cedar", "dune")]
    pass_days(ada, 60)
    (summary,) = ada.compress()
    assert summary.entity
    assert "birch" in texts(ada, "memories", user="Bob")[0]
    ada.forget(made[0].event)
    assert ada.get(summary.entity) is None
    (again,) = (hit for hit in ada.recall("memories", user="Bob") if hit.type == "summary")
    assert "2 memories" in again.text
    assert "birch" not in again.text
    sources = ada.event(again.event).header.refs or ()
    assert {event_text(ref.log, ref.seq) for ref in sources} == {made[1].event, made[2].event}
    rows = [ada.get(one.entity or "") for one in made]
    assert [row and row["compressed"] for row in rows] == [None, True, True]
    ada.forget(made[1].event)
    assert [hit.text for hit in ada.recall("amber")] == ["dune amber"]
    last = ada.get(made[2].entity or "")
    assert last is not None
    assert last["compressed"] is False
    ada.forget(person="Bob")
    assert texts(ada, "amber") == []
    assert ada.verify().ok


def test_a_process_that_does_not_know_a_domain_leaves_nothing_of_it(ada: Agent, own_home: Path) -> None:
    secret = ada.record("note.written", {"text": "xyzzy"})
    other = ada.record("note.written", {"text": "plugh"})
    ada.recall("plugh")
    with Agent.open("ada") as plain:
        plain.forget(secret.event)
        found = plain.replica.file.reader.execute("SELECT name FROM sqlite_schema WHERE name LIKE 'notes%'").fetchall()
        assert found == [], "it cannot compute these rows again, so it drops them"
    ada.remember("next")  # whoever knows the domain folds it again with its next write
    assert texts(ada, "xyzzy plugh") == ["plugh"]
    assert ada.get(secret.entity or "") is None
    assert parse_entity(other.entity or "") in {row.values["id"] for row in _notes(ada)}


def _notes(agent: Agent) -> Any:
    return agent.replica.tables.select(agent.replica.registry.tables["notes"], {}, order="at")


# -- what stays ------------------------------------------------------------------------------------------------------


def kept(outcome: Forgotten) -> dict[str, str]:
    return {place.name: place.detail for place in outcome.places if place.state == Done.KEPT}


def test_what_else_is_known_of_the_same_memory_is_named(ada: Agent) -> None:
    memory = ada.remember("the old text", tags=["attic"])
    update = ada.update(memory.entity or "", text="the new text").event
    outcome = ada.forget(update)
    assert texts(ada, "text") == ["the old text"], "it shows again"
    assert list(kept(outcome)) == [f"other events of {memory.entity}"]
    assert "older text too" in kept(outcome)[f"other events of {memory.entity}"]
    assert outcome.complete, "all that was asked for"
    whole = ada.forget(entity=memory.entity)
    assert kept(whole) == {}
    assert texts(ada, "text old new attic") == []


def test_without_its_first_event_a_memory_shows_nothing(ada: Agent) -> None:
    memory = ada.remember("the first text", tags=["attic"], namespace="house")
    entity = memory.entity or ""
    updates = [ada.update(entity, text=f"the changed text {n}").event for n in range(2)]
    outcome = ada.forget(memory.event)
    assert texts(ada, "text first changed attic") == []
    assert ada.get(entity) is None
    assert "2 events" in kept(outcome)[f"other events of {entity}"]
    assert "no row shows them" in kept(outcome)[f"other events of {entity}"]
    assert [event_text(event.log, event.seq) for event in ada.history(entity)] == updates
    assert not any(b"first text" in (event.body or b"") for event in ada.log())
    assert kept(ada.forget(entity=entity)) == {}
    assert ada.history(entity) == []


def test_a_correction_that_goes_brings_back_what_it_corrected(ada: Agent) -> None:
    old = ada.remember("the meeting is on Monday")
    new = ada.supersede(old.entity or "", "the meeting is on Tuesday")
    assert list(kept(ada.forget(new.event))) == [f"other events of {old.entity}"]
    assert texts(ada, "meeting") == ["the meeting is on Monday"]
    lone = ada.remember("nothing else is known of this")
    assert kept(ada.forget(lone.event)) == {}


def test_many_kept_are_counted(ada: Agent) -> None:
    entities = [ada.remember(f"fact {n}").entity or "" for n in range(20)]
    updates = [ada.update(entity, text=f"changed {n}").event for n, entity in enumerate(entities)]
    names = list(kept(ada.forget(updates)))
    assert len(names) == forgetting.ENTITIES_NAMED_MAX + 1 == 17
    assert names[-1] == "other events of 4 more entities"


# -- copies ------------------------------------------------------------------------------------------------------------


def copies(outcome: Forgotten) -> list[tuple[str, str]]:
    out_of_reach = [place for place in outcome.places if place.state == Done.CANNOT]
    return [(place.name, place.detail.partition(": ")[0]) for place in out_of_reach]


def test_every_copy_is_named(ada: Agent, tmp_path: Path) -> None:
    for n in range(300):
        note_copy(ada.replica, f"/somewhere/{n}", "export")
    note_copy(ada.replica, "/somewhere/0", "export")
    ada.snapshot(tmp_path / "ada.copy")
    named = copies(ada.forget(ada.remember("x").event))
    assert len(named) == 301, "the one made twice once"
    assert {("export", f"/somewhere/{n}") for n in range(300)} | {("snapshot", str(tmp_path / "ada.copy"))} == {*named}


def test_past_the_limit_older_copies_are_counted(ada: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "COPIES_MAX", 5)
    clock = ada.replica.clock
    assert isinstance(clock, ManualClock)
    for n in range(12):
        clock.pass_ms(1)
        note_copy(ada.replica, f"/somewhere/{n}", "export")
    named = copies(ada.forget(ada.remember("x").event))
    assert named[:5] == [("export", f"/somewhere/{n}") for n in range(7, 12)]
    assert named[5:] == [("7 older copies", "out of reach")]


def test_a_proof_is_named_when_its_event_goes(ada: Agent) -> None:
    first, second = ada.remember("one"), ada.remember("two", sources=["0"])
    note_copy(ada.replica, "/proofs/second", "proof", event=second.event)
    for event in (first.event, second.event):
        note_copy(ada.replica, forgetting.STANDARD_OUTPUT, "proof", event=event)
    assert copies(ada.forget(ada.remember("three").event)) == []
    named = copies(ada.forget(first.event))
    assert sorted(named) == [("proof", "/proofs/second"), *[("proof", forgetting.STANDARD_OUTPUT)] * 2]


def test_copies_noted_by_an_earlier_version_are_named(ada: Agent) -> None:
    with ada.replica.transaction():
        old = msgspec.msgpack.encode([{"path": "/old", "made_ms": 5, "what": "snapshot"}])
        ada.replica.file.put("copies", old)
    assert copies(ada.forget(ada.remember("x").event)) == [("snapshot", "/old")]


def test_where_nothing_can_be_written_a_copy_is_made_and_not_noted(ada: Agent, tmp_path: Path) -> None:
    ada.remember("x")
    mark = ada.replica.mark()
    with Agent.open("ada", domains=[NOTES_DOMAIN], read_only=True) as reader:
        reader.snapshot(tmp_path / "ada.copy")
        reader.export(tmp_path / "ada.jsonl")
        assert not note_copy(reader.replica, "/somewhere", "export")
        assert forgetting.copies_of(reader.replica) == []
    assert (tmp_path / "ada.copy").exists()
    assert ada.replica.mark() == mark


def test_a_snapshot_of_a_copy_that_is_only_read_leaves_the_original_its_log(own_home: Path) -> None:
    with Agent.create("ada") as ada:
        ada.remember("x")
        log = ada.log_id
    shutil.copytree(own_home / "home", own_home / "copy")
    with Agent.open("ada", home=own_home / "copy", read_only=True) as reader:
        reader.snapshot(own_home / "ada.copy")
    with Agent.open("ada") as ada:
        assert ada.log_id == log
