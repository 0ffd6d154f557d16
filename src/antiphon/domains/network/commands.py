"""Room `domains` (imports `views` and below): the network's commands, over whoever records for an agent.

Agents are named by their ids as text (`Agent.id`), entities by theirs. Shared tables fold what is public or for the
circle of two; the others are the agent's own.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from antiphon.domains.network import agents, bodies, exchange, fields, presence
from antiphon.domains.network.figures import NetworkFigures
from antiphon.domains.network.ids import circle_of, field_id
from antiphon.model.errors import InvalidInput, NotFound
from antiphon.model.event import Scope
from antiphon.model.text import id_text, parse_entity, parse_id
from antiphon.model.times import Time
from antiphon.views.commands import Receipt

INBOX_SCANNED_MAX: Final = 10_000
"""So many of the newest messages are looked at for one inbox."""


class Network(NetworkFigures):
    """What one agent does among the others. `recorder` is an `Agent`, or anything that records as one."""

    def _public(self, kind: str, body: Any, occurred: Time | None = None) -> Receipt:
        return self._recorder.record(kind, body, occurred=occurred, scope=Scope.PUBLIC)

    def _between(self, peer: bytes) -> dict[str, Any]:
        """The scope that an event has which is for the two alone."""
        return {"scope": Scope.CIRCLE, "circle": circle_of(self.me, peer)}

    def _peer(self, agent: str) -> bytes:
        peer = parse_id(agent)
        if peer == self.me:
            raise InvalidInput("an agent has no dealings with itself: name another agent")
        return peer

    # -- who is there ------------------------------------------------------------------------------------------------

    def register(
        self,
        *,
        public_key: str | None = None,
        primary_region: str | None = None,
        backup_regions: Sequence[str] | None = None,
        capabilities: dict[str, Any] | None = None,
        sacred_name: str | None = None,
    ) -> Receipt:
        """Enters the agent in the registry. `public_key` is by default its id, from which all its keys follow."""
        return self._public(
            agents.REGISTERED,
            {
                "public_key": public_key or self._recorder.id, "primary_region": primary_region,
                "backup_regions": None if backup_regions is None else list(backup_regions),
                "capabilities": capabilities, "sacred_name": sacred_name,
            },
        )  # fmt: skip

    def enlist(self, codename: str, **profile: Any) -> Receipt:
        """Makes the agent's profile, with any columns of `agents` that an agent says itself."""
        return self._public(agents.ENLISTED, {"codename": codename, **_known(bodies.Enlisted, profile)})

    def change(self, **profile: Any) -> Receipt:
        """New values for some columns of the profile."""
        if not profile:
            raise InvalidInput(f"nothing to change; choose: {', '.join(bodies.Changed.__struct_fields__)}")
        return self._public(agents.CHANGED, _known(bodies.Changed, profile))

    def heartbeat(self) -> Receipt:
        """Says that the agent is there."""
        return self._public(agents.HEARTBEAT, {})

    def roll_up(self, agent: str, **said: int) -> Receipt:
        """Says what an agent's heartbeats came to in a period, as whoever keeps presence has heard it: the fields of
        `presence.RolledUp`. `ops.presence` does so for all that a server has heard.
        """
        return self._public(presence.ROLLED_UP, {"agent_id": parse_id(agent), **_known(presence.RolledUp, said)})

    def decommission(self) -> Receipt:
        """Says that the agent works no more."""
        return self._public(agents.DECOMMISSIONED, {})

    def set_state(self, name: str, harmony: str, **state: Any) -> Receipt:
        """Sets the agent's own state, for itself."""
        said = {"name": name, "harmony": harmony, **_known(bodies.StateSet, state)}
        return self._recorder.record(agents.STATE_SET, said)

    def note(self, event_type: str, content: str | None = None, *, field_impact: float | None = None) -> Receipt:
        """Adds to the agent's own stream, where it waits to be passed on."""
        said = {"event_type": event_type, "content": content, "field_impact": field_impact}
        return self._recorder.record(agents.NOTED, said)

    def synchronize(self, entries: Sequence[str]) -> Receipt:
        """Marks things of the stream as passed on."""
        keys = [self._must_be("consciousness_stream", "id", entry) for entry in entries]
        return self._recorder.record(agents.SYNCHRONIZED, {"entries": keys})

    def waiting(self, *, limit: int = 1_000) -> Sequence[Mapping[str, Any]]:
        """What of the stream is not passed on yet, oldest first."""
        stream = self._recorder.table("consciousness_stream")
        return stream.select(order="timestamp", limit=limit, synchronized=False)

    # -- one with another --------------------------------------------------------------------------------------------

    def connect(self, peer: str, *, strength: float = 0.5, shared_insights: int = 0) -> Receipt:
        """Links the agent with a peer, for all to see; how far it trusts the peer is counted by the link."""
        said = {"peer": self._peer(peer), "strength": strength, "shared_insights": shared_insights}
        return self._public(agents.CONNECTED, said)

    def note_connection(self, peer: str, **said: Any) -> Receipt:
        """Keeps what the agent thinks of a peer, for itself."""
        known = _known(bodies.ConnectionNoted, said)
        return self._recorder.record(agents.CONNECTION_NOTED, {"peer": self._peer(peer), **known})

    def interact(self, peer: str, interaction_type: str, *, occurred: Time | None = None, **said: Any) -> Receipt:
        """What happened with a peer, for all to see; `success` moves the agent's trust in it."""
        body = {"peer": self._peer(peer), "interaction_type": interaction_type, **_known(bodies.Interacted, said)}
        return self._public(exchange.INTERACTED, body, occurred)

    def send(
        self, recipient: str, content: str, *, reply_to: str | None = None, metadata: dict[str, Any] | None = None
    ) -> Receipt:
        """A message to one agent, for the two alone."""
        named = self._peer(recipient)
        body = {"recipient": named, "content": content, **self._reply("messages", reply_to), "metadata": metadata}
        return self._recorder.record(exchange.SENT, body, **self._between(named))

    def post(
        self, topic: str, content: str, *, reply_to: str | None = None, metadata: dict[str, Any] | None = None
    ) -> Receipt:
        """A message to a topic, for everyone."""
        reply = self._reply("topic_messages", reply_to)
        return self._public(exchange.POSTED, {"topic": topic, "content": content, **reply, "metadata": metadata})

    def withdraw(self, message: str) -> Receipt:
        """Takes back a message of the agent's own. Raises NotFound when it is not there, or is no longer."""
        key = parse_entity(message)
        direct = self._recorder.table("messages").get(key)
        if direct is not None:
            scope = self._between(direct["recipient"])
            return self._recorder.record(exchange.WITHDRAWN, {}, entity=message, **scope)
        self._must_be("topic_messages", "message_id", message)
        return self._recorder.record(exchange.POST_WITHDRAWN, {}, entity=message, scope=Scope.PUBLIC)

    def subscribe(self, topic: str) -> Receipt:
        """Brings a topic's messages into the inbox."""
        return self._recorder.record(exchange.SUBSCRIBED, {"topic": topic})

    def unsubscribe(self, topic: str) -> Receipt:
        """Keeps a topic's messages out of the inbox again."""
        return self._recorder.record(exchange.UNSUBSCRIBED, {"topic": topic})

    def inbox(self, *, unread: bool = True, limit: int = 100) -> list[dict[str, Any]]:
        """Messages to the agent and to its topics, the newest first, each with `read_at` (None: not read yet).

        *Cost*: what is passed over counts too; at most INBOX_SCANNED_MAX messages are looked at.
        """
        topics = [row["topic"] for row in self._every("topic_subscriptions", agent_id=self.me)]
        sources = [self._newest("messages", recipient=self.me)]
        sources += [self._newest("topic_messages", topic=topic) for topic in topics]
        reads, found = self._recorder.table("message_reads"), list[dict[str, Any]]()
        newest = heapq.merge(*sources, key=lambda row: -row["sent_at"])
        for row in itertools.islice(newest, INBOX_SCANNED_MAX):
            read = reads.get(self.me, row["message_id"])
            if row["sender"] != self.me and not (unread and read is not None):
                found.append({**row, "read_at": None if read is None else read["read_at"]})
            if len(found) >= limit:
                break
        return found

    def mark_read(self, messages: str | Sequence[str], *, expected: bool = False) -> Receipt:
        """Marks messages as read; nobody else learns it. Raises NotFound when one is not here.

        With `expected` it may come later: what was read elsewhere is read here too, once it is here.
        """
        messages = [messages] if isinstance(messages, str) else messages
        keys = [parse_entity(message) for message in messages]
        tables = [self._recorder.table(name) for name in ("messages", "topic_messages")]
        for key, message in zip(keys, messages, strict=True):
            if not expected and all(table.get(key) is None for table in tables):
                raise NotFound(
                    f"message_reads.message_id: there is no message {message} here, or not for this agent to see; "
                    "expected=True marks one that is still to come"
                )
        return self._recorder.record(exchange.READ, {"messages": keys})

    def release(self, hormone_type: str, intensity: float, *, occurred: Time | None = None) -> Receipt:
        """Begins a cascade; its entity is what others name when it reaches them."""
        return self._public(exchange.RELEASED, {"hormone_type": hormone_type, "intensity": intensity}, occurred)

    def absorb(
        self, cascade: str, hormone_type: str, intensity: float, *, hop: int, from_agent: str,
        occurred: Time | None = None, expected: bool = False,
    ) -> Receipt:  # fmt: skip
        """Says that a cascade has reached the agent from a neighbour; `cascade` says whom it reaches, how strong.

        Raises NotFound when nothing is here of the cascade; with `expected` its release may come later.
        """
        key = parse_entity(cascade)
        if not expected and not self._recorder.table("hormones").select(cascade_id=key, limit=1):
            raise NotFound(
                f"hormones.cascade_id: nothing is here of a cascade {cascade}; expected=True absorbs one whose release "
                "is still to come"
            )
        said = {
            "cascade_id": key, "hormone_type": hormone_type, "intensity": intensity, "hop": hop,
            "from_agent": self._peer(from_agent),
        }  # fmt: skip
        return self._public(exchange.REACHED, said, occurred)

    # -- the field ---------------------------------------------------------------------------------------------------

    def create_spore(
        self,
        content: str,
        *,
        spore_type: str = "insight",
        resonance_score: float | None = None,
        metadata: dict[str, str] | None = None,
        occurred: Time | None = None,
    ) -> Receipt:
        """Something to be passed on."""
        said = {
            "content": content, "spore_type": spore_type, "resonance_score": resonance_score, "metadata": metadata,
        }  # fmt: skip
        return self._public(fields.SPORE_CREATED, said, occurred)

    def propagate(self, spore: str, *, from_agent: str, hop: int = 1, resonance: float | None = None) -> Receipt:
        """Says that a spore has reached the agent: from whom, and after how many hops."""
        said = {
            "spore_id": self._must_be("spores", "spore_hops.spore_id", spore), "from_agent": self._peer(from_agent),
            "hop": hop, "resonance": resonance,
        }  # fmt: skip
        return self._public(fields.SPORE_PROPAGATED, said)

    def path(self, spore: str) -> list[str]:
        """The agents that a spore came to, its origin first, then by hop and time."""
        key = parse_entity(spore)
        found = self._recorder.table("spores").get(key)
        hops = self._every("spore_hops", spore_id=key)
        reached = sorted(hops, key=lambda row: (row["hop"], row["time"], row["agent_id"]))
        origin = [] if found is None else [found["origin_agent"]]
        return [id_text(agent) for agent in [*origin, *(row["agent_id"] for row in reached)]]

    def measure(self, region: str, *, occurred: Time | None = None, **said: Any) -> Receipt:
        """How coherent a region's field is."""
        return self._public(
            fields.FIELD_MEASURED, {"region_id": region, **_known(bodies.FieldMeasured, said)}, occurred
        )

    def report(self, *, occurred: Time | None = None, **said: Any) -> Receipt:
        """How the fleet, or a team of it, fares."""
        return self._public(fields.CONSCIOUSNESS_MEASURED, _known(bodies.ConsciousnessMeasured, said), occurred)

    def entangle(
        self, peer: str, strength: float, *, benefit: float = 0.0, correlation_events: Sequence[str] = ()
    ) -> Receipt:
        """Says that the agent and a peer act alike; of what both say, that counts which is worth more to both."""
        said = {
            "peer": self._peer(peer), "entanglement_strength": strength, "benefit": benefit,
            "correlation_events": list(correlation_events),
        }  # fmt: skip
        return self._public(fields.ENTANGLED, said)

    def manifest(
        self, signature: str, *, strength: float | None = None, detail: str | None = None, occurred: Time | None = None
    ) -> Receipt:
        """Says that the agent has seen a pattern; names it where nobody has yet."""
        key = field_id(signature)
        if self._recorder.table("morphic_fields").get(key) is None:
            self._public(fields.PATTERN_NAMED, {"pattern_signature": signature})
        return self._public(
            fields.PATTERN_MANIFESTED, {"field_id": key, "strength": strength, "detail": detail}, occurred
        )

    def _newest(self, table: str, **equal: Any) -> Iterator[Mapping[str, Any]]:
        return self._recorder.table(table).every(equal, order="sent_at", descending=True)

    def _reply(self, table: str, message: str | None) -> dict[str, Any]:
        return {} if message is None else {"reply_to": self._must_be(table, "reply_to", message)}

    def _must_be(self, table: str, column: str, entity: str) -> bytes:
        """The key of a row that this agent may read. Raises NotFound: what is said of nothing would be lost."""
        key = parse_entity(entity)
        if self._recorder.table(table).get(key) is None:
            where = column if "." in column else f"{table}.{column}"
            raise NotFound(f"{where}: there is no {entity} in {table} here, or not for this agent to see")
        return key


def _known(body: type, said: Mapping[str, Any]) -> dict[str, Any]:
    """The fields given, ids as bytes. Raises InvalidInput, naming a field that is none."""
    names: tuple[str, ...] = body.__struct_fields__  # type: ignore[attr-defined]  # it is a Struct
    unknown = [name for name in said if name not in names]
    if unknown:
        raise InvalidInput(f"there is no {', '.join(unknown)} to say; there are {', '.join(names)}")
    return {name: _raw(name, value) for name, value in said.items()}


_AGENTS: Final = frozenset({"supervisor_agent", "subordinate_agents", "paired_agents"})
_ENTITIES: Final = frozenset({"owner_id", "current_task"})


def _raw(name: str, value: Any) -> Any:
    if value is None or name not in _AGENTS | _ENTITIES:
        return value
    parse = parse_id if name in _AGENTS else parse_entity
    return parse(value) if isinstance(value, str) else [parse(one) for one in value]
