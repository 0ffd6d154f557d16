"""The agent's own methods: what they take, return and refuse."""

import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from antiphon import Agent, Conflict, Corrupt, InvalidInput, LimitExceeded, NotFound, Unavailable, verify_proof
from antiphon.domains.memory.commands import SUMMARY_SOURCES_MAX
from antiphon.engines.sqlite.select import SqliteSource
from antiphon.model.event import Event
from antiphon.model.text import parse_id
from antiphon.views.domain import Domain, Op, Write
from antiphon.world.clock import ManualClock
from tests.unit.views.notes import NOTES_DOMAIN

DAY = 86_400_000


@pytest.fixture
def ada() -> Iterator[Agent]:
    with Agent.create("ada", domains=[NOTES_DOMAIN], clock=ManualClock()) as agent:
        yield agent


def row(agent: Agent, entity: str | None) -> dict[str, Any]:
    found = agent.get(entity or "")
    assert found is not None
    return found


# -- opening ---------------------------------------------------------------------------------------------------------


def test_create_and_open() -> None:
    with pytest.raises(NotFound, match="antiphon init"):
        Agent.open("ada")
    with Agent.open("ada", create=True) as made:
        made.remember("x")
        name = repr(made)
    assert made.id in name
    with pytest.raises(Conflict):
        Agent.create("ada")
    with Agent.open("ada", create=True) as again:
        assert (again.id, again.principal) == (made.id, made.principal)
        again.close()
        again.close()
        with pytest.raises(Unavailable, match="closed"):
            again.remember("too late")
    with pytest.raises(NotFound, match="known: ada"):
        Agent.open("bob")


def test_read_only_reads_and_never_writes(ada: Agent) -> None:
    event = ada.remember("a boat").event
    with Agent.open("ada", read_only=True) as reader:
        assert [hit.text for hit in reader.recall("boat")] == ["a boat"]
        assert reader.verify().ok
        assert verify_proof(reader.prove(event)).seq == 0
        with pytest.raises(Unavailable):
            reader.remember("x")
        with pytest.raises(Unavailable):
            reader.forget(event)


# -- recording -------------------------------------------------------------------------------------------------------


def test_every_field_of_a_memory_comes_back(ada: Agent) -> None:
    made = ada.remember(
        "text", type="insight", significance=0.25, namespace="a.b", user="Bob", tags=["x", "ü"],
        emotional_context="calm", loop_context="l1", metadata={"k": [1, None, {"x": 2.5}]},
        expires="2030-01-01", occurred="2020-02-03T04:05:06Z",
    )  # fmt: skip
    found = row(ada, made.entity)
    assert found.pop("user") == ada.pseudonym("Bob")
    assert found.pop("id").hex() == (made.entity or "").replace("-", "")
    assert found == {
        "table": "memories", "event": made.event, "timestamp": 1_580_702_706_000, "type": "insight", "content": "text",
        "emotional_context": "calm", "loop_context": "l1", "significance": 0.25,
        "metadata": {"k": [1, None, {"x": 2.5}]}, "namespace": "a.b", "tags": ["x", "ü"],
        "expires_at": 1_893_456_000_000, "compressed": False,
        "superseded_by": None,
    }  # fmt: skip


WRONG: list[dict[str, Any]] = [
    {"text": ""}, {"text": " \n\u3000"}, {"user": " \t"},
    {"text": 5}, {"text": None}, {"text": "\ud800"}, {"type": 5}, {"namespace": None}, {"significance": 1.1},
    {"significance": -0.1}, {"significance": True}, {"significance": float("nan")}, {"tags": "word"}, {"tags": [1]},
    {"tags": ["\ud800"]}, {"metadata": [1]}, {"metadata": {"x": object()}}, {"expires": 1 << 62},
    {"expires": "soon"},
    {"occurred": 1 << 60}, {"occurred": True}, {"user": ""}, {"user": "\ud800"}, {"user": 5}, {"sources": ["x"]},
    {"supersedes": "x"}, {"emotional_context": 5}, {"loop_context": b"x"}, {"type": "\ud800"},
]  # fmt: skip


