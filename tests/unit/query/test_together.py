"""Rows that break what their table declares of them together: found, and who wrote them, as rows come and go."""

import random
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from antiphon import (
    Agent,
    AssertRow,
    Column,
    Domain,
    Fleet,
    Index,
    InvalidInput,
    Kind,
    LimitExceeded,
    Table,
    Type,
    UpdateRow,
)
from antiphon.cli import main
from antiphon.model import limits
from antiphon.model.event import Scope
from antiphon.model.table import READ_ALL, READ_OWN
from antiphon.model.text import parse_entity
from antiphon.query.plan import Ask, Range, plan
from antiphon.query.together import rings


def declared(name: str, **more: Any) -> Table:
    return Table(
        name,
        key="id",
        columns=(
            Column("id", Type.ID, nullable=False),
            Column("name", Type.TEXT),
            Column("no", Type.DECIMAL, scale=2),
            Column("up", Type.ID),
            Column("near", Type.LIST, of=Type.ID),
        ),
        indexes=(Index(("name", "no"), descending=True), Index(("no",)), Index(("up",))),
        unique=(("name", "no"), ("no",)),
        acyclic=("up", "near"),
        **more,
    )


OPEN = declared("open_nodes", shared=True, access=READ_ALL)
OWN = declared("own_nodes", access=READ_OWN)


class Put(msgspec.Struct):
    name: str | None = None
    no: str | None = None
    up: bytes | None = None
    near: list[bytes] | None = None


SAID = {name: name for name in ("name", "no", "up", "near")}
NODES = Domain(
    "knots",
    (Kind("knot.put", Put), Kind("knot.changed", Put), Kind("own.put", Put), Kind("own.changed", Put)),
    (OPEN, OWN),
    {
        "knot.put": (AssertRow(OPEN, **SAID),),
        "knot.changed": (UpdateRow(OPEN, **SAID),),
        "own.put": (AssertRow(OWN, **SAID),),
        "own.changed": (UpdateRow(OWN, **SAID),),
    },
)


@pytest.fixture
def two(own_home: Path) -> Iterator[tuple[Agent, Agent]]:
    with Fleet.create(own_home, domains=[NODES]) as fleet:
        yield fleet.add("ada"), fleet.add("bob")


def put(agent: Agent, kind: str = "knot.put", entity: str | None = None, **said: Any) -> str:
    return agent.record(kind, Put(**said), entity=entity, scope=Scope.PUBLIC).entity or ""


def test_values_that_several_rows_have_are_listed_with_who_wrote_them(two: tuple[Agent, Agent]) -> None:
    ada, bob = two
    one, other = put(ada, name="a", no="1.50"), put(bob, name="a", no="1.5")
    put(ada, name="a", no="2")
    put(ada, name=None, no="3")
    put(bob, name=None, no="4")
    for reader in two:
        pair, alone = reader.duplicates("open_nodes")
        assert (pair.columns, pair.values, pair.count) == (("name", "no"), {"name": "a", "no": Decimal("1.50")}, 2)
        assert [(holder.key["id"], holder.author) for holder in pair.rows] == [(one, ada.id), (other, bob.id)]
        assert (alone.columns, alone.rows) == (("no",), pair.rows)
    assert ada.event(pair.rows[0].event).entity == parse_entity(one)


def test_the_list_follows_rows_as_they_change_and_are_forgotten(two: tuple[Agent, Agent]) -> None:
    ada, bob = two
    first = ada.record("knot.put", Put(name="a", no="1"), scope=Scope.PUBLIC)
    second = put(bob, name="a", no="1")
    third = put(bob, name="a", no="2")
    assert [one.count for one in ada.duplicates()] == [2, 2]
    put(bob, "knot.changed", entity=third, name="a", no="1")
    assert [one.count for one in ada.duplicates()] == [3, 3]
    ada.forget(first.event)
    assert [one.count for one in ada.duplicates()] == [2, 2]
    put(bob, "knot.changed", entity=second, name="b", no="7")
    assert ada.duplicates() == []


def test_nobody_hears_of_rows_that_are_not_for_him(two: tuple[Agent, Agent]) -> None:
    ada, bob = two
    put(ada, "own.put", name="a", no="1")
    put(bob, "own.put", name="a", no="1")
    assert ada.duplicates("own_nodes") == bob.duplicates("own_nodes") == []
    put(ada, "own.put", name="b", no="1")
    assert [one.columns for one in ada.duplicates("own_nodes")] == [("no",)]
    assert bob.duplicates("own_nodes") == []


def test_of_many_rows_the_first_are_named_and_all_are_counted(
    two: tuple[Agent, Agent], monkeypatch: pytest.MonkeyPatch
) -> None:
    ada, _ = two
    monkeypatch.setattr(limits, "DUPLICATE_ROWS_MAX", 3)
    made = [put(ada, name="a", no="1") for _ in range(5)]
    (pair, _) = ada.duplicates()
    assert (pair.count, [holder.key["id"] for holder in pair.rows]) == (5, made[:3])
    for no in range(4):
        put(ada, name="b", no=str(no + 5)), put(ada, name="b", no=str(no + 5))
    assert len(ada.table("open_nodes").duplicates(limit=3)) == 3


