"""A world for views: authors who write (some of them lies), and replicas that hear of it in whatever order.

What is checked is in the tests; here is only what happens. What it does *not* try: bytes that do not verify (the log's
own tests do), files that break (`tests/faults`), several processes.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Mapping
from itertools import count
from pathlib import Path
from typing import Any

import msgspec

from antiphon.engines.keyfiles import KeyRing, Unlock
from antiphon.engines.sqlite.file import SqliteFile
from antiphon.identity.signing import SigningKey
from antiphon.log import kinds
from antiphon.log.ingest import parts_of
from antiphon.log.store import LogHead
from antiphon.model.errors import NotFound, ProtocolViolation
from antiphon.model.event import NEW, Draft, Event, Ref, Role, Scope, encode_body
from antiphon.model.table import Table
from antiphon.model.values import key_values
from antiphon.ops.doctor import State as Outcome
from antiphon.ops.doctor import check_feed
from antiphon.ops.refold import check_views
from antiphon.replica import enrol, forget, granting
from antiphon.replica.commit import Batch
from antiphon.replica.core import Replica
from antiphon.replica.hear import hear, receive
from antiphon.views.domain import Domain, Registry
from antiphon.world.clock import ManualClock
from antiphon.world.entropy import SeededEntropy
from tests.unit.views.every_rule import Known, Rows, expected
from tests.unit.views.every_rule import World as Given

AUTHORS = 4
"""Agents 0 to 2 belong to one principal, agent 3 to another."""
_KEY = bytes(range(32))


class Cast(msgspec.Struct):
    """Who there is: each agent's id and log, each principal's log, and files from which every world begins."""

    folder: Path
    ring: KeyRing
    agents: list[bytes]
    logs: list[bytes]
    homes: list[bytes]
    source: Path
    target: Path


def cast(folder: Path) -> Cast:
    """Principals and agents, made once: every world begins with a copy of their file."""
    folder.mkdir(parents=True, exist_ok=True)
    ring = KeyRing(folder / "ring", Unlock(key=bytes(32)), create=True)
    source = folder / "source.antiphon"
    clock = ManualClock(1_700_000_000_000)
    agents, logs, homes = [], [], []
    with Replica.create(
        source, _KEY, Registry([]), ring, clock=clock, entropy=SeededEntropy(7), background=False
    ) as replica:
        with replica.transaction():
            for agent in range(AUTHORS):
                if agent in (0, 3):
                    homes.append(enrol.create_principal(replica).log)
                made = enrol.enrol_agent(replica, homes[-1])
                replica.add_log(made.id, SigningKey(ring.get(f"log:{made.log.hex()}")), made.log)
                agents.append(made.id)
                logs.append(made.log)
        replica.file.settle()
    target = folder / "target.antiphon"
    Replica.create(target, _KEY, Registry([]), ring, clock=clock, entropy=SeededEntropy(8), background=False).close()
    return Cast(folder, ring, agents, logs, homes, source, target)


_numbers = count()


def opened(cast: Cast, path: Path, domains: Iterable[Domain], clock: ManualClock) -> Replica:
    """A copy of a file, open, taken for the file itself."""
    mine = cast.folder / f"{next(_numbers)}.antiphon"
    shutil.copyfile(path, mine)
    entropy = SeededEntropy(next(_numbers))
    return Replica(SqliteFile(mine, _KEY), Registry(domains), cast.ring, clock=clock, entropy=entropy, background=False)


class World:
    """Authors in one file that folds nothing, so that they may lie, and replicas that hear of them."""

    def __init__(self, cast: Cast, domain: Callable[[], Domain], *, replicas: int = 2) -> None:
        self.cast = cast
        self.clock = ManualClock(1_700_000_010_000)
        self.source = opened(cast, cast.source, [], self.clock)
        self.here = ManualClock(1_700_000_010_000)
        self.replicas = [opened(cast, cast.target, [domain()], self.here) for _ in range(replicas)]
        self.cut: dict[bytes, int] = {}
        self.entities: list[bytes] = []
        self.grants: list[Event] = []
        self.trusted = frozenset({self.source.head(cast.homes[0]).owner})
        for replica in self.replicas:
            granting.trust(replica, self.trusted)

    def close(self) -> None:
        for replica in (self.source, *self.replicas):
            replica.close()
            replica.file.path.unlink()

    # -- what authors do ----------------------------------------------------------------------------------------

    def write(
        self,
        author: int,
        kind: str,
        body: Any,
        *,
        entity: bytes | None,
        names: int | None = None,
        cites: Iterable[Ref] = (),
        private: bool = False,
    ) -> Event:
        """One event; `names` is the author whose events so far it names as its target."""
        raw = body if isinstance(body, bytes) else encode_body(body)
        refs = (*((names is not None and self._ref(names)) or ()), *cites) or None
        draft = Draft(kind, raw, entity=entity, refs=refs, scope=Scope.PRIVATE if private else Scope.PUBLIC)
        made = self.source.commit(Batch(self.cast.logs[author], [draft], [None]))
        event = self.source.event(self.cast.logs[author], made.first)
        if entity == NEW and event.entity is not None:
            self.entities.append(event.entity)
        return event

    def _ref(self, author: int) -> tuple[Ref, ...] | None:
        head = self.source.head(self.cast.logs[author])
        return (Ref(Role.TARGET, head.id, head.size - 1, bytes(32)),) if head.size else None

    def grant(
        self, log: bytes, agent: int, role: str, *, tables: list[str] | None = None, ceiling: int | None = None
    ) -> Event:
        """A grant in this log, be it a principal's or not."""
        body = kinds.GrantGiven(role, self.cast.agents[agent], tables, ceiling)
        return self._say(log, kinds.GRANT_GIVEN, body)

    def withdraw(self, log: bytes, grant: Event, sizes: list[tuple[bytes, int]]) -> None:
        """The end of a grant, said in this log, be it the granting one or not."""
        self._say(log, kinds.GRANT_WITHDRAWN, kinds.GrantWithdrawn((grant.log, grant.seq), sizes))

    def _say(self, log: bytes, kind: str, body: Any) -> Event:
        made = self.source.commit(Batch(log, [Draft(kind, encode_body(body))], [body]))
        event = self.source.event(log, made.first)
        if kind == kinds.GRANT_GIVEN:
            self.grants.append(event)
        return event

    def cite(self, grant: Event, *, leaf: bytes | None = None) -> Ref:
        """What an event says that goes by a grant."""
        if leaf is None:
            leaf = self.source.reader.leaf(self.source.head(grant.log), grant.seq)
        return Ref(Role.CAUSE, grant.log, grant.seq, leaf)

    def lose(self, grant: Event) -> None:
        """A log erases a grant in what it says, which changes nothing: no program lets go of the log's own kinds."""
        self.source.commit(Batch(grant.log, kinds.erased([grant.seq], "asked"), [None]))

    def erase(self, author: int, which: int) -> None:
        """One event of an author, forgotten.

        By a key that was revoked before it would be void, which `test_holds` tries.
        """
        if self.cast.logs[author] in self.cut:
            return
        head = self.source.head(self.cast.logs[author])
        kept = [event.seq for event in self.source.reader.events(head) if "." in event.kind and _erasable(event)]
        if kept:
            forget.forget(self.source, [(head.no, kept[which % len(kept)])], reason="asked")

    def revoke(self, author: int) -> None:
        """An author's key is revoked: what the log adds from now on does not count."""
        log = self.cast.logs[author]
        if log not in self.cut and self.source.head(log).size:
            home = self.cast.homes[0 if author < 3 else 1]
            enrol.revoke(self.source, home, self.source.head(log))
            self.cut[log] = self.source.head(log).size

    # -- what reaches whom --------------------------------------------------------------------------------------

    def deliver(self, replica: int, log: bytes) -> None:
        """All that there is of a log by now, whether it was here before or not."""
        deliver(self.source, log, self.replicas[replica])

    def deliver_all(self, replica: int, order: Iterable[int] = ()) -> None:
        logs = [*self.cast.homes, *self.cast.logs]
        for at in order:
            self.deliver(replica, logs[at % len(logs)])
        for log in logs:
            self.deliver(replica, log)
        hear(self.replicas[replica])

    # -- what there is ------------------------------------------------------------------------------------------

    def visible(self) -> list[Event]:
        """The events that count, from the authors' own file."""
        found: list[Event] = []
        for log in self.cast.logs:
            head = self.source.head(log)
            found += self.source.reader.events(head, 0, self.cut.get(log))
        return found

    def latest_ms(self) -> int:
        """When nothing that counts is of the future any more: by the hour that was written, which a clock reset lowers
        only where it counts itself.
        """
        return max((event.header.hlc >> 16 for event in self.visible()), default=0)

    def must(self) -> Rows:
        """What every replica must hold that has heard everything."""
        resets: dict[bytes, list[tuple[int, int]]] = {}
        for log in self.cast.logs:
            limit = self.cut.get(log, 1 << 62)
            resets[log] = [reset for reset in self.source.head(log).resets if reset[0] < limit]
        principals = [self.source.head(home).owner for home in self.cast.homes]
        owner = {agent: principals[0 if at < 3 else 1] for at, agent in enumerate(self.cast.agents)}
        given = Given(owner.get, self._granted(), self.trusted)
        return expected(self.visible(), given, resets=resets, foreign=True)

    def _granted(self) -> dict[tuple[bytes, int], Known]:
        """What principals' logs grant, by a plain reading."""
        found: dict[tuple[bytes, int], Known] = {}
        ended: dict[tuple[bytes, int], dict[bytes, int]] = {}
        for log in self.cast.homes:
            head = self.source.head(log)
            for event in sorted(self.source.reader.events(head), key=lambda event: (event.stamp, event.seq)):
                if event.kind not in (kinds.GRANT_GIVEN, kinds.GRANT_WITHDRAWN) or not _is_sane(event):
                    continue
                said = event.decoded()
                if event.kind == kinds.GRANT_GIVEN:
                    found[log, event.seq] = Known(
                        head.owner, said["agent"], said["role"], said["tables"], said["ceiling"],
                        self.source.reader.leaf(head, event.seq),
                    )  # fmt: skip
                elif said["grant"][0] == log:
                    ended[log, said["grant"][1]] = dict(said["sizes"])
        for name, sizes in ended.items():
            if name in found:
                found[name].ended = sizes
        return found


