"""Room `domains` (imports `views` and below): the network's kinds and folds, as data."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from antiphon.domains.network import agents, bodies, exchange, fields, presence
from antiphon.domains.network.ids import field_id, pair_of
from antiphon.domains.shapes import asserted, columns_of
from antiphon.model.errors import InvalidInput
from antiphon.model.event import Event
from antiphon.views.domain import DeleteRow, Domain, Fold, Kind, Op, UpdateRow, Write, time_of, write

_STREAM: Final = agents.CONSCIOUSNESS_STREAM.name


def _synchronize(event: Event, body: bodies.Synchronized) -> Iterable[Write]:
    return [Write(_STREAM, entry, Op.UPDATE, {"synchronized": True}) for entry in body.entries]


def _read(event: Event, body: bodies.Read) -> Iterable[Write]:
    now = time_of(event)
    return [
        write(exchange.MESSAGE_READS, Op.ASSERT, {"agent_id": event.author, "message_id": message, "read_at": now})
        for message in body.messages
    ]


def _entangle(event: Event, body: bodies.Entangled) -> Iterable[Write]:
    """The row of the pair, whichever of the two says so."""
    if body.peer == event.author:
        raise InvalidInput("an agent is not entangled with itself")
    one, other, pair = pair_of(event.author, body.peer)
    values = {
        "agent1": one, "agent2": other, "pair_id": pair, "entanglement_strength": body.entanglement_strength,
        "benefit": body.benefit, "correlation_events": body.correlation_events, "last_synchronicity": time_of(event),
    }  # fmt: skip
    return (write(fields.QUANTUM_ENTANGLEMENTS, Op.ASSERT, values),)


def _name_pattern(event: Event, body: bodies.PatternNamed) -> Iterable[Write]:
    """The row that the signature's hash names: nobody can put another signature there."""
    values = {"field_id": field_id(body.pattern_signature), "pattern_signature": body.pattern_signature}
    return (write(fields.MORPHIC_FIELDS, Op.ASSERT, values),)


