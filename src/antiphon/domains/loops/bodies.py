"""Room `domains` (imports `views` and below): the bodies of the events of loops.

Requests are in the imperative and name the home that they ask; decisions are in the past tense, of the home's log.
*Units*: times and durations are ms. *Shapes*: agents and logs are 32 bytes, entities 16.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Any, Final

import msgspec
from msgspec import UNSET, Meta, UnsetType

AgentId = Annotated[bytes, Meta(min_length=32, max_length=32)]
EntityId = Annotated[bytes, Meta(min_length=16, max_length=16)]
Word = Annotated[str, Meta(min_length=1, max_length=100)]
Text = Annotated[str, Meta(min_length=1)]
Count = Annotated[int, Meta(ge=0)]
Vote = Annotated[int, Meta(ge=-1, le=1)]
Ids = Annotated[list[EntityId], Meta(max_length=4_096)]
Agents = Annotated[list[AgentId], Meta(max_length=4_096)]
CREDITS: Final = 1_000
TIER: Final = "free"
QUORUM: Final = 3
THRESHOLD: Final = Decimal("0.67")
PRIORITY: Final = 5


class Nothing(msgspec.Struct):
    """All is said by the kind and the entity."""


class Ask(msgspec.Struct):
    """To move something on, as the kind says."""

    home: bytes


# -- users ---------------------------------------------------------------------------------------------------------


class UserRegistered(msgspec.Struct, omit_defaults=True):
    """Somebody who uses the platform. The author's log keeps the name, the address and the credits."""

    username: Annotated[str, Meta(min_length=1, max_length=255)]
    email: Annotated[str, Meta(min_length=3, max_length=255)]
    subscription_tier: Annotated[str, Meta(min_length=1, max_length=50)] = TIER
    emotional_credits: Count = CREDITS
    agents: Agents = []


class UserChanged(msgspec.Struct, omit_defaults=True):
    """New values for some fields of a user; what is UNSET stays."""

    username: Annotated[str, Meta(min_length=1, max_length=255)] | UnsetType = UNSET
    email: Annotated[str, Meta(min_length=3, max_length=255)] | UnsetType = UNSET
    subscription_tier: Annotated[str, Meta(min_length=1, max_length=50)] | UnsetType = UNSET
    agents: Agents | UnsetType = UNSET


class Amount(msgspec.Struct, omit_defaults=True):
    """To add to a user's credits, or to take from them."""

    home: bytes
    amount: Annotated[int, Meta(ge=1, le=1_000_000_000)]
    reason: str | None = None


class Balanced(msgspec.Struct, omit_defaults=True):
    """What the user has now, and by how much that is more (or less) than before."""

    balance: Count
    change: int
    reason: str | None = None


# -- loops ---------------------------------------------------------------------------------------------------------


class Whispered(msgspec.Struct, omit_defaults=True):
    """A prompt that may become a loop. `home` is the log that decides about it, the author's own when absent."""

    whisper_origin: Text | None = None
    creator_id: EntityId | None = None
    emotional_tone: Annotated[str, Meta(min_length=1, max_length=50)] | None = None
    consciousness_state: dict[str, Any] | None = None
    mythology_id: EntityId | None = None
    home: bytes | None = None


class Felt(msgspec.Struct, omit_defaults=True):
    """How the loop is now, as the agent that runs it reports; what is UNSET stays."""

    emotional_tone: Annotated[str, Meta(min_length=1, max_length=50)] | UnsetType | None = UNSET
    consciousness_state: dict[str, Any] | UnsetType | None = UNSET
    mythology_id: EntityId | UnsetType | None = UNSET


class Fork(msgspec.Struct):
    """To make a whisper a fork of a loop."""

    home: bytes
    parent: EntityId


class Forked(msgspec.Struct):
    """The whisper is a fork of this loop, so many forks away from where the line began."""

    parent: EntityId
    depth: Count


class Bless(msgspec.Struct):
    """To call a loop blessed, because a guild has said so in this vote."""

    home: bytes
    consensus: EntityId


class Blessed(msgspec.Struct):
    """The loop is blessed, by a guild's consensus."""

    consensus: EntityId


class Noted(msgspec.Struct, omit_defaults=True):
    """Something that happened in a loop."""

    loop: EntityId
    event_type: Word
    tone: Annotated[str, Meta(min_length=1, max_length=50)] = "neutral"
    content: dict[str, Any] | None = None


class Forecast(msgspec.Struct, omit_defaults=True):
    """What the author expects of a loop. `confidence` is in [0, 1]."""

    loop: EntityId
    forecast: dict[str, Any]
    horizon: Count | None = None
    confidence: Decimal | None = None


class Granted(msgspec.Struct, omit_defaults=True):
    """The author's blessing of a loop; `blessed_for` is in whose name, where that is another's of an old platform."""

    loop: EntityId
    blessing_type: Annotated[str, Meta(min_length=1, max_length=50)] | None = None
    consensus_score: Decimal | None = None
    metadata: dict[str, Any] | None = None
    blessed_for: Word | None = None
    former_id: str | None = None


class Withdrawn(msgspec.Struct):
    """The author's blessing `id` of the loop is taken back."""

    loop: EntityId
    id: EntityId


# -- prophecies ----------------------------------------------------------------------------------------------------


class Prophesied(msgspec.Struct, omit_defaults=True):
    """What the author says will be. `home` decides whether it came so, the author's own log when absent."""

    prophecy_text: Text
    related_loops: Ids = []
    home: bytes | None = None


class Judge(msgspec.Struct, omit_defaults=True):
    """To say whether a prophecy was fulfilled, by which loop."""

    home: bytes
    fulfilled: bool
    evidence: EntityId | None = None
    reason: str | None = None


