"""A declaration in words: nothing that is declared is left out."""

from typing import Any

from antiphon import Column, Index, Table, Type
from antiphon.domains import BUILT_IN
from antiphon.model.places import ENGLISH, FOREVER, Archive, Edge, Nested, Node, Search, Stream
from antiphon.model.printed import access_text, facts_of, index_text, key_text, place_text
from antiphon.model.table import Merge, parties
from antiphon.views.domain import Registry

REGISTRY = Registry(BUILT_IN)


def facts(table: Table, label: str) -> list[str]:
    return [text for name, text in facts_of(table) if name == label]


def test_places_say_what_they_call_columns_and_while_what() -> None:
    (working,) = [text for text in facts(REGISTRY.tables["tasks"], "edge") if "WORKING_ON" in text]
    assert working == (
        "(:Agent)-[:WORKING_ON]->(:Task) from assigned_to to id; properties started_at; where status is "
        '"in_progress" or "review"; started_at as started'
    )
    assert place_text(Node("Agent", ("codename",), names=(("codename", "name"),))) == (
        "label Agent; properties codename; codename as name"
    )
    search = Search((("text", ENGLISH),), (Nested("data", (("by", "text"), ("stars", "integer"))),))
    assert place_text(search) == "analyzers text by english; nested data (by text, stars integer)"
    assert place_text(Edge("NEAR", "id", "near", "Shop", "Shop")) == "(:Shop)-[:NEAR]->(:Shop) from id to near"


def test_what_is_kept_for_ever_and_sealed_is_said() -> None:
    assert place_text(Stream("t", 3, FOREVER, ("k",), sealed=True)) == (
        "topic t; partitions 3; retention for ever; kinds k; replication 3; sealed by the subject's key"
    )
    assert place_text(Archive("at")) == "time at; every 1 d; sealed by the subject's key"
    assert place_text(Archive("at", sealed=False)) == "time at; every 1 d"


def test_analyzers_are_printed_whole_once_a_table() -> None:
    (english,) = facts(REGISTRY.tables["tasks"], "analyzer")
    assert english == (
        "english: standard words; lowercase; english_stop (no stop words of english); english_stem (stems of english)"
    )
    (wise,) = facts(REGISTRY.tables["field_measurements"], "analyzer")
    assert wise.startswith("sacred_wisdom: standard words; lowercase; metaphor_expansion (synonyms spore = gossip, ")
    assert wise.endswith("; harmony_recognition (parts by ([^_]+))")


def test_scopes_and_who_keeps_what_is_said() -> None:
    columns = (
        Column("id", Type.ID, nullable=False),
        Column("home", Type.LOG, merge=Merge.ONCE),
        Column("name", Type.TEXT, merge=Merge.DECIDED),
    )

    def made(**more: Any) -> Table:
        return Table("things", "id", columns[:1], **more)

    assert facts(made(), "events") == ["of every scope, of the file's own agents"]
    assert facts(made(scopes=("private", "circle")), "events") == ["private and circle, of the file's own agents"]
    assert facts(made(shared=True), "events") == ["circle and public, of every log"]
    assert facts(REGISTRY.tables["trust_daily"], "events") == []
    assert facts(made(), "unique") == []
    assert facts(REGISTRY.tables["agents"], "unique") == ["codename: listed where it is not so"]
    assert facts(REGISTRY.tables["agents"], "no circles") == ["along supervisor_agent: listed where it is not so"]
    assert facts(REGISTRY.tables["tasks"], "no circles") == ["along depends_on: kept by the home"]
    decided = Table("t", "id", columns, indexes=(Index(("name",)),), unique=(("name",),), home="home")
    assert facts(decided, "unique") == ["name: kept by the home"]


def test_conditions_and_keys_are_in_words() -> None:
    assert access_text(parties("to", besides=("state", ("open", "new")))) == (
        'author and to; all while state is "open" or "new"'
    )
    assert index_text(Index(("at",), where=("gone", None))) == "at, where gone is null"
    agents = REGISTRY.tables["task_votes"]
    shown = key_text(agents, {"task_id": bytes(16), "agent_id": bytes(32)})
    assert shown == f"task_id=00000000-0000-0000-0000-000000000000, agent_id=b{'a' * 52}"
