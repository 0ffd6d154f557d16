"""Room `domains` (imports `views` and below): the tables of mind maps, as data.

A map is its mind's own: nodes, links, vectors and points name their author, who alone writes them. An agreement has a
home that decides what its minds agree on; who contributes is each agent's own word, and their number is counted.
"""

from __future__ import annotations

from typing import Any, Final

from antiphon.domains.analyzers import SACRED_WISDOM
from antiphon.domains.mindmap import names
from antiphon.model.places import DAY_MS, HOUR_MS, Archive, Edge, Node, Places, Relational, Search, Series, Vectors
from antiphon.model.table import (
    ANYONE,
    READ_ALL,
    Check,
    Column,
    Derived,
    FullText,
    Index,
    Measure,
    Merge,
    Retention,
    Rollup,
    Table,
    Type,
)

MONTH_MS: Final = 30 * DAY_MS
_KEY: Final = Check(length_max=names.KEY_CHARS_MAX)
_WORD: Final = Check(length_max=names.WORD_CHARS_MAX)
_LABEL: Final = Check(length_max=names.LABEL_CHARS_MAX)
_ATP: Final = Check(least=0, most=names.ATP_MAX)


def _hashed(*columns: str, **places: Any) -> Places:
    """In PostgreSQL by the hash of these columns, and in those other places."""
    return Places(relational=Relational(hash=columns, partitions=16), **places)


NODES_TABLE: Final = Table(
    names.NODES,
    key="id",
    columns=(
        Column("id", Type.ID, nullable=False),
        Column("user_id", Type.AGENT, nullable=False, doc="whose map it is in"),
        Column("node_key", Type.TEXT, nullable=False, check=_KEY),
        Column("label", Type.TEXT, check=_LABEL),
        Column("type", Type.TEXT, check=_WORD),
        Column("metadata", Type.JSON),
        Column("energy", Type.JSON, default={"ATP": names.ATP, "network": names.NETWORK}),
        Column("created_at", Type.TIMESTAMP, nullable=False),
        Column("updated_at", Type.TIMESTAMP, nullable=False),
    ),
    unique=(("user_id", "node_key"),),
    indexes=(Index(("user_id", "node_key")), Index(("node_key",)), Index(("user_id", "updated_at"))),
    fulltext=FullText("label", time="created_at"),
    subject="label",
    shared=True,
    access=READ_ALL,
    places=_hashed(
        "id",
        nodes=(Node("Node", ("user_id", "node_key", "label", "type", "updated_at")),),
        edges=(Edge("THINKS", "user_id", "id", "Agent", "Node"),),
        search=Search(analyzers=(("label", SACRED_WISDOM),)),
    ),
    doc="The nodes of all minds' maps.",
)

EDGES_TABLE: Final = Table(
    names.EDGES,
    key=("from_node", "user_id", "id"),
    columns=(
        Column("id", Type.ID, nullable=False),
        Column("user_id", Type.AGENT, nullable=False, doc="who drew it"),
        Column("from_node", Type.ID, nullable=False, references="nodes.id"),
        Column("to_node", Type.ID, nullable=False, references="nodes.id"),
        Column("relationship_type", Type.TEXT, nullable=False, default=names.RELATIONSHIP, check=_WORD),
        Column("weight", Type.REAL, default=1.0, check=Check(least=0, most=names.WEIGHT_MAX)),
        Column("metadata", Type.JSON),
        Column("created_at", Type.TIMESTAMP, nullable=False),
        Column("drawn", Type.INTEGER, nullable=False, default=1, check=Check(least=1, most=1),
               doc="1: by it `node_links` knows that an edge is there"),
    ),
    indexes=(Index(("from_node", "to_node")), Index(("to_node",)), Index(("id",)), Index(("user_id", "created_at"))),
    shared=True,
    access=READ_ALL,
    places=_hashed("from_node"),
    doc="The links of all minds' maps: as many as their minds draw between two nodes.",
)  # fmt: skip

_OF_EDGES: Final = ("from_node", "to_node")
LINKS_TABLE: Final = Table(
    names.LINKS,
    key=_OF_EDGES,
    columns=(
        Column("from_node", Type.ID, nullable=False, references="nodes.id"),
        Column("to_node", Type.ID, nullable=False, references="nodes.id"),
        Column("drawn", Type.INTEGER, derived=Derived("max", names.EDGES, "drawn", _OF_EDGES),
               doc="1 while there is an edge, else null"),
        Column("weight", Type.REAL, derived=Derived("max", names.EDGES, "weight", _OF_EDGES)),
        Column("relationship_types", Type.SET, of=Type.TEXT,
               derived=Derived("set", names.EDGES, "relationship_type", _OF_EDGES)),
        Column("minds", Type.SET, of=Type.AGENT, derived=Derived("set", names.EDGES, "user_id", _OF_EDGES)),
    ),
    writers=ANYONE,
    shared=True,
    access=READ_ALL,
    places=_hashed(
        "from_node",
        edges=(
            Edge("LINKED_TO", "from_node", "to_node", "Node", "Node", ("weight", "relationship_types", "minds"),
                 where=("drawn", 1)),
        ),
    ),
    doc="Which nodes are linked, once for all edges between two: what a graph is made of. All of it is counted.",
)  # fmt: skip

