"""A small world for faults: an agent in one file with its principal, keys in memory, a host that the test controls."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from antiphon.agent import Agent
from antiphon.domains.memory import MEMORY
from antiphon.identity.signing import SigningKey
from antiphon.log.store import LogRole
from antiphon.model.errors import NotFound
from antiphon.replica import enrol, prove
from antiphon.replica.core import Replica
from antiphon.replica.records import AgentRecord, add_agent_log
from antiphon.views.domain import Domain, Registry
from antiphon.world.host import Host, Mark

KEY = bytes(range(32))


class Keys:
    """A key store in memory; it survives every crash, as one on another disk would."""

    def __init__(self) -> None:
        self._kept: dict[str, bytes] = {}

    def get(self, name: str) -> bytes:
        if name not in self._kept:
            raise NotFound(f"no secret {name}")
        return self._kept[name]

    def put(self, name: str, secret: bytes) -> None:
        self._kept[name] = secret

    def put_all(self, secrets: dict[str, bytes]) -> None:
        self._kept.update(secrets)

    def destroy(self, name: str) -> bool:
        return self._kept.pop(name, None) is not None

    def names(self) -> Iterator[str]:
        yield from sorted(self._kept)


class FixedHost(Host):
    """A machine on which the file is always the same one; its marks are in `marks`, in the order they were kept."""

    def __init__(self) -> None:
        super().__init__(Path("/nowhere"), "machine")
        self.marks: list[Mark] = []

    def observe(self, path: Path, *, incarnation: str, events: int) -> Mark:
        return Mark("machine", "/file", 1, 1, incarnation, events)

    def recall(self, file_id: bytes) -> Mark | None:
        return self.marks[-1] if self.marks else None

    def keep(self, file_id: bytes, mark: Mark) -> None:
        self.marks.append(mark)


def new_agent(path: Path, keys: Keys, *, domains: tuple[Domain, ...] = (), **world: Any) -> Agent:
    """An agent in a file of its own, with its principal's log beside its own in it."""
    replica = Replica.create(path, KEY, Registry([MEMORY, *domains]), keys, **world)
    with replica.transaction():
        principal = enrol.create_principal(replica)
        made = enrol.enrol_agent(replica, principal.log)
        record = AgentRecord("ada", made.id, made.principal, principal.log)
        add_agent_log(replica, made, record, SigningKey(keys.get(f"log:{made.log.hex()}")))
    return _agent(replica, record)


def open_agent(path: Path, keys: Keys, *, domains: tuple[Domain, ...] = (), **world: Any) -> Agent:
    """That agent again."""
    replica = Replica.open(path, KEY, Registry([MEMORY, *domains]), keys, **world)
    (_, raw), *_ = replica.file.settings("agent/")
    return _agent(replica, msgspec.msgpack.decode(raw, type=AgentRecord))


def _agent(replica: Replica, record: AgentRecord) -> Agent:
    return Agent(replica, record, principal=lambda: replica, closer=lambda: None)


# -- checkers --------------------------------------------------------------------------------------------------------


def table_rows(replica: Replica) -> dict[str, list[tuple[Any, ...]]]:
    """Every row of every table, by its key, without the number it happens to have."""
    found = {}
    for table in replica.registry.tables.values():
        rows = replica.tables.select(table, {}, order=table.key[0], limit=1_000_000)
        found[table.name] = [(row.log, row.seq, *row.values.items()) for row in rows]
    return found


def check_sound(replica: Replica) -> None:
    """All logs verify, the views are what a refold gives, full text agrees with its tables, no page is bad.

    It does not say that nothing is missing: compare with what was acknowledged.
    """
    homes = [home.id for home in replica.heads() if home.size and replica.event(home.id, 0).kind.startswith("princ")]
    for head in replica.heads():
        verdict = prove.verify_log_of(replica, head, principal_log=homes[0] if homes else None)
        assert verdict.ok, (head.no, verdict.reason)
    before = table_rows(replica)
    replica.tidy()
    check_fulltext(replica)
    for domain in replica.registry.domains:
        replica.refold(domain)
    assert table_rows(replica) == before
    replica.tidy()
    check_fulltext(replica)
    assert replica.file.check_pages() == []


def check_fulltext(replica: Replica) -> None:
    """Every full-text index holds exactly its table's words; raises Corrupt otherwise."""
    for table in replica.registry.tables.values():
        if table.fulltext is not None and replica.tables.exists(table):
            fts = f'"{table.name}_fts"'
            with replica.transaction():
                replica.file.writer.execute(f"INSERT INTO {fts}({fts}, rank) VALUES('integrity-check', 1)")


def texts(agent: Agent) -> dict[int, str]:
    """What the agent's logs hold, by seq: the text of memories, the kind of everything else."""
    held = {}
    for event in agent.log():
        body = {} if event.body is None else msgspec.msgpack.decode(event.body)
        held[event.seq] = body.get("text") or event.kind if isinstance(body, dict) else event.kind
    return held


def roles(replica: Replica) -> list[LogRole]:
    """What each log is to the file."""
    return [LogRole(head.role) for head in replica.heads()]
