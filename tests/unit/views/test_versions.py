"""Kinds that this process does not know, or knows in another version; domains and files of other versions."""

from collections.abc import Iterable
from typing import Any

import msgspec
import pytest

from antiphon import Agent, AssertRow, Column, Domain, InvalidInput, Kind, Rejected, Table, Type, verify_proof
from antiphon.model.errors import UnsupportedFormat
from antiphon.model.event import Event, Scope
from antiphon.model.table import FullText, Index
from antiphon.views.domain import Op, Registry, Write
from tests.unit.views.notes import NOTES, NOTES_DOMAIN, Pinned, Written, domain


def ada(*domains: Domain, create: bool = False) -> Agent:
    return Agent.open("ada", create=create, domains=domains)


def notes(agent: Agent) -> list[dict[str, Any]]:
    found = agent.replica.tables.select(agent.replica.registry.tables["notes"], {}, order="n")
    return [row.values for row in found]


def test_unknown_kinds_are_kept_verified_and_proved() -> None:
    with ada(NOTES_DOMAIN, create=True) as agent:
        note = agent.record("note.written", {"text": "amber"})
        before = notes(agent)
    with ada() as plain:
        assert [event.kind for event in plain.log()] == ["note.written"]
        assert plain.event(note.event).decoded() == {"text": "amber", "colour": "white"}
        assert plain.verify().ok
        assert verify_proof(plain.prove(note.event)).header.kind == "note.written"
        assert [event.kind for event in plain.history(note.entity or "")] == ["note.written"]
        with pytest.raises(InvalidInput, match=r"no domain declares the kind 'note\.written'"):
            plain.record("note.written", {"text": "x"})
        plain.remember("meanwhile")
    with ada(NOTES_DOMAIN) as agent:
        assert notes(agent) == before
        assert [hit.text for hit in agent.recall("amber meanwhile")] == ["meanwhile", "amber"]


def test_a_domain_that_comes_later_folds_what_is_there() -> None:
    with ada(NOTES_DOMAIN, create=True) as agent:
        agent.record("note.written", {"text": "amber"})
    other = Table("titles", key="id", columns=(Column("id", Type.ID), Column("title", Type.TEXT)))
    titles = Domain(
        "titles", kinds=NOTES_DOMAIN.kinds, tables=(other,), folds={"note.written": (AssertRow(other, title="text"),)}
    )
    with ada(titles) as agent:
        assert [row.values["title"] for row in agent.replica.tables.select(other, {}, order="n")] == ["amber"]


class WrittenAgain(msgspec.Struct):
    """Version 2: the colour became a list."""

    text: str
    colours: list[str]


def second(**more: Any) -> Domain:
    def write(event: Event, body: WrittenAgain) -> Iterable[Write]:
        assert event.entity is not None
        values = {"id": event.entity, "text": body.text, "colour": "+".join(body.colours)}
        yield Write("notes", event.entity, Op.ASSERT, values)

    def upcast(old: dict[str, Any]) -> dict[str, Any]:
        return {"text": old["text"], "colours": [old.get("colour", "white")]}

    kind = Kind("note.written", WrittenAgain, 2, {1: upcast})
    return Domain("notes", kinds=(kind, Kind("note.pinned", Pinned)), tables=(NOTES,), folds={"note.written": (write,)})


def first() -> Domain:
    kinds = (Kind("note.written", Written), Kind("note.pinned", Pinned))
    fold = AssertRow(NOTES, at="@time", text="text", colour="colour")
    return Domain("notes", kinds=kinds, tables=(NOTES,), folds={"note.written": (fold,)})


def test_old_bodies_are_brought_up_to_the_new_version_and_never_rewritten() -> None:
    with ada(first(), create=True) as agent:
        old = agent.record("note.written", {"text": "amber", "colour": "red"})
        assert [row["colour"] for row in notes(agent)] == ["red"]
        root = agent.verify().root
    with ada(second()) as agent:
        assert agent.verify().root == root
        assert [row["colour"] for row in notes(agent)] == ["red"]
        assert [row["at"] for row in notes(agent)] == [None], "the new fold, without a raise of the domain's version"
        agent.record("note.written", {"text": "birch", "colours": ["red", "blue"]})
        assert [row["colour"] for row in notes(agent)] == ["red", "red+blue"]
        assert agent.event(old.event).header.kind_version == 1