def _is_sane(event: Event) -> bool:
    try:
        said = event.decoded()
        if event.kind == kinds.GRANT_WITHDRAWN:
            return len(said["grant"]) == 2 and all(len(one) == 2 for one in said["sizes"])
        named, ceiling = said["role"].replace("_", "").isalnum() and said["role"].islower(), said["ceiling"]
        return named and len(said["agent"]) == 32 and said["tables"] != [] and (ceiling is None or ceiling >= 0)
    except (ProtocolViolation, KeyError, TypeError):
        return False


def _erasable(event: Event) -> bool:
    return event.kind not in ("log.erased", "clock.reset", "grant.given", "grant.withdrawn")


def deliver(source: Replica, log: bytes, target: Replica) -> None:
    """Hands over all that there is of a log."""
    head = source.head(log)
    if head.size:
        stranger = LogHead(0, head.id, head.owner, head.key)
        receive(target, stranger, parts_of(source.logs, source.reader, head, shared=True), head.note)


def held(replica: Replica, tables: Mapping[str, Table] | None = None) -> dict[str, dict[tuple[Any, ...], Any]]:
    """Every row as it is stored, by key, with the event that it speaks by."""
    ids = {head.no: head.id for head in replica.heads()} | {0: b""}
    found: dict[str, dict[tuple[Any, ...], Any]] = {}
    for name, table in (tables or replica.registry.tables).items():
        rows = replica.tables.select(table, {}, order="n", limit=1 << 40)
        found[name] = {
            tuple(row.values[part] for part in table.key): (row.values, (ids[row.log], row.seq)) for row in rows
        }
        assert len(found[name]) == len(rows)
    return found