def test_what_is_no_memory_is_refused_and_nothing_is_recorded(ada: Agent) -> None:
    for wrong in WRONG:
        with pytest.raises(InvalidInput):
            ada.remember(**{"text": "fine", **wrong})
    assert list(ada.log()) == []
    ada.replica.refold("memory")
    ada.remember("fine")
    assert ada.verify().ok


@pytest.mark.parametrize(
    ("big", "limit"),
    [({"text": "x" * 300_000}, "BODY_BYTES_MAX"), ({"text": "x", "tags": ["t"] * 33}, "TAGS_MAX")],
)
def test_limits_are_named(ada: Agent, big: dict[str, Any], limit: str) -> None:
    with pytest.raises(LimitExceeded, match=limit):
        ada.remember(**big)
    with pytest.raises(LimitExceeded, match="COMMIT_EVENTS_MAX"), ada.batch() as batch:  # noqa: PT012
        for _ in range(65_537):
            batch.drafted.append(batch.drafted[0] if batch.drafted else _draft(ada))
    assert list(ada.log()) == []


def _draft(agent: Agent) -> Any:
    from antiphon.domains.memory import commands

    return commands.remember("x")


def test_metadata_is_kept_as_json_says_it(ada: Agent) -> None:
    made = ada.remember("x", metadata={1: (2, "y")})  # type: ignore[dict-item]
    assert row(ada, made.entity)["metadata"] == {"1": [2, "y"]}
    ada.replica.refold("memory")
    assert row(ada, made.entity)["metadata"] == {"1": [2, "y"]}


def test_an_update_changes_what_it_names_and_no_more(ada: Agent) -> None:
    made = ada.remember("old", tags=["a"], significance=0.2, user="Bob", expires="2030-01-01")
    entity = made.entity or ""
    ada.update(entity, text="new")
    ada.update(entity, tags=None, expires=None, metadata={"a": 1})
    found = row(ada, entity)
    assert (found["content"], found["tags"], found["significance"], found["expires_at"]) == ("new", None, 0.2, None)
    assert found["metadata"] == {"a": 1}
    assert [event.kind for event in ada.history(entity)] == ["memory.remembered", "memory.updated", "memory.updated"]
    wrongs: list[dict[str, Any]] = [
        {},
        {"user": "Eve"},
        {"text": 5},
        {"text": " "},
        {"type": None},
        {"significance": 2},
        {"tags": "x"},
    ]
    for wrong in wrongs:
        with pytest.raises(InvalidInput):
            ada.update(entity, **wrong)
    with pytest.raises(NotFound):
        ada.update("00000000-0000-0000-0000-000000000000", text="x")
    assert len(ada.history(entity)) == 3


def test_a_correction_is_about_the_same_person_in_the_same_place(ada: Agent) -> None:
    made = ada.remember("old", namespace="n", type="fact", user="Bob")
    new = ada.supersede(made.entity or "", "new")
    found = row(ada, new.entity)
    assert (found["namespace"], found["type"], found["user"]) == ("n", "fact", ada.pseudonym("Bob"))
    other = ada.supersede(new.entity or "", "newer", namespace="m", user="Eve")
    assert (row(ada, other.entity)["namespace"], row(ada, other.entity)["user"]) == ("m", ada.pseudonym("Eve"))
    ada.forget(person="Bob")
    assert [hit.text for hit in ada.recall("old new newer")] == ["newer"]


def test_reflections_and_tones(ada: Agent) -> None:
    first = ada.reflect("why am I here?", "to help", insights="purpose", occurred="2020-01-01")
    second = ada.reflect("only a question")
    shift = ada.shift_tone("calm", from_tone="tense", trigger_type="music", magnitude=0.5)
    assert row(ada, first.entity)["response"] == "to help"
    assert row(ada, shift.entity)["from_tone"] == "tense"
    assert [hit.text for hit in ada.recall("question")] == ["only a question"]
    assert row(ada, second.entity)["response"] is None


