"""Room `agent` (imports all below it): what an agent knows, and how it came to know it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

from antiphon.agent.answers import Memory, recall_in
from antiphon.agent.deciding import Deciding
from antiphon.knowledge import recall as recalling
from antiphon.model import times
from antiphon.model.errors import NotFound
from antiphon.model.event import Event
from antiphon.model.text import event_text, parse_entity
from antiphon.model.times import Time
from antiphon.views.store import of_entity


class Reading(Deciding):
    """How an agent reads its memories and its log."""

    def recall(
        self,
        query: str,
        *,
        limit: int = 10,
        since: Time | None = None,
        until: Time | None = None,
        kind: str | Sequence[str] = (),
        namespace: str | None = None,
        below: str | None = None,
        user: str | None = None,
        entity: str | None = None,
    ) -> list[Memory]:
        """What this agent knows about a question, best first. Everything acknowledged is found: a backlog is indexed
        before the answer. `below` is a dotted namespace: that one and those that go on from it.
        """
        people = () if user is None else self._pseudonyms(user)
        if user is not None and not people:
            return []
        question = recalling.Question(
            query,
            limit,
            tuple(self._log_numbers()),
            None if since is None else times.to_ms(since),
            None if until is None else times.to_ms(until),
            (kind,) if isinstance(kind, str) else tuple(kind),
            namespace,
            people,
            None if entity is None else parse_entity(entity),
            below,
        )
        return recall_in(self.replica, self._text, question)

    def get(self, entity: str) -> dict[str, Any] | None:
        """The row of an entity, from whichever table holds it, with the event it speaks by; None when there is none.

        *Cost*: about 1 µs from the process's cache, which is dropped when this process commits and is at most 50 ms
        behind other processes.
        """
        return self._rows.get(entity, lambda: self._load(entity))

    def event(self, event: str | int) -> Event:
        """One event by its id (or its seq in this agent's log). Raises NotFound when it is not, or no longer, there."""
        head, seq = self._place(event)
        try:
            return self.replica.reader.event(head, seq)
        except NotFound as error:
            raise NotFound(f"{event_text(head.id, seq)}: {error}") from None

    def history(self, entity: str) -> list[Event]:
        """Everything recorded about an entity, in order: how it came to be what it is."""
        key = parse_entity(entity)
        places = set(self.replica.mentions.find(of_entity(key)))
        for head in self._heads():
            seq = self.replica.reader.find_entity(head, key)
            if seq is not None:
                places.add((head.no, seq))
        mine = self._log_numbers()
        places = {place for place in places if place[0] in mine}
        events = []
        for no, seq in places:
            with contextlib.suppress(NotFound):
                events.append(self.replica.reader.event(self.replica.head_no(no), seq))
        return sorted(events, key=lambda event: (event.stamp, event.log, event.seq))

    def log(self, *, after: int = -1, limit: int | None = None) -> Iterator[Event]:
        """The events of this agent's log behind seq `after`, in order; forgotten ones are left out."""
        head = self.replica.head(self._read_log.id)
        last = None if limit is None else after + 1 + limit
        return self.replica.reader.events(head, after + 1, last)
