"""Room `engines` (imports all below it): live events in Redis: one stream and one channel a declared topic.

What is told is that something happened: id, kind, time, author and entity, never a body. So nothing in a stream has
ever to be forgotten, and who wants the words asks for the row, where row access is kept.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec
from redis.commands.core import Script

from antiphon.engines.redis import scripts
from antiphon.engines.redis.connection import ANSWER_S_MAX, asking, connected
from antiphon.engines.redis.fence import RedisFence, Ticket
from antiphon.model.places import DAY_MS, HOUR_MS
from antiphon.views.feed import Delivery, Fence, Marks

STREAM_EVENTS_MAX: Final = 10_000
"""About how many events a stream keeps for those who were away for a moment."""
CHUNK_EVENTS: Final = 256


class Told(msgspec.Struct, frozen=True):
    """An event as it is told to those who listen. *Units*: `time` in ms since 1970 UTC; ids in hexadecimal."""

    topic: str
    id: str
    kind: str
    time: int
    author: str
    entity: str | None = None


class RedisTopics:
    """Carries events of declared topics to streams and channels; see `EventSink` for the promises.

    A stream expires when it is silent for as long as its topic is retained, a day at most. *Cost*: about 10 µs an
    event.
    """

    def __init__(
        self,
        url: str,
        *,
        prefix: str = "",
        retained_ms: Mapping[str, int] | None = None,
        answer_s_max: float = ANSWER_S_MAX,
    ) -> None:
        self._url, self._prefix, self._retained = url, prefix, dict(retained_ms or {})
        self._client = connected(url, answer_s_max=answer_s_max)
        self._deliver: Script = self._client.register_script(scripts.DELIVER)
        self._fence = RedisFence(self._client, url, f"{prefix}antiphon:events:fence")

    def close(self) -> None:
        """Ends the connections."""
        self._client.close()

    def kept(self) -> Fence:
        return self._fence.kept()

    def fence(self, known: int, epoch: int, *, mark: int = 0, owner: bytes = b"") -> Fence | None:
        return self._fence.fence(known, epoch, mark=mark, owner=owner)

    def deliver(self, epoch: int, deliveries: Sequence[Delivery], *, marks: Marks | None = None) -> None:
        ticket = Ticket(epoch, marks)
        for at in range(0, len(deliveries), CHUNK_EVENTS):
            moves = at + CHUNK_EVENTS >= len(deliveries)
            args: list[str | bytes] = [ticket.text(moves=moves), str(STREAM_EVENTS_MAX)]
            for one in deliveries[at : at + CHUNK_EVENTS]:
                kept_ms = min(self._retained.get(one.topic, HOUR_MS) or DAY_MS, DAY_MS)
                args += [self.stream(one.topic), one.id, str(kept_ms), msgspec.json.encode(told(one))]
            with asking(self._url):
                said = self._deliver(keys=[self._fence.name], args=args)
            self._fence.taken(said, ticket)

    def stream(self, topic: str) -> str:
        """The name of a topic's stream and channel; see `stream_of`."""
        return self._prefix + stream_of(topic)


def stream_of(topic: str) -> str:
    """What a topic's stream is called without prefix: `events:tide:turned` for `tide.turned`; the topic's own name,
    where it is one of the designs' already, as `events:loop:created` is.
    """
    return topic if topic.startswith("events:") else f"events:{topic.replace('.', ':')}"


def told(one: Delivery) -> Told:
    """What is told of an event."""
    header = one.event.header
    entity = None if header.entity is None else header.entity.hex()
    return Told(one.topic, one.id, header.kind, one.event.stamp >> 16, one.event.author.hex(), entity)


def listen(url: str, topics: Sequence[str], *, prefix: str = "", silence_s: float = 1.0) -> Iterator[Told | None]:
    """Events of these topics as they are told; None whenever nobody has said anything for `silence_s`.

    Only what is told while one listens: what came before is read from the stream. Raises Unavailable.
    """
    client = connected(url, answer_s_max=max(ANSWER_S_MAX, 2 * silence_s))
    names = [prefix + stream_of(topic) for topic in topics]
    made: Any = client.pubsub  # the driver leaves its type out
    with asking(url), client, made(ignore_subscribe_messages=True) as heard:
        heard.subscribe(*names)
        while True:
            said: Any = heard.get_message(timeout=silence_s)
            yield None if said is None else msgspec.json.decode(said["data"], type=Told)


def missed(url: str, topic: str, *, after: str = "0", prefix: str = "", limit: int = 1_000) -> list[tuple[str, Told]]:
    """(place, event) of what a topic's stream still has behind a place, oldest first."""
    client = connected(url)
    name = prefix + stream_of(topic)
    with asking(url), client:
        found: Any = client.xrange(name, min=f"({after}" if after != "0" else "-", count=limit)
    return [(place.decode(), msgspec.json.decode(fields[b"event"], type=Told)) for place, fields in found]
