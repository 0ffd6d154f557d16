"""A table that a test declares while it runs works in every place that a built-in one does, and no engine knows it."""

import json
import sqlite3
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest
from click.testing import CliRunner, Result

from antiphon import (
    Agent,
    AssertRow,
    Column,
    Domain,
    Fleet,
    FullText,
    Index,
    InvalidInput,
    Kind,
    Table,
    Type,
    UpdateRow,
)
from antiphon.cli import main
from antiphon.engines.memory import MemoryTables, MemoryTopics
from antiphon.engines.sqlite.tables import ddl
from antiphon.model.event import Scope
from antiphon.model.places import Places, Stream
from antiphon.model.printed import facts_of
from antiphon.model.table import READ_ALL, Derived, Measure, Rollup
from antiphon.model.text import parse_entity
from antiphon.ops.doctor import State
from antiphon.ops.refold import check_views
from antiphon.replica.replay import Until, replay
from antiphon.views.domain import DeleteRow, Registry

HOUR: Final = 3_600_000


class Seen(msgspec.Struct, omit_defaults=True):
    species: str
    weight: Decimal
    where: tuple[float, float] | None = None
    marks: list[str] = []


class Named(msgspec.Struct):
    species: str


class Ringed(msgspec.Struct):
    bird: bytes


class Gone(msgspec.Struct):
    pass


def made(name: str) -> Domain:
    """A domain with a table of this name, another that counts in it, a rollup, full text, indexes and a stream."""
    birds = Table(
        name,
        key="id",
        columns=(
            Column("id", Type.ID, nullable=False),
            Column("seen_at", Type.TIMESTAMP, nullable=False),
            Column("seen_by", Type.AGENT, nullable=False),
            Column("species", Type.TEXT),
            Column("weight", Type.DECIMAL, precision=6, scale=2),
            Column("where", Type.GEO_POINT),
            Column("marks", Type.SET, of=Type.TEXT),
            Column("ringers", Type.INTEGER, default=0, derived=Derived("count", f"{name}_rings", match=("bird",))),
        ),
        indexes=(Index(("species", "seen_at")), Index(("ringers",), descending=True)),
        fulltext=FullText("species", time="seen_at"),
        subject="species",
        shared=True,
        access=READ_ALL,
        rollups=(
            Rollup(f"{name}_hourly", "seen_at", "hour", HOUR, ("species",), (Measure("heaviest", "max", "weight"),)),
        ),
        places=Places(streams=(Stream(f"{name}.seen", 3, kinds=(f"{name}.seen",)),)),
    )
    rings = Table(
        f"{name}_rings",
        key=("bird", "agent"),
        columns=(
            Column("bird", Type.ID, nullable=False, references=name),
            Column("agent", Type.AGENT, nullable=False),
        ),
        shared=True,
        access=READ_ALL,
    )
    return Domain(
        f"d_{name}",
        kinds=(
            Kind(f"{name}.seen", Seen), Kind(f"{name}.named", Named), Kind(f"{name}.ringed", Ringed),
            Kind(f"{name}.gone", Gone),
        ),
        tables=(birds, rings),
        folds={
            f"{name}.seen": (
                AssertRow(birds, seen_at="@time", seen_by="@author", species="species", weight="weight",
                          where="where", marks="marks"),
            ),
            f"{name}.named": (UpdateRow(birds, species="species"),),
            f"{name}.ringed": (AssertRow(rings, bird="bird", agent="@author"),),
            f"{name}.gone": (DeleteRow(birds),),
        },
    )  # fmt: skip


def public(agent: Agent, kind: str, body: Any, **how: Any) -> Any:
    return agent.record(kind, body, scope=Scope.PUBLIC, **how)


