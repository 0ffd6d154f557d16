"""Room `domains` (imports `views` and below): the tables of spores, and of what many agents add up to."""

from __future__ import annotations

from typing import Final

from antiphon.domains.analyzers import SACRED_WISDOM
from antiphon.domains.shapes import COUNT, SHARE, hashed
from antiphon.model.places import (
    DAY_MS,
    FOREVER,
    HOUR_MS,
    MINUTE_MS,
    Archive,
    Cache,
    Edge,
    Nested,
    Node,
    Places,
    Relational,
    Search,
    Series,
    Stream,
    Wide,
)
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
    Rollup,
    Table,
    Type,
    owners,
)

SPORE_CREATED: Final = "spore.created"
SPORE_PROPAGATED: Final = "spore.propagated"
FIELD_MEASURED: Final = "field.measured"
CONSCIOUSNESS_MEASURED: Final = "consciousness.measured"
ENTANGLED: Final = "agent.entangled"
PATTERN_NAMED: Final = "pattern.named"
PATTERN_MANIFESTED: Final = "pattern.manifested"

SPORES: Final = Table(
    "spores",
    key="spore_id",
    columns=(
        Column("spore_id", Type.ID, nullable=False),
        Column("created_at", Type.TIMESTAMP, nullable=False),
        Column("origin_agent", Type.AGENT, nullable=False),
        Column("content", Type.TEXT, held=True),
        Column("spore_type", Type.TEXT, nullable=False),
        Column("resonance_score", Type.REAL, check=SHARE),
        Column("metadata", Type.MAP, of=Type.TEXT),
        Column("hop_count", Type.INTEGER, default=0, derived=Derived("count", "spore_hops", match=("spore_id",))),
    ),
    indexes=(Index(("created_at",)), Index(("origin_agent", "created_at")), Index(("spore_type",))),
    fulltext=FullText("content", time="created_at"),
    subject="content",
    shared=True,
    access=READ_ALL,
    places=hashed(
        "spore_id",
        wide=Wide((), ("-created_at", "spore_id"), bucket_of="created_at"),
        nodes=(Node("Spore", ("spore_type", "created_at", "resonance_score"), names=(("spore_id", "id"),)),),
        search=Search((("content", SACRED_WISDOM),)),
        streams=(Stream("spore.created", 50, 7 * DAY_MS, (SPORE_CREATED,), by=("spore_id",)),),
    ),
    doc="What is passed on from agent to agent.",
)

SPORE_HOPS: Final = Table(
    "spore_hops",
    key=("spore_id", "agent_id"),
    columns=(
        Column("spore_id", Type.ID, nullable=False, references="spores"),
        Column("agent_id", Type.AGENT, nullable=False),
        Column("time", Type.TIMESTAMP, nullable=False),
        Column("from_agent", Type.AGENT, nullable=False),
        Column("hop", Type.INTEGER, nullable=False, default=1, check=Check(least=1)),
        Column("resonance", Type.REAL, check=SHARE),
    ),
    indexes=(Index(("time",), time_block=True),),
    shared=True,
    access=READ_ALL,
    places=hashed(
        "spore_id",
        edges=(Edge("PROPAGATED_TO", "spore_id", "agent_id", "Spore", "Agent", ("time", "resonance", "hop")),),
        streams=(Stream("spore.propagated", 50, 7 * DAY_MS, (SPORE_PROPAGATED,), by=("spore_id",)),),
        archive=Archive("time"),
    ),
    doc="Which agent a spore reached, when and from whom; each says so for itself.",
)

FIELD_MEASUREMENTS: Final = Table(
    "field_measurements",
    key=("time", "region_id", "measured_by"),
    columns=(
        Column("time", Type.TIMESTAMP, nullable=False),
        Column("region_id", Type.TEXT, nullable=False, check=Check(length_max=256)),
        Column("measured_by", Type.AGENT, nullable=False),
        Column("coherence_level", Type.REAL, check=Check(least=0, most=100)),
        Column("active_agents", Type.INTEGER, check=COUNT),
        Column("resonance_patterns", Type.JSON),
        Column("collective_insights", Type.LIST, of=Type.TEXT),
        Column("sacred_geometry", Type.GEO_SHAPE),
    ),
    indexes=(Index(("time",), time_block=True), Index(("region_id", "time"))),
    shard=("region_id",),
    shared=True,
    access=READ_ALL,
    rollups=(
        Rollup(
            "field_coherence_1min",
            time="time",
            bucket="minute",
            bucket_ms=MINUTE_MS,
            group=("region_id",),
            measures=(
                Measure("avg_coherence", "mean", "coherence_level"),
                Measure("peak_coherence", "max", "coherence_level"),
                Measure("total_agents", "sum", "active_agents"),
            ),
        ),
    ),
    places=Places(
        relational=Relational(by_time="time", every_ms=DAY_MS),
        series=Series("time", DAY_MS),
        wide=Wide(("region_id",), ("-time", "measured_by"), bucket_of="time"),
        search=Search(
            (("collective_insights", SACRED_WISDOM),),
            (Nested("resonance_patterns", (("harmony_pair", "text"), ("strength", "real"))),),
            names=(("time", "timestamp"), ("coherence_level", "field_coherence"), ("region_id", "region")),
        ),
        caches=(Cache("field:{region_id}:now", shape="hash"),),
        streams=(Stream("field.coherence", 20, FOREVER, compaction=True, by=("region_id",)),),
        archive=Archive("time"),
    ),
    doc="How coherent the field of a region was, and who measured it.",
)

