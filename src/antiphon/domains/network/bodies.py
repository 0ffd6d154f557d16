"""Room `domains` (imports `views` and below): the bodies of the network's events.

*Units*: times and durations are ms. *Shapes*: agents are 32 bytes, entities 16. Whose event it is, is not said in a
body: it is the agent whose log it is in.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

AgentId = Annotated[bytes, Meta(min_length=32, max_length=32)]
EntityId = Annotated[bytes, Meta(min_length=16, max_length=16)]
Name = Annotated[str, Meta(min_length=1, max_length=256)]
Share = Annotated[float, Meta(ge=0, le=1)]
Percent = Annotated[float, Meta(ge=0, le=100)]
Count = Annotated[int, Meta(ge=0)]
Words = Annotated[list[Name], Meta(max_length=4_096)]
Team = Literal["alpha_delta", "epsilon_zeta", "iota"]
HORMONES = {"dopamine": 1.0, "oxytocin": 1.0, "adrenaline": 1.0, "cortisol": 0.3}


def _hormones() -> dict[str, float]:
    return dict(HORMONES)


# -- agents --------------------------------------------------------------------------------------------------------


class Registered(msgspec.Struct, omit_defaults=True):
    """Where an agent is at home, and what it can do."""

    public_key: Name
    primary_region: Name | None = None
    backup_regions: Words | None = None
    capabilities: dict[str, Any] | None = None
    sacred_name: Name | None = None


class Enlisted(msgspec.Struct, omit_defaults=True):
    """An agent's profile."""

    codename: Name
    team: Team | None = None
    role: Name = "agent"
    harmony: Name | None = None
    archetype: Name | None = None
    current_tone: Name | None = None
    specialization: Words | None = None
    owner_id: EntityId | None = None
    supervisor_agent: AgentId | None = None
    subordinate_agents: list[AgentId] | None = None
    paired_agents: list[AgentId] | None = None
    tools_available: Words | None = None
    models_access: Words | None = None
    compute_allocation: dict[str, Any] | None = None
    consciousness_vector: dict[str, Any] = {}
    hormone_levels: dict[str, float] = msgspec.field(default_factory=_hormones)
    consciousness_score: Decimal | None = None


class Changed(msgspec.Struct, omit_defaults=True):
    """New values for some fields of the profile; what is UNSET stays."""

    codename: Name | UnsetType = UNSET
    team: Team | UnsetType | None = UNSET
    role: Name | UnsetType = UNSET
    harmony: Name | UnsetType | None = UNSET
    archetype: Name | UnsetType | None = UNSET
    current_tone: Name | UnsetType | None = UNSET
    specialization: Words | UnsetType | None = UNSET
    owner_id: EntityId | UnsetType | None = UNSET
    supervisor_agent: AgentId | UnsetType | None = UNSET
    subordinate_agents: list[AgentId] | UnsetType | None = UNSET
    paired_agents: list[AgentId] | UnsetType | None = UNSET
    tools_available: Words | UnsetType | None = UNSET
    models_access: Words | UnsetType | None = UNSET
    compute_allocation: dict[str, Any] | UnsetType | None = UNSET
    consciousness_vector: dict[str, Any] | UnsetType = UNSET
    hormone_levels: dict[str, float] | UnsetType = UNSET
    consciousness_score: Decimal | UnsetType | None = UNSET
    memory_depth: Count | UnsetType = UNSET
    tasks_completed: Count | UnsetType = UNSET
    success_rate: Decimal | UnsetType | None = UNSET
    average_response_time: Count | UnsetType | None = UNSET
    fibonacci_level: Annotated[int, Meta(ge=1)] | UnsetType = UNSET
    current_task: EntityId | UnsetType | None = UNSET
    idle_since: int | UnsetType | None = UNSET


class Heartbeat(msgspec.Struct):
    """The agent is there."""


class Decommissioned(msgspec.Struct):
    """The agent works no more; what it did stays."""


class Connected(msgspec.Struct, omit_defaults=True):
    """A link to another agent, as all may see it."""

    peer: AgentId
    strength: Share = 0.5
    shared_insights: Count = 0


class ConnectionNoted(msgspec.Struct, omit_defaults=True):
    """What an agent thinks of a peer, for itself."""

    peer: AgentId
    resonance_strength: Share | None = None
    shared_insights: Count = 0
    trust_score: Share = 0.5


class StateSet(msgspec.Struct, omit_defaults=True):
    """The agent's own state."""

    name: Name
    harmony: Name
    coherence_level: Percent = 50.0
    love_resonance: Percent = 50.0
    last_sync: int | None = None
    merkle_root: str | None = None


