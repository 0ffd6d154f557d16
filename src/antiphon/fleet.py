"""Many agents at once: thousands in one file, or a file each with a bounded number open."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import msgspec

from antiphon.agent import Agent, Memory, Receipts, Recorded, recall_in
from antiphon.domains.memory import commands
from antiphon.engines.sqlite.search import SqliteText
from antiphon.home import SUFFIX, Home, check_name
from antiphon.identity.signing import SigningKey
from antiphon.knowledge.recall import Question
from antiphon.log.kinds import SYSTEM_KINDS
from antiphon.log.store import LogHead
from antiphon.log.verify import Verdict
from antiphon.model import times
from antiphon.model.errors import Conflict, InvalidInput, NotFound
from antiphon.model.event import NEW, Draft, Scope
from antiphon.model.text import id_text, parse_event, parse_id
from antiphon.model.times import Time
from antiphon.replica import enrol, granting, prove
from antiphon.replica import forget as forgetting
from antiphon.replica.commit import Batch
from antiphon.replica.core import Replica
from antiphon.replica.granting import Granted
from antiphon.replica.records import AgentRecord, add_agent_log
from antiphon.views.commands import convert, draft_of
from antiphon.views.domain import Domain

OPEN_FILES_MAX: Final = 64
ENROL_BATCH: Final = 256
_FILE: Final = f"fleet{SUFFIX}"
_PRINCIPAL_KEY: Final = "principal"


class Fleet:
    """Agents in one folder. With one file (the default) they share it; else each has its own."""

    def __init__(self, home: Home, shared: Replica | None, *, open_files_max: int = OPEN_FILES_MAX) -> None:
        self._home = home
        self._shared = shared
        self._text = None if shared is None else SqliteText(shared.file, shared.tables)
        self._open: OrderedDict[str, Agent] = OrderedDict()
        self._open_max = open_files_max
        self._recoveries: list[str] = []

    @classmethod
    def create(
        cls,
        folder: Path | str,
        *,
        one_file: bool = True,
        passphrase: str | None = None,
        domains: Iterable[Domain] = (),
        open_files_max: int = OPEN_FILES_MAX,
        **world: Any,
    ) -> Fleet:
        """A new fleet in this folder."""
        home = Home.open(folder, create=True, passphrase=passphrase, domains=domains, **world)
        path = home.folder / _FILE
        if path.exists() or home.names():
            raise Conflict(f"{folder} holds agents already: open it")
        return cls(home, home.create_file(path) if one_file else None, open_files_max=open_files_max)

    @classmethod
    def open(
        cls,
        folder: Path | str,
        *,
        passphrase: str | None = None,
        domains: Iterable[Domain] = (),
        open_files_max: int = OPEN_FILES_MAX,
        read_only: bool = False,
        **world: Any,
    ) -> Fleet:
        """The fleet in this folder, in one file or in many. Raises NotFound, WrongKey."""
        home = Home.open(folder, passphrase=passphrase, domains=domains, **world)
        path = home.folder / _FILE
        shared = home.open_file(path, read_only=read_only) if path.exists() else None
        return cls(home, shared, open_files_max=open_files_max)

    def __enter__(self) -> Fleet:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Packs what is loose and closes every file."""
        for agent in self._open.values():
            agent.close()
        self._open.clear()
        if self._shared is not None:
            self._shared.tidy()
            self._shared.close()
        self._home.close()

    @property
    def replica(self) -> Replica:
        """The shared file. Raises InvalidInput when every agent has its own."""
        if self._shared is None:
            raise InvalidInput("this fleet keeps a file an agent: open the agents instead")
        return self._shared

    def names(self) -> list[str]:
        """All agents."""
        if self._shared is None:
            return self._home.names()
        return [key.removeprefix("agent/") for key, _ in self._shared.file.settings("agent/")]

    # -- agents --------------------------------------------------------------------------------------------------

    def add(self, name: str) -> Agent:
        """A new agent of this fleet's principal. Raises Conflict when the name is taken."""
        self.add_all([name])
        return self.agent(name)

    def add_all(
        self,
        names: Sequence[str],
        *,
        own_principals: bool = False,
        progress: Callable[[int], None] = lambda count: None,
    ) -> None:
        """New agents; with `own_principals` each gets a principal of its own (one file only). *Cost*: 0.3 ms each."""
        if self._shared is None:
            if own_principals:
                raise InvalidInput("agents with principals of their own need a fleet in one file")
            for name in names:
                replica, _ = self._home.create_agent(name)
                replica.close()
                progress(1)
            return
        for at in range(0, len(names), ENROL_BATCH):
            part = names[at : at + ENROL_BATCH]
            with self._shared.transaction(), self._home.ring.together():  # keys are on disk before the commit
                for name in part:
                    self._add_here(self._shared, check_name(name), own_principals=own_principals)
                self._keep_recoveries()  # before the commit: they are nowhere else
            progress(len(part))

    def _keep_recoveries(self) -> None:
        """Appends the root keys of new principals to a file of their own, to be moved away from this machine."""
        lines, self._recoveries = self._recoveries, []
        if not lines:
            return
        path = self._home.folder / "recovery-keys.txt"
        with os.fdopen(os.open(path, os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o600), "a") as file:
            file.write("".join(lines))
            file.flush()
            os.fsync(file.fileno())

    def _add_here(self, replica: Replica, name: str, *, own_principals: bool) -> None:
        if replica.file.get(f"agent/{name}") is not None:
            raise Conflict(f"there is an agent {name!r} already")
        log = None if own_principals else replica.file.get(_PRINCIPAL_KEY)
        if log is None:
            new = enrol.create_principal(replica)
            log = new.log
            self._recoveries.append(f"{name} {id_text(new.id)} {new.recovery.hex()}\n")
            if not own_principals:
                replica.file.put(_PRINCIPAL_KEY, log)
        made = enrol.enrol_agent(replica, log)
        key = SigningKey(replica.keys.get(f"log:{made.log.hex()}"))
        add_agent_log(replica, made, AgentRecord(name, made.id, made.principal, log), key)

    def agent(self, name: str) -> Agent:
        """One agent, open. In a fleet of many files the least recently used ones are closed past the limit."""
        found = self._open.get(name)
        if found is not None:
            self._open.move_to_end(name)
            return found
        if self._shared is not None:
            raw = self._shared.file.get(f"agent/{name}")
            if raw is None:
                raise NotFound(f"there is no agent {name!r} in {self._home.folder}")
            record = msgspec.msgpack.decode(raw, type=AgentRecord)
            found = Agent(self._shared, record, principal=lambda: self._shared)
        else:
            replica, record = self._home.open_agent(name)
            found = Agent(replica, record, principal=self._home.principal, closer=lambda: None)
        self._open[name] = found
        while len(self._open) > self._open_max:
            _, oldest = self._open.popitem(last=False)
            oldest.close()
        return found

    @contextmanager
    def batch(self) -> Iterator[FleetWriting]:
        """Collects what many agents do; commits them together, all or nothing, when the block ends."""
        writing = FleetWriting(self)
        yield writing
        writing.recorded = [
            recorded for appended in self.replica.commit_all(writing.batches()) for recorded in Receipts(appended)
        ]

    # -- grants --------------------------------------------------------------------------------------------------

    def grant(
        self,
        agent: str,
        role: str,
        *,
        tables: str | Sequence[str] | None = None,
        ceiling: int | None = None,
        by: str | None = None,
    ) -> Granted:
        """As `Home.grant`; where agents have principals of their own, `by` names the agent whose principal grants."""
        if self._shared is None:
            return self._home.grant(agent, role, tables=tables, ceiling=ceiling)
        raw = self._shared.file.get(f"agent/{agent}")
        named = parse_id(agent) if raw is None else msgspec.msgpack.decode(raw, type=AgentRecord).agent
        return granting.give(
            self._shared, self._principal_log(by), agent=named, role=role, tables=tables, ceiling=ceiling
        )

    def withdraw(self, grant: str, *, sizes: Mapping[bytes, int] | None = None) -> Granted:
        """As `Home.withdraw`."""
        if self._shared is None:
            return self._home.withdraw(grant, sizes=sizes)
        given = next((one for one in self.grants() if one.id == grant), None)
        if given is None:
            raise NotFound(f"no principal of {self._home.folder} has given a grant {grant[:120]}")
        if given.ended is not None and sizes is None:
            raise Conflict(f"the grant {grant} is withdrawn already; say sizes to put right what is accepted")
        sizes = granting.sizes_in([self._shared], parse_id(given.agent)) if sizes is None else sizes
        return granting.withdraw(self._shared, parse_event(grant)[0], grant, sizes=sizes)

    def grants(self) -> list[Granted]:
        """What the principals of this fleet have granted, by principal, oldest first."""
        if self._shared is None:
            return self._home.grants()
        principals = sorted({record.principal for record in self.agents_by_id().values()})
        return [grant for one in principals for grant in granting.grants_by(self._shared, one)]

    def _principal_log(self, by: str | None) -> bytes:
        found = self.agent(by).record_of_agent.principal_log if by else self.replica.file.get(_PRINCIPAL_KEY)
        if found is None:
            raise InvalidInput("the agents of this fleet have principals of their own: say by which agent's (`by`)")
        return found

    # -- across agents -------------------------------------------------------------------------------------------

    def recall(
        self,
        query: str,
        *,
        limit: int = 10,
        agents: Sequence[str] | None = None,
        since: Time | None = None,
        until: Time | None = None,
    ) -> list[Memory]:
        """What the fleet, or some agents of it, know about a question, best first."""
        if self._shared is None or self._text is None:
            hits = [
                hit
                for name in (agents if agents is not None else self.names())
                for hit in self.agent(name).recall(query, limit=limit, since=since, until=until)
            ]
            return sorted(hits, key=lambda hit: -hit.score)[:limit]
        logs = None
        if agents is not None:
            owners = {self.agent(name).record_of_agent.agent for name in agents}
            logs = tuple(head.no for head in self._shared.heads() if head.owner in owners)
        question = Question(
            query,
            limit,
            logs,
            None if since is None else times.to_ms(since),
            None if until is None else times.to_ms(until),
        )
        return recall_in(self._shared, self._text, question)

    def verify(self, *, progress: Callable[[int], None] = lambda count: None) -> Iterator[Verdict]:
        """Verifies every log of every agent and principal."""
        if self._shared is None:
            for name in self.names():
                yield self.agent(name).verify(progress=progress)
            return
        agents = self.agents_by_id()
        for head in self._shared.heads():
            record = agents.get(head.owner)
            home = None if record is None else record.principal_log
            yield prove.verify_log_of(self._shared, head, principal_log=home, progress=progress)

    def forget_agent(self, name: str, *, reason: str = "person") -> forgetting.Forgotten:
        """Everything an agent recorded: what remains is hashes, keys, its name, and the proof of the rest."""
        agent = self.agent(name)
        owner = agent.record_of_agent.agent
        targets = [
            (head.no, event.seq)
            for head in agent.replica.heads()
            if head.owner == owner
            for event in agent.replica.reader.events(head)
            if event.kind not in SYSTEM_KINDS
        ]
        if not targets:
            raise NotFound(f"{name} has recorded nothing that is still here")
        return agent.forget_places(set(targets), reason=reason)

    def forget_person(self, label: str) -> list[forgetting.Forgotten]:
        """Everything that any agent recorded about a person; one outcome a file. Raises NotFound."""
        done: list[forgetting.Forgotten] = []
        for name in self.names():
            with suppress(NotFound):
                done.append(self.agent(name).forget(person=label))
        if not done:
            raise NotFound(f"no agent has recorded anything about {label!r}")
        return done

    def agents_by_id(self) -> dict[bytes, AgentRecord]:
        """Every agent of a fleet in one file."""
        stored = (msgspec.msgpack.decode(raw, type=AgentRecord) for _, raw in self.replica.file.settings("agent/"))
        return {record.agent: record for record in stored}

    def log_of(self, name: str) -> LogHead:
        """The log that an agent writes."""
        agent = self.agent(name)
        return agent.replica.head(agent.log_id)