def test_only_the_index_is_read(two: tuple[Agent, Agent]) -> None:
    ada, _ = two
    put(ada, name="a", no="1")
    said: list[tuple[str, Any]] = []
    source, connection = ada._source, ada.replica.file.reader
    connection.set_exec_trace(lambda cursor, sql, values: bool(said.append((sql, values)) or True))
    source.repeated(plan(OPEN, Ask(order=("name", "no"))), ada._reader(), ("name", "no"), limit=9)
    connection.set_exec_trace(None)
    ((sql, values),) = [one for one in said if "HAVING" in one[0]]
    steps = [step for *_, step in connection.execute(f"EXPLAIN QUERY PLAN {sql}", values)]
    assert steps == ["SEARCH open_nodes USING COVERING INDEX open_nodes_name_no (name>?)"]


def test_links_that_lead_in_a_circle_are_listed(two: tuple[Agent, Agent]) -> None:
    ada, bob = two
    nodes = [put(agent) for agent in (ada, bob, ada, bob)]
    raw = [parse_entity(node) for node in nodes]
    put(ada, "knot.changed", entity=nodes[0], up=raw[1])
    put(bob, "knot.changed", entity=nodes[1], up=raw[3])
    assert ada.circles() == []
    put(bob, "knot.changed", entity=nodes[3], up=raw[0])
    put(ada, "knot.changed", entity=nodes[2], up=raw[0], near=[raw[2]])
    up, near = bob.circles("open_nodes")
    assert (up.rule, up.columns, up.count) == ("acyclic", ("up",), 3)
    assert [holder.key["id"] for holder in up.rows] == sorted(nodes[at] for at in (0, 1, 3))
    assert {holder.author for holder in up.rows} == {ada.id, bob.id}
    assert (near.columns, [holder.key["id"] for holder in near.rows]) == (("near",), [nodes[2]])
    put(ada, "knot.changed", entity=nodes[0], up=None)
    assert [one.columns for one in ada.circles()] == [("near",)]


def test_what_is_read_for_circles_is_limited(two: tuple[Agent, Agent], monkeypatch: pytest.MonkeyPatch) -> None:
    ada, _ = two
    monkeypatch.setattr(limits, "LINKS_SCANNED_MAX", 2)
    for _ in range(3):
        put(ada, up=bytes(16))
    with pytest.raises(LimitExceeded, match="LINKS_SCANNED_MAX"):
        ada.circles("open_nodes")


def reached(links: dict[int, list[int]], start: int) -> set[int]:
    found, ahead = set[int](), list(links[start])
    while ahead:
        node = ahead.pop()
        if node not in found:
            found.add(node)
            ahead += links[node]
    return found


@given(st.dictionaries(st.integers(0, 7), st.lists(st.integers(0, 7), max_size=3)))
def test_a_ring_is_of_nodes_that_reach_each_other(given_links: dict[int, list[int]]) -> None:
    links = {node: [to for to in ahead if to in given_links] for node, ahead in given_links.items()}
    all_reached = {node: reached(links, node) for node in links}
    expected = {
        tuple(sorted({node, *(to for to in all_reached[node] if node in all_reached[to])}))
        for node in links
        if node in all_reached[node]
    }
    assert rings(links) == sorted(map(list, expected))


def test_a_long_chain_takes_no_long_time() -> None:
    count = 50_000
    nodes = list(range(count))
    random.Random(1).shuffle(nodes)
    chain = {node: [node + 1] if node + 1 < count else [0] for node in nodes}
    assert rings(chain) == [list(range(count))]
    chain[count - 1] = []
    assert rings(chain) == []


def test_the_verb_lists_them_beside_what_does_not_count() -> None:
    for name in ("ada",):
        assert CliRunner().invoke(main, ["init", name]).exit_code == 0
    with Agent.open("ada") as ada:
        me = parse_id_of(ada)
        ada.record("agent.enlisted", {"codename": "Alpha-7", "supervisor_agent": me}, scope=Scope.PUBLIC)
    (found,) = msgspec.json.decode(CliRunner().invoke(main, ["rejections", "--json"]).stdout)
    assert (found["table"], found["rule"], found["row"]) == ("agents", "[acyclic]", found["author"])
    assert found["detail"] == f"supervisor_agent leads in a circle of 1 row: that of {found['row']}"
    assert CliRunner().invoke(main, ["rejections", "--table", "tasks"]).stdout == "nothing was refused\n"


def test_personal_data_is_found_by_equality_alone() -> None:
    with Agent.create("ada") as ada:
        ada.remember("tea", user="Zoe")
        people = ada.table("people")
        assert [row["label"] for row in people.select(label="zoe")] == ["zoe"]
        asked: list[dict[str, Any]] = [
            {"order": "label"}, {"within": Range("label", least="a")}, {"below": ("label", "zoe")},
        ]  # fmt: skip
        for how in asked:
            with pytest.raises(InvalidInput, match="'label' is personal data: it has no order"):
                people.select(**how)
        with pytest.raises(InvalidInput, match="personal data"):
            people.distinct("label")


def parse_id_of(agent: Agent) -> bytes:
    return agent.record_of_agent.agent
