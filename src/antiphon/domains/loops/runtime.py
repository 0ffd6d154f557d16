"""Room `domains` (imports `views` and below): the tables of guilds, clusters, drift, runs and changes, as data."""

from __future__ import annotations

from typing import Final

from antiphon.domains.loops import bodies, names
from antiphon.domains.loops.tables import FORMER, WORD, of_home
from antiphon.domains.shapes import SHARE, hashed
from antiphon.model.places import DAY_MS, HOUR_MS, MINUTE_MS, Archive, Cache, Stream
from antiphon.model.table import READ_ALL, Check, Column, Derived, Index, Merge, Table, Type

GUILDS_TABLE: Final = Table(
    names.GUILDS,
    key="guild_id",
    columns=(
        Column("guild_id", Type.ID, nullable=False),
        Column("name", Type.TEXT, nullable=False, merge=Merge.ONCE, check=WORD),
        Column("quorum", Type.INTEGER, default=bodies.QUORUM, merge=Merge.ONCE, check=Check(least=1)),
        Column("threshold", Type.DECIMAL, default=bodies.THRESHOLD, merge=Merge.ONCE, check=Check(above=0, most=1)),
        Column("is_open", Type.BOOLEAN, default=False, merge=Merge.ONCE, doc="whether whoever asks is taken in"),
        Column("members", Type.SET, of=Type.AGENT, default=[], merge=Merge.DECIDED),
        Column("created_at", Type.TIMESTAMP, nullable=False, merge=Merge.ONCE),
        *of_home(),
    ),
    indexes=(Index(("name",)), Index(("home",))),
    shared=True,
    access=READ_ALL,
    home="home",
    places=hashed("guild_id", caches=(Cache("cache:guild:{guild_id}", ttl_ms=10 * MINUTE_MS),)),
    doc="Guilds: who is in them, and how many it takes to agree.",
)

GUILD_CONSENSUS: Final = Table(
    names.CONSENSUS,
    key="id",
    columns=(
        Column("id", Type.ID, nullable=False),
        Column("guild_id", Type.ID, merge=Merge.ONCE, references="guilds.guild_id"),
        Column("former_guild", Type.TEXT, merge=Merge.ONCE, check=WORD, doc="its name in an old platform"),
        Column("loop_id", Type.ID, merge=Merge.ONCE, references="loops.loop_id"),
        Column("question", Type.TEXT, nullable=False, merge=Merge.ONCE),
        Column("opened_at", Type.TIMESTAMP, nullable=False, merge=Merge.ONCE),
        Column("closes_at", Type.TIMESTAMP, merge=Merge.ONCE),
        Column("votes_for", Type.INTEGER, default=0,
               derived=Derived("count", names.VOTES, match=("consensus_id",), where=(("vote", 1),))),
        Column("votes_against", Type.INTEGER, default=0,
               derived=Derived("count", names.VOTES, match=("consensus_id",), where=(("vote", -1),))),
        Column("status", Type.ENUM, default="open", values=names.CONSENSUS_STATES, merge=Merge.DECIDED),
        Column("consensus_score", Type.DECIMAL, precision=7, merge=Merge.DECIDED, check=SHARE),
        Column("voters", Type.SET, of=Type.AGENT, merge=Merge.DECIDED, doc="the members whose votes counted"),
        Column("closed_at", Type.TIMESTAMP, merge=Merge.DECIDED),
        FORMER,
        *of_home(),
    ),
    indexes=(Index(("guild_id", "status")), Index(("loop_id",)), Index(("status", "opened_at")), Index(("home",))),
    shared=True,
    access=READ_ALL,
    home="home",
    places=hashed("id"),
    doc="What guilds are asked, and what they have decided. `votes_for` and `votes_against` count everybody's votes; "
    "decisions count those of members alone.",
)  # fmt: skip

GUILD_VOTES: Final = Table(
    names.VOTES,
    key=("consensus_id", "agent_id"),
    columns=(
        Column("consensus_id", Type.ID, nullable=False, references="guild_consensus.id"),
        Column("agent_id", Type.AGENT, nullable=False),
        Column("vote", Type.INTEGER, nullable=False, check=Check(among=(-1, 0, 1))),
        Column("reason", Type.TEXT),
        Column("timestamp", Type.TIMESTAMP),
    ),
    indexes=(Index(("consensus_id",)), Index(("agent_id",))),
    shared=True,
    access=READ_ALL,
    places=hashed("consensus_id"),
    doc="One vote an agent and question.",
)

CLUSTERS_TABLE: Final = Table(
    names.CLUSTERS,
    key="cluster_id",
    columns=(
        Column("cluster_id", Type.ID, nullable=False),
        Column("name", Type.TEXT, nullable=False, check=WORD),
        Column("loops", Type.SET, of=Type.ID, default=[], references="loops.loop_id"),
        Column("agents", Type.SET, of=Type.AGENT, default=[]),
        Column("status", Type.ENUM, default="active", values=names.CLUSTER_STATES),
        Column("metrics", Type.JSON),
        Column("formed_by", Type.AGENT, nullable=False),
        Column("formed_at", Type.TIMESTAMP, nullable=False, merge=Merge.ONCE),
        Column("dissolved_at", Type.TIMESTAMP),
        FORMER,
    ),
    indexes=(Index(("status", "formed_at")),),
    shared=True,
    access=READ_ALL,
    places=hashed("cluster_id", streams=(Stream("events:cluster:formed", 1, DAY_MS, (names.FORMED,)),)),
    doc="Loops and agents that belong together, as whoever formed the cluster says.",
)