def test_a_batch_is_all_or_nothing_and_gives_receipts(ada: Agent) -> None:
    with ada.batch() as batch:
        batch.remember("one", user="Bob")
        batch.remember("two", user="Bob")
        batch.record("note.written", {"text": "three"}, about=["Bob"], occurred="2020-01-01")
    assert [made.event.rpartition("/")[2] for made in batch.recorded] == ["0", "1", "2", "3"]
    assert [event.kind for event in ada.log()] == ["person.named", *["memory.remembered"] * 2, "note.written"]
    assert len({event.header.about for event in ada.log()}) == 1
    with pytest.raises(RuntimeError), ada.batch() as batch:  # noqa: PT012  # what came before must not stay
        batch.remember("never")
        raise RuntimeError
    with ada.batch() as batch:
        pass
    assert batch.recorded == []
    assert len(list(ada.log())) == 4


def test_summaries_are_made_of_what_is_old_and_slight(ada: Agent) -> None:
    for at in range(70):
        ada.remember(f"slight {at} harbour", significance=0.1, user="Bob")
    kept = [
        ada.remember("weighty", significance=0.9),
        ada.remember("soon gone", significance=0.1, expires="2040-01-01"),
        ada.remember("alone in its namespace", significance=0.1, namespace="n"),
    ]
    clock = ada.replica.clock
    assert isinstance(clock, ManualClock)
    clock.pass_ms(40 * DAY)
    kept.append(ada.remember("recent", significance=0.1))
    made = ada.compress()
    assert [len(ada.event(one.event).header.refs or ()) for one in made] == [
        SUMMARY_SOURCES_MAX,
        70 - SUMMARY_SOURCES_MAX,
    ]
    assert all(row(ada, one.entity)["user"] == ada.pseudonym("Bob") for one in made)
    assert not any(row(ada, one.entity)["compressed"] for one in kept)
    assert "harbour" in row(ada, made[0].entity)["content"]
    assert ada.compress() == []


# -- people ----------------------------------------------------------------------------------------------------------


def test_threads_that_name_a_person_at_once_hide_nothing_from_forgetting(ada: Agent) -> None:
    barrier = threading.Barrier(4)

    def remember(at: int) -> None:
        barrier.wait()
        ada.remember(f"Bob {at}", user="Bob")

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(remember, range(4)))
    assert len(ada.recall("Bob", user="Bob")) == 4
    ada.forget(person="Bob")
    assert ada.recall("Bob") == []


def test_spellings_of_a_name_are_one_person(ada: Agent) -> None:
    ada.remember("one", user="Grace Hopper")
    with ada.batch() as batch:
        batch.remember("two", user=" grace  hopper")
        batch.remember("three", user="Eve")
        batch.remember("four", user="EVE\t")
        batch.record("note.written", {"text": "five"}, about=["eve", "Eve", "GRACE HOPPER"])
    ada.record("note.written", {"text": "six"}, about=["bob", "Bob "])
    labels = [event.decoded()["label"] for event in ada.log() if event.kind == "person.named"]
    assert labels == ["Grace Hopper", "Eve", "bob"], "as first typed"
    assert {hit.text for hit in ada.recall("one two", user="GRACE HOPPER")} == {"one", "two"}
    assert len({ada.pseudonym(name) for name in ("Bob", "bob", "BOB ")}) == 1
    assert len(ada.forget(person="grace HOPPER ").events) == 4, "the name, two memories and a note"
    assert ada.recall("one two five", user="Grace Hopper") == []
    assert ada.pseudonym("Grace Hopper") is None
    assert ada.pseudonym("Grace") is None