def test_events_of_a_newer_kind_stay_unfolded_until_the_code_knows_them() -> None:
    with ada(first(), create=True) as agent:
        agent.record("note.written", {"text": "old"})
    with ada(second()) as agent:
        new = agent.record("note.written", {"text": "new", "colours": ["blue"]})
    with ada(first()) as agent:
        assert agent.verify().ok
        assert agent.event(new.event).header.kind_version == 2
        assert verify_proof(agent.prove(new.event)).header.kind_version == 2
        agent.record("note.written", {"text": "older still"})
        assert "notes" not in agent.replica.views.live, "older code leaves a newer view alone"
    with ada(second()) as agent:
        assert {row["text"]: row["colour"] for row in notes(agent)} == {
            "old": "white",
            "new": "blue",
            "older still": "white",
        }


def test_a_raised_domain_version_folds_again() -> None:
    with ada(domain(), create=True) as agent:
        agent.record("note.written", {"text": "amber"})

    def shout(event: Event, body: Written) -> Iterable[Write]:
        assert event.entity is not None
        yield Write("notes", event.entity, Op.ASSERT, {"id": event.entity, "text": body.text.upper()})

    with ada(domain(version=2, **{"note.written": (shout,)})) as agent:
        assert [row["text"] for row in notes(agent)] == ["AMBER"]
        assert [hit.text for hit in agent.recall("amber")] == ["AMBER"]
    with ada(domain()) as agent:
        assert "notes" not in agent.replica.views.live
    with ada(domain(version=3)) as agent:
        assert [row["text"] for row in notes(agent)] == ["amber"]


def test_a_changed_table_is_made_anew_without_its_old_index() -> None:
    with ada(domain(), create=True) as agent:
        agent.record("note.written", {"text": "amber"})
        agent.recall("amber")
    bare = Table("notes", key="id", columns=(Column("id", Type.ID), Column("text", Type.TEXT)))
    fold = AssertRow(bare, text="text")
    with ada(Domain("notes", kinds=NOTES_DOMAIN.kinds, tables=(bare,), folds={"note.written": (fold,)})) as agent:
        assert [row["text"] for row in notes(agent)] == ["amber"]
        left = agent.replica.file.reader.execute("SELECT name FROM sqlite_schema WHERE name LIKE 'notes%'").fetchall()
        assert left == [("notes",), ("notes_key",)]
    with ada(domain()) as agent:
        assert [hit.text for hit in agent.recall("amber")] == ["amber"]


def test_a_newer_file_format_is_refused_with_advice() -> None:
    with ada(create=True) as agent, agent.replica.transaction():
        agent.replica.file.put("format", (2).to_bytes(4, "big"))
    with pytest.raises(UnsupportedFormat, match="upgrade"):
        ada()


def test_a_fold_that_raises_fails_the_command_whole_and_names_the_event() -> None:
    def burst(event: Event, body: Any) -> Iterable[Write]:
        raise ZeroDivisionError("in the fold")

    with ada(domain(**{"note.torn": (burst,)}), create=True) as agent:
        note = agent.record("note.written", {"text": "amber"})
        size = agent.verify().size
        with pytest.raises(
            Rejected, match=rf"note\.torn failed on event {agent.log_id and 'b'}\w+/1.*nothing was recorded"
        ):
            agent.record("note.torn", {}, entity=note.entity)
        assert agent.verify().size == size
        agent.record("note.changed", {"text": "birch"}, entity=note.entity)
        assert [row["text"] for row in notes(agent)] == ["birch"]


