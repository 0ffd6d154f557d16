"""Room `region` (imports `replica` and below): logs sharded by their ids, rows by their keys, over many files.

Nothing is written to two files at once. A commit is one log's; each file of rows has its cursors and folds what is new
when somebody reads, so a process that is killed at any moment loses nothing and does nothing twice.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

import msgspec

from antiphon.agent.listing import Listed
from antiphon.engines.keyfiles import KeyRing, Unlock
from antiphon.identity.signing import SigningKey, decode_statement
from antiphon.identity.statements import AgentInception, InstanceCertificate
from antiphon.log.append import Appended
from antiphon.log.ingest import Part, Said, ingest
from antiphon.log.kinds import AGENT_INCEPTED, INSTANCE_CERTIFIED, SYSTEM_KINDS
from antiphon.log.store import LogHead, LogRole
from antiphon.model import limits
from antiphon.model.errors import Conflict, InvalidInput, NotFound, ProtocolViolation
from antiphon.model.event import Draft, Event
from antiphon.model.table import Table
from antiphon.model.text import id_text
from antiphon.model.values import canonical, key_of, key_values
from antiphon.region.answering import Answering
from antiphon.region.erasures import Erasures
from antiphon.region.files import LogFile, RegionLogs, RegionReader, RowFile, file_of, shard_of
from antiphon.region.together import duplicates
from antiphon.replica import enrol, forget, granting
from antiphon.replica.commit import Batch
from antiphon.replica.core import Replica
from antiphon.replica.forget import Forgotten
from antiphon.replica.hear import Heard, Standings, fold_due, share_standings
from antiphon.views.domain import Domain, Registry
from antiphon.views.rollups import merged_rollups
from antiphon.views.store import StoredRow

LOG_FILES: Final = 8
ROW_FILES: Final = 4
VERIFY_THREADS: Final = 2
"""Signatures are verified outside the interpreter's lock."""
_MANIFEST: Final = "region.json"


class _Manifest(msgspec.Struct):
    """How many files there are; it never changes."""

    antiphon: str
    log_files: int
    row_files: int