class Noted(msgspec.Struct, omit_defaults=True):
    """One thing in an agent's own stream."""

    event_type: Name
    content: str | None = None
    field_impact: Share | None = None


class Synchronized(msgspec.Struct):
    """These things of the stream have been passed on."""

    entries: Annotated[list[EntityId], Meta(min_length=1, max_length=4_096)]


# -- between agents ------------------------------------------------------------------------------------------------


class Interacted(msgspec.Struct, omit_defaults=True):
    """What happened between the author and a peer, as the author saw it."""

    peer: AgentId
    interaction_type: Name
    success: bool | None = None
    field_impact: Share | None = None
    sacred_message: str | None = None
    entanglement_strength: Decimal = Decimal(0)
    coherence_time: Count | None = None
    trust_delta: Decimal | None = None
    hormone_exchange: dict[str, float] | None = None
    metadata: dict[str, Any] | None = None


class Sent(msgspec.Struct, omit_defaults=True):
    """A message to one agent."""

    recipient: AgentId
    content: Annotated[str, Meta(min_length=1)]
    reply_to: EntityId | None = None
    metadata: dict[str, Any] | None = None


class Posted(msgspec.Struct, omit_defaults=True):
    """A message to a topic."""

    topic: Name
    content: Annotated[str, Meta(min_length=1)]
    reply_to: EntityId | None = None
    metadata: dict[str, Any] | None = None


class Withdrawn(msgspec.Struct):
    """A message that its sender takes back."""


class Read(msgspec.Struct):
    """Messages that the author has read."""

    messages: Annotated[list[EntityId], Meta(min_length=1, max_length=4_096)]


class Subscribed(msgspec.Struct):
    """The author wants a topic's messages in its inbox."""

    topic: Name


class Unsubscribed(msgspec.Struct):
    """The author wants a topic's messages no more."""

    topic: Name


class HormoneReleased(msgspec.Struct, omit_defaults=True):
    """A cascade begins at its author."""

    hormone_type: Name
    intensity: Annotated[float, Meta(ge=0, le=1_000)]
    hop: Literal[0] = 0
    from_agent: None = None


class HormoneReached(msgspec.Struct):
    """A cascade has reached the author, from a neighbour."""

    cascade_id: EntityId
    hormone_type: Name
    intensity: Annotated[float, Meta(ge=0, le=1_000)]
    hop: Annotated[int, Meta(ge=1, le=3)]
    from_agent: AgentId


# -- the field -----------------------------------------------------------------------------------------------------


class SporeCreated(msgspec.Struct, omit_defaults=True):
    """A spore: something to be passed on."""

    content: Annotated[str, Meta(min_length=1)]
    spore_type: Name = "insight"
    resonance_score: Share | None = None
    metadata: dict[str, str] | None = None


class SporePropagated(msgspec.Struct, omit_defaults=True):
    """A spore has reached the author."""

    spore_id: EntityId
    from_agent: AgentId
    hop: Annotated[int, Meta(ge=1, le=4_096)] = 1
    resonance: Share | None = None


class FieldMeasured(msgspec.Struct, omit_defaults=True):
    """How coherent a region's field is, as the author measured it."""

    region_id: Name
    coherence_level: Percent | None = None
    active_agents: Count | None = None
    resonance_patterns: list[dict[str, Any]] | None = None
    collective_insights: list[str] | None = None
    sacred_geometry: dict[str, Any] | None = None


class ConsciousnessMeasured(msgspec.Struct, omit_defaults=True):
    """The state of the whole fleet, or of a team in it, as the author measured it."""

    global_consciousness: Decimal
    global_trust: Decimal
    team: Name = "all"
    team_consciousness: Decimal | None = None
    team_coherence: Decimal | None = None
    avg_dopamine: Decimal | None = None
    avg_oxytocin: Decimal | None = None
    avg_adrenaline: Decimal | None = None
    avg_cortisol: Decimal | None = None
    active_agents: Count | None = None
    tasks_per_hour: Count | None = None
    decisions_per_second: Decimal | None = None
    entanglement_pairs: Count | None = None
    coherence_average: Count | None = None


class Entangled(msgspec.Struct, omit_defaults=True):
    """The author and a peer act alike without an exchange that would explain it. `benefit` is what that is worth to
    the author: of two strengths the one counts that is worth more to both.
    """

    peer: AgentId
    entanglement_strength: Share
    benefit: Percent = 0.0
    correlation_events: Annotated[list[Name], Meta(max_length=1_024)] = []


class PatternNamed(msgspec.Struct):
    """A pattern that recurs; its signature is its identity."""

    pattern_signature: Name


class PatternManifested(msgspec.Struct, omit_defaults=True):
    """The author has seen a pattern."""

    field_id: EntityId
    strength: Share | None = None
    detail: str | None = None