EMBEDDINGS_TABLE: Final = Table(
    names.EMBEDDINGS,
    key=("node_id", "user_id"),
    columns=(
        Column("node_id", Type.ID, nullable=False, references="nodes.id"),
        Column("user_id", Type.AGENT, nullable=False, doc="who says so; that of the node's own mind counts"),
        Column("embedding", Type.VECTOR, nullable=False, size=names.VECTOR_SIZE),
        Column("model_version", Type.TEXT, nullable=False, check=_WORD),
        Column("updated_at", Type.TIMESTAMP, nullable=False),
    ),
    indexes=(Index(("model_version",)),),
    shared=True,
    access=READ_ALL,
    places=_hashed("node_id", vectors=(Vectors("embedding"),)),
    doc="What nodes mean, as vectors; those of one model alone are compared.",
)


def _points() -> tuple[Column, ...]:
    """The columns of a series of points, the same in both of its tables."""
    return (
        Column("time", Type.TIMESTAMP, nullable=False),
        Column("node_id", Type.ID, nullable=False, references="nodes.id"),
        Column("user_id", Type.AGENT, nullable=False, doc="who says so; the points of the node's own mind count"),
        Column("atp_level", Type.DECIMAL, scale=3, check=_ATP),
        Column("attention_score", Type.REAL, check=Check(least=0)),
        Column("resonance_vector", Type.LIST, of=Type.REAL, check=Check(length_max=names.VECTOR_SIZE)),
    )


STREAMS_TABLE: Final = Table(
    names.STREAMS,
    key=("node_id", "user_id", "time"),
    columns=(
        *_points(),
        Column("atp_square", Type.DECIMAL, scale=6, doc="exact: from its sum follows how far the energy spreads"),
    ),
    indexes=(Index(("node_id", "time")), Index(("time",), time_block=True)),
    shared=True,
    access=READ_ALL,
    retention=Retention("time", 3 * MONTH_MS),
    rollups=(
        Rollup(
            names.HOURLY, time="time", bucket="hour", bucket_ms=HOUR_MS, group=("node_id", "user_id"),
            measures=(Measure("avg_atp", "mean", "atp_level"), Measure("atp_squares", "sum", "atp_square")),
        ),
    ),
    places=Places(relational=Relational(by_time="time", every_ms=MONTH_MS), series=Series("time")),
    doc="How nodes were over time, for as long as that is of use.",
)  # fmt: skip

ARCHIVE_TABLE: Final = Table(
    names.ARCHIVE,
    key=("node_id", "user_id", "time"),
    columns=_points(),
    shared=True,
    access=READ_ALL,
    places=Places(relational=Relational(by_time="time", every_ms=MONTH_MS), archive=Archive("time", MONTH_MS)),
    doc="The same points for good, from the same events: one that is moved later would be missed by forgetting.",
)

CONTRIBUTIONS_TABLE: Final = Table(
    names.CONTRIBUTIONS,
    key=("consensus_id", "user_id"),
    columns=(
        Column("consensus_id", Type.ID, nullable=False, references="consensus_nodes.id"),
        Column("user_id", Type.AGENT, nullable=False),
        Column("node_id", Type.ID, nullable=False, references="nodes.id"),
        Column("timestamp", Type.TIMESTAMP, nullable=False),
    ),
    indexes=(Index(("node_id",)),),
    shared=True,
    access=READ_ALL,
    places=_hashed("consensus_id"),
    doc="Which node each agent contributes to which agreement: one, by its own word.",
)

CONSENSUS_TABLE: Final = Table(
    names.CONSENSUS,
    key="id",
    columns=(
        Column("id", Type.ID, nullable=False),
        Column("node_key", Type.TEXT, nullable=False, merge=Merge.DECIDED, check=_KEY),
        Column("consensus_label", Type.TEXT, merge=Merge.DECIDED, check=_LABEL),
        Column("consensus_metadata", Type.JSON, merge=Merge.DECIDED),
        Column("contributor_count", Type.INTEGER, default=0,
               derived=Derived("count", names.CONTRIBUTIONS, match=("consensus_id",))),
        Column("contributors", Type.SET, of=Type.ID,
               derived=Derived("set", names.CONTRIBUTIONS, "node_id", ("consensus_id",))),
        Column("minds", Type.SET, of=Type.AGENT,
               derived=Derived("set", names.CONTRIBUTIONS, "user_id", ("consensus_id",))),
        Column("resonance_score", Type.REAL, default=0.0, merge=Merge.DECIDED, check=Check(least=0, most=1)),
        Column("last_calculated", Type.TIMESTAMP, merge=Merge.DECIDED),
        Column("created_by", Type.AGENT, nullable=False, merge=Merge.ONCE),
        Column("home", Type.LOG, nullable=False, merge=Merge.ONCE, doc="the log that decides"),
    ),
    unique=(("node_key",),),
    indexes=(Index(("node_key",)), Index(("resonance_score",), descending=True), Index(("home",))),
    shared=True,
    access=READ_ALL,
    home="home",
    places=_hashed(
        "id",
        nodes=(Node("Consensus", ("node_key", "consensus_label", "resonance_score", "contributor_count")),),
        edges=(Edge("CONTRIBUTES_TO", "contributors", "id", "Node", "Consensus"),),
        search=Search(analyzers=(("consensus_label", SACRED_WISDOM),)),
    ),
    doc="What minds agree on, calculated from all that they contributed.",
)  # fmt: skip