class FleetWriting:
    """What many agents do, collected by `Fleet.batch`."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._drafted: dict[bytes, list[tuple[Draft, Any]]] = {}
        self.recorded: list[Recorded] = []

    def remember(self, agent: str, text: str, *, occurred: Time | None = None, **fields: Any) -> None:
        """A memory of one agent; fields as in `Agent.remember`, but for people and sources."""
        log = self._fleet.agent(agent).log_id
        at = None if occurred is None else times.to_ms(occurred)
        self._drafted.setdefault(log, []).append(commands.remember(text, occurred=at, **fields))

    def record(
        self, agent: str, kind: str, body: Any, *, occurred: Time | None = None, scope: Scope = Scope.PRIVATE
    ) -> None:
        """An event of one agent about a new thing; as `Agent.record`, but for people and sources."""
        declared = self._fleet.replica.registry.kind(kind)
        value = convert(declared, body)
        at = None if occurred is None else times.to_ms(occurred)
        draft = draft_of(declared, value, entity=NEW, occurred=at, scope=scope)
        self._drafted.setdefault(self._fleet.agent(agent).log_id, []).append((draft, value))

    def batches(self) -> list[Batch]:
        """What was collected, a batch a log."""
        return [
            Batch(log, [draft for draft, _ in drafted], [body for _, body in drafted])
            for log, drafted in self._drafted.items()
        ]
