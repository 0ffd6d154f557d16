"""Room `agent` (imports all below it): an agent's own database in one object."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import msgspec

from antiphon.agent.answers import Memory, Recorded, recall_in
from antiphon.agent.deciding import Deciding
from antiphon.agent.writing import Writing
from antiphon.domains.memory import MEMORIES, commands, declare
from antiphon.home import Home
from antiphon.knowledge import recall as recalling
from antiphon.log import kinds
from antiphon.log.verify import Verdict
from antiphon.model import times
from antiphon.model.errors import InvalidInput, NotFound
from antiphon.model.event import Draft, Event, Role, Scope, decode_body
from antiphon.model.text import event_text, parse_entity
from antiphon.model.times import Time
from antiphon.replica import archive, prove
from antiphon.replica import forget as forgetting
from antiphon.replica.core import Replica
from antiphon.replica.enrol import homes_of
from antiphon.replica.records import AgentRecord
from antiphon.replica.states import held_erasures
from antiphon.views.domain import Domain
from antiphon.views.store import OF_REQUESTS, StoredRow, of_entity, of_person

RUNS_TO_PACK_AT_CLOSE = 16
"""Fewer loose commits than this are left as they are: a script that opens, writes once and closes stays quick."""


class Agent(Deciding):
    """One agent. Threads may share it; several processes may open the same agent at once."""

    @classmethod
    def create(
        cls,
        name: str,
        *,
        home: Path | str | None = None,
        passphrase: str | None = None,
        domains: Iterable[Domain] = (),
        **world: Any,
    ) -> Agent:
        """A new agent in this home (made when it is not there). Raises Conflict when the name is taken."""
        place = Home.open(home, create=True, passphrase=passphrase, domains=domains, **world)
        return cls._in(place, *place.create_agent(name))

    @classmethod
    def open(
        cls,
        name: str,
        *,
        home: Path | str | None = None,
        create: bool = False,
        passphrase: str | None = None,
        domains: Iterable[Domain] = (),
        read_only: bool = False,
        **world: Any,
    ) -> Agent:
        """An agent of this home; with `create`, made when it is not there. Raises NotFound, WrongKey, Busy."""
        place = Home.open(home, create=create, passphrase=passphrase, domains=domains, **world)
        if create and not place.path_of(name).exists():
            return cls._in(place, *place.create_agent(name))
        return cls._in(place, *place.open_agent(name, read_only=read_only))

    @classmethod
    def _in(cls, home: Home, replica: Replica, record: AgentRecord) -> Agent:
        def principal() -> Replica | None:
            return home.principal() if home.principal_path.exists() else None

        return cls(replica, record, principal=principal, closer=home.close)

    def __enter__(self) -> Agent:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Packs what is loose and closes the file."""
        closer, self._closer = self._closer, None
        if closer is not None:
            self.replica.tidy(runs_min=RUNS_TO_PACK_AT_CLOSE)
            self.replica.close()
            closer()

    def remember(
        self,
        text: str,
        *,
        type: str = "memory",
        significance: float = 0.5,
        namespace: str = "",
        user: str | None = None,
        tags: Sequence[str] | None = None,
        emotional_context: str | None = None,
        loop_context: str | None = None,
        metadata: dict[str, Any] | None = None,
        expires: Time | None = None,
        occurred: Time | None = None,
        supersedes: str | None = None,
        sources: Sequence[str] = (),
    ) -> Recorded:
        """A memory, on disk when this returns. `user` is a person's name (kept as a pseudonym); `supersedes` the
        entity of the memory that this corrects; `sources` the events it was derived from (forgotten with them).
        """
        with self.batch() as batch:
            batch.remember(
                text, type=type, significance=significance, namespace=namespace, user=user, tags=tags,
                emotional_context=emotional_context, loop_context=loop_context, metadata=metadata, expires=expires,
                occurred=occurred, supersedes=supersedes, sources=sources,
            )  # fmt: skip
        return batch.recorded[-1]

    def update(self, memory: str, **changes: Any) -> Recorded:
        """New values for some fields of a memory (text, type, significance, namespace, tags, metadata, expires, …)."""
        key = parse_entity(memory)
        row = self._row(key)
        if "expires" in changes and changes["expires"] is not None:
            changes["expires"] = times.to_ms(changes["expires"])
        return self._commit([commands.update(key, user=row.values["user"], changes=changes)])[0]

    def supersede(self, memory: str, text: str, **fields: Any) -> Recorded:
        """A correction: a new memory that ranks above the old one, which stays in history.

        Type, namespace and user are the old one's where they are not given.
        """
        old = self._row(parse_entity(memory)).values
        same = {"type": old["type"], "namespace": old["namespace"] or ""}
        return self.remember(text, supersedes=memory, **{**same, **fields})

    def reflect(
        self,
        prompt: str,
        response: str | None = None,
        *,
        memory_context: str | None = None,
        emotional_state: str | None = None,
        insights: str | None = None,
        occurred: Time | None = None,
        sources: Sequence[str] = (),
    ) -> Recorded:
        """A reflection: a question the agent put to itself, and what came of it."""
        drafted = commands.reflect(
            prompt, response, memory_context=memory_context, emotional_state=emotional_state, insights=insights,
            occurred=None if occurred is None else times.to_ms(occurred), refs=self._source_refs(sources),
        )  # fmt: skip
        return self._commit([drafted])[0]

    def shift_tone(
        self,
        to_tone: str,
        *,
        from_tone: str | None = None,
        trigger_type: str | None = None,
        trigger_content: str | None = None,
        magnitude: float | None = None,
        occurred: Time | None = None,
    ) -> Recorded:
        """A move from one emotional tone to another."""
        drafted = commands.shift_tone(
            to_tone, from_tone=from_tone, trigger_type=trigger_type, trigger_content=trigger_content,
            magnitude=magnitude, occurred=None if occurred is None else times.to_ms(occurred),
        )  # fmt: skip
        return self._commit([drafted])[0]

    def record(
        self,
        kind: str,
        body: Any,
        *,
        entity: str | None = None,
        occurred: Time | None = None,
        about: Sequence[str] = (),
        sources: Sequence[str] = (),
        scope: Scope = Scope.PRIVATE,
        circle: bytes | None = None,
    ) -> Recorded:
        """An event of one of the declared kinds; about an existing entity, or (without one) about a new one.

        `circle` (16 bytes) says for whom an event of that scope is; `about` are people's names, kept as pseudonyms.
        Raises InvalidInput when the body does not fit its kind.
        """
        with self.batch() as batch:
            batch.record(
                kind, body, entity=entity, occurred=occurred, about=about, sources=sources, scope=scope, circle=circle
            )
        return batch.recorded[-1]

    @contextlib.contextmanager
    def batch(self) -> Iterator[Writing]:
        """Collects commands; commits them together (one checkpoint, one wait for the disk) when the block ends."""
        writing = Writing(self)
        yield writing
        writing.recorded = self._commit(writing.drafted)

    def compress(
        self, *, older_than: str = "30d", significance_max: float = 0.3, namespace: str | None = None
    ) -> list[Recorded]:
        """Folds old, insignificant memories into summaries by rule, up to 64 each; summaries name their sources."""
        before = self.replica.clock.now_ms() - times.age_ms(older_than)
        made: list[Recorded] = []
        for group in self._compressible(before, significance_max, namespace):
            refs = tuple(self._ref(Role.SOURCE, row.log, row.seq) for row in group)
            made += self._commit([commands.summarize(group, refs)])
        return made

    def _compressible(self, before: int, most: float, namespace: str | None) -> Iterator[list[StoredRow]]:
        equal: dict[str, Any] = {"compressed": 0}
        if namespace is not None:
            equal["namespace"] = namespace
        rows = self.replica.tables.select(
            MEMORIES, equal, order="timestamp", limit=1_000_000, logs=[head.no for head in self._heads()]
        )
        groups: dict[tuple[Any, ...], list[StoredRow]] = {}
        for row in rows:
            values = row.values
            fits = (
                values["timestamp"] < before and (values["significance"] or 0) <= most and values["type"] != "summary"
            )
            if fits and values["superseded_by"] is None and values["expires_at"] is None:
                groups.setdefault((values["namespace"], values["user"]), []).append(row)
        step = commands.SUMMARY_SOURCES_MAX
        for group in groups.values():
            for at in range(0, len(group), step):
                if len(group[at : at + step]) > 1:
                    yield group[at : at + step]

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

    def checkpoint(self) -> bytes:
        """The newest signed checkpoint (a C2SP note). Keep it elsewhere: `verify(since=…)` then finds a rollback."""
        return prove.hand_out_checkpoint(self.replica, self._read_log.id)

    def prove(self, event: str | int) -> bytes:
        """A proof file that this event is in the log, checkable by anyone with `antiphon.verify_proof`."""
        head, seq = self._place(event)
        return prove.prove_event(self.replica, head.id, seq, principal_log=self.record_of_agent.principal_log)

    def prove_growth(self, since: bytes) -> bytes:
        """A proof file that the log under an older checkpoint is a prefix of today's."""
        return prove.prove_growth(self.replica, since, principal_log=self.record_of_agent.principal_log)

    def verify(self, *, since: bytes | None = None, progress: Callable[[int], None] = lambda count: None) -> Verdict:
        """Hashes the whole log again; names the first bad block. With an older checkpoint, finds a rollback too."""
        worst: Verdict | None = None
        for head in self._heads():
            checked = prove.verify_log_of(
                self.replica,
                head,
                since=since if since is not None and prove.is_about(since, head) else None,
                principal_log=self.record_of_agent.principal_log,
                progress=progress,
            )
            if worst is None or (worst.ok and not checked.ok) or (worst.ok and head.id == self._read_log.id):
                worst = checked
        if worst is None:
            raise NotFound("this agent has no log here")
        if since is not None and not any(prove.is_about(since, head) for head in self._heads()):
            raise InvalidInput("the checkpoint given is of another log")
        return worst

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

    def stats(self) -> dict[str, Any]:
        """Sizes and counts: events, logs, rows, file, backlog, clock."""
        held = [msgspec.structs.asdict(one) for one in held_erasures(self.replica)]
        return {**prove.stats_of(self.replica, self._heads()), "held_erasures": held}

    def snapshot(self, path: Path | str) -> Path:
        """A consistent, encrypted copy of the file while it is in use; opened elsewhere it starts a log of its own."""
        place = Path(path)
        self.replica.keep_mark()
        self.replica.file.copy_to(place)
        forgetting.note_copy(self.replica, str(place.resolve()), "snapshot")
        return place

    def export(self, path: Path | str, *, good_only: bool = False, damage: list[archive.Damaged] | None = None) -> int:
        """All events as plain JSON lines, or (a path ending in .archive) with the proofs; how many events.

        With `good_only`, leaves out the bad blocks of a damaged log, listing them in `damage`, instead of raising
        Corrupt.
        """
        if good_only and damage is None:
            damage = []
        place = Path(path)
        homes, own = homes_of(self.replica, self.record_of_agent.principal), self._heads()
        if place.suffix == ".archive":
            for head in own:
                if head.size:  # a copy's new log is empty until something is recorded in it
                    prove.hand_out_checkpoint(self.replica, head.id)
            count = archive.write_archive(self.replica, [*homes, *own], place)
        else:
            count = archive.write_json_lines(self.replica, own, place, damage=damage)
        forgetting.note_copy(self.replica, str(place.resolve()), "export")
        return count
