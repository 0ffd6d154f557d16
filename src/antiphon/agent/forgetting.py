"""Room `agent` (imports all below it): what an agent erases, with all that follows from it."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

import msgspec

from antiphon.agent.answers import Recorded
from antiphon.agent.remembering import Remembering
from antiphon.domains.memory import MEMORIES, commands, declare
from antiphon.log import kinds
from antiphon.model import times
from antiphon.model.errors import NotFound
from antiphon.model.event import Draft, Role, decode_body
from antiphon.model.text import event_text
from antiphon.replica import forget as forgetting
from antiphon.views.store import OF_REQUESTS, of_person


class Forgetting(Remembering):
    """How an agent forgets."""

    def forget(
        self,
        event: str | int | Sequence[str | int] = (),
        *,
        entity: str | None = None,
        person: str | None = None,
        older_than: str | None = None,
        reason: str | None = None,
    ) -> forgetting.Forgotten:
        """Erases events, everything about an entity or a person, or everything older than an age, and what was
        derived from them; place by place. It cannot be undone. Raises NotFound when there is nothing to forget.
        """
        targets: set[tuple[int, int]] = set()
        for item in (event,) if isinstance(event, str | int) else event:
            head, seq = self._own_place(item)
            targets.add((head.no, seq))
        if entity is not None:
            numbers = {head.id: head.no for head in self._heads()}
            targets |= {(numbers[found.log], found.seq) for found in self.history(entity) if found.log in numbers}
        if person is not None:
            targets |= self._about(person)
        if older_than is not None:
            targets |= self._older(self.replica.clock.now_ms() - times.age_ms(older_than))
        if not targets:
            raise NotFound("there is nothing to forget: no event matches")
        code = reason or ("person" if person else "expired" if older_than else "asked")
        return self.forget_places(targets, reason=code)

    def forget_places(self, targets: set[tuple[int, int]], *, reason: str) -> forgetting.Forgotten:
        """As `forget`, of (log number, seq) in this agent's file."""
        done = forgetting.forget(self.replica, targets, reason=reason, principal=self._principal_for(targets))
        self._summarize_again(done)
        return done

    def _older(self, before: int) -> set[tuple[int, int]]:
        found = set()
        for head in self._heads():
            for event in self.replica.reader.events(head):
                header = event.header
                happened = header.hlc >> 16 if header.occurred is None else header.occurred
                if happened < before and event.kind not in kinds.SYSTEM_KINDS:
                    found.add((head.no, event.seq))
        return found - self._names_in_use(found)

    def _names_in_use(self, going: set[tuple[int, int]]) -> set[tuple[int, int]]:
        """Events that name people of whom something stays: without the name, it could not be forgotten by person."""
        found: set[tuple[int, int]] = set()
        for no, seq in going:
            event = self.replica.reader.event(self.replica.head_no(no), seq)
            if event.kind == declare.PERSON_NAMED and event.entity is not None:
                about = set(self.replica.mentions.find(of_person(event.entity)))
                if not about <= going:
                    found.add((no, seq))
        return found

    def _summarize_again(self, done: forgetting.Forgotten) -> None:
        """Summaries made by rule are made again from what is left of their sources."""
        for event in done.derived_events:
            if event.kind != declare.SUMMARIZED or event.body is None:
                continue
            keys = decode_body(event.body)["sources"]
            rows = [row for row in (self.replica.tables.row(MEMORIES, key) for key in keys) if row is not None]
            if len(rows) > 1:
                refs = tuple(self._ref(Role.SOURCE, row.log, row.seq) for row in rows)
                self._commit([commands.summarize(rows, refs)])

    def request_forget(self, event: str | int) -> Recorded:
        """Asks the owner to forget an event; nothing is erased until they do (`antiphon forget --requests`)."""
        head, seq = self._own_place(event)
        body = kinds.ErasureRequested([(head.id, seq)], "asked")
        draft = Draft(kinds.ERASURE_REQUESTED, msgspec.msgpack.encode(body))
        return self._commit([(draft, body)])[0]

    def forget_requests(self) -> list[dict[str, str]]:
        """The requests to forget that nobody has answered yet."""
        open_requests = []
        mine = {head.no: head.id for head in self._heads()}
        for no, seq in self.replica.mentions.find(OF_REQUESTS):
            if no not in mine:  # nobody else may ask here
                continue
            request = self.replica.reader.event(self.replica.head_no(no), seq)
            body = msgspec.msgpack.decode(request.body or b"", type=kinds.ErasureRequested)
            for log, at in body.events:
                if log not in mine.values():
                    continue
                with contextlib.suppress(NotFound):
                    wanted = self.replica.event(log, at)
                    if wanted.kind in kinds.SYSTEM_KINDS:
                        continue
                    open_requests.append(
                        {
                            "request": event_text(request.log, request.seq),
                            "event": event_text(log, at),
                            "kind": wanted.kind,
                            "time": times.iso(request.header.hlc >> 16),
                        }
                    )
        return open_requests
