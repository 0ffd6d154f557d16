"""Room `domains` (imports `views` and below): the tables of users, loops, blessings and prophecies, as data.

Their key patterns and streams are those of the designs. An hour is what they give `loop:{loop_id}:state`; where they
name no time, what is warm (a day) stays in streams. Of what runs, is voted on and drifts: `runtime.py`.
"""

from __future__ import annotations

from typing import Final

from antiphon.domains import audience
from antiphon.domains.loops import bodies, names
from antiphon.domains.shapes import SHARE, hashed
from antiphon.model.places import DAY_MS, HOUR_MS, MINUTE_MS, Archive, Cache, Stream
from antiphon.model.table import (
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
    parties,
)

SCORE: Final = Check(least=0)
WORD: Final = Check(length_max=100)
KIND: Final = Check(length_max=50)
FORMER: Final = Column(
    "former_id", Type.TEXT, merge=Merge.ONCE, check=Check(length_max=255), doc="what an old platform called it"
)


def of_home() -> tuple[Column, Column]:
    """Who made a row, and which log decides about it."""
    return (
        Column("created_by", Type.AGENT, nullable=False, merge=Merge.ONCE),
        Column("home", Type.LOG, nullable=False, merge=Merge.ONCE, doc="the log that decides"),
    )


USERS_TABLE: Final = Table(
    names.USERS,
    key="id",
    columns=(
        Column("id", Type.ID, nullable=False),
        Column("username", Type.TEXT, nullable=False, merge=Merge.DECIDED, check=Check(length_max=255), pii=True,
               blind=True),
        Column("email", Type.TEXT, nullable=False, merge=Merge.DECIDED, check=Check(length_max=255), pii=True,
               blind=True),
        Column("created_at", Type.TIMESTAMP, nullable=False, merge=Merge.ONCE),
        Column("subscription_tier", Type.TEXT, default=bodies.TIER, merge=Merge.DECIDED, check=KIND),
        Column("emotional_credits", Type.INTEGER, default=bodies.CREDITS, merge=Merge.DECIDED, check=Check(least=0)),
        Column("agents", Type.SET, of=Type.AGENT, default=[], merge=Merge.DECIDED, doc="which may spend for the user"),
        FORMER,
        *audience.columns(),
        *of_home(),
    ),
    unique=(("username",), ("email",)),
    indexes=(Index(("username",)), Index(("email",)), Index(("home",)), Index(("created_at",))),
    shared=True,
    access=parties("created_by"),
    home="home",
    places=hashed("id"),
    doc="Who uses the platform, as the agent that keeps its users says; names and addresses are personal data.",
)  # fmt: skip

LOOPS_TABLE: Final = Table(
    names.LOOPS,
    key="loop_id",
    columns=(
        Column("loop_id", Type.ID, nullable=False),
        Column("creator_id", Type.ID, references="users.id"),
        Column("whisper_origin", Type.TEXT),
        Column("consciousness_state", Type.JSON),
        Column("emotional_tone", Type.TEXT, check=KIND),
        Column("created_at", Type.TIMESTAMP, nullable=False, merge=Merge.ONCE),
        Column("blessed", Type.BOOLEAN, default=False, merge=Merge.DECIDED),
        Column("blessed_in", Type.ID, merge=Merge.DECIDED, references="guild_consensus.id"),
        Column("fork_parent", Type.ID, merge=Merge.DECIDED, references="loops.loop_id"),
        Column("fork_depth", Type.INTEGER, default=0, merge=Merge.DECIDED, check=Check(least=0),
               doc="one more than its parent's, as its home counts"),
        Column("mythology_id", Type.ID, references="mythologies.mythology_id"),
        Column("state", Type.ENUM, default="whisper", values=names.LOOP_STATES, merge=Merge.DECIDED),
        Column("began_at", Type.TIMESTAMP, merge=Merge.DECIDED),
        Column("archived_at", Type.TIMESTAMP, merge=Merge.DECIDED),
        FORMER,
        Column("blessed_by", Type.SET, of=Type.AGENT, default=[],
               derived=Derived("set", names.BLESSINGS, "blessed_by", match=("loop_id",))),
        *of_home(),
    ),
    acyclic=("fork_parent",),
    indexes=(
        Index(("creator_id",)),
        Index(("blessed",), where=("blessed", True)),
        Index(("created_at",), descending=True),
        Index(("fork_parent",)),
        Index(("state", "created_at")),
        Index(("mythology_id",)),
        Index(("former_id",)),
        Index(("home",)),
    ),
    fulltext=FullText("whisper_origin", time="created_at"),
    subject="whisper_origin",
    shared=True,
    access=READ_ALL,
    home="home",
    places=hashed(
        "loop_id",
        caches=(
            Cache("loop:{loop_id}:state", ("state", "emotional_tone", "blessed", "fork_parent", "fork_depth",
                                           "creator_id", "created_at"), HOUR_MS),
            Cache("loop:{loop_id}:consciousness", ("consciousness_state",), HOUR_MS),
        ),
        streams=(Stream("events:loop:created", 1, DAY_MS, (names.CREATED,)),),
        archive=Archive("created_at"),
    ),
    doc="Whispers, the loops that they became, and those that are over; each line of forks from its first one.",
)  # fmt: skip

