"""What tables say of each other: one source for each node, edge, cache and changelog, ends that are there."""

from typing import Any

import msgspec
import pytest

from antiphon import Column, Domain, InvalidInput, Kind, Table, Type
from antiphon.domains import BUILT_IN
from antiphon.model.places import Analyzer, Cache, Edge, Node, Places, Search, Stream
from antiphon.views.domain import Registry

COLUMNS = (Column("id", Type.AGENT, nullable=False), Column("to", Type.AGENT), Column("name", Type.TEXT))
AGENTS = Table("agents_here", "id", COLUMNS, places=Places(nodes=(Node("Agent"),)))
KNOWS = Edge("KNOWS", "id", "to", "Agent", "Agent")


def registry(*tables: Table, kinds: tuple[Kind, ...] = ()) -> Registry:
    return Registry([Domain("one", kinds, tables)])


def other(**places: Any) -> Table:
    return Table("others", "id", COLUMNS, places=Places(**places))


def test_an_edge_has_one_source() -> None:
    first = msgspec.structs.replace(AGENTS, places=Places(nodes=AGENTS.places.nodes, edges=(KNOWS,)))
    with pytest.raises(InvalidInput, match="table 'others': its edge 'KNOWS Agent Agent' is made of 'agents_here'"):
        registry(first, other(edges=(KNOWS,)))
    assert registry(first, other(edges=(msgspec.structs.replace(KNOWS, type="LIKES"),)))


@pytest.mark.parametrize(
    ("mine", "what"),
    [
        ({"nodes": (Node("Agent"),)}, "node 'Agent'"),
        ({"caches": (Cache("agent:{id}"),)}, "cache 'agent:{id}'"),
        ({"streams": (Stream("agents", 1),)}, "changelog 'agents'"),
    ],
)
def test_so_have_nodes_caches_and_changelogs(mine: dict[str, Any], what: str) -> None:
    with pytest.raises(InvalidInput, match=f"table 'others': its {what} is made of 'agents_too' already"):
        registry(Table("agents_too", "id", COLUMNS, places=Places(**mine)), other(**mine))


def test_no_key_is_of_two_patterns() -> None:
    """`agents:red:set` would be filled by two patterns, of one table or of two."""
    fixed = Cache("agents:red:set", ("id",), shape="set", where=("name", "red"))
    by_name = Cache("agents:{name}:set", ("id",), shape="set")
    for mine, theirs in (((by_name,), (fixed,)), ((fixed, by_name), ())):
        with pytest.raises(InvalidInput, match=r"'agents:.* has keys that '.*' fills by 'agents:.* too"):
            registry(Table("agents_too", "id", COLUMNS, places=Places(caches=mine)), other(caches=theirs))
    other_end = msgspec.structs.replace(by_name, pattern="agents:{name}:list")
    assert registry(Table("agents_too", "id", COLUMNS, places=Places(caches=(fixed, other_end))), other())


def test_an_edge_ends_at_nodes_that_are_there() -> None:
    with pytest.raises(InvalidInput, match="its edge 'KNOWS' ends at 'Thing', and no table's rows are such nodes"):
        registry(AGENTS, other(edges=(msgspec.structs.replace(KNOWS, target_label="Thing"),)))
    with pytest.raises(InvalidInput, match="'KNOWS' finds 'Agent' by name, which is no key of 'agents_here'"):
        registry(AGENTS, other(edges=(msgspec.structs.replace(KNOWS, target="name"),)))


def test_the_name_of_an_analyzer_means_one_thing() -> None:
    one, two = (
        Table(name, "id", COLUMNS, places=Places(search=Search((("name", Analyzer("wise", tokenizer)),))))
        for name, tokenizer in (("first", "standard"), ("second", "whitespace"))
    )
    with pytest.raises(InvalidInput, match="table 'second': its analyzer 'wise' is another one than elsewhere"):
        registry(one, two)


def test_a_stream_carries_kinds_that_are_declared() -> None:
    class Said(msgspec.Struct):
        pass

    table = other(streams=(Stream("talk", 1, kinds=("talk.said",)),))
    assert registry(table, kinds=(Kind("talk.said", Said),))
    with pytest.raises(InvalidInput, match=r"'talk' carries 'talk\.said', a kind that no domain declares"):
        registry(table)


def test_a_domain_of_ones_own_cannot_draw_an_edge_of_the_built_in_ones() -> None:
    mine = Table(
        "helpers",
        ("task", "agent"),
        (Column("task", Type.ID, nullable=False), Column("agent", Type.AGENT, nullable=False)),
        places=Places(edges=(Edge("WORKING_ON", "agent", "task", "Agent", "Task"),)),
    )
    with pytest.raises(InvalidInput, match="its edge 'WORKING_ON Agent Task' is made of 'tasks' already"):
        Registry([*BUILT_IN, Domain("mine", (), (mine,))])
