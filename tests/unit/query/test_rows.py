"""Reading the rows of a declared table: by values, by dotted names, only those of the agent that asks."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from antiphon import Agent, Fleet, InvalidInput
from antiphon.model.text import parse_entity


@pytest.fixture
def ada() -> Iterator[Agent]:
    with Agent.create("ada") as agent:
        yield agent


def test_rows_by_value_and_order(ada: Agent) -> None:
    made = [ada.remember(f"text {n}", namespace="even" if n % 2 == 0 else "odd", significance=n / 10) for n in range(5)]
    rows = ada.table("memories")
    assert [row["content"] for row in rows.select(namespace="even")] == ["text 0", "text 2", "text 4"]
    found = rows.select(order="significance", descending=True, limit=2)
    assert [row["content"] for row in found] == ["text 4", "text 3"]
    assert rows.distinct("namespace") == ["even", "odd"]
    assert made[1].entity is not None
    row = rows.row(parse_entity(made[1].entity))
    assert row is not None
    assert row["content"] == "text 1"
    assert rows.row(bytes(16)) is None
    assert ada.table("reflections").select() == []
    assert ada.table("reflections").distinct("prompt") == []


def test_below_takes_whole_labels(ada: Agent) -> None:
    for namespace in ("", "a", "a.b", "a.b.c", "a-b", "ab", "a/b", "b.a", "A"):
        ada.remember(f"owl in {namespace}", namespace=namespace)
    rows = ada.table("memories")
    assert [row["namespace"] for row in rows.select(below=("namespace", "a"))] == ["a", "a.b", "a.b.c"]
    assert [row["namespace"] for row in rows.select(below=("namespace", "a.b"))] == ["a.b", "a.b.c"]
    assert {hit.namespace for hit in ada.recall("owl", below="a")} == {"a", "a.b", "a.b.c"}
    assert ada.recall("owl", below="none") == []


def test_what_is_not_declared_is_refused(ada: Agent) -> None:
    with pytest.raises(InvalidInput, match="known: "):
        ada.table("nothing")
    with pytest.raises(InvalidInput, match="no column"):
        ada.table("memories").select(nothing=1)
    with pytest.raises(InvalidInput, match="no column"):
        ada.table("memories").select(order="nothing")
    with pytest.raises(InvalidInput, match="no column"):
        ada.table("memories").distinct("nothing")


def test_agents_of_one_file_see_their_own_rows(tmp_path: Path) -> None:
    with Fleet.create(tmp_path / "fleet") as fleet:
        red, blue = fleet.add("red"), fleet.add("blue")
        made = red.remember("an owl", namespace="wood")
        assert made.entity is not None
        assert [row["content"] for row in red.table("memories").select()] == ["an owl"]
        assert blue.table("memories").select() == []
        assert blue.table("memories").distinct("namespace") == []
        assert blue.table("memories").row(parse_entity(made.entity)) is None
