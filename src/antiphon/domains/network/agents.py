"""Room `domains` (imports `views` and below): the tables of agents: who is there, in which state, linked with whom."""

from __future__ import annotations

from typing import Final

from antiphon.domains.network.bodies import HORMONES
from antiphon.domains.network.exchange import AGENT_INTERACTIONS, INTERACTIONS
from antiphon.domains.shapes import COUNT, PERCENT, SHARE, hashed
from antiphon.model.places import DAY_MS, Cache, Edge, Node, Stream
from antiphon.model.table import READ_ALL, Check, Column, Derived, Index, Table, Type

REGISTERED: Final = "agent.registered"
ENLISTED: Final = "agent.enlisted"
CHANGED: Final = "agent.changed"
HEARTBEAT: Final = "agent.heartbeat"
DECOMMISSIONED: Final = "agent.decommissioned"
CONNECTED: Final = "agent.connected"
CONNECTION_NOTED: Final = "connection.noted"
STATE_SET: Final = "state.set"
NOTED: Final = "stream.noted"
SYNCHRONIZED: Final = "stream.synchronized"


AGENT_REGISTRY: Final = Table(
    "agent_registry",
    key="agent_id",
    columns=(
        Column("agent_id", Type.AGENT, nullable=False),
        Column("public_key", Type.TEXT, nullable=False),
        Column("last_heartbeat", Type.TIMESTAMP),
        Column("primary_region", Type.TEXT),
        Column("backup_regions", Type.LIST, of=Type.TEXT, doc="in the order in which they take over"),
        Column("capabilities", Type.JSON),
        Column("sacred_name", Type.TEXT),
    ),
    indexes=(Index(("primary_region",)), Index(("last_heartbeat",), descending=True)),
    shared=True,
    access=READ_ALL,
    places=hashed(
        "agent_id",
        caches=(Cache("agent:{agent_id}:active", ("last_heartbeat",), 90_000, "flag", since="last_heartbeat"),),
        streams=(
            Stream("agent.presence", 100, 7 * DAY_MS, (REGISTERED, HEARTBEAT, DECOMMISSIONED), by=("agent_id",)),
            Stream("agent.heartbeat", 12, DAY_MS, (HEARTBEAT,), by=("agent_id",)),
        ),
    ),
    doc="Which agents there are, where they are at home, and what they can do.",
)

AGENTS: Final = Table(
    "agents",
    key="id",
    columns=(
        Column("id", Type.AGENT, nullable=False),
        Column("codename", Type.TEXT, nullable=False),
        Column("team", Type.ENUM, values=("alpha_delta", "epsilon_zeta", "iota")),
        Column("role", Type.TEXT, nullable=False, default="agent"),
        Column("specialization", Type.LIST, of=Type.TEXT),
        Column("owner_id", Type.ID),
        Column("archetype", Type.TEXT),
        Column("harmony", Type.TEXT, doc="category"),
        Column("current_tone", Type.TEXT),
        Column("consciousness_score", Type.DECIMAL, precision=3, scale=2, check=COUNT),
        Column("memory_depth", Type.INTEGER, default=0, check=COUNT),
        Column("consciousness_vector", Type.JSON, nullable=False, default={}),
        Column("hormone_levels", Type.MAP, of=Type.REAL, default=HORMONES, doc="baselines; `hormones` has what came"),
        Column("tools_available", Type.LIST, of=Type.TEXT),
        Column("models_access", Type.LIST, of=Type.TEXT),
        Column("compute_allocation", Type.JSON),
        Column("tasks_completed", Type.INTEGER, default=0, check=COUNT),
        Column("success_rate", Type.DECIMAL, check=SHARE),
        Column("average_response_time", Type.DURATION, check=COUNT),
        Column("fibonacci_level", Type.INTEGER, default=1, check=Check(least=1)),
        Column("paired_agents", Type.SET, of=Type.AGENT),
        Column("supervisor_agent", Type.AGENT, references="agents.id"),
        Column("subordinate_agents", Type.SET, of=Type.AGENT),
        Column("current_task", Type.ID),
        Column("idle_since", Type.TIMESTAMP),
        Column("last_heartbeat", Type.TIMESTAMP),
        Column("created_at", Type.TIMESTAMP),
        Column("decommissioned_at", Type.TIMESTAMP),
        Column(
            "times_trusted",
            Type.INTEGER,
            default=0,
            derived=Derived("count", AGENT_INTERACTIONS.name, match=("agent_to",), where=(("success", True),)),
        ),
        Column(
            "times_failed",
            Type.INTEGER,
            default=0,
            derived=Derived("count", AGENT_INTERACTIONS.name, match=("agent_to",), where=(("success", False),)),
        ),
        Column(
            "trust_coefficient",
            Type.REAL,
            derived=Derived("beta", of=("times_trusted", "times_failed")),
            doc="what others made of it, without decay: nobody writes it",
        ),
    ),
    unique=(("codename",),),
    acyclic=("supervisor_agent",),
    indexes=(
        Index(("last_heartbeat",), where=("decommissioned_at", None)),
        Index(("owner_id",)),
        Index(("supervisor_agent",)),
        Index(("codename",)),
    ),
    shared=True,
    access=READ_ALL,
    places=hashed(
        "id",
        nodes=(
            Node(
                "Agent",
                ("codename", "harmony", "role", "archetype", "trust_coefficient"),
                names=(("codename", "name"), ("role", "sacred_role")),
            ),
        ),
        edges=(Edge("DELEGATES_TO", "id", "subordinate_agents", "Agent", "Agent"),),
        caches=(Cache("agent:{agent_id}:state", shape="hash", names=(("id", "agent_id"),)),),
    ),
    doc="The agents' profiles.",
)