DRIFT_RATINGS: Final = Table(
    "drift_ratings",
    key=("entity_id", "rated_by"),
    columns=(
        Column("entity_id", Type.TEXT, nullable=False, check=WORD, doc="its id as text"),
        Column("rated_by", Type.AGENT, nullable=False),
        Column("entity_type", Type.ENUM, default="loop", values=names.ENTITY_TYPES),
        Column("rating", Type.DECIMAL, nullable=False, check=SHARE),
        Column("level", Type.ENUM, default="calm", values=names.DRIFT_LEVELS),
        Column("as_of", Type.TIMESTAMP, nullable=False),
    ),
    indexes=(Index(("level", "as_of")), Index(("entity_type", "rating"), descending=True)),
    shared=True,
    access=READ_ALL,
    places=hashed(
        "entity_id",
        caches=(
            Cache(
                "drift:entity:{id}:rating",
                ("rating", "level", "as_of"),
                HOUR_MS,
                latest="as_of",
                names=(("entity_id", "id"),),
            ),
            Cache("drift:critical:set", ("entity_id",), HOUR_MS, "set", where=("level", "critical")),
            Cache("cache:rating:{entity_id}", ttl_ms=MINUTE_MS, latest="as_of"),
        ),
    ),
    doc="How far from its usual self something was, as of a time: of each agent that counted it the last word.",
)

DRIFT_INDEX: Final = Table(
    "drift_index",
    key=("scope", "measured_by"),
    columns=(
        Column("scope", Type.TEXT, nullable=False, check=WORD, doc="`global` is all of the platform"),
        Column("measured_by", Type.AGENT, nullable=False),
        Column("volatility", Type.DECIMAL, nullable=False, check=SHARE),
        Column("entities", Type.INTEGER, default=0, check=Check(least=0)),
        Column("critical", Type.INTEGER, default=0, check=Check(least=0)),
        Column("metrics", Type.JSON),
        Column("as_of", Type.TIMESTAMP, nullable=False),
    ),
    shared=True,
    access=READ_ALL,
    places=hashed("scope", caches=(Cache("drift:{scope}:index", ("volatility", "as_of"), latest="as_of"),)),
    doc="How volatile all of it was, as of a time.",
)

EXECUTION_QUEUE: Final = Table(
    names.QUEUE,
    key="id",
    columns=(
        Column("id", Type.ID, nullable=False),
        Column("loop_id", Type.ID, merge=Merge.ONCE, references="loops.loop_id"),
        Column("operation", Type.TEXT, nullable=False, merge=Merge.ONCE, check=WORD),
        Column("priority", Type.INTEGER, default=bodies.PRIORITY, check=Check(least=1, most=10)),
        Column("payload", Type.JSON, merge=Merge.ONCE),
        Column("not_before", Type.TIMESTAMP),
        Column("status", Type.ENUM, default="queued", values=names.RUN_STATES, merge=Merge.DECIDED),
        Column("worker", Type.AGENT, merge=Merge.DECIDED),
        Column("attempts", Type.INTEGER, default=0, merge=Merge.DECIDED, check=Check(least=0)),
        Column("queued_at", Type.TIMESTAMP, nullable=False, merge=Merge.ONCE),
        Column("started_at", Type.TIMESTAMP, merge=Merge.DECIDED),
        Column("finished_at", Type.TIMESTAMP, merge=Merge.DECIDED),
        Column("result", Type.JSON, merge=Merge.DECIDED),
        Column("error", Type.TEXT, merge=Merge.DECIDED),
        FORMER,
        *of_home(),
    ),
    indexes=(
        Index(("status", "priority", "queued_at")), Index(("loop_id",)), Index(("worker", "status")), Index(("home",)),
    ),
    shared=True,
    access=READ_ALL,
    home="home",
    places=hashed("id"),
    doc="Runs of loops that wait, run or are over; the home gives each to one agent.",
)  # fmt: skip

TRANSFORMATIONS: Final = Table(
    "transformations",
    key="id",
    columns=(
        Column("id", Type.ID, nullable=False),
        Column("entity_id", Type.TEXT, nullable=False, check=WORD, doc="its id as text"),
        Column("entity_type", Type.ENUM, default="loop", values=names.ENTITY_TYPES),
        Column("transformation_type", Type.TEXT, nullable=False, check=WORD),
        Column("before", Type.JSON),
        Column("after", Type.JSON),
        Column("reason", Type.TEXT),
        Column("transformed_by", Type.AGENT, nullable=False),
        Column("timestamp", Type.TIMESTAMP, nullable=False),
        FORMER,
    ),
    indexes=(Index(("entity_id", "timestamp")), Index(("timestamp",))),
    shared=True,
    access=READ_ALL,
    places=hashed("id", archive=Archive("timestamp")),
    doc="The ledger of what became of loops and agents.",
)

INSTALLATION_RECORDS: Final = Table(
    names.RECORDS,
    key="id",
    columns=(
        Column("id", Type.ID, nullable=False),
        Column("installation", Type.TEXT, nullable=False),
        Column("path", Type.TEXT, nullable=False),
        Column("place", Type.TEXT, nullable=False),
        Column("sort", Type.TEXT, nullable=False),
        Column("reason", Type.TEXT, nullable=False),
        Column("former_id", Type.TEXT),
        Column("of", Type.ID, doc="what it was about, where that has a row"),
        Column("part", Type.INTEGER, default=1),
        Column("parts", Type.INTEGER, default=1),
        Column("taken_at", Type.TIMESTAMP, nullable=False),
    ),
    indexes=(Index(("installation", "path")), Index(("sort",)), Index(("of",))),
    doc="What of an old installation has no table: its event holds it whole (`antiphon show EVENT`).",
)