class Judged(msgspec.Struct, omit_defaults=True):
    """The prophecy was fulfilled, or it failed; at that time."""

    status: str
    evidence: EntityId | None = None
    at: int | None = None


# -- guilds --------------------------------------------------------------------------------------------------------


class Founded(msgspec.Struct, omit_defaults=True):
    """A guild: the author's log decides who is in it, and what it has agreed on. `threshold` is in (0, 1]."""

    name: Word
    quorum: Annotated[int, Meta(ge=1, le=4_096)] = QUORUM
    threshold: Decimal = THRESHOLD
    members: Agents = []
    is_open: bool = False


class Member(msgspec.Struct):
    """To take an agent in, or to let it go."""

    home: bytes
    agent: AgentId


class Membered(msgspec.Struct):
    """Who is in the guild now."""

    members: Agents


class Asked(msgspec.Struct, omit_defaults=True):
    """A question to a guild, whose log `home` is; about a loop where one is named."""

    guild: EntityId
    home: bytes
    question: Text
    loop: EntityId | None = None
    closes_at: int | None = None


class Voted(msgspec.Struct, omit_defaults=True):
    """For (1) or against (-1), or neither (0); in place of the same agent's vote before."""

    consensus: EntityId
    vote: Vote
    reason: str | None = None


class Unvoted(msgspec.Struct):
    """The agent has no vote any more."""

    consensus: EntityId


class Decided(msgspec.Struct):
    """What the guild's members have decided: the share that is for it, and whose votes counted."""

    status: str
    consensus_score: Decimal
    voters: Agents


# -- clusters, drift, what runs ------------------------------------------------------------------------------------


class Formed(msgspec.Struct, omit_defaults=True):
    """Loops and agents that belong together, as the author sees it."""

    name: Word
    loops: Ids = []
    agents: Agents = []
    metrics: dict[str, Any] | None = None


class ClusterChanged(msgspec.Struct, omit_defaults=True):
    """New values for some fields of a cluster; what is UNSET stays."""

    name: Word | UnsetType = UNSET
    loops: Ids | UnsetType = UNSET
    agents: Agents | UnsetType = UNSET
    metrics: dict[str, Any] | UnsetType | None = UNSET


class Told(msgspec.Struct, omit_defaults=True):
    """A story about a cluster or a loop."""

    title: Annotated[str, Meta(min_length=1, max_length=256)]
    content: Text
    cluster_id: EntityId | None = None
    loop_id: EntityId | None = None
    former_id: str | None = None


class Retold(msgspec.Struct, omit_defaults=True):
    """New words for a story, or what it is about; what is UNSET stays."""

    title: Annotated[str, Meta(min_length=1, max_length=256)] | UnsetType = UNSET
    content: Text | UnsetType = UNSET
    cluster_id: EntityId | UnsetType = UNSET
    loop_id: EntityId | UnsetType = UNSET


class Rated(msgspec.Struct, omit_defaults=True):
    """How far from its usual self something is, in [0, 1], by the author's count as of a time."""

    entity_id: Word
    rating: Decimal
    as_of: int
    entity_type: str = "loop"
    level: str = "calm"


class Measured(msgspec.Struct, omit_defaults=True):
    """How volatile a scope (`global` is all of it) is, in [0, 1], as of a time, over so many ratings."""

    index: Decimal
    as_of: int
    scope: Word = "global"
    entities: Count = 0
    critical: Count = 0
    metrics: dict[str, Any] | None = None


class Queued(msgspec.Struct, omit_defaults=True):
    """A run of a loop, for whoever takes it. `home` decides who has it, the author's own log when absent."""

    loop: EntityId | None = None
    operation: Word = "run"
    priority: Annotated[int, Meta(ge=1, le=10)] = PRIORITY
    payload: dict[str, Any] | None = None
    not_before: int | None = None
    home: bytes | None = None


class Finish(msgspec.Struct, omit_defaults=True):
    """To end a run well, with what came of it."""

    home: bytes
    result: dict[str, Any] | None = None


class Fail(msgspec.Struct, omit_defaults=True):
    """To end a run that came to nothing."""

    home: bytes
    error: str | None = None


class Moved(msgspec.Struct, omit_defaults=True):
    """How far the run is now; what is UNSET stays."""

    status: str
    worker: AgentId | UnsetType | None = UNSET
    attempts: Count | UnsetType = UNSET
    started_at: int | UnsetType | None = UNSET
    finished_at: int | UnsetType = UNSET
    result: dict[str, Any] | UnsetType | None = UNSET
    error: str | UnsetType | None = UNSET


class Transformed(msgspec.Struct, omit_defaults=True):
    """A change of a loop or an agent, for the record: from what to what."""

    entity_id: Word
    transformation_type: Word
    entity_type: str = "loop"
    before: Any = None
    after: Any = None
    reason: str | None = None
    former_id: str | None = None


# -- what an old installation has ------------------------------------------------------------------------------------


class Brought(msgspec.Struct, omit_defaults=True):
    """A row as it stood elsewhere: columns with their values; the author's log decides about it from now on."""

    columns: dict[str, Any]


class Kept(msgspec.Struct, omit_defaults=True):
    """What of an old installation has no table, whole: `value` as it was read, or `raw` where it could not be.

    A long one comes in several parts. `place` says where in the file it stood, `entity` what it was about.
    """

    installation: str
    path: str
    place: str
    sort: str
    reason: str
    value: Any = None
    raw: bytes | None = None
    part: int = 1
    parts: int = 1
    former_id: str | None = None
    of: EntityId | None = None
