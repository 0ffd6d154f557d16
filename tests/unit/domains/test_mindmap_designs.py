"""Every table, column and place of the design of mind maps is declared, or stands below with what there is instead."""

from typing import Final

import pytest

from antiphon.domains import BUILT_IN
from antiphon.domains.mindmap import MINDMAP, names
from antiphon.model.places import DAY_MS, HOUR_MS
from antiphon.model.table import Type
from antiphon.views.domain import Registry

TABLES: Final = Registry([*(one for one in BUILT_IN if one.name != MINDMAP.name), MINDMAP]).tables
DESIGN: Final = {
    "nodes": "id user_id node_key label type metadata energy created_at updated_at",
    "edges": "id user_id from_node to_node relationship_type weight metadata created_at",
    "consensus_nodes": "id node_key consensus_label consensus_metadata contributor_count resonance_score "
    "last_calculated contributors",
    "consciousness_streams": "time node_id atp_level attention_score resonance_vector",
    "consciousness_archive": "time node_id atp_level attention_score resonance_vector",
    "node_embeddings": "node_id embedding model_version updated_at",
}
DEFAULTS: Final = {
    ("nodes", "energy"): {"ATP": 1.0, "network": "default"},
    ("edges", "relationship_type"): "child",
    ("edges", "weight"): 1.0,
    ("consensus_nodes", "contributor_count"): 0,
    ("consensus_nodes", "resonance_score"): 0.0,
}
LENGTHS: Final = {
    ("nodes", "node_key"): 255, ("nodes", "type"): 50, ("edges", "relationship_type"): 50,
    ("consensus_nodes", "node_key"): 255, ("node_embeddings", "model_version"): 50,
}  # fmt: skip
REFERENCES: Final = {
    ("edges", "from_node"): "nodes.id", ("edges", "to_node"): "nodes.id",
    ("consciousness_streams", "node_id"): "nodes.id", ("node_embeddings", "node_id"): "nodes.id",
}  # fmt: skip


@pytest.mark.parametrize("name", DESIGN)
def test_every_column_of_the_design_is_there(name: str) -> None:
    assert set(DESIGN[name].split()) <= set(TABLES[name].names)


def test_defaults_lengths_and_references_are_those_of_the_design() -> None:
    assert {at: TABLES[at[0]].column(at[1]).default for at in DEFAULTS} == DEFAULTS
    checks = {at: TABLES[at[0]].column(at[1]).check for at in LENGTHS}
    assert {at: check and check.length_max for at, check in checks.items()} == LENGTHS
    assert {at: TABLES[at[0]].column(at[1]).references for at in REFERENCES} == REFERENCES


def test_what_is_unique_in_the_design_is() -> None:
    assert TABLES["nodes"].unique == (("user_id", "node_key"),)
    assert TABLES["consensus_nodes"].unique == (("node_key",),)
    assert [TABLES[name].key for name in ("nodes", "consensus_nodes")] == [("id",), ("id",)]


def test_vectors_have_an_index_that_is_of_use_on_an_empty_table() -> None:
    (place,) = TABLES["node_embeddings"].places.vectors
    column = TABLES["node_embeddings"].column(place.column)
    assert (place.column, place.metric, column.type, column.size) == ("embedding", "cosine", Type.VECTOR, 384)


def test_the_series_is_one_and_the_archive_is_what_is_left_after_three_months() -> None:
    streams, archive = TABLES["consciousness_streams"], TABLES["consciousness_archive"]
    assert streams.places.series is not None
    assert streams.places.relational is not None
    assert (streams.places.series.time, streams.places.relational.by_time) == ("time", "time")
    assert streams.places.relational.every_ms == 30 * DAY_MS
    assert streams.retention is not None
    assert (streams.retention.column, streams.retention.keep_ms) == ("time", 90 * DAY_MS)
    assert archive.retention is None
    assert archive.places.archive is not None
    assert archive.places.archive.sealed
    assert set(streams.names) - set(archive.names) == {"atp_square"}
    (rollup,) = streams.rollups
    assert (rollup.name, rollup.bucket_ms, rollup.group) == (names.HOURLY, HOUR_MS, ("node_id", "user_id"))


def test_the_graph_has_nodes_links_and_agreements() -> None:
    mine = [table for table in MINDMAP.tables if table.rollup_of is None]
    assert {node.label for table in mine for node in table.places.nodes} == {"Node", "Consensus"}
    found = {(edge.source_label, edge.type, edge.target_label) for table in mine for edge in table.places.edges}
    assert found == {
        ("Agent", "THINKS", "Node"),
        ("Node", "LINKED_TO", "Node"),
        ("Node", "CONTRIBUTES_TO", "Consensus"),
    }
    (link,) = TABLES[names.LINKS].places.edges
    assert link.where == ("drawn", 1), "a link is in the graph while an edge is there"


def test_labels_are_searched_and_every_table_is_relational() -> None:
    searched = {
        (table.name, column)
        for table in MINDMAP.tables
        if table.places.search is not None
        for column, _ in table.places.search.analyzers
    }
    assert searched == {("nodes", "label"), ("consensus_nodes", "consensus_label")}
    assert [table.name for table in MINDMAP.tables if table.places.relational is None] == []
    assert all(table.shared for table in MINDMAP.tables)
    assert [column.name for table in MINDMAP.tables for column in table.columns if column.pii] == []
    assert [table.name for table in MINDMAP.tables if table.places.streams or table.places.caches] == [], (
        "the design names no topics and no keys of caches"
    )


def test_the_queries_of_the_design_have_their_indexes() -> None:
    def over(table: str) -> set[tuple[str, ...]]:
        return {index.columns for index in TABLES[table].indexes} | {TABLES[table].key}

    assert {("user_id", "node_key"), ("node_key",)} <= over("nodes")
    assert {("from_node", "user_id", "id"), ("to_node",)} <= over("edges")
    assert {("resonance_score",), ("node_key",)} <= over("consensus_nodes")
    assert {("node_id", "time"), ("time",)} <= over("consciousness_streams")
    assert ("model_version",) in over("node_embeddings")
