"""Room `agent` (imports all below it): one agent of an open file: its logs, people, places and rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from antiphon.agent.answers import Receipts, Recorded
from antiphon.domains.memory import MEMORIES, MEMORY, PEOPLE, commands
from antiphon.engines.sqlite.search import SqliteText
from antiphon.engines.sqlite.select import SqliteSource
from antiphon.log import kinds
from antiphon.log.store import LogHead, LogRole
from antiphon.model.errors import Conflict, InvalidInput, NotFound
from antiphon.model.event import Draft, Ref, Role
from antiphon.model.table import Table
from antiphon.model.text import check_text, entity_text, id_text, name_key, parse_entity, parse_event
from antiphon.query.access import Reader
from antiphon.query.cache import RowCache
from antiphon.replica import enrol
from antiphon.replica.commit import Batch
from antiphon.replica.core import Replica
from antiphon.replica.records import AgentRecord
from antiphon.views.store import StoredRow, of_person
from antiphon.world.clock import Clock

SEQ_DIGITS_MAX = 13
"""A log holds at most 2^40 events."""
PEOPLE_MAX = 1_000_000
"""So many people are looked through in a file whose names were not folded by this version."""


class Opened:
    """What an agent's public methods stand on."""

    def __init__(
        self,
        replica: Replica,
        record: AgentRecord,
        *,
        principal: Callable[[], Replica | None] = lambda: None,
        closer: Callable[[], None] | None = None,
    ) -> None:
        self.replica = replica
        self.record_of_agent = record
        self._principal = principal
        self._closer = closer
        self._text = SqliteText(replica.file, replica.tables)
        self._source = SqliteSource(replica.file, replica.tables, replica.registry.tables)
        self._log: bytes | None = None
        self.began_log = False
        self._rows = RowCache(replica.fresh)
        self._made: tuple[int, list[Table], dict[int, str]] = (-1, [], {})
        self._asking: tuple[int, Reader] | None = None

    def __repr__(self) -> str:
        return f"Agent({self.name!r}, {id_text(self.record_of_agent.agent)})"

    @property
    def name(self) -> str:
        """The name it goes by in its home."""
        return self.record_of_agent.name

    @property
    def id(self) -> str:
        """Its id: the hash of its inception statement."""
        return id_text(self.record_of_agent.agent)

    @property
    def principal(self) -> str:
        """Its principal's id: what somebody else needs to check a proof."""
        return id_text(self.record_of_agent.principal)

    @property
    def clock(self) -> Clock:
        """What time it is, to this agent."""
        return self.replica.clock

    @property
    def log_id(self) -> bytes:
        """The log this copy of the agent writes; a clone or a restored backup starts one of its own here."""
        if self._log is None:
            self._log = self._writing_log()
        return self._log

    @property
    def _read_log(self) -> LogHead:
        """The log that is meant where none is named; reading never starts a new one in a copy."""
        heads = self._heads(LogRole.OWN) or self._heads(LogRole.PAST)
        return heads[-1]

    def _writing_log(self) -> bytes:
        own = self._heads(LogRole.OWN)
        if own:
            return own[-1].id
        if self.replica.file.read_only:
            past = self._heads(LogRole.PAST)
            return past[-1].id
        self.began_log = True
        head = enrol.new_instance(self.replica, self.record_of_agent.agent, self._principal())
        with self.replica.transaction():
            self.replica.name_log(head.no, self.name)
        return head.id

    def _heads(self, *roles: LogRole) -> list[LogHead]:
        wanted = roles or (LogRole.OWN, LogRole.PAST)
        return [head for head in self.replica.heads_of(self.record_of_agent.agent) if head.role in wanted]

    def _commit(self, drafted: Sequence[tuple[Draft, Any]]) -> Sequence[Recorded]:
        if not drafted:
            return []
        batch = Batch(self.log_id, [draft for draft, _ in drafted], [body for _, body in drafted])
        try:
            return Receipts(self.replica.commit(batch))
        except Conflict:
            if self.replica.head(batch.log).role == LogRole.OWN:
                raise
            self._log = None  # another process has revoked its key: the agent goes on in a new log
            return Receipts(self.replica.commit(Batch(self.log_id, batch.drafts, batch.values)))

    def _person(self, label: str) -> tuple[bytes, commands.Drafted | None]:
        """A person's pseudonym, with the event that names it when it is new."""
        found = self._pseudonyms(label)
        if found:
            return found[0], None
        person = self.replica.entropy.bytes(16)
        return person, commands.name_person(person, label)

    def _log_numbers(self) -> list[int]:
        return [head.no for head in self._heads()]

    def _reader(self) -> Reader:
        """Who asks when rows are read; kept until the file changes."""
        tick = self.replica.fresh()
        if self._asking is None or self._asking[0] != tick:
            record = self.record_of_agent
            own = {record.agent, record.principal}
            alone = all(owner in own for owner in self.replica.owners())
            self._asking = tick, Reader(record.agent, tuple(self._log_numbers()), alone)
        return self._asking[1]

    def _index_all(self) -> None:
        """Indexes what waits for full text; a file that is only read has its own way to find that."""
        while not self.replica.file.read_only and self.replica.index_backlog():
            pass

    def _pseudonyms(self, label: str) -> tuple[bytes, ...]:
        """Every pseudonym of a person here, however the name is spelled (`name_key`): copies of an agent, or threads
        at once, may each have chosen one.
        """
        if not isinstance(label, str) or not label or label.isspace():
            raise InvalidInput("a person is named by text that is not empty")
        check_text(label, what="the name of a person")
        name, replica, mine = name_key(label), self.replica, self._log_numbers()
        if replica.state.folded.get(MEMORY.name) == replica.registry.fingerprints[MEMORY.name]:
            found = replica.tables.select(PEOPLE, {"label": name}, order="n", limit=1_000, logs=mine)
        else:  # another version has folded this file, which perhaps can only be read, and kept names as they were typed
            found = replica.tables.select(PEOPLE, {}, order="n", limit=PEOPLE_MAX, logs=mine)
        return tuple(row.values["id"] for row in found if name_key(row.values["label"]) == name)

    def _about(self, label: str) -> set[tuple[int, int]]:
        """(log number, seq) of what was recorded here about a person, by agents of this principal. What others say
        about them is for others to erase, and must not be in the way.
        """
        replica, principal = self.replica, self.record_of_agent.principal
        found = {place for person in self._pseudonyms(label) for place in replica.mentions.find(of_person(person))}
        heads = [replica.head_no(no) for no in {no for no, _ in found}]
        mine = {
            head.no
            for head in heads
            if head.role in (LogRole.OWN, LogRole.PAST)
            and principal in (head.owner, replica.authority.principal_of(head.owner))
        }
        return {place for place in found if place[0] in mine}

    def pseudonym(self, label: str) -> bytes | None:
        """The pseudonym that stands for a person here, None when nothing was recorded about them."""
        return next(iter(self._pseudonyms(label)), None)

    def _place(self, event: str | int) -> tuple[LogHead, int]:
        """The log and seq of an event id, or of a bare seq in this agent's own log.

        Other agents of a shared file are out of reach; adopted archives and the principal's log are not.
        """
        if isinstance(event, int) or (event.isascii() and event.isdigit() and len(event) <= SEQ_DIGITS_MAX):
            return self.replica.head(self._read_log.id), int(event)
        log, seq = parse_event(event)
        for head in self._heads():
            if head.id == log and seq < head.size:
                return head, seq
        head = self.replica.head(log)
        near = (self.record_of_agent.agent, self.record_of_agent.principal)
        if head.role in (LogRole.OWN, LogRole.PAST) and head.owner not in near:
            raise NotFound(f"{event} is another agent's: open that agent to read it")
        return head, seq

    def _own_place(self, event: str | int) -> tuple[LogHead, int]:
        """As `_place`, of this agent's own events alone, the log's own kinds left out. Raises InvalidInput."""
        head, seq = self._place(event)
        found = self.replica.event(head.id, seq)
        if head.role == LogRole.FOREIGN or head.owner != self.record_of_agent.agent:
            raise InvalidInput(f"{event} is not {self.name}'s: only its owner can forget it")
        if found.kind in kinds.SYSTEM_KINDS:
            raise InvalidInput(f"{event} is a {found.kind}: what is left of the log could not be checked without it")
        return head, seq

    def _source_refs(self, events: Sequence[str]) -> tuple[Ref, ...] | None:
        if not events:
            return None
        places = [self._place(event) for event in events]
        return tuple(self._ref(Role.SOURCE, head.no, seq) for head, seq in places)

    def _ref(self, role: Role, no: int, seq: int) -> Ref:
        head = self.replica.head_no(no)
        return Ref(role, head.id, seq, self.replica.reader.leaf(head, seq))

    def _made_now(self) -> tuple[list[Table], dict[int, str]]:
        """The tables of entities that there are, and this agent's logs by number as the text of their events begins.

        Kept until the file changes: to ask for a table that was never written costs as much as to read a row.
        """
        tick = self.replica.fresh()
        if self._made[0] != tick:
            tables = (table for table in self.replica.registry.tables.values() if table.is_of_entities)
            made = [table for table in tables if self.replica.tables.exists(table)]
            self._made = tick, made, {head.no: id_text(head.id) + "/" for head in self._heads()}
        return self._made[1], self._made[2]

    def _load(self, entity: str) -> dict[str, Any] | None:
        key = parse_entity(entity)
        (tables, mine), reader = self._made_now(), self._reader()
        for table in tables:
            row = self._source.row(table, key, reader)
            if row is not None:
                log = mine.get(row.log) or id_text(self.replica.head_no(row.log).id) + "/"
                return {"table": table.name, "event": f"{log}{row.seq}", **row.values}
        return None

    def _own_entity(self, entity: str) -> bytes:
        """The id of an entity that this agent may write about: none that another agent of the file has a row of."""
        key, mine = parse_entity(entity), self._log_numbers()
        for table in self.replica.registry.tables.values():
            if not table.is_of_entities or table.asks_roles:
                continue  # by roles: the merge judges who may
            row = self.replica.tables.row(table, key)
            if row is not None and row.log not in mine:
                raise InvalidInput(f"{entity} is another agent's: only its own events may change it", entity=entity)
        return key

    def _row(self, key: bytes) -> StoredRow:
        row = self.replica.tables.row(MEMORIES, key)
        if row is None or row.log not in self._log_numbers():
            raise NotFound(f"{self.name} has no memory {entity_text(key)}")
        return row

    def _principal_for(self, targets: set[tuple[int, int]]) -> Replica | None:
        past = {head.no for head in self._heads(LogRole.PAST)}
        return self._principal() if any(no in past for no, _ in targets) else None
