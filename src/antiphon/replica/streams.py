"""Room `replica` (imports all below it): events on their way to topics: in order within each log, at least once.

They follow the logs themselves, by a place in each; the feed's epochs do not matter to them. What was forgotten before
it was delivered never is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from antiphon.engines.sqlite.followers import FollowerRecord
from antiphon.model import limits
from antiphon.model.errors import InvalidInput, NotFound
from antiphon.model.event import Event
from antiphon.model.text import event_text
from antiphon.replica.feed import Feed, Lag, lag_of
from antiphon.replica.feeder import SAVE_EVERY_MS, Feeder
from antiphon.replica.stored import Stored
from antiphon.views.batch import RowKey
from antiphon.views.domain import Registry
from antiphon.views.feed import Delivery, EventSink

_SEQ_BYTES: Final = 8


def topics_of(registry: Registry) -> dict[str, list[tuple[str, str]]]:
    """By topic that binds kinds of events: (kind, the table whose place it is)."""
    found: dict[str, list[tuple[str, str]]] = {}
    for table in registry.tables.values():
        for stream in table.places.streams:
            if stream.kinds:
                found.setdefault(stream.topic, []).extend((kind, table.name) for kind in stream.kinds)
    return found


class EventFollower(Feeder):
    """Delivers the events of some topics, of all logs in the file; without `from_start` only those from now on."""

    def __init__(
        self,
        replica: Stored,
        sink: EventSink,
        name: str,
        topics: Sequence[str],
        *,
        from_start: bool = True,
        save_ms: float = SAVE_EVERY_MS,
        take_over: bool = False,
    ) -> None:
        known = topics_of(replica.registry)
        for topic in topics:
            if topic not in known:
                listed = ", ".join(sorted(known)) or "none"
                raise InvalidInput(
                    f"no table has the topic {topic!r} for kinds of events; known: {listed}", topic=topic
                )
        if not topics:
            raise InvalidInput("a follower of events needs at least one topic")
        record = FollowerRecord(name, type(sink).__name__, [], list(topics))
        super().__init__(replica, sink, record, Feed(replica), save_ms=save_ms, take_over=take_over)
        self._sink, self._from_start = sink, from_start
        self._bound: dict[str, list[tuple[str, str]]] = {}
        for topic in topics:
            for kind, table in known[topic]:
                self._bound.setdefault(kind, []).append((topic, table))
        self._reached: dict[int, int] = {}
        self._moved: dict[int, int] = {}

    def lag(self) -> Lag:
        return lag_of(self._replica, self._record, self._reached)

    def _resume(self, *, goes_on: bool, is_new: bool) -> None:
        self._record.state = "following"
        if goes_on or not (is_new or self._from_start):
            self._reached = self._followers.reached(self.name)
            return
        with self._feed.snapshot():
            sizes = self._feed.sizes()
        self._moved = dict.fromkeys(sizes, 0) if self._from_start else sizes
        self._reached = dict(self._moved)

    def _deliver(self) -> int:
        deliveries: list[Delivery] = []
        moved: dict[int, int] = {}
        room = limits.FEED_ROWS_MAX
        with self._feed.snapshot():
            for no, size in self._feed.sizes().items():
                first = self._reached.get(no, 0)
                last = min(size, first + room)
                if first >= last:
                    continue
                for event in self._feed.events(no, first, last, whole=self._bound.__contains__):
                    deliveries += self._of(event)
                moved[no] = last
                room -= last - first
        self._send(deliveries)
        self._reached |= moved
        self._moved |= moved
        self._dirty = self._dirty or bool(moved)
        self.idle = room > 0
        return len(deliveries)

    def _send(self, deliveries: list[Delivery]) -> None:
        if deliveries:
            epoch = self._record.epoch
            self._deliver_or_refuse(deliveries, lambda batch: self._moving(self._sink.deliver, epoch, batch), _key)

    def drive_again(self) -> int:
        """Delivers what the engine has refused once more, if it is still there; how many letters are left."""
        with self._lock:
            self.step()
            deliveries: list[Delivery] = []
            for topic, place in sorted(self._letters):
                log, seq = place[:-_SEQ_BYTES], int.from_bytes(place[-_SEQ_BYTES:], "big")
                try:
                    event = self._replica.event(log, seq)
                except NotFound:
                    self._drop_letter((topic, place))
                    continue
                deliveries += [one for one in self._of(event) if one.topic == topic]
            self._send(deliveries)
            self.save(force=True)
            return len(self._letters)

    def _of(self, event: Event) -> list[Delivery]:
        bound = self._bound.get(event.kind)
        if bound is None or event.body is None:
            return []
        keys = dict(sorted(self._replica.views.keys_of(event), reverse=True))
        whose = event.entity or event.log
        place = event_text(event.log, event.seq)
        return [Delivery(topic, place, keys.get(table, whose), event) for topic, table in bound]

    def _keep(self) -> None:
        self._followers.reach(self.name, self._moved)
        self._moved = {}


def _key(delivery: Delivery) -> RowKey:
    """Under which an event is kept that its engine refuses: its topic and its place."""
    return delivery.topic, delivery.event.log + delivery.event.seq.to_bytes(_SEQ_BYTES, "big")
