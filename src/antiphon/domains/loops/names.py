"""Room `domains` (imports nothing of ours): what loops call their tables, states and kinds of event."""

from __future__ import annotations

from typing import Final

USERS: Final = "users"
LOOPS: Final = "loops"
BLESSINGS: Final = "blessings"
PROPHECIES: Final = "prophecies"
GUILDS: Final = "guilds"
CONSENSUS: Final = "guild_consensus"
VOTES: Final = "guild_votes"
CLUSTERS: Final = "clusters"
QUEUE: Final = "execution_queue"
RECORDS: Final = "installation_records"

LOOP_STATES: Final = ("whisper", "loop", "archive")
PROPHECY_STATES: Final = ("pending", "fulfilled", "failed")
CONSENSUS_STATES: Final = ("open", "passed", "failed")
RUN_STATES: Final = ("queued", "running", "done", "failed", "cancelled")
CLUSTER_STATES: Final = ("active", "dissolved")
DRIFT_LEVELS: Final = ("calm", "unsteady", "critical")
ENTITY_TYPES: Final = ("loop", "agent", "guild", "cluster")

USER_REGISTERED: Final = "user.registered"
USER_CHANGED: Final = "user.changed"
USER_RETIRED: Final = "user.retired"
CREDIT: Final = "user.credit"
SPEND: Final = "user.spend"
BALANCED: Final = "user.balanced"

WHISPERED: Final = "loop.whispered"
FELT: Final = "loop.felt"
FORK: Final = "loop.fork"
FORKED: Final = "loop.forked"
BEGIN: Final = "loop.begin"
CREATED: Final = "loop.created"
ARCHIVE: Final = "loop.archive"
ARCHIVED: Final = "loop.archived"
BLESS: Final = "loop.bless"
BLESSED: Final = "loop.blessed"
NOTED: Final = "loop.noted"
FORECAST: Final = "loop.forecast"

GRANTED: Final = "blessing.granted"
WITHDRAWN: Final = "blessing.withdrawn"

PROPHESIED: Final = "prophecy.made"
JUDGE: Final = "prophecy.judge"
JUDGED: Final = "prophecy.judged"

FOUNDED: Final = "guild.founded"
ADMIT: Final = "guild.admit"
DISMISS: Final = "guild.dismiss"
MEMBERED: Final = "guild.membered"
ASKED: Final = "guild.asked"
VOTED: Final = "guild.voted"
UNVOTED: Final = "guild.unvoted"
CLOSE: Final = "guild.close"
DECIDED: Final = "guild.decided"

FORMED: Final = "cluster.formed"
CLUSTER_CHANGED: Final = "cluster.changed"
DISSOLVED: Final = "cluster.dissolved"
TOLD: Final = "mythology.told"
RETOLD: Final = "mythology.retold"

RATED: Final = "drift.rated"
MEASURED: Final = "drift.measured"

QUEUED: Final = "execution.queued"
TAKE: Final = "execution.take"
RELEASE: Final = "execution.release"
FINISH: Final = "execution.finish"
FAIL: Final = "execution.fail"
CANCEL: Final = "execution.cancel"
MOVED: Final = "execution.moved"

TRANSFORMED: Final = "transformation.recorded"

USER_BROUGHT: Final = "user.brought"
USER_FOLLOWED: Final = "user.followed"
LOOP_BROUGHT: Final = "loop.brought"
LOOP_FOLLOWED: Final = "loop.followed"
PROPHECY_BROUGHT: Final = "prophecy.brought"
PROPHECY_FOLLOWED: Final = "prophecy.followed"
CONSENSUS_BROUGHT: Final = "guild.consensus_brought"
CONSENSUS_FOLLOWED: Final = "guild.consensus_followed"
RUN_BROUGHT: Final = "execution.brought"
RUN_FOLLOWED: Final = "execution.followed"
CLUSTER_BROUGHT: Final = "cluster.brought"
CLUSTER_FOLLOWED: Final = "cluster.followed"
KEPT: Final = "installation.kept"