def _older(monkeypatch: pytest.MonkeyPatch) -> None:
    """What names were in the first version: a pseudonym for every spelling."""
    from antiphon.domains import BUILT_IN
    from antiphon.domains.memory import MEMORY, declare

    def name(event: Event, body: Any) -> Iterator[Write]:
        yield Write("people", event.entity or b"", Op.ASSERT, {"id": event.entity, "label": body.label})

    folds = {**MEMORY.folds, declare.PERSON_NAMED: (name,)}
    older = Domain("memory", MEMORY.kinds, MEMORY.tables, folds)
    monkeypatch.setattr("antiphon.home.folder.BUILT_IN", tuple(older if one is MEMORY else one for one in BUILT_IN))
    monkeypatch.setattr("antiphon.agent.opened.name_key", lambda text: text)
    monkeypatch.setattr("antiphon.agent.writing.name_key", lambda text: text)


def test_people_of_a_file_that_an_older_version_wrote_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as old:
        _older(old)
        with Agent.create("bob") as agent:
            agent.remember("one", user="Grace")
            agent.remember("two", user="grace ")
            assert len({agent.pseudonym("Grace"), agent.pseudonym("grace ")}) == 2
            assert [hit.text for hit in agent.recall("one two", user="Grace")] == ["one"]
    with Agent.open("bob", read_only=True) as agent:
        assert {row["label"] for row in agent.table("people").select()} == {"Grace", "grace "}, "a reader folds nothing"
        assert {hit.text for hit in agent.recall("one two", user="GRACE")} == {"one", "two"}
        assert agent.pseudonym("Eve") is None
    with Agent.open("bob") as agent:
        agent.remember("three", user="grace")
        assert len([event for event in agent.log() if event.kind == "person.named"]) == 2, "no third pseudonym"
        assert {row["label"] for row in agent.table("people").select()} == {"grace"}
        assert {hit.text for hit in agent.recall("one two three", user="Grace")} == {"one", "two", "three"}
        assert len(agent.forget(person="GRACE").events) == 5
        assert agent.recall("one two three") == []


# -- reading and proving ---------------------------------------------------------------------------------------------


def test_the_log_in_pieces(ada: Agent) -> None:
    for at in range(10):
        ada.remember(f"n{at}")
    ada.forget("3")
    assert [event.seq for event in ada.log()] == [0, 1, 2, 4, 5, 6, 7, 8, 9, 10]
    assert [event.seq for event in ada.log(after=7)] == [8, 9, 10]
    assert [event.seq for event in ada.log(after=1, limit=3)] == [2, 4]
    assert list(ada.log(after=99)) == []
    assert ada.event("5").decoded() == {"text": "n5"}
    for wrong in ("3", "11"):
        with pytest.raises(NotFound):
            ada.event(wrong)
    for wrong in ("", "x", "-1", "b/1", f"{'b' * 53}/01"):
        with pytest.raises(InvalidInput):
            ada.event(wrong)
    for entity in ("", "x", "0" * 32):
        with pytest.raises(InvalidInput):
            ada.get(entity)
    assert ada.get("00000000-0000-0000-0000-000000000000") is None


def test_what_another_opener_has_just_written_is_found_at_once(ada: Agent) -> None:
    """A second opener shares nothing with the first but the file, as another process does."""
    with Agent.open("ada", domains=[NOTES_DOMAIN], clock=ManualClock()) as other:
        for at in range(30):
            ours, theirs = (ada, other) if at % 2 else (other, ada)
            made = ours.remember(f"boat n{at}", user=f"P{at}")
            assert [hit.text for hit in theirs.recall(f"n{at}")] == [f"boat n{at}"]
            assert row(theirs, made.entity)["content"] == f"boat n{at}"
            assert theirs.event(made.event).decoded()["text"] == f"boat n{at}"
            assert len(theirs.history(made.entity or "")) == 1
            theirs.update(made.entity or "", text=f"ship n{at}")
            assert [hit.text for hit in ours.recall(f"n{at}", user=f"P{at}")] == [f"ship n{at}"]
            if at % 5 == 0:
                ours.replica.tidy()
            if at % 3 == 0:
                theirs.forget(entity=made.entity)
                assert ours.recall(f"n{at}") == []
                for agent in (ada, other):
                    agent.replica.clock.pass_ms(51)  # type: ignore[attr-defined]  # until then, what was read may be shown
                assert ours.get(made.entity or "") is None
                assert ours.history(made.entity or "") == []
    assert ada.verify().ok


