"""Room `domains` (imports `views` and below): the tables of what passes between agents."""

from __future__ import annotations

from typing import Final

from antiphon.domains.shapes import SHARE, hashed
from antiphon.model.places import DAY_MS, HOUR_MS, Cache, Places, Relational, Stream, Wide
from antiphon.model.table import (
    READ_ALL,
    Check,
    Column,
    FullText,
    Index,
    Measure,
    Rollup,
    Table,
    Type,
    parties,
)

INTERACTED: Final = "agent.interacted"
SENT: Final = "message.sent"
POSTED: Final = "message.posted"
WITHDRAWN: Final = "message.withdrawn"
POST_WITHDRAWN: Final = "message.post_withdrawn"
READ: Final = "message.read"
SUBSCRIBED: Final = "topic.subscribed"
UNSUBSCRIBED: Final = "topic.unsubscribed"
RELEASED: Final = "hormone.released"
REACHED: Final = "hormone.reached"


INTERACTIONS: Final = Table(
    "interactions",
    key=("agent_id", "interaction_time", "peer_id"),
    columns=(
        Column("agent_id", Type.AGENT, nullable=False),
        Column("interaction_time", Type.TIMESTAMP, nullable=False),
        Column("peer_id", Type.AGENT, nullable=False),
        Column("interaction_type", Type.TEXT),
        Column("field_impact", Type.REAL, check=SHARE),
        Column("sacred_message", Type.TEXT),
    ),
    indexes=(Index(("agent_id", "peer_id", "interaction_time")), Index(("peer_id",))),
    shared=True,
    access=parties("peer_id"),
    places=Places(
        relational=Relational(by_time="interaction_time", every_ms=7 * DAY_MS),
        wide=Wide(("agent_id",), ("-interaction_time", "peer_id"), bucket_of="interaction_time"),
    ),
    doc="Who met whom, when, and what was said; by agent and day.",
)

AGENT_INTERACTIONS: Final = Table(
    "agent_interactions",
    key=("agent_from", "agent_to", "id"),
    columns=(
        Column("id", Type.ID, nullable=False),
        Column("agent_from", Type.AGENT, nullable=False),
        Column("agent_to", Type.AGENT, nullable=False),
        Column("interaction_type", Type.TEXT),
        Column("entanglement_strength", Type.DECIMAL, default=0, check=SHARE),
        Column("coherence_time", Type.DURATION),
        Column("trust_delta", Type.DECIMAL, check=Check(least=-1, most=1)),
        Column("hormone_exchange", Type.MAP, of=Type.REAL),
        Column("timestamp", Type.TIMESTAMP, nullable=False),
        Column("success", Type.BOOLEAN),
        Column("metadata", Type.JSON),
    ),
    shard=("agent_to",),
    indexes=(Index(("id",)), Index(("agent_to", "success"))),
    shared=True,
    access=READ_ALL,
    rollups=(
        Rollup(
            "trust_daily",
            time="timestamp",
            bucket="day",
            bucket_ms=DAY_MS,
            group=("agent_from", "agent_to"),
            measures=(
                Measure("success_rate", "mean", "success"),
                Measure("trust_delta_sum", "sum", "trust_delta"),
            ),
        ),
    ),
    places=hashed("agent_to"),
    doc="What agents did together, what it did to their trust, and which hormones it moved.",
)

MESSAGES: Final = Table(
    "messages",
    key="message_id",
    columns=(
        Column("message_id", Type.ID, nullable=False),
        Column("sent_at", Type.TIMESTAMP, nullable=False),
        Column("sender", Type.AGENT, nullable=False),
        Column("recipient", Type.AGENT, nullable=False),
        Column("content", Type.TEXT, held=True),
        Column("reply_to", Type.ID, references="messages"),
        Column("metadata", Type.JSON),
    ),
    indexes=(Index(("recipient", "sent_at")), Index(("sender", "sent_at"))),
    fulltext=FullText("content", time="sent_at"),
    subject="content",
    shared=True,
    access=parties("recipient"),
    places=hashed(
        "message_id",
        wide=Wide((), ("-sent_at", "message_id"), bucket_of="sent_at", ttl_ms=30 * DAY_MS),
        caches=(
            Cache(
                "agent:{agent_id}:whispers",
                of=("message_id", "sender", "sent_at"),
                shape="list",
                names=(("recipient", "agent_id"),),
            ),
        ),
        streams=(Stream("sacred.messages", 100, 30 * DAY_MS, (SENT, POSTED)),),
    ),
    doc="Messages from one agent to another.",
)

TOPIC_MESSAGES: Final = Table(
    "topic_messages",
    key="message_id",
    columns=(
        Column("message_id", Type.ID, nullable=False),
        Column("sent_at", Type.TIMESTAMP, nullable=False),
        Column("sender", Type.AGENT, nullable=False),
        Column("topic", Type.TEXT, nullable=False, check=Check(length_max=256)),
        Column("content", Type.TEXT, held=True),
        Column("reply_to", Type.ID, references="topic_messages"),
        Column("metadata", Type.JSON),
    ),
    indexes=(Index(("topic", "sent_at")), Index(("sender", "sent_at"))),
    fulltext=FullText("content", time="sent_at"),
    subject="content",
    shared=True,
    access=READ_ALL,
    places=hashed(
        "message_id",
        wide=Wide((), ("-sent_at", "message_id"), bucket_of="sent_at", ttl_ms=30 * DAY_MS),
    ),
    doc="Messages to topics, for everyone.",
)

MESSAGE_READS: Final = Table(
    "message_reads",
    key=("agent_id", "message_id"),
    columns=(
        Column("agent_id", Type.AGENT, nullable=False),
        Column("message_id", Type.ID, nullable=False),
        Column("read_at", Type.TIMESTAMP, nullable=False),
    ),
    doc="Which messages an agent has read; its own affair.",
)

TOPIC_SUBSCRIPTIONS: Final = Table(
    "topic_subscriptions",
    key=("agent_id", "topic"),
    columns=(
        Column("agent_id", Type.AGENT, nullable=False),
        Column("topic", Type.TEXT, nullable=False, check=Check(length_max=256)),
        Column("since", Type.TIMESTAMP, nullable=False),
    ),
    doc="Whose messages to topics come into an agent's inbox.",
)

HORMONES_REACHED: Final = Table(
    "hormones",
    key=("agent_id", "cascade_id"),
    columns=(
        Column("agent_id", Type.AGENT, nullable=False),
        Column("cascade_id", Type.ID, nullable=False),
        Column("hormone_type", Type.TEXT, nullable=False),
        Column("intensity", Type.REAL, nullable=False, check=Check(least=0, most=1_000)),
        Column("hop", Type.INTEGER, nullable=False, default=0, check=Check(least=0, most=3)),
        Column("from_agent", Type.AGENT),
        Column("time", Type.TIMESTAMP, nullable=False),
    ),
    indexes=(Index(("agent_id", "hormone_type", "time")), Index(("cascade_id",))),
    shared=True,
    access=READ_ALL,
    places=hashed(
        "agent_id",
        wide=Wide(("agent_id",), ("cascade_id",), bucket_of="time"),
        caches=(Cache("agent:{agent_id}:hormone:{hormone_type}", ("intensity", "time"), latest="time"),),
        streams=(Stream("hormone.cascade", 12, HOUR_MS, (RELEASED, REACHED), by=("agent_id",)),),
    ),
    doc="Which hormones reached an agent, how strong and when; each says so for itself.",
)