_AGENT_KEY: Final = {"id": "@author"}
_FOLDS: Final[dict[str, tuple[type, tuple[Fold, ...]]]] = {
    agents.REGISTERED: (bodies.Registered, (
        asserted(agents.AGENT_REGISTRY, bodies.Registered, agent_id="@author", last_heartbeat="@time"),
    )),
    agents.ENLISTED: (bodies.Enlisted, (
        asserted(agents.AGENTS, bodies.Enlisted, id="@author", created_at="@time", last_heartbeat="@time"),
    )),
    agents.CHANGED: (bodies.Changed, (
        UpdateRow(agents.AGENTS, _AGENT_KEY, **columns_of(agents.AGENTS, bodies.Changed)),
    )),
    agents.HEARTBEAT: (bodies.Heartbeat, (
        UpdateRow(agents.AGENT_REGISTRY, {"agent_id": "@author"}, last_heartbeat="@time"),
        UpdateRow(agents.AGENTS, _AGENT_KEY, last_heartbeat="@time"),
    )),
    agents.DECOMMISSIONED: (bodies.Decommissioned, (
        UpdateRow(agents.AGENTS, _AGENT_KEY, decommissioned_at="@time"),
    )),
    presence.ROLLED_UP: (presence.RolledUp, (
        asserted(presence.AGENT_PRESENCE, presence.RolledUp, recorded_by="@author"),
    )),
    agents.CONNECTED: (bodies.Connected, (
        asserted(agents.AGENT_LINKS, bodies.Connected, agent_id="@author", peer_id="peer")
        .between("agent_id", "peer_id"),
    )),
    agents.CONNECTION_NOTED: (bodies.ConnectionNoted, (
        asserted(agents.LOCAL_CONNECTIONS, bodies.ConnectionNoted, agent_id="@author", peer_id="peer")
        .between("agent_id", "peer_id"),
    )),
    agents.STATE_SET: (bodies.StateSet, (asserted(agents.AGENT_STATE, bodies.StateSet, id="@author"),)),
    agents.NOTED: (bodies.Noted, (asserted(agents.CONSCIOUSNESS_STREAM, bodies.Noted, timestamp="@time"),)),
    agents.SYNCHRONIZED: (bodies.Synchronized, (_synchronize,)),
    exchange.INTERACTED: (bodies.Interacted, (
        asserted(exchange.INTERACTIONS, bodies.Interacted, agent_id="@author", interaction_time="@time",
                 peer_id="peer").between("agent_id", "peer_id"),
        asserted(exchange.AGENT_INTERACTIONS, bodies.Interacted, id="@entity", agent_from="@author", agent_to="peer",
                 timestamp="@time").between("agent_from", "agent_to"),
    )),
    exchange.SENT: (bodies.Sent, (
        asserted(exchange.MESSAGES, bodies.Sent, sent_at="@time", sender="@author").between("sender", "recipient"),
    )),
    exchange.POSTED: (bodies.Posted, (
        asserted(exchange.TOPIC_MESSAGES, bodies.Posted, sent_at="@time", sender="@author"),
    )),
    exchange.WITHDRAWN: (bodies.Withdrawn, (DeleteRow(exchange.MESSAGES),)),
    exchange.POST_WITHDRAWN: (bodies.Withdrawn, (DeleteRow(exchange.TOPIC_MESSAGES),)),
    exchange.READ: (bodies.Read, (_read,)),
    exchange.SUBSCRIBED: (bodies.Subscribed, (
        asserted(exchange.TOPIC_SUBSCRIPTIONS, bodies.Subscribed, agent_id="@author", since="@time"),
    )),
    exchange.UNSUBSCRIBED: (bodies.Unsubscribed, (
        DeleteRow(exchange.TOPIC_SUBSCRIPTIONS, {"agent_id": "@author", "topic": "topic"}),
    )),
    exchange.RELEASED: (bodies.HormoneReleased, (
        asserted(exchange.HORMONES_REACHED, bodies.HormoneReleased, agent_id="@author", cascade_id="@entity",
                 time="@time"),
    )),
    exchange.REACHED: (bodies.HormoneReached, (
        asserted(exchange.HORMONES_REACHED, bodies.HormoneReached, agent_id="@author", time="@time")
        .between("agent_id", "from_agent"),
    )),
    fields.SPORE_CREATED: (bodies.SporeCreated, (
        asserted(fields.SPORES, bodies.SporeCreated, created_at="@time", origin_agent="@author"),
    )),
    fields.SPORE_PROPAGATED: (bodies.SporePropagated, (
        asserted(fields.SPORE_HOPS, bodies.SporePropagated, agent_id="@author", time="@time")
        .between("agent_id", "from_agent"),
    )),
    fields.FIELD_MEASURED: (bodies.FieldMeasured, (
        asserted(fields.FIELD_MEASUREMENTS, bodies.FieldMeasured, time="@time", measured_by="@author"),
    )),
    fields.CONSCIOUSNESS_MEASURED: (bodies.ConsciousnessMeasured, (
        asserted(fields.CONSCIOUSNESS_TIMELINE, bodies.ConsciousnessMeasured, time="@time", reported_by="@author"),
    )),
    fields.ENTANGLED: (bodies.Entangled, (_entangle,)),
    fields.PATTERN_NAMED: (bodies.PatternNamed, (_name_pattern,)),
    fields.PATTERN_MANIFESTED: (bodies.PatternManifested, (
        asserted(fields.MORPHIC_MANIFESTATIONS, bodies.PatternManifested, agent_id="@author", time="@time"),
    )),
}  # fmt: skip

NETWORK: Final = Domain(
    "network",
    kinds=tuple(Kind(name, body) for name, (body, _) in _FOLDS.items()),
    tables=(
        agents.AGENT_REGISTRY,
        agents.AGENTS,
        agents.LOCAL_CONNECTIONS,
        agents.AGENT_STATE,
        agents.CONSCIOUSNESS_STREAM,
        agents.AGENT_LINKS,
        presence.AGENT_PRESENCE,
        exchange.INTERACTIONS,
        exchange.AGENT_INTERACTIONS,
        exchange.MESSAGES,
        exchange.TOPIC_MESSAGES,
        exchange.MESSAGE_READS,
        exchange.TOPIC_SUBSCRIPTIONS,
        exchange.HORMONES_REACHED,
        fields.SPORES,
        fields.SPORE_HOPS,
        fields.FIELD_MEASUREMENTS,
        fields.CONSCIOUSNESS_TIMELINE,
        fields.QUANTUM_ENTANGLEMENTS,
        fields.MORPHIC_FIELDS,
        fields.MORPHIC_MANIFESTATIONS,
    ),
    folds={name: folds for name, (_, folds) in _FOLDS.items()},
)
