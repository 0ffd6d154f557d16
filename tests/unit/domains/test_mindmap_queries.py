"""The design's persistent queries: against a plain reading of them, over any source, within their limits."""

import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any

import pytest

from antiphon import Agent, Fleet, InvalidInput, LimitExceeded, NotFound
from antiphon.domains.mindmap import MINDMAP, MindMap, names
from antiphon.domains.mindmap.queries import (
    Branch,
    consensus_histories,
    consensus_tree,
    hourly_evolution,
    similar_nodes,
)
from antiphon.engines.sqlite.select import SqliteSource
from antiphon.home import default_folder
from antiphon.model import limits
from antiphon.model.event import Scope
from antiphon.model.places import DAY_MS, HOUR_MS
from antiphon.model.text import entity_text, parse_entity, parse_id
from antiphon.query.access import Reader
from antiphon.query.rows import Rows
from antiphon.world.clock import ManualClock

NOON = 1_750_000_000_000 // DAY_MS * DAY_MS + DAY_MS // 2
AGENTS = ("ada", "bob", "cyd", "dan", "eve")


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(NOON)


@pytest.fixture
def agents(clock: ManualClock) -> Iterator[list[Agent]]:
    with Fleet.create(default_folder(), domains=[MINDMAP], clock=clock) as fleet:
        yield [fleet.add(name) for name in AGENTS]


def vector(*parts: float) -> list[float]:
    return [*parts, *[0.0] * (names.VECTOR_SIZE - len(parts))]


def agreement(agents: list[Agent], key: str, *, apart: float = 0.0) -> dict[str, str]:
    """An agreement of the first three minds about a key; their nodes, by the agent's name."""
    minds, found = [MindMap(agent) for agent in agents[:3]], {}
    for n, mind in enumerate(minds):
        node = mind.find(key)
        made = mind.grow(key, label=f"{key} {n}").entity or "" if node is None else ""
        mind.embed(made, vector(1, n * apart), "m")
        found[agents[n].name] = made
    agreed = minds[0].found(found["ada"]).entity or ""
    for mind, node_id in zip(minds[1:], list(found.values())[1:], strict=True):
        mind.contribute(agreed, node_id)
    return found


class FromSource:
    """Typed reads of any `Source`: here of the file, past what an `Agent` is."""

    def __init__(self, agent: Agent) -> None:
        replica = agent.replica
        self._registry = replica.registry
        self._source = SqliteSource(replica.file, replica.tables, replica.registry.tables)
        self._reader = Reader(parse_id(agent.id), tuple(head.no for head in replica.heads_of(parse_id(agent.id))))

    def table(self, name: str) -> Rows:
        return Rows(self._source, self._registry.table(name), lambda: self._reader)


# -- the tree ----------------------------------------------------------------------------------------------------------