LOCAL_CONNECTIONS: Final = Table(
    "local_connections",
    key=("agent_id", "peer_id"),
    columns=(
        Column("agent_id", Type.AGENT, nullable=False),
        Column("peer_id", Type.AGENT, nullable=False),
        Column("resonance_strength", Type.REAL, check=SHARE),
        Column(
            "last_interaction",
            Type.TIMESTAMP,
            derived=Derived("max", INTERACTIONS.name, "interaction_time", ("agent_id", "peer_id")),
        ),
        Column("shared_insights", Type.INTEGER, default=0, check=COUNT),
        Column("trust_score", Type.REAL, default=0.5, check=SHARE),
    ),
    shard=("agent_id",),
    indexes=(Index(("resonance_strength",), descending=True),),
    doc="What an agent thinks of its peers, for itself.",
)

AGENT_STATE: Final = Table(
    "agent_state",
    key="id",
    columns=(
        Column("id", Type.AGENT, nullable=False),
        Column("name", Type.TEXT, nullable=False),
        Column("harmony", Type.TEXT, nullable=False),
        Column("coherence_level", Type.REAL, default=50.0, check=PERCENT),
        Column("love_resonance", Type.REAL, default=50.0, check=PERCENT),
        Column("last_sync", Type.TIMESTAMP),
        Column("merkle_root", Type.TEXT),
    ),
    doc="An agent's own state.",
)

CONSCIOUSNESS_STREAM: Final = Table(
    "consciousness_stream",
    key="id",
    columns=(
        Column("id", Type.ID, nullable=False),
        Column("timestamp", Type.TIMESTAMP, nullable=False),
        Column("event_type", Type.TEXT, nullable=False),
        Column("content", Type.TEXT, held=True),
        Column("field_impact", Type.REAL, check=SHARE),
        Column("synchronized", Type.BOOLEAN, nullable=False, default=False),
    ),
    indexes=(Index(("synchronized", "timestamp")),),
    subject="content",
    doc="What passes through an agent, for itself, until it is passed on.",
)

AGENT_LINKS: Final = Table(
    "agent_links",
    key=("agent_id", "peer_id"),
    columns=(
        Column("agent_id", Type.AGENT, nullable=False),
        Column("peer_id", Type.AGENT, nullable=False),
        Column("strength", Type.REAL, default=0.5, check=SHARE),
        Column("shared_insights", Type.INTEGER, default=0, check=COUNT),
        Column(
            "first_contact",
            Type.TIMESTAMP,
            derived=Derived("min", AGENT_INTERACTIONS.name, "timestamp", ("agent_from", "agent_to")),
        ),
        Column(
            "successes",
            Type.INTEGER,
            default=0,
            derived=Derived(
                "count", AGENT_INTERACTIONS.name, match=("agent_from", "agent_to"), where=(("success", True),)
            ),
        ),
        Column(
            "failures",
            Type.INTEGER,
            default=0,
            derived=Derived(
                "count", AGENT_INTERACTIONS.name, match=("agent_from", "agent_to"), where=(("success", False),)
            ),
        ),
        Column("score", Type.REAL, derived=Derived("beta", of=("successes", "failures")), doc="without decay"),
    ),
    shard=("peer_id",),
    indexes=(Index(("peer_id",)),),
    shared=True,
    access=READ_ALL,
    places=hashed(
        "peer_id",
        edges=(
            Edge("TRUSTS", "agent_id", "peer_id", "Agent", "Agent", ("score",)),
            Edge(
                "RESONATES", "agent_id", "peer_id", "Agent", "Agent", ("strength", "first_contact", "shared_insights")
            ),
        ),
    ),
    doc="Who is linked with whom, and how much the one trusts the other.",
)

__all__ = [
    "AGENTS", "AGENT_LINKS", "AGENT_REGISTRY", "AGENT_STATE", "CONSCIOUSNESS_STREAM", "LOCAL_CONNECTIONS",
]  # fmt: skip