def refused(replica: Replica) -> tuple[set[Any], set[Any], set[str]]:
    """The list of rejections: of writes, of events that could not be read, and what it says of each."""
    ids = {head.no: head.id for head in replica.heads()}
    writes, unread, details = set(), set(), set()
    for table, key, no, seq, rule, detail in replica.rejections.list(limit=1 << 40):
        if table:
            writes.add((table, key_values(replica.registry.tables[table], key), ids[no], seq, rule))
        else:
            unread.add((ids[no], seq))
        details.add(f"{ids[no].hex()}/{seq} {table} {rule} {detail}")
    return writes, unread, details


def check(world: World) -> None:
    """Every replica holds what must be, refuses what must be refused, and for the same reasons as the others."""
    must = world.must()
    said: list[set[str]] = []
    for replica in world.replicas:
        rows, (writes, unread, details) = held(replica), refused(replica)
        for name, expected_rows in must.rows.items():
            assert rows[name] == expected_rows, name
        assert writes == must.refused
        assert unread == must.unread
        said.append(details)
    assert all(one == said[0] for one in said)


__all__ = ["AUTHORS", "NEW", "Cast", "NotFound", "World", "cast", "check", "deliver", "held", "opened", "refused"]


def things(replica: Replica) -> list[str]:
    """The names of all things, sorted."""
    return sorted(row["name"] for row, _ in held(replica)["things"].values())


def sound(replica: Replica) -> None:
    """Rows, mentions and feed say what the logs say."""
    found = check_views(
        replica.registry, replica.tables, replica.mentions, replica.reader, replica.folded_heads(), replica.views,
        domains=replica.views.live,
    )  # fmt: skip
    assert [finding for finding in found if finding.state != Outcome.OK] == []
    assert check_feed(replica.file, replica.fed_events(), lambda: None).state == Outcome.OK