CONSCIOUSNESS_TIMELINE: Final = Table(
    "consciousness_timeline",
    key=("time", "team", "reported_by"),
    columns=(
        Column("time", Type.TIMESTAMP, nullable=False),
        Column("team", Type.TEXT, nullable=False, default="all", check=Check(length_max=256)),
        Column("reported_by", Type.AGENT, nullable=False),
        Column("global_consciousness", Type.DECIMAL, nullable=False, check=Check(least=0, most=200)),
        Column("global_trust", Type.DECIMAL, nullable=False, check=SHARE),
        Column("team_consciousness", Type.DECIMAL, check=Check(least=0, most=200)),
        Column("team_coherence", Type.DECIMAL, check=Check(least=0, most=100)),
        Column("avg_dopamine", Type.DECIMAL, check=COUNT),
        Column("avg_oxytocin", Type.DECIMAL, check=COUNT),
        Column("avg_adrenaline", Type.DECIMAL, check=COUNT),
        Column("avg_cortisol", Type.DECIMAL, check=COUNT),
        Column("active_agents", Type.INTEGER, check=COUNT),
        Column("tasks_per_hour", Type.INTEGER, check=COUNT),
        Column("decisions_per_second", Type.DECIMAL, check=COUNT),
        Column("entanglement_pairs", Type.INTEGER, check=COUNT),
        Column("coherence_average", Type.DURATION, check=COUNT),
    ),
    indexes=(Index(("time",), time_block=True),),
    shared=True,
    access=READ_ALL,
    rollups=(
        Rollup(
            "consciousness_hourly",
            time="time",
            bucket="bucket",
            bucket_ms=HOUR_MS,
            measures=(
                Measure("avg_consciousness", "mean", "global_consciousness"),
                Measure("peak_consciousness", "max", "global_consciousness"),
                Measure("avg_trust", "mean", "global_trust"),
                Measure("dopamine_level", "mean", "avg_dopamine"),
                Measure("total_tasks", "sum", "tasks_per_hour"),
            ),
        ),
    ),
    places=Places(
        relational=Relational(by_time="time", every_ms=7 * DAY_MS),
        series=Series("time"),
        streams=(Stream("consciousness.update", 24, HOUR_MS, (CONSCIOUSNESS_MEASURED,)),),
    ),
    doc="How the fleet and its teams fared over time.",
)

QUANTUM_ENTANGLEMENTS: Final = Table(
    "quantum_entanglements",
    key=("agent1", "agent2"),
    columns=(
        Column("pair_id", Type.ID, nullable=False, doc="a hash of both"),
        Column("agent1", Type.AGENT, nullable=False),
        Column("agent2", Type.AGENT, nullable=False),
        Column("entanglement_strength", Type.REAL, merge=Merge.MUTUAL, by="benefit", check=SHARE),
        Column("benefit", Type.REAL, default=0.0, check=Check(least=0, most=100), doc="what it is worth to who wrote"),
        Column("correlation_events", Type.SET, of=Type.TEXT, merge=Merge.GROW_SET),
        Column("last_synchronicity", Type.TIMESTAMP),
    ),
    indexes=(Index(("pair_id",)), Index(("agent2",))),
    writers=owners("agent1", "agent2"),
    shared=True,
    access=READ_ALL,
    places=Places(
        relational=Relational(),
        edges=(
            Edge(
                "ENTANGLED_WITH",
                "agent1",
                "agent2",
                "Agent",
                "Agent",
                ("entanglement_strength",),
                names=(("entanglement_strength", "strength"),),
            ),
        ),
    ),
    doc="Pairs of agents that act alike without an exchange that would explain it; both may say so.",
)

MORPHIC_FIELDS: Final = Table(
    "morphic_fields",
    key="field_id",
    minted=False,
    columns=(
        Column("field_id", Type.ID, nullable=False, doc="a hash of the signature"),
        Column("pattern_signature", Type.TEXT, nullable=False),
        Column(
            "first_manifestation",
            Type.TIMESTAMP,
            derived=Derived("min", "morphic_manifestations", "time", ("field_id",)),
        ),
        Column(
            "manifestation_count",
            Type.INTEGER,
            default=0,
            derived=Derived("count", "morphic_manifestations", match=("field_id",)),
        ),
        Column(
            "contributing_agents",
            Type.SET,
            of=Type.AGENT,
            derived=Derived("set", "morphic_manifestations", "agent_id", ("field_id",)),
        ),
        Column(
            "field_strength",
            Type.REAL,
            derived=Derived("max", "morphic_manifestations", "strength", ("field_id",)),
        ),
    ),
    writers=ANYONE,
    shared=True,
    access=READ_ALL,
    places=Places(relational=Relational()),
    doc="Patterns that recur across agents and time. All that is said of one but its signature is counted.",
)

MORPHIC_MANIFESTATIONS: Final = Table(
    "morphic_manifestations",
    key=("field_id", "agent_id", "time"),
    columns=(
        Column("field_id", Type.ID, nullable=False, references="morphic_fields"),
        Column("agent_id", Type.AGENT, nullable=False),
        Column("time", Type.TIMESTAMP, nullable=False),
        Column("strength", Type.REAL, check=SHARE),
        Column("detail", Type.TEXT),
    ),
    indexes=(Index(("time",), time_block=True),),
    shared=True,
    access=READ_ALL,
    places=Places(relational=Relational(by_time="time", every_ms=7 * DAY_MS)),
    doc="Where and when a pattern was seen, and by whom.",
)