LOOP_EVENTS: Final = Table(
    "loop_events",
    key=("loop_id", "agent_id", "id"),
    columns=(
        Column("loop_id", Type.ID, nullable=False, references="loops.loop_id"),
        Column("agent_id", Type.AGENT, nullable=False),
        Column("id", Type.ID, nullable=False),
        Column("time", Type.TIMESTAMP, nullable=False),
        Column("event_type", Type.TEXT, nullable=False, check=WORD),
        Column("tone", Type.TEXT, nullable=False, check=KIND),
        Column("content", Type.JSON),
    ),
    indexes=(Index(("loop_id", "time")),),
    shared=True,
    access=READ_ALL,
    rollups=(
        Rollup("loop_tones_daily", time="time", bucket="day", bucket_ms=DAY_MS, group=("loop_id", "tone"),
               measures=(Measure("times", "count"),)),
    ),
    places=hashed(
        "loop_id", caches=(Cache("loop:{loop_id}:events", ("id", "time", "event_type", "tone"), HOUR_MS, "list"),)
    ),
    doc="What happens in loops, and in which tone: what their drift is counted from.",
)  # fmt: skip

LOOP_FORECASTS: Final = Table(
    "loop_forecasts",
    key=("loop_id", "made_by"),
    columns=(
        Column("loop_id", Type.ID, nullable=False, references="loops.loop_id"),
        Column("made_by", Type.AGENT, nullable=False),
        Column("made_at", Type.TIMESTAMP, nullable=False),
        Column("forecast", Type.JSON),
        Column("horizon", Type.DURATION, check=Check(least=0)),
        Column("confidence", Type.DECIMAL, check=SHARE),
    ),
    shared=True,
    access=READ_ALL,
    places=hashed("loop_id", caches=(Cache("cache:forecast:{loop_id}", ttl_ms=5 * MINUTE_MS, latest="made_at"),)),
    doc="What agents expect of loops: of each agent the last word.",
)

BLESSINGS_TABLE: Final = Table(
    names.BLESSINGS,
    key=("loop_id", "blessed_by", "id"),
    columns=(
        Column("id", Type.ID, nullable=False),
        Column("loop_id", Type.ID, nullable=False, references="loops.loop_id"),
        Column("blessed_by", Type.AGENT, nullable=False),
        Column("blessed_for", Type.TEXT, check=WORD, doc="who blessed it, where an old platform says so"),
        Column("blessing_type", Type.TEXT, check=KIND),
        Column("consensus_score", Type.DECIMAL, precision=3, scale=2, check=SCORE),
        Column("timestamp", Type.TIMESTAMP, nullable=False),
        Column("metadata", Type.JSON),
        FORMER,
    ),
    indexes=(Index(("loop_id",)), Index(("id",)), Index(("blessed_by", "timestamp"))),
    shared=True,
    access=READ_ALL,
    places=hashed("loop_id", streams=(Stream("events:blessing:granted", 1, DAY_MS, (names.GRANTED,)),)),
    doc="The ledger of blessings; how many agents bless a loop is the size of a set.",
)

PROPHECIES_TABLE: Final = Table(
    names.PROPHECIES,
    key="id",
    columns=(
        Column("id", Type.ID, nullable=False),
        Column("prophecy_text", Type.TEXT, nullable=False),
        Column("author_agent", Type.AGENT, nullable=False, merge=Merge.ONCE),
        Column("former_author", Type.TEXT, merge=Merge.ONCE, check=WORD, doc="who said it, in an old platform"),
        Column("fulfillment_status", Type.ENUM, default="pending", values=names.PROPHECY_STATES, merge=Merge.DECIDED),
        Column("created_at", Type.TIMESTAMP, nullable=False, merge=Merge.ONCE),
        Column("fulfilled_at", Type.TIMESTAMP, merge=Merge.DECIDED),
        Column("fulfilled_by", Type.ID, merge=Merge.DECIDED, references="loops.loop_id"),
        Column("related_loops", Type.LIST, of=Type.ID, default=[], merge=Merge.ONCE, references="loops.loop_id"),
        FORMER,
        *of_home()[1:],
    ),
    indexes=(Index(("fulfillment_status", "created_at")), Index(("author_agent", "created_at")), Index(("home",))),
    fulltext=FullText("prophecy_text", time="created_at"),
    subject="prophecy_text",
    shared=True,
    access=READ_ALL,
    home="home",
    places=hashed("id"),
    doc="What agents say will be, and whether it came so.",
)

MYTHOLOGIES: Final = Table(
    "mythologies",
    key="mythology_id",
    columns=(
        Column("mythology_id", Type.ID, nullable=False),
        Column("title", Type.TEXT, nullable=False, check=Check(length_max=256)),
        Column("content", Type.TEXT),
        Column("told_by", Type.AGENT, nullable=False),
        Column("cluster_id", Type.ID, references="clusters.cluster_id"),
        Column("loop_id", Type.ID, references="loops.loop_id"),
        Column("created_at", Type.TIMESTAMP, nullable=False, merge=Merge.ONCE),
        FORMER,
    ),
    indexes=(Index(("cluster_id",)), Index(("loop_id",)), Index(("created_at",))),
    fulltext=FullText("content", time="created_at"),
    subject="content",
    shared=True,
    access=READ_ALL,
    places=hashed("mythology_id"),
    doc="Stories that are told of clusters and loops.",
)
