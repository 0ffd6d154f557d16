"""The designs' persistent queries over PostgreSQL: the file's answers, each by the index that is meant for it.

A recursive one asks a query a level and row, all along an index, within the limits that it has in the file.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise
from random import Random
from typing import Any

import psycopg
import pytest

from antiphon import Agent, Fleet
from antiphon.domains.mindmap import MindMap, names
from antiphon.domains.mindmap.queries import consensus_histories, consensus_tree, hourly_evolution, similar_nodes
from antiphon.domains.network.commands import Network
from antiphon.domains.tasks import Tasks
from antiphon.domains.tasks.board import Best
from antiphon.engines.postgres.tables import PostgresTables
from antiphon.model.places import DAY_MS, HOUR_MS
from antiphon.model.text import parse_id
from antiphon.model.values import key_of
from antiphon.query.access import Reader
from antiphon.query.rows import Rows
from antiphon.views.feed import Change, version_of
from antiphon.world.clock import ManualClock, SystemClock
from servers.places import PostgresPlace, own_name
from tests.contracts.explained import ExplainedSource
from tests.contracts.random_rows import row

pytestmark = pytest.mark.server
SCHEMA = own_name("asked")
NOON = SystemClock().now_ms() // DAY_MS * DAY_MS - DAY_MS // 2
"""Of a day that no retention has dropped by the server's clock."""
AGENTS = ("ada", "bob", "cyd", "dan", "eve")
STRANGERS: dict[str, tuple[int, dict[str, Any]]] = {
    names.NODES: (4_000, {}),
    names.EDGES: (4_000, {}),
    names.CONSENSUS: (12_000, {"resonance_score": 0.0}),
    names.EMBEDDINGS: (1_500, {"model_version": "m"}),
    names.STREAMS: (6_000, {"time": range(NOON - 80 * DAY_MS, NOON, 60_000)}),
    "consciousness_timeline": (1_000, {"time": range(NOON - 800 * DAY_MS, NOON - 40 * DAY_MS, HOUR_MS)}),
    "consciousness_hourly": (6_000, {"bucket": range(NOON - 800 * DAY_MS, NOON - 40 * DAY_MS, HOUR_MS)}),
    names.HOURLY: (6_000, {"hour": range(NOON - 80 * DAY_MS, NOON - 40 * DAY_MS, HOUR_MS)}),
    "tasks": (6_000, {"status": "complete", "created_at": range(NOON - 80 * DAY_MS, NOON, 60_000)}),
}
"""Rows of others, which no answer here is made of: by table how many, and what is fixed of them."""


def vector(*parts: float) -> list[float]:
    return [*parts, *[0.0] * (names.VECTOR_SIZE - len(parts))]


def told(agents: list[Agent], clock: ManualClock) -> bytes:
    """Minds that agree, link, and pulse, and a board; the node whose likes are looked for."""
    minds = [MindMap(agent) for agent in agents]
    for key, apart in (("tide", 0.0), ("tea", 0.2)):
        made = [mind.grow(key, label=f"{key} {n}").entity or "" for n, mind in enumerate(minds[:3])]
        for n, (mind, node) in enumerate(zip(minds, made, strict=False)):
            mind.embed(node, vector(1, n * apart + n * 0.07), "m")
            pulses = [{"time": NOON - n - 90_000 * at, "atp_level": (at + n) % 7} for at in range(60)]
            mind.stream(node, pulses)
        agreed = minds[0].found(made[0]).entity or ""
        for mind, node in zip(minds[1:], made[1:], strict=False):
            mind.contribute(agreed, node)
        chain = [made[1], *(minds[1].grow(f"{key} {n}").entity or "" for n in range(6))]
        for source, target in pairwise(chain):
            minds[1].link(source, target)
    boards, chance = [Tasks(agent) for agent in agents], Random(1)
    for n in range(40):
        task = boards[n % 5].create(f"task {n}").entity or ""
        clock.pass_ms(chance.randrange(HOUR_MS))
        for board in boards:
            if chance.random() < 0.6:
                board.vote(task, chance.choice((-1, 1)))
        if n % 4 == 0:
            boards[(n + 1) % 5].claim(task)
    for n, agent in enumerate(agents):
        for hour in range(2):
            level, at = 20 + 20 * n + 10 * hour, NOON - (2 - hour) * HOUR_MS + n
            Network(agent).report(global_consciousness=level, global_trust="0.5", occurred=at)
    mine = minds[0].find("tide")
    assert mine is not None
    return bytes(mine["id"])


class World:
    """The same rows in a file and in a server, which has many of strangers besides."""

    def __init__(self, agents: list[Agent], url: str, mine: bytes) -> None:
        self.ada, self.mine = agents[0], mine
        self.tables = self.ada.replica.registry.tables
        self.source = ExplainedSource(url, self.tables, schema=SCHEMA)
        self._reader = Reader(parse_id(self.ada.id), ())

    def table(self, name: str) -> Rows:
        return Rows(self.source, self.tables[name], lambda: self._reader)

    def along(self, *indexes: str) -> None:
        """Each of these indexes was used, and no table was read through."""
        plans, self.source.plans = self.source.plans, []
        for shown in plans:
            assert "Seq Scan" not in shown, shown
        for index in indexes:
            assert any(re.search(index, shown) for shown in plans), "\n\n".join([index, *plans])