def test_a_row_that_does_not_fit_its_table_fails_the_command_whole() -> None:
    def wrong(event: Event, body: Any) -> Iterable[Write]:
        assert event.entity is not None
        yield Write("notes", event.entity, Op.ASSERT, {"id": event.entity, "text": {"not": "text"}})

    with ada(domain(**{"note.written": (wrong,)}), create=True) as agent:
        with pytest.raises(InvalidInput, match="notes"):
            agent.record("note.written", {"text": "amber"})
        assert list(agent.log()) == []


# -- declarations that contradict themselves -------------------------------------------------------------------------


def test_two_domains_must_not_share_names() -> None:
    with pytest.raises(InvalidInput, match="'notes'"):
        Registry([NOTES_DOMAIN, NOTES_DOMAIN])
    same_kind = Domain("other", kinds=(Kind("note.torn", Written),))
    with pytest.raises(InvalidInput, match="taken"):
        Registry([NOTES_DOMAIN, same_kind])
    same_table = Domain("other", kinds=(), tables=(NOTES,))
    with pytest.raises(InvalidInput, match="taken"):
        Registry([NOTES_DOMAIN, same_table])
    with pytest.raises(InvalidInput, match="does not declare"):
        Registry([Domain("x", kinds=(), folds={"note.torn": ()})])
    with pytest.raises(InvalidInput, match="taken"):
        Registry([Domain("x", kinds=(Kind("log.erased", Written),))])


@pytest.mark.parametrize("name", ["", " x", "a b", "x" * 129, "a\n", "ü", "\ud800"])
def test_a_kind_needs_a_name_that_everybody_can_read(name: str) -> None:
    with pytest.raises(InvalidInput, match="no name for a kind"):
        Registry([Domain("x", kinds=(Kind(name, Written),))])


@pytest.mark.parametrize("version", [0, -1, 65_536])
def test_versions_of_kinds_have_bounds(version: int) -> None:
    with pytest.raises(InvalidInput, match="version"):
        Registry([Domain("x", kinds=(Kind("x.y", Written, version),))])


ID, TEXT = Column("id", Type.ID), Column("text", Type.TEXT)


@pytest.mark.parametrize(
    ("fields", "fault"),
    [
        ({"name": "Bad"}, "name"),
        ({"name": "logs"}, "reserve"),
        ({"name": "sqlite_x"}, "reserve"),
        ({"key": "none"}, "key"),
        ({"key": ("id", "none")}, "key"),
        ({"columns": (ID, Column("text", Type.REAL)), "key": "text"}, "no order that all engines share"),
        ({"columns": (ID, ID)}, "twice"),
        ({"columns": (ID, Column("seq", Type.TEXT))}, "reserve"),
        ({"indexes": (Index(("none",)),)}, "none"),
        ({"indexes": (Index(("text",)), Index(("text",), descending=True))}, "two indexes"),
        ({"subject": "none"}, "subject"),
        ({"fulltext": FullText("text", time="text")}, "timestamp"),
        ({"fulltext": FullText("id", time="text")}, "not text"),
        ({"fulltext": FullText("none", time="text")}, "none"),
    ],
)
def test_a_table_that_contradicts_itself_is_refused(fields: dict[str, Any], fault: str) -> None:
    with pytest.raises(InvalidInput, match=fault):
        Table(**{"name": "t", "key": "id", "columns": (ID, TEXT), **fields})


def test_a_row_is_keyed_by_its_event_entity() -> None:
    with pytest.raises(InvalidInput, match="key"):
        AssertRow(NOTES, id="text")


def test_a_body_must_fit_its_kind() -> None:
    with ada(NOTES_DOMAIN, create=True) as agent:
        for body in ({}, {"text": 5}, "text", None, {"text": "\ud800"}, Written(text=5)):  # type: ignore[arg-type]
            with pytest.raises(InvalidInput):
                agent.record("note.written", body)
        with pytest.raises(InvalidInput, match="circle"):
            agent.record("note.written", {"text": "x"}, scope=Scope.CIRCLE)
        assert list(agent.log()) == []
        agent.record("note.written", Written("x"), scope=Scope.PUBLIC)
        assert agent.verify().ok