def test_a_checkpoint_of_another_log_is_refused(ada: Agent) -> None:
    with pytest.raises(NotFound):
        ada.checkpoint()
    ada.remember("x")
    with Agent.create("bob") as bob:
        bob.remember("y")
        theirs = bob.checkpoint()
    with pytest.raises(InvalidInput):
        ada.verify(since=theirs)
    proof = ada.prove("0")
    assert verify_proof(proof, principal=parse_id(ada.principal)).describe()["body"] == {"text": "x"}


def test_a_request_to_forget_changes_nothing_until_it_is_answered(ada: Agent) -> None:
    memory = ada.remember("secret")
    ada.request_forget(memory.event)
    (request,) = ada.forget_requests()
    assert request["event"] == memory.event
    assert [hit.text for hit in ada.recall("secret")] == ["secret"]
    ada.forget(request["event"])
    assert ada.forget_requests() == []
    with pytest.raises(NotFound):
        ada.request_forget(memory.event)


def test_plain_lines_hold_what_is_left(ada: Agent, tmp_path: Path) -> None:
    ada.remember("kept", user="Bob", tags=["a"])
    ada.forget(ada.remember("gone").event)
    assert ada.export(tmp_path / "x.jsonl") == 3
    lines = [json.loads(line) for line in (tmp_path / "x.jsonl").read_text("utf-8").splitlines()]
    assert [line["kind"] for line in lines] == ["person.named", "memory.remembered", "log.erased"]
    assert lines[1]["body"]["text"] == "kept"
    with pytest.raises(InvalidInput):
        ada.export(tmp_path / "x.jsonl")
    outcome = ada.forget(person="Bob")
    assert not outcome.complete
    assert [place.name for place in outcome.places if place.state == "cannot"] == ["export"]


def test_figures_add_up(ada: Agent) -> None:
    with ada.batch() as batch:
        for at in range(100):
            batch.remember(f"n{at}")
    ada.record("note.written", {"text": "x"})
    stats = ada.stats()
    assert stats["events"] == stats["logs"][0]["size"] == 101
    assert stats["logs"][0]["root"] == ada.verify().root.hex()
    assert (stats["tables"]["memories"], stats["tables"]["notes"]) == (100, 1)
    ada.recall("x")
    assert ada.stats()["fulltext_backlog"] == 0


# -- tables of its own and elsewhere -----------------------------------------------------------------------------------


def test_tables_are_what_is_declared_and_nobody_changes_them(ada: Agent) -> None:
    assert {"memories", "notes"} <= ada.tables.keys()
    assert ada.tables["memories"] is ada.table("memories").table
    with pytest.raises(TypeError):
        ada.tables["memories"] = ada.tables["notes"]  # type: ignore[index]


def test_a_table_is_read_from_another_source_than_the_process_keeps(ada: Agent) -> None:
    kept = ada.remember("mine").entity or ""
    again = ada.table("memories", source=SqliteSource(ada.replica.file, ada.replica.tables, ada.tables))
    assert again.get(kept) == ada.table("memories").get(kept)
    assert again.get(kept) is not None
    assert (again.stats(), ada.table("memories").stats() is None) == (None, False)
    with pytest.raises(InvalidInput, match="no domain declares"):
        ada.table("nothing", source=again._source)


def test_seals_are_the_homes_and_stay_the_same(ada: Agent, own_home: Path) -> None:
    people = ada.tables["people"]
    column = next(column.name for column in people.columns if column.pii)
    row = {**dict.fromkeys(people.names), **{name: bytes(16) for name in people.key}, column: "Ann"}
    sealed = ada.seals.seal(people, row)
    assert sealed[column] != "Ann"
    assert ada.seals.open(people, sealed)[column] == "Ann"
    with Agent.create("eve", home=own_home / "elsewhere") as eve, pytest.raises(Corrupt, match="not sealed with"):
        eve.seals.open(people, sealed)