def strangers(sink: PostgresTables, tables: Any) -> None:
    chance = Random(7)
    for name, (many, fixed) in STRANGERS.items():
        rows = []
        for _ in range(many):
            drawn = {column: chance.choice(one) if isinstance(one, range) else one for column, one in fixed.items()}
            _, values = row(tables[name], chance)
            values |= drawn
            rows.append(Change(name, key_of(tables[name], values), version_of(2, 1), values, chance.randbytes(32)))
        sink.apply(2, rows)


@pytest.fixture(scope="module")
def world(postgres: PostgresPlace, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    clock = ManualClock(NOON - 2 * DAY_MS)
    patch = pytest.MonkeyPatch()
    folder = tmp_path_factory.mktemp("asked")
    for variable, inside in (("ANTIPHON_HOME", "home"), ("ANTIPHON_STATE", "state"), ("XDG_STATE_HOME", "xdg-state"),
                             ("XDG_DATA_HOME", "xdg-data")):  # fmt: skip
        patch.setenv(variable, str(folder / inside))
    with Fleet.create(folder / "home" / "fleet", clock=clock) as fleet:
        agents = [fleet.add(name) for name in AGENTS]
        clock.pass_ms(2 * DAY_MS)
        mine = told(agents, clock)
        sink = PostgresTables(postgres.url(), schema=SCHEMA)
        follower = agents[0].follow(sink, name="store", tables=list(STRANGERS))
        follower.run(patience_ms=30_000)
        assert follower._record.epoch == 1
        assert sink.fence(1, 2)
        strangers(sink, agents[0].replica.registry.tables)
        with psycopg.connect(postgres.url(), autocommit=True) as session:
            for name in STRANGERS:
                session.execute(f"VACUUM ANALYZE {SCHEMA}.{name}".encode())
        made = World(agents, postgres.url(), mine)
        yield made
        made.source.close()
        sink.close()
    patch.undo()


def test_the_tree_of_agreements_goes_along_its_indexes(world: World) -> None:
    found = consensus_tree(world)
    assert found == consensus_tree(world.ada)
    assert {one.depth for one in found} == {0, 1, 2, 3, 4, 5}
    world.along(r"consensus_nodes_\d+_resonance_score_idx", r"nodes_\d+_node_key_idx", r"nodes_\d+_pkey",
                r"edges_\d+_pkey")  # fmt: skip


def test_the_evolution_by_hours_goes_along_the_rollup_s_key(world: World) -> None:
    found = hourly_evolution(world, as_of=NOON, minds=2)
    assert found == hourly_evolution(world.ada, as_of=NOON, minds=2)
    assert len({one.hour for one in found}) > 1
    assert {one.node_key for one in found} == {"tide", "tea"}
    world.along(r"consciousness_node_hourly_pkey", r"nodes_\d+_pkey")


def test_the_hours_of_the_fleet_go_along_the_rollup_s_key(world: World) -> None:
    def hours(reads: Any) -> list[dict[str, Any]]:
        return list(
            map(dict, reads.table("consciousness_timeline").rollup("consciousness_hourly", since=NOON - DAY_MS))
        )

    found = hours(world)
    assert found == hours(world.ada)
    assert [(one["avg_consciousness"], one["peak_consciousness"], one["rows"]) for one in found] == [
        (60.0, 100, 5), (70.0, 110, 5),
    ]  # fmt: skip
    world.along("consciousness_hourly_pkey")


def test_histories_go_along_nodes_and_times(world: World) -> None:
    found = consensus_histories(world, as_of=NOON)
    assert found == consensus_histories(world.ada, as_of=NOON)
    assert [len(one.points) for one in found] == [180, 180]
    world.along(r"consensus_nodes_\d+_resonance_score_idx", r"nodes_\d+_node_key_idx", r"node_id_time_idx")


@pytest.mark.needs("vector")
def test_similar_nodes_are_found_by_the_neighbours_index(world: World) -> None:
    """Thousands of vectors a partition are walked; fewer are sooner compared and sorted, which is not allowed here."""
    world.source.settings = ("enable_sort = off",)
    found = similar_nodes(world, world.mine, limit=5)
    exact = similar_nodes(world.ada, world.mine, limit=5)
    world.source.settings = ()
    assert [(one.node_id, one.label) for one in found] == [(one.node_id, one.label) for one in exact]
    assert [one.similarity for one in found] == pytest.approx([one.similarity for one in exact], abs=1e-6)
    assert len(found) == 4
    world.along(r"node_embeddings_\d+_embedding_idx\S* on .*\n +Order By: \(embedding <=>", r"nodes_\d+_pkey",
                r"node_embeddings_\d+_pkey", r"node_embeddings_\d+__n_idx")  # fmt: skip


INDEX_OF = {
    "hot": ("status_created_at_id_idx", "status_score_created_at_id_idx"),
    "top": ("status_score_created_at_id_idx",),
    "new": ("status_created_at_id_idx",),
    "controversial": ("status_downvotes_upvotes_created_at_i",),
}


@pytest.mark.parametrize("order", INDEX_OF)
def test_the_first_tasks_of_any_order_go_along_its_index(world: World, order: str) -> None:
    def first(reads: Any) -> list[bytes]:
        best = Best(reads.table("tasks"), order, states=("open", "claimed"), as_of=NOON + 3 * DAY_MS)
        return [one["id"] for one in best.first(12)]

    found = first(world)
    assert found == first(world.ada)
    assert len(found) == 12
    world.along(*INDEX_OF[order])