@pytest.mark.parametrize("name", ["birds", "order_of_things"])
def test_a_table_added_at_run_time_works_everywhere(name: str, tmp_path: Path) -> None:
    domain = made(name)
    (birds, rings), hourly = domain.tables, f"{name}_hourly"
    with Fleet.create(tmp_path / "fleet", domains=[domain]) as fleet:
        ada, bob = fleet.add("ada"), fleet.add("bob")
        engine, topics = MemoryTables(), MemoryTopics()
        rows = ada.follow(engine, name="rows", tables=[name, rings.name, hourly])
        events = ada.follow_events(topics, name="events", topics=[f"{name}.seen"])

        # written, folded, counted, rolled up
        wren = public(ada, f"{name}.seen", {"species": "wren", "weight": "9.5", "marks": ["b", "a", "b"]}, occurred=0)
        owl = public(bob, f"{name}.seen", Seen("barn owl", Decimal("350"), (4.5, 51.0)), occurred=HOUR)
        for agent in (ada, bob):
            public(agent, f"{name}.ringed", {"bird": parse_entity(wren.entity)})
        key = parse_entity(wren.entity)
        row = ada.table(name).get(key)
        assert row is not None
        assert (row["marks"], row["ringers"], row["weight"]) == (["a", "b"], 2, Decimal("9.5"))
        found = {(one["hour"], one["species"]): one["heaviest"] for one in bob.table(name).rollup(hourly)}
        assert found == {(0, "wren"): Decimal("9.5"), (HOUR, "barn owl"): Decimal("350")}

        # read by index, by order, by words; what no index serves is refused
        assert [one["id"] for one in bob.table(name).select(species="wren")] == [key]
        assert [one["ringers"] for one in bob.table(name).select(order="ringers", descending=True)] == [2, 0]
        assert [hit.row["species"] for hit in bob.table(name).search("owls")] == ["barn owl"]
        with pytest.raises(InvalidInput, match="no index serves weight"):
            bob.table(name).select(weight=1)

        # written by its author alone, deleted, forgotten
        with pytest.raises(InvalidInput, match="another agent's"):
            public(bob, f"{name}.named", {"species": "mouse"}, entity=wren.entity)
        public(ada, f"{name}.named", {"species": "winter wren"}, entity=wren.entity)
        public(bob, f"{name}.gone", {}, entity=owl.entity)
        bob.forget(owl.event)
        assert [one["species"] for one in ada.table(name).every()] == ["winter wren"]

        # carried out by the feed, compared row by row
        rows.run()
        events.run()
        assert (rows.check(), [standing.letters for standing in ada.followers()]) == ([], [0, 0])
        carried = engine.rows(birds, after=None, limit=10)
        assert [(c.row["species"], c.row["ringers"]) for c in carried if c.row is not None] == [("winter wren", 2)]

        # as of then, in the version it has, and as its events make it
        until = Until(ada.event(wren.event))
        assert replay(ada.replica, tmp_path / "then.db", until, domains=[domain.name]).rows[name] == 1
        with sqlite3.connect(tmp_path / "then.db") as plain:
            assert plain.execute(f'SELECT species, ringers FROM "{name}"').fetchall() == [("wren", 0)]
        replica = ada.replica
        findings = [
            *check_views(
                replica.registry, replica.tables, replica.mentions, replica.reader, replica.heads(), replica.views
            )
        ]
        assert {finding.state for finding in findings} == {State.OK}
        spoken = name.replace("_", " ")
        assert any(f"{spoken} 1" in finding.detail for finding in findings)

    # printed, and made by statements of which no line is its own
    assert any(label == "stream" and f"{name}.seen" in text for label, text in facts_of(birds))
    assert any(f'"{name}"' in statement for statement in ddl(birds))
    with Fleet.open(tmp_path / "fleet", domains=[domain]) as fleet:
        assert [one["species"] for one in fleet.agent("bob").table(name).every()] == ["winter wren"]


@pytest.mark.parametrize("other", ["birds_key", "birds_ringers", "birds_species_seen_at"])
def test_a_table_named_as_anothers_index_is_refused(other: str) -> None:
    columns = (Column("id", Type.ID, nullable=False),)
    with pytest.raises(InvalidInput, match=f"{other}.*index of 'birds'"):
        Registry([made("birds"), Domain("other", (), (Table(other, "id", columns),), {})])


BIRDS: Final = made("birds")


def test_the_command_line_knows_domains_of_ones_own(monkeypatch: pytest.MonkeyPatch) -> None:
    def call(*args: str, code: int = 0) -> Result:
        result = CliRunner().invoke(main, args)
        assert result.exit_code == code, result.output
        return result

    with Agent.create("ada", domains=[BIRDS]) as ada:
        public(ada, "birds.seen", {"species": "wren", "weight": 9})
    assert "no domain declares the table 'birds'" in call("rows", "birds", code=2).stderr
    monkeypatch.setenv("ANTIPHON_DOMAINS", f" {__name__}:BIRDS,")
    assert json.loads(call("rows", "birds", "--json").stdout)["rows"][0]["species"] == "wren"
    assert "index\tspecies, seen_at" in call("tables", "birds").stdout
    assert any(line.startswith("d_birds\t") and "current" in line for line in call("views").stdout.splitlines())
    assert "birds 1" in call("doctor").stdout
    for named, said in (("nowhere:BIRDS", "nothing that is there"), (f"{__name__}:HOUR", "is no Domain")):
        monkeypatch.setenv("ANTIPHON_DOMAINS", named)
        assert said in call("rows", "birds", code=2).stderr