class Region:
    """An open region. Use `create` or `open`; close it, or use it as a context manager."""

    def __init__(
        self, folder: Path, manifest: _Manifest, registry: Registry, ring: KeyRing, *, create: bool, **world: Any
    ) -> None:
        self.folder, self.registry, self._ring, self._world = folder, registry, ring, world
        self._files = ExitStack()
        with ExitStack() as undo:
            undo.push(self._files)
            nothing = Registry([])
            self.log_files = [
                self._files.enter_context(self._file(f"logs-{at:03}", LogFile, nothing, create=create))
                for at in range(manifest.log_files)
            ]
            self._logs = RegionLogs(self.log_files)
            self._reader = RegionReader(self._logs)
            self.row_files: list[RowFile] = []
            for at in range(manifest.row_files):
                made = self._file(
                    f"rows-{at:03}", RowFile, registry, create=create, logs=self._logs, reading=self._reader, shard=at,
                    shards=manifest.row_files,
                )  # fmt: skip
                self.row_files.append(self._files.enter_context(made))
            undo.pop_all()
        known = Standings(lambda: self._reader)
        share_standings(self.row_files, known)
        self._erasures = Erasures(self.log_files, self.row_files, self._logs, known)
        self._answering = Answering(registry, self.log_files, self.row_files, self._logs, self._reader, self.catch_up)

    def _file(self, name: str, of: Any, registry: Registry, *, create: bool, **more: Any) -> Any:
        path, secret = self.folder / f"{name}.antiphon", f"file:{name}"
        if create:
            self._ring.put_new({secret: self._draw(32)})
        make = of.create if create else of.open
        if of is LogFile:
            more["background"] = False
        return make(path, self._ring.get(secret), registry, self._ring, **more, **self._world)

    def _draw(self, count: int) -> bytes:
        from antiphon.world.entropy import SystemEntropy

        return bytes((self._world.get("entropy") or SystemEntropy()).bytes(count))

    @classmethod
    def create(
        cls,
        folder: Path | str,
        *,
        domains: Iterable[Domain],
        unlock: Unlock,
        log_files: int = LOG_FILES,
        row_files: int = ROW_FILES,
        **world: Any,
    ) -> Region:
        """A new region in this folder, which is empty or not there yet."""
        folder = Path(folder)
        if (folder / _MANIFEST).exists():
            raise Conflict(f"{folder} holds a region already: open it")
        for what, count in (("log_files", log_files), ("row_files", row_files)):
            if not 1 <= count <= limits.REGION_FILES_MAX:
                raise InvalidInput(f"{what} is {count}; a region has 1 to {limits.REGION_FILES_MAX} (REGION_FILES_MAX)")
        folder.mkdir(parents=True, exist_ok=True)
        ring = KeyRing(folder / "keys", unlock, create=True)
        manifest = _Manifest("region/v1", log_files, row_files)
        made = cls(folder, manifest, Registry(domains), ring, create=True, **world)
        (folder / _MANIFEST).write_bytes(msgspec.json.encode(manifest))  # last: without it there is no region
        return made

    @classmethod
    def open(cls, folder: Path | str, *, domains: Iterable[Domain], unlock: Unlock, **world: Any) -> Region:
        """The region in this folder. Raises NotFound, WrongKey."""
        folder = Path(folder)
        try:
            manifest = msgspec.json.decode((folder / _MANIFEST).read_bytes(), type=_Manifest)
        except FileNotFoundError:
            raise NotFound(f"there is no region in {folder}: make one") from None
        return cls(folder, manifest, Registry(domains), KeyRing(folder / "keys", unlock), create=False, **world)

    def __enter__(self) -> Region:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes every file."""
        self._files.close()

    # -- logs ----------------------------------------------------------------------------------------------------

    def file_of(self, log: bytes) -> Replica:
        """The file that a log lies in."""
        found: Replica = self.log_files[file_of(log, len(self.log_files))]
        return found

    def add_principal(self) -> enrol.NewPrincipal:
        """A new principal whose log is written here."""
        drawn = enrol.draw_principal(self._ring, self.log_files[0].entropy)
        home = self.file_of(drawn.made.log)
        with home.transaction():
            return enrol.begin_principal(home, drawn)

    def add_agents(self, principal_log: bytes, count: int) -> list[enrol.NewAgent]:
        """New agents of a principal, each with a log that is written here. *Cost*: 0.5 ms each."""
        home = self.file_of(principal_log)
        with self._ring.together(), home.transaction():
            made = [enrol.enrol_agent(home, principal_log) for _ in range(count)]
        by_file: dict[int, list[enrol.NewAgent]] = {}
        for agent in made:
            by_file.setdefault(file_of(agent.log, len(self.log_files)), []).append(agent)
        for at, agents in by_file.items():
            with self.log_files[at].transaction():
                for agent in agents:
                    key = SigningKey(self._ring.get(f"log:{agent.log.hex()}"))
                    self.log_files[at].add_log(agent.id, key, agent.log)
        return made

    def register(self, principal_log: bytes, said: Sequence[tuple[bytes, bytes]]) -> list[LogHead]:
        """Enters agents whose logs are written elsewhere, by (inception, certificate of the first instance), encoded.

        Both are verified, two signatures each, and recorded in the principal's log, which is written here; nothing is
        when one does not hold. Raises ProtocolViolation. *Cost*: 0.4 ms each and core.
        """
        home = self.file_of(principal_log)
        principal = home.head(principal_log).owner
        with ThreadPoolExecutor(VERIFY_THREADS) as pool:
            step = -(-len(said) // VERIFY_THREADS) or 1
            parts = pool.map(_read_claims, (said[at : at + step] for at in range(0, len(said), step)))
            claims = [claim for part in parts for claim in part]
        drafts: list[Draft] = []
        for (inception, certificate), (agent, begun, certified) in zip(said, claims, strict=True):
            if begun.principal != principal or certified.agent != agent:
                raise ProtocolViolation("a registration at another principal, or a certificate for another agent")
            drafts += [Draft(AGENT_INCEPTED, inception), Draft(INSTANCE_CERTIFIED, certificate)]
        home.commit(Batch(principal_log, drafts, [None] * len(drafts)))
        by_file: dict[int, list[LogHead]] = {}
        heads = [LogHead(0, one.log, one.agent, one.instance_key, LogRole.FOREIGN) for *_, one in claims]
        for head in heads:
            by_file.setdefault(file_of(head.id, len(self.log_files)), []).append(head)
        for at, found in by_file.items():
            with self.log_files[at].transaction():
                self.log_files[at].add_foreign(found)
        return heads

    def commit(self, batches: Sequence[Batch]) -> list[Appended]:
        """Appends to logs that are written here; all of a file's or none, and on disk when it returns.

        Raises InvalidInput for a body that is not of its kind. Whether a write counts is seen when it is folded. What
        asks a home that is written here has its answer too when this returns: look at `rows`, or at the home's log.
        """
        for batch in batches:
            for draft in batch.drafts:
                if draft.kind not in SYSTEM_KINDS:
                    self.registry.kind(draft.kind).read(draft.body, draft.kind_version)
        by_file: dict[int, list[int]] = {}
        for at, batch in enumerate(batches):
            by_file.setdefault(file_of(batch.log, len(self.log_files)), []).append(at)
        done: dict[int, Appended] = {}
        for file, places in by_file.items():
            found = self.log_files[file].commit_all([batches[at] for at in places])
            done.update(zip(places, found, strict=True))
        if any(draft.kind in self.registry.deciders for batch in batches for draft in batch.drafts):
            self.answer_requests()
        return [done[at] for at in range(len(batches))]

    def answer_requests(self) -> list[Event]:
        """Decides what was asked of homes that are written here and waits, in the one order; the decisions.

        `commit` does it for what it records; call it after `take`. Safe to call again, after a crash too.
        """
        return self._answering.answer()

    def take(self, head: LogHead, parts: Iterable[Part], note: bytes) -> LogHead:
        """Takes in what is new of a log that is written elsewhere, verified. Raises ProtocolViolation."""
        file = self.file_of(head.id)
        with file.transaction():
            known = file.logs.head(head.id)
            if known is not None and known.role != LogRole.FOREIGN:
                raise Conflict(f"the log {id_text(head.id)} is written here: nobody else can add to it")
            if known is None:
                known = LogHead(0, head.id, head.owner, head.key, LogRole.FOREIGN)
                file.logs.save_head(known)
            said: Said = []
            taken = ingest(file.logs, known, parts, note, said)
            self._erasures.take_note(file, taken, said)
        file.forget_caches()
        return taken

    def forget(self, log: bytes, seqs: Sequence[int], *, reason: str) -> forget.Forgotten:
        """Erases events of a log that is written here, and what was derived from them in logs of its principal that
        are: first from every row, then from the logs, provably. What is killed in between is gone on with by the next
        `catch_up`.
        """
        self.catch_up()
        head = self._logs.head(log)
        if head is None:
            raise NotFound(f"there is no log {id_text(log)} in {self.folder}")
        others = self._erasures.intend(head, seqs, reason=reason)
        done = forget.Forgotten([], [], [])
        for one in self._catch_up()[1]:
            done.events += one.events
            done.derived += one.derived
            done.derived_events += one.derived_events
            found = (place for place in one.places if place.name != forget.OTHERS)  # those, of all files, are below
            done.places += [place for place in found if place not in done.places]
        self.catch_up()
        settled = [file.scrub_if_pending() for file in self.row_files]
        done.places.append(
            forget.Place(
                "files of rows", forget.Done.DONE if all(settled) else forget.Done.PENDING,
                f"{len(settled)} files: rows computed again, pages overwritten",
            )
        )  # fmt: skip
        if others:
            detail = f"derived there: {', '.join(others[:5])}; ask them"
            done.places.append(forget.Place(forget.OTHERS, forget.Done.CANNOT, detail))
        return done

    # -- rows ----------------------------------------------------------------------------------------------------

    def trust(self, principals: Iterable[bytes]) -> None:
        """Lets these principals grant roles for rows that are nobody's, in place of those it trusted: none at first."""
        named = frozenset(principals)
        for file in self.row_files:
            granting.trust(file, named)

    def catch_up(self) -> Heard:
        """Folds what is new into every file of rows; how many events, and which logs wait for what."""
        return self._catch_up()[0]

    def _catch_up(self) -> tuple[Heard, list[Forgotten]]:
        """The same, and what was forgotten on the way."""
        total = Heard()
        self._erasures.judge()
        more = True
        while more:
            more, total.waiting = False, []
            for file in self.row_files:
                with file.transaction():
                    heard = fold_due(file)
                total.events += heard.events
                total.waiting += [one for one in heard.waiting if one not in total.waiting]
                more |= heard.more
        total.events //= len(self.row_files)
        return total, self._erasures.finish()

    def _table(self, name: str) -> Table:
        return self.registry.table(name)

    def row(self, table: str, key: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """One row by its key, as of every commit that has returned; None when there is none. Raises InvalidInput."""
        declared = self._table(table)
        raw = key_of(declared, {name: canonical(declared.column(name), key.get(name)) for name in declared.key})
        self.catch_up()
        if declared.rollup_of is not None:
            found = [file.tables.row(declared, raw) for file in self.row_files]
            return self._joined(declared, [row for row in found if row is not None]).get(raw)
        file = self.row_files[shard_of(declared, raw, len(self.row_files)) if len(self.row_files) > 1 else 0]
        row = file.tables.row(declared, raw)
        return None if row is None else row.values

    def rows(self, table: str, **equal: Any) -> Iterator[Mapping[str, Any]]:
        """Rows whose columns have these values, file by file, as of every commit that has returned."""
        declared = self._table(table)
        self.catch_up()
        found = (
            row
            for file in self.row_files
            for row in file.tables.select(declared, equal, order="n", limit=limits.LOG_EVENTS_MAX)
        )
        if declared.rollup_of is not None:
            yield from self._joined(declared, list(found)).values()
        else:
            yield from (row.values for row in found)

    def _joined(self, declared: Table, found: list[StoredRow]) -> dict[bytes, Mapping[str, Any]]:
        source = self.registry.table(declared.rollup_of or "")
        by_key: dict[bytes, list[Mapping[str, Any]]] = {}
        for row in found:
            by_key.setdefault(key_of(declared, row.values), []).append(row.values)
        return {key: merged_rollups(source, declared, parts) for key, parts in by_key.items()}

    def duplicates(self, table: str) -> list[Listed]:
        """Rows that have the same values in columns declared unique, whichever files they lie in: the first of them."""
        declared = self._table(table)
        self.catch_up()
        heads = {head.no: head for head in self._logs.heads()}
        return list(duplicates(self.row_files, declared, heads.__getitem__))

    def rejections(self) -> list[tuple[str, tuple[Any, ...], bytes, int, str, str]]:
        """(table, key, log, seq, rule, detail) of what does not count; no table where a body does not fit."""
        self.catch_up()
        ids = {head.no: head.id for head in self._logs.heads()}
        found: set[tuple[str, tuple[Any, ...], bytes, int, str, str]] = set()
        for file in self.row_files:
            for name, key, no, seq, rule, detail in file.rejections.list(limit=limits.LOG_EVENTS_MAX):
                parts = key_values(self.registry.table(name), key) if name else ()
                found.add((name, parts, ids[no], seq, rule, detail))
        return sorted(found, key=lambda one: (one[2], one[3], one[0], repr(one[1])))


def _read_claims(said: Sequence[tuple[bytes, bytes]]) -> list[tuple[bytes, AgentInception, InstanceCertificate]]:
    """(agent, inception, certificate) of each, verified."""
    found = []
    for raw_inception, raw_certificate in said:
        inception = decode_statement(raw_inception)
        certified = InstanceCertificate.read(decode_statement(raw_certificate))
        found.append((inception.id, AgentInception.read(inception), certified))
    return found