def plain_tree(agent: Agent, above: float) -> set[tuple[tuple[str, ...], int]]:
    """The recursive query as it is written, in plain words: (path, resonance in millionths)."""
    tables = agent.replica.registry.tables
    nodes, edges, agreed = (
        [row.values for row in agent.replica.tables.all_rows(tables[name])]
        for name in (names.NODES, names.EDGES, names.CONSENSUS)
    )
    by_id = {node["id"]: node for node in nodes}
    level = {
        ((row["node_key"],), round(row["resonance_score"] * 1e6)) for row in agreed if row["resonance_score"] > above
    }
    found = set(level)
    for _ in range(5):
        level = {
            ((*path, by_id[edge["to_node"]]["node_key"]), score * 9 // 10)
            for path, score in level
            for node in nodes
            if node["node_key"] == path[-1]
            for edge in edges
            if edge["from_node"] == node["id"] and edge["user_id"] == node["user_id"] and edge["to_node"] in by_id
            if by_id[edge["to_node"]]["node_key"] not in path
        }
        found |= level
    return found


@pytest.mark.parametrize("seed", range(6))
def test_the_tree_is_the_recursive_query(agents: list[Agent], seed: int) -> None:
    chance = Random(seed)
    agreement(agents, "k0")
    agreement(agents, "k1", apart=0.2)
    everything: list[tuple[MindMap, str]] = []
    for agent in agents:
        mind = MindMap(agent)
        for n in range(8):
            node = mind.find(f"k{n}")
            if node is None and chance.random() < 0.8:
                mind.grow(f"k{n}", label=f"said by {agent.name}")
        everything += [(mind, row["node_key"]) for row in mind.nodes()]
    for _ in range(14):
        (mind, source), (other, target) = chance.sample(everything, 2)
        ends = [(one.find(key) or {"id": b""})["id"] for one, key in ((mind, source), (other, target))]
        mind.link(*map(entity_text, ends))
    found = consensus_tree(agents[3], above=0.9)
    assert {(one.path, round(one.resonance_score * 1e6)) for one in found} == plain_tree(agents[0], 0.9)
    assert len({one.path for one in found}) == len(found) > 2
    assert found == sorted(found, key=lambda one: (-one.resonance_score, one.depth, one.path))
    assert found == consensus_tree(FromSource(agents[1]), above=0.9), "whatever serves the reads"


def chain(agents: list[Agent], length: int) -> list[str]:
    """An agreement, and a chain from its first node."""
    ada = MindMap(agents[0])
    nodes = [agreement(agents, "root")["ada"]]
    nodes += [ada.grow(f"n{n}", label=f"Node {n}").entity or "" for n in range(1, length)]
    for source, target in pairwise(nodes):
        ada.link(source, target)
    return nodes


def test_a_tree_ends_after_five_levels_and_never_goes_round(agents: list[Agent]) -> None:
    nodes = chain(agents, 8)
    ada = MindMap(agents[0])
    ada.link(nodes[2], nodes[0])
    ada.link(nodes[2], nodes[1])
    found = ada.tree()
    assert [(one.node_key, one.depth, one.label) for one in found] == [
        ("root", 0, "root 0"), *((f"n{n}", n, f"Node {n}") for n in range(1, 6)),
    ]  # fmt: skip
    assert [round(one.resonance_score, 5) for one in found] == [1.0, 0.9, 0.81, 0.729, 0.6561, 0.59049]
    assert found[5].path == ("root", "n1", "n2", "n3", "n4", "n5")
    assert [one.depth for one in ada.tree(depth=0)] == [0]
    assert ada.tree(above=1) == []
    for bad in ({"depth": 6}, {"depth": -1}, {"above": 1.1}, {"above": "x"}, {"above": True}):
        with pytest.raises(InvalidInput):
            ada.tree(**bad)  # type: ignore[arg-type]


def test_edges_that_others_draw_from_ones_node_are_not_in_its_tree(agents: list[Agent]) -> None:
    nodes = chain(agents, 1)
    trap = MindMap(agents[4]).grow("trap").entity or ""
    body = {"from_node": parse_entity(nodes[0]), "to_node": parse_entity(trap)}
    agents[4].record(names.DRAWN, body, scope=Scope.PUBLIC)
    assert [one.node_key for one in MindMap(agents[0]).tree()] == ["root"]


def test_trees_have_limits(agents: list[Agent], monkeypatch: pytest.MonkeyPatch) -> None:
    chain(agents, 6)
    assert len(consensus_tree(agents[0], limit=6)) == 6
    with pytest.raises(LimitExceeded, match="TREE_PATHS_MAX"):
        consensus_tree(agents[0], limit=5)
    with pytest.raises(InvalidInput, match="TREE_PATHS_MAX"):
        consensus_tree(agents[0], limit=0)
    monkeypatch.setattr(names, "TREE_LINKS_MAX", 9)
    with pytest.raises(LimitExceeded, match="TREE_LINKS_MAX"):
        consensus_tree(agents[0])


def test_of_two_homes_agreements_of_one_key_the_better_is_the_root(agents: list[Agent]) -> None:
    nodes = agreement(agents, "tide")
    MindMap(agents[1]).found(nodes["bob"])
    for above in (0.0, 0.8):
        assert [(one.path, one.resonance_score) for one in consensus_tree(agents[2], above=above)] == [(("tide",), 1.0)]
    assert isinstance(consensus_tree(agents[2])[0], Branch)


# -- what is similar ---------------------------------------------------------------------------------------------------


def test_what_is_similar_is_others_and_of_the_same_model(agents: list[Agent]) -> None:
    ada, *others = map(MindMap, agents)
    mine = ada.grow("tide").entity or ""
    ada.embed(mine, vector(1), "m")
    twin = ada.grow("twin").entity or ""
    ada.embed(twin, vector(1), "m")
    for n, mind in enumerate(others):
        for part in (0, 1, 5):
            made = mind.grow(f"node {part}", label=f"{n} {part}", metadata={"n": n}).entity or ""
            mind.embed(made, vector(1, part + n / 10), "m" if n < 3 else "another")
    found = ada.similar(mine)
    assert [one.label for one in found] == ["0 0", "1 0", "2 0", "0 1"]
    assert [round(one.similarity, 4) for one in found] == [1.0, 0.995, 0.9806, 0.7071]
    assert (found[1].metadata, found[1].user_id, found[1].node_key) == ({"n": 1}, parse_id(agents[2].id), "node 0")
    assert found == similar_nodes(FromSource(agents[0]), parse_entity(mine))
    assert len(ada.similar(mine, above=0)) == 9
    assert [one.label for one in ada.similar(mine, above=0, limit=1)] == ["0 0"]
    bare = ada.grow("bare").entity or ""
    for node in (bare, "01890000-0000-7000-8000-000000000000"):
        with pytest.raises(NotFound, match="has not said what it means"):
            ada.similar(node)
    for bad in ({"limit": 0}, {"limit": 21}, {"above": 2}):
        with pytest.raises(InvalidInput):
            ada.similar(mine, **bad)  # type: ignore[arg-type]


def test_ones_own_nodes_do_not_hide_others(agents: list[Agent], monkeypatch: pytest.MonkeyPatch) -> None:
    ada, bob = MindMap(agents[0]), MindMap(agents[1])
    first = ""
    for n in range(30):
        made = ada.grow(f"n{n}").entity or ""
        ada.embed(made, vector(1), "m")
        first = first or made
    other = bob.grow("far").entity or ""
    bob.embed(other, vector(1, 0.5), "m")
    assert [one.node_key for one in ada.similar(first, limit=1)] == ["far"]
    monkeypatch.setattr(limits, "NEIGHBOURS_MAX", 20)
    with pytest.raises(LimitExceeded, match="NEIGHBOURS_MAX"):
        ada.similar(first, limit=1)


# -- over time ---------------------------------------------------------------------------------------------------------


def test_evolution_is_by_whole_hours_of_enough_minds(agents: list[Agent], clock: ManualClock) -> None:
    for n, agent in enumerate(agents):
        mind = MindMap(agent)
        for key, back in (("tide", 0), ("tide", 1), ("tea", 0), ("old", 24)):
            node = mind.find(key)
            made = mind.grow(key).entity or "" if node is None else ""
            if key == "tea" and n > 2:
                continue
            if made or key == "tide":
                row = mind.find(key) or {}
                mind.stream(entity_text(row["id"]), [{"time": NOON - back * HOUR_MS + n, "atp_level": n + back},
                                     {"time": NOON - back * HOUR_MS + 9 + n, "attention_score": 1}])  # fmt: skip
    ada = MindMap(agents[0])
    found = ada.evolution()
    assert [(one.hour, one.node_key, one.avg_atp, one.active_minds) for one in found] == [
        (NOON, "tide", 2.0, 5), (NOON - HOUR_MS, "tide", 3.0, 5),
    ]  # fmt: skip
    assert {round(one.atp_deviation or 0, 6) for one in found} == {1.581138}
    assert [(one.node_key, one.active_minds) for one in ada.evolution(minds=3)] == [
        ("tide", 5), ("tea", 3), ("tide", 5),
    ]  # fmt: skip
    assert [one.hour for one in ada.evolution(hours=1)] == [NOON]
    assert [one.node_key for one in ada.evolution(hours=25)] == ["tide", "tide", "old"]
    assert found == hourly_evolution(FromSource(agents[4]), as_of=clock.now_ms())
    assert ada.evolution(as_of=NOON - 1)[0].hour == NOON - HOUR_MS
    for bad in ({"hours": 0}, {"hours": 24 * 31 + 1}, {"minds": 0}, {"hours": 1.5}):
        with pytest.raises(InvalidInput):
            ada.evolution(**bad)  # type: ignore[arg-type]


def test_evolution_has_a_limit(agents: list[Agent], monkeypatch: pytest.MonkeyPatch) -> None:
    ada = MindMap(agents[0])
    node = ada.grow("tide").entity or ""
    ada.stream(node, [{"time": NOON - n * HOUR_MS, "atp_level": 1} for n in range(4)])
    monkeypatch.setattr(names, "EVOLUTION_BUCKETS_MAX", 3)
    assert len(ada.evolution(minds=1, hours=3)) == 3
    with pytest.raises(LimitExceeded, match="EVOLUTION_BUCKETS_MAX"):
        ada.evolution(minds=1)


def test_histories_are_of_agreements_with_many_points(agents: list[Agent], monkeypatch: pytest.MonkeyPatch) -> None:
    nodes = agreement(agents, "tide")
    ada, bob = MindMap(agents[0]), MindMap(agents[1])
    ada.stream(nodes["ada"], [{"time": NOON - n * 1_000, "atp_level": n / 8} for n in range(60)])
    bob.stream(nodes["bob"], [{"time": NOON - n * 1_000, "atp_level": 2} for n in range(41)])
    assert [(one.node_key, len(one.points)) for one in ada.histories()] == [("tide", 101)]
    bob.stream(nodes["bob"], [{"time": NOON - 7 * DAY_MS, "atp_level": 9}, {"time": NOON - 99, "attention_score": 9}])
    agents[2].record(
        names.STREAMED,
        {"points": [{"time": NOON, "atp_level": "9"}]},
        entity=nodes["cyd"],
        scope=Scope.PUBLIC,
    )
    (history,) = ada.histories(points=1)
    assert history.points == tuple(sorted(history.points, key=lambda one: one[0]))
    assert (len(history.points), history.resonance_score) == (102, 1.0)
    assert ada.histories(points=103) == []
    assert consensus_histories(FromSource(agents[3]), as_of=NOON) == ada.histories()
    monkeypatch.setattr(names, "HISTORY_POINTS_MAX", 100)
    with pytest.raises(LimitExceeded, match="HISTORY_POINTS_MAX"):
        ada.histories(points=1)
    with pytest.raises(InvalidInput, match="HISTORY_DAYS_MAX"):
        ada.histories(days=93)


# -- the story ---------------------------------------------------------------------------------------------------------


def test_the_example_says_what_it_says() -> None:
    path = Path(__file__).parents[3] / "examples" / "mindmap.py"
    done = subprocess.run([sys.executable, "-W", "error", str(path)], capture_output=True, text=True, check=True)
    said: list[Any] = done.stdout.splitlines()
    assert "3 minds, mean ATP 3.0, spread 1.803" in said
    assert "'The tide floods the mill': 4 minds, resonance 0.95" in said
    assert "tide > sandbags 0.86" in said
    assert said[-1] == "without bob: 0.0"
