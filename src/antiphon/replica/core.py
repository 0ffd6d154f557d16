"""Room `replica` (imports all below it): one open file: its logs, views and feed, joined; commits and reads.

A commit appends to one log or several, folds, writes the feed and is on disk when it returns. Threads that commit at
once share a transaction; processes take turns.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

import msgspec

from antiphon.engines.sqlite import fulltext, pages
from antiphon.engines.sqlite.file import SqliteFile, rows, translated
from antiphon.engines.sqlite.logs import SqliteLogs
from antiphon.engines.sqlite.tables import SqliteMentions, SqliteTables
from antiphon.identity.keystore import KeyStore
from antiphon.identity.signing import SigningKey
from antiphon.log.append import Appended, Appender
from antiphon.log.kinds import ERASURE_REQUESTED, SYSTEM_KINDS
from antiphon.log.read import LogReader
from antiphon.log.rewrite import pack_block
from antiphon.log.store import LogHead, LogRole
from antiphon.model import limits
from antiphon.model.errors import Conflict, Corrupt, NotFound, Unavailable, UnsupportedFormat
from antiphon.model.event import NEW, Draft, Event, Role
from antiphon.model.limits import BLOCK_LEAVES
from antiphon.model.text import event_text, id_text
from antiphon.replica.group import GroupCommit, Job
from antiphon.replica.keep import Keeper
from antiphon.views.domain import Registry
from antiphon.views.maintain import FileState, RowKey, Views
from antiphon.views.store import OF_REQUESTS, of_entity, of_person, of_source
from antiphon.world.clock import Clock, SystemClock
from antiphon.world.entropy import Entropy, SystemEntropy
from antiphon.world.host import Host, still_ours

FORMAT: Final = 1
_STALE_MS_MAX: Final = 50


class Batch(msgspec.Struct):
    """What one caller wants appended to one log. `values` are the decoded bodies, None to decode them."""

    log: bytes
    drafts: list[Draft]
    values: list[Any]


class OutboxEntry(msgspec.Struct, array_like=True):
    """What one commit changed: spans of new events (log number, first seq, count), and rows computed again.

    It also says how far the file had come then: the count of commits, and the next number of each table's rows.
    """

    spans: list[tuple[int, int, int]]
    rows: list[RowKey]
    commits: int = 0
    next_row: dict[str, int] = {}


CommitJob = Job[Batch, Appended]


class Replica:
    """One open file. Use `create` or `open`; close it, or use it as a context manager."""

    def __init__(
        self,
        file: SqliteFile,
        registry: Registry,
        keys: KeyStore,
        *,
        clock: Clock | None = None,
        entropy: Entropy | None = None,
        host: Host | None = None,
        background: bool = True,
    ) -> None:
        self.file = file
        self.registry = registry
        self.keys = keys
        self.clock: Clock = clock or SystemClock()
        self.entropy: Entropy = entropy or SystemEntropy()
        self.host = host or Host()
        self.logs = SqliteLogs(file)
        self.tables = SqliteTables(file, self._held)
        self.mentions = SqliteMentions(file)
        self._appender = Appender(self.logs, self.entropy)
        self._local = threading.local()
        self._tick = 0
        self._seen_version = -1
        self._seen_ms = -1.0
        self._writer_version = -1
        self._heads: dict[bytes, LogHead] = {}
        self._heads_by_no: dict[int, LogHead] = {}
        self._shown_heads: dict[int, LogHead] = {}
        self._shown_owners: dict[bytes, list[LogHead]] = {}
        self._shown_tick = -1
        self._signers: dict[bytes, SigningKey] = {}
        self._group: GroupCommit[Batch, Appended] = GroupCommit(self._run, lambda batch: len(batch.drafts))
        self._marking = threading.Lock()
        self._write_reader = LogReader(self.logs, lambda: self._tick)
        self.views = Views(registry, self.tables, self.mentions, lambda: self._write_reader, lambda: self._heads_by_no)
        self.state = FileState()
        self._settled = False
        self._others: tuple[str, ...] = ()
        self._loose = False
        self._keeper = Keeper(self._keep) if background and not file.read_only else None
        self._check_format()

    @classmethod
    def create(cls, path: Path, key: bytes, registry: Registry, keys: KeyStore, **world: Any) -> Replica:
        """A new, empty file."""
        cipher = world.pop("cipher", "aegis")
        vfs = world.pop("vfs", None)
        file = SqliteFile(path, key, cipher=cipher, create=True, vfs=vfs)
        entropy = world.get("entropy") or SystemEntropy()
        with file.transaction():
            file.put("format", FORMAT.to_bytes(4, "big"))
            file.put("id", entropy.bytes(16))
            file.put("incarnation", entropy.bytes(16))
        replica = cls(file, registry, keys, **world)
        replica.keep_mark()
        return replica

    @classmethod
    def open(
        cls,
        path: Path,
        key: bytes,
        registry: Registry,
        keys: KeyStore,
        *,
        read_only: bool = False,
        **world: Any,
    ) -> Replica:
        """An existing file. A copy or an older state of one is noticed here: its logs become past ones."""
        cipher = world.pop("cipher", "aegis")
        vfs = world.pop("vfs", None)
        file = SqliteFile(path, key, cipher=cipher, read_only=read_only, vfs=vfs)
        try:
            replica = cls(file, registry, keys, **world)
            if not read_only:
                replica._notice_copies()
                replica._catch_up_views()
                replica.scrub_if_pending()
        except BaseException:
            file.close()
            raise
        return replica

    def __enter__(self) -> Replica:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stops the background step, keeps the mark and closes the file."""
        if self._keeper is not None:
            self._keeper.stop()
        if not self.file.read_only:
            with contextlib.suppress(Exception):
                self.keep_mark()
        self.file.close()

    # -- what the file is ----------------------------------------------------------------------------------------

    def _check_format(self) -> None:
        raw = self.file.get("format")
        if raw is None:
            raise Corrupt(f"{self.file.path} is not an Antiphon file")
        found = int.from_bytes(raw, "big")
        if found > FORMAT:
            raise UnsupportedFormat(
                f"{self.file.path} is of format {found}; this Antiphon knows up to {FORMAT}: upgrade Antiphon",
                found=found,
                known=FORMAT,
            )
        self._load_state()

    @property
    def file_id(self) -> bytes:
        """The random id this file was created with; copies share it."""
        return self.file.get("id") or b""

    def keep_mark(self) -> None:
        """Notes outside the file how far it has come. Must happen before a checkpoint leaves the process."""
        with self._marking:  # threads in turn, or an older mark could take the place of a newer one
            self._keep_mark_as(self.file.get("incarnation") or b"", self._stored_state().events)

    def _keep_mark_as(self, incarnation: bytes, events: int) -> None:
        """Copies on one machine share the file's id, never an incarnation: each has a mark of its own."""
        mark = self.host.observe(self.file.path, incarnation=incarnation.hex(), events=events)
        self.host.keep(self.file_id + incarnation, mark)

    def _notice_copies(self) -> None:
        incarnation = self.file.get("incarnation") or b""
        now = self.host.observe(self.file.path, incarnation=incarnation.hex(), events=self.state.events)
        if still_ours(self.host.recall(self.file_id + incarnation), now):
            return
        fresh = self.entropy.bytes(16)
        self._keep_mark_as(fresh, self.state.events)  # first: where no mark can be kept, the file stays as it is
        with self.file.transaction():
            if self.file.get("incarnation") != incarnation:  # another process has noticed it meanwhile
                return
            for head in self.logs.heads():
                if head.role == LogRole.OWN:
                    head.role = LogRole.PAST
                    self.logs.save_head(head)
            self.file.put("incarnation", fresh)
        self.forget_caches()

    def _catch_up_views(self) -> None:
        """Folds again what another version, or a process without some domain, has left behind."""
        live = set()
        for name, domain in self.registry.domains.items():
            stored = self.state.folded.get(name)
            if stored is not None and domain.is_older_than(stored):
                continue
            live.add(name)
            current = stored == self.registry.fingerprints[name] and name not in self.state.behind
            if self.state.events and not current:
                self.refold(name)
        self.views.live = frozenset(live)

    def refold(self, domain: str) -> int:
        """Drops a domain's tables and folds them again from the logs; how many events were read."""
        with self.transaction():
            heads = [head for head in self._heads_by_no.values() if head.role != LogRole.FOREIGN]
            count = self.views.refold(self.state, domain, heads)
            self.state.behind.pop(domain, None)
            self.state.folded[domain] = self.registry.fingerprints[domain]
            self._save_state()
            self._feed_more([])
        self._moved()
        return count

    # -- state and caches ----------------------------------------------------------------------------------------

    def _stored_state(self) -> FileState:
        raw = self.file.get("state")
        state = FileState() if raw is None else msgspec.msgpack.decode(raw, type=FileState)
        last = self.file.reader.execute("SELECT version, entry FROM outbox ORDER BY version DESC LIMIT 1").fetchone()
        if last is not None:
            entry = msgspec.msgpack.decode(last[1], type=OutboxEntry)
            state.epoch, state.events = last[0] >> 40, last[0] & (limits.LOG_EVENTS_MAX - 1)
            state.commits, state.next_row = entry.commits, entry.next_row
        return state

    def _load_state(self) -> None:
        self.state = self._stored_state()
        self._settled = False

    def _save_state(self) -> None:
        self.file.put("state", msgspec.msgpack.encode(self.state))

    def _moved(self) -> None:
        self._tick += 1

    def forget_caches(self) -> None:
        """Drops everything that another writer, or a rollback, may have made stale."""
        self._appender.forget_caches()
        self.tables.forget_caches()
        self.mentions.forget_caches()
        self._writer_version = -1
        self._moved()

    def refresh_in_transaction(self) -> None:
        """Inside a transaction: reads again what another process has changed."""
        version = self.file.writer_version()
        if version == self._writer_version:
            return
        self._appender.forget_caches()
        self.tables.forget_caches()
        self._load_state()
        self._heads_by_no = {head.no: head for head in self.logs.heads()}
        self._heads = {head.id: head for head in self._heads_by_no.values()}
        self._writer_version = version
        self._moved()

    def fresh(self) -> int:
        """A number that changes when stored bytes may have; other processes' commits within 50 ms."""
        now = self.clock.monotonic_ms()
        if now - self._seen_ms > _STALE_MS_MAX or now < self._seen_ms:
            self._seen_ms = now
            version = self.file.version()
            if getattr(self._local, "version", None) != version:
                self._local.version = version
                self._tick += 1
        return self._tick

    @property
    def reader(self) -> LogReader:
        """This thread's reader of events."""
        found: LogReader | None = getattr(self._local, "reader", None)
        if found is None:
            found = self._local.reader = LogReader(self.logs, self.fresh, self.file.snapshot)
        return found

    def heads(self) -> list[LogHead]:
        """All logs in the file, by number, as stored now."""
        return list(self.logs.heads())

    def head(self, log_id: bytes) -> LogHead:
        """One log's head. Raises NotFound."""
        found = self.logs.head(log_id)
        if found is None:
            raise NotFound(f"there is no log {id_text(log_id)} in {self.file.path}")
        return found

    def _show_heads(self) -> None:
        """Reads the heads again when something has changed since."""
        tick = self.fresh()
        if tick != self._shown_tick:
            shown = {head.no: head for head in self.logs.heads()}
            by_owner: dict[bytes, list[LogHead]] = {}
            for head in shown.values():
                by_owner.setdefault(head.owner, []).append(head)
            self._shown_heads, self._shown_owners, self._shown_tick = shown, by_owner, tick

    def head_no(self, no: int) -> LogHead:
        """One log's head by its number in the file; at most 50 ms behind other processes."""
        if no not in self._shown_heads or self._shown_tick != self._tick:
            self._show_heads()
        if no not in self._shown_heads:  # another process has just made it
            self._moved()
            self._show_heads()
        return self._shown_heads[no]

    def heads_of(self, owner: bytes) -> list[LogHead]:
        """The logs of one agent or principal, by number; at most 50 ms behind other processes."""
        self._show_heads()
        return self._shown_owners.get(owner, [])

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """A write transaction over logs, views and feed; what failed leaves no trace, in memory either."""
        try:
            with self.file.transaction():
                self.refresh_in_transaction()
                yield
        except BaseException:
            self.forget_caches()
            raise
        finally:
            self._moved()
        if self._loose and self._keeper is not None:
            self._loose = False
            self._keeper.wake()

    # -- writing -------------------------------------------------------------------------------------------------

    def signer(self, head: LogHead) -> SigningKey:
        """The key that signs a log's checkpoints."""
        found = self._signers.get(head.id)
        if found is None:
            found = SigningKey(self.keys.get(f"log:{head.id.hex()}"))
            if len(self._signers) > 4_096:
                self._signers.clear()
            self._signers[head.id] = found
        return found

    def add_log(self, owner: bytes, key: SigningKey, log_id: bytes, *, role: LogRole = LogRole.OWN) -> LogHead:
        """A new, empty log in this file. Call inside a transaction; its key must be in the key store already."""
        head = LogHead(0, log_id, owner, key.public, role)
        self.logs.save_head(head)
        self._heads[head.id] = self._heads_by_no[head.no] = head
        self._signers[log_id] = key
        return head

    def commit(self, batch: Batch) -> Appended:
        """Appends, folds and feeds; on disk when it returns. Threads that call at once share a transaction.

        The result's `first` and `headers` are those of this batch alone.
        """
        return self._group.submit(batch)

    def _run(self, jobs: list[CommitJob]) -> None:
        by_log: dict[bytes, list[CommitJob]] = {}
        for job in jobs:
            by_log.setdefault(job.work.log, []).append(job)
        batches = []
        for log, mine in by_log.items():
            if len(mine) == 1:
                batches.append(mine[0].work)
                continue
            drafts = [draft for job in mine for draft in job.work.drafts]
            values = [value for job in mine for value in job.work.values]
            batches.append(Batch(log, drafts, values))
        done: list[Appended] = []
        try:
            with self.transaction():
                done = [self.append_in_transaction(batch) for batch in batches]
        except BaseException as error:
            if isinstance(error, Exception) or not self._is_stored(done):
                raise
            self._hand_out(by_log, done)  # interrupted after the commit: nobody may commit these again
            raise
        self._hand_out(by_log, done)
        self._scrub_after_commit()

    def _is_stored(self, done: list[Appended]) -> bool:
        stored = self.logs.head(done[-1].head.id) if done else None
        return stored is not None and stored.note == done[-1].head.note

    @staticmethod
    def _hand_out(by_log: dict[bytes, list[CommitJob]], done: list[Appended]) -> None:
        for mine, appended in zip(by_log.values(), done, strict=True):
            at = 0
            for job in mine:
                end = at + len(job.work.drafts)
                job.result = Appended(
                    appended.head, appended.first + at, 0, appended.headers[at:end], appended.bodies[at:end]
                )
                job.done = True
                at = end

    def commit_all(self, batches: list[Batch]) -> list[Appended]:
        """Appends to several logs in one transaction; all or nothing. Results leave the log's own events out."""
        with self.transaction():
            done = [self.append_in_transaction(batch) for batch in batches]
        self._scrub_after_commit()
        return done

    def append_in_transaction(self, batch: Batch, *, rows: Iterable[RowKey] = ()) -> Appended:
        """The body of a commit, for callers that hold the transaction. `rows` join the feed entry."""
        head = self._heads.get(batch.log)
        if head is None:
            head = self.head(batch.log)
        if head.role != LogRole.OWN:
            raise Conflict(
                f"the log {id_text(head.id)} is not written here any more: this file is a copy or a restored backup",
                log=id_text(head.id),
            )
        if not self._settled:
            self._settle_views()
        before = self.state.events
        now_ms = self.clock.now_ms()
        appended = self._appender.append(head, batch.drafts, now_ms=now_ms, signer=self.signer(head))
        self._heads[head.id] = self._heads_by_no[head.no] = appended.head
        self._moved()
        self.state.events += len(appended.headers)
        self.state.commits += 1
        skip = appended.system
        if skip:
            appended = Appended(
                appended.head, appended.first + skip, skip, appended.headers[skip:], appended.bodies[skip:]
            )
        self._index_mentions(appended)
        touched = self.views.apply(
            self.state,
            appended.head,
            first=appended.first,
            headers=appended.headers,
            bodies=appended.bodies,
            values=batch.values,
            created=[draft.entity == NEW for draft in batch.drafts],
        )
        if skip:
            touched |= self._restamp(appended.head)
        if self._others:
            self._leave_behind(before, appended)
        self._feed(
            OutboxEntry(
                [(appended.head.no, appended.first - skip, len(appended.headers) + skip)],
                sorted({*touched, *rows}),
                self.state.commits,
                self.state.next_row,
            )
        )
        if appended.first // BLOCK_LEAVES != appended.head.size // BLOCK_LEAVES:
            self._loose = True
        if len(appended.headers) > limits.FULLTEXT_INLINE_EVENTS_MAX:
            self._loose = True
        else:
            self._index_inline(2 * limits.FULLTEXT_INLINE_EVENTS_MAX)
        return appended

    def _settle_views(self) -> None:
        """Before an append, once what another process did was read: leaves alone what newer code folds by now, folds
        again what a process that does not know a domain has left behind, and notes which domains are not known here.
        """
        folded = dict(self.state.folded)
        for name in self.views.live:
            stored = folded.setdefault(name, self.registry.fingerprints[name])
            if stored != self.registry.fingerprints[name]:
                self.views.live -= {name}
            elif name in self.state.behind:
                self.refold(name)
        if folded.keys() != self.state.folded.keys():
            self.state.folded = {**folded, **self.state.folded}
            self._save_state()
        self._others = tuple(self.state.folded.keys() - self.views.live - self.state.behind.keys())
        self._settled = True

    def _leave_behind(self, before: int, appended: Appended) -> None:
        """Notes domains not known here as behind, unless the events cannot be theirs."""
        known = {kind.name for name in self.views.live for kind in self.registry.domains[name].kinds}
        reset = appended.system  # a clock reset may have changed the order of anyone's events
        if not reset and all(header.kind in known or header.kind in SYSTEM_KINDS for header in appended.headers):
            return
        for name in self._others:
            self.state.behind.setdefault(name, before)
        self._others = ()
        self._save_state()

    def _feed(self, entry: OutboxEntry) -> None:
        writer = self.file.writer
        writer.execute("INSERT INTO outbox VALUES(?,?)", (self.state.version, msgspec.msgpack.encode(entry)))
        if self.state.commits % 1_024 == 0:
            writer.execute(
                "DELETE FROM outbox WHERE version <= "
                "(SELECT version FROM outbox ORDER BY version DESC LIMIT 1 OFFSET ?)",
                (limits.OUTBOX_COMMITS_MAX,),
            )

    def _index_inline(self, rows_max: int) -> None:
        for table in self.registry.tables.values():
            if table.fulltext is not None and self.state.next_row.get(table.name, 1) - 1 > 0:
                behind = self.state.next_row[table.name] - 1 - fulltext.indexed(self.file, table)
                if 0 < behind <= rows_max:
                    fulltext.catch_up(self.file, table, rows_max=rows_max)

    def _index_mentions(self, appended: Appended) -> None:
        mentions: list[tuple[bytes, int, int]] = []
        no = appended.head.no
        for at, header in enumerate(appended.headers):
            if header.about is not None:
                mentions += [(of_person(person), no, appended.first + at) for person in header.about]
            if header.refs is not None:
                mentions += [
                    (of_source(ref.log, ref.seq), no, appended.first + at)
                    for ref in header.refs
                    if ref.role == Role.SOURCE
                ]
            if header.kind == ERASURE_REQUESTED:
                mentions.append((OF_REQUESTS, no, appended.first + at))
        if mentions:
            self.mentions.add(mentions)

    def _restamp(self, head: LogHead) -> set[RowKey]:
        """After a clock reset: computes again the rows of several events whose order may have changed."""
        touched: set[RowKey] = set()
        cut = head.resets[-1][1]
        found = rows(self.file.reader,
            "SELECT DISTINCT m.what FROM mentions m WHERE m.log=? AND m.what >= x'01' AND m.what < x'02'", (head.no,)
        ) if self._has("mentions") else []  # fmt: skip
        for (what,) in found:
            for no, seq in self.mentions.find(what):
                event = self._event_or_none(no, seq)
                if event is not None and event.header.hlc >= cut:
                    touched |= {key for key in self.views.keys_of(event) if of_entity(key[1]) == what}
        return {key for key in touched if self.views.recompute(self.state, key)}

    def _event_or_none(self, no: int, seq: int) -> Event | None:
        with contextlib.suppress(NotFound):
            return self._write_reader.event(self._heads_by_no[no], seq)
        return None

    @property
    def writing_reader(self) -> LogReader:
        """The reader to use inside a transaction: it sees what the transaction has written."""
        return self._write_reader

    def dirty(self) -> None:
        """Inside a transaction, after stored blocks were rewritten: drops what was cached of them."""
        self._appender.forget_caches()
        self._moved()

    def drop_unknown_tables(self) -> None:
        """Inside a transaction that forgets: drops tables that this process cannot compute again.

        Whoever knows their domain folds them again at the next write or open, without what was forgotten.
        """
        live = {table.name for name in self.views.live for table in self.registry.domains[name].tables}
        for name in self.tables.drop_all_but(live):
            self.state.next_row.pop(name, None)
        for name in self.state.folded.keys() - self.views.live:
            self.state.behind.setdefault(name, self.state.events)
        self._save_state()

    def feed_rows(self, rows: list[RowKey]) -> None:
        """Inside a transaction: adds rows to this commit's feed entry."""
        self._feed_more(rows)

    def _feed_more(self, rows: list[RowKey]) -> None:
        version = self.state.version
        raw = self.file.writer.execute("SELECT entry FROM outbox WHERE version=?", (version,)).get
        entry = OutboxEntry([], []) if raw is None else msgspec.msgpack.decode(raw, type=OutboxEntry)
        entry.rows = sorted({*entry.rows, *rows})
        entry.commits, entry.next_row = self.state.commits, self.state.next_row
        self.file.writer.execute(
            "INSERT INTO outbox VALUES(?,?) ON CONFLICT(version) DO UPDATE SET entry=excluded.entry",
            (version, msgspec.msgpack.encode(entry)),
        )

    def scrub_later(self) -> None:
        """Inside a transaction that forgets: notes that traces may be left, until a scrub has succeeded."""
        self.state.scrub_pending = True
        self._save_state()

    def settle_after_erasure(self, *, file_bytes_max: int | None = None) -> bool:
        """Clears what is left of the forgotten in write-ahead log and free space; False when it stays pending: a
        reader holds it back, there is no room, or the file needs rewriting and is larger than `file_bytes_max`
        (SCRUB_FILE_BYTES_MAX when not given).
        """
        if file_bytes_max is None:
            file_bytes_max = limits.SCRUB_FILE_BYTES_MAX
        with contextlib.suppress(Unavailable):
            if self.file.settle() and pages.wipe(self.file, file_bytes_max=file_bytes_max):
                with self.transaction():
                    self.state.scrub_pending = False
                    self._save_state()
                return True
        return False

    # -- reading -------------------------------------------------------------------------------------------------

    def event(self, log_id: bytes, seq: int) -> Event:
        """One event. Raises NotFound when there is none, or it was forgotten."""
        try:
            return self.reader.event(self.head(log_id), seq)
        except NotFound as error:
            raise NotFound(f"{event_text(log_id, seq)}: {error}") from None

    def name_log(self, no: int, name: str) -> None:
        """Keeps the name that full text and recall show for a log's author. In a transaction."""
        self.file.writer.execute(fulltext.AUTHORS)
        self.file.writer.execute("INSERT OR REPLACE INTO authors VALUES(?,?)", (no, name))

    def author_names(self, numbers: list[int]) -> dict[int, str]:
        """The names behind log numbers, where they are known."""
        if not self._has("authors"):
            return {}
        listed = ",".join(map(str, numbers))
        return dict(rows(self.file.reader, f"SELECT log, name FROM authors WHERE log IN ({listed})"))

    def _has(self, table: str) -> bool:
        return self.file.reader.execute("SELECT 1 FROM sqlite_schema WHERE name=?", (table,)).get is not None

    def _held(self, table: str, key: bytes, no: int, seq: int) -> Any:
        """What an event wrote to the held column of a row, None when it was forgotten."""
        with contextlib.suppress(NotFound):
            if self.file.is_writing:
                return self.views.held_value(self._write_reader.event(self._heads_by_no[no], seq), table, key)
            if self.head_no(no).size <= seq:  # another process has just written it
                self._moved()
            return self.views.held_value(self.reader.event(self.head_no(no), seq), table, key)
        return None

    # -- housekeeping --------------------------------------------------------------------------------------------

    def _keep(self) -> bool:
        """One background step; whether there may be more to do."""
        with translated(self.file.path):
            return bool(
                self.pack_some(blocks_max=1, runs_min=limits.RUNS_PER_BLOCK_MAX) or self.index_backlog(rows_max=512)
            )

    def tidy(self, *, runs_min: int = 2, shrink: bool = False) -> None:
        """Indexes and packs everything that is loose; with `shrink`, gives free pages back to the file system.

        *Cost*: about 20 µs an event not packed yet; shrinking writes the whole file again, 10 ms a MiB.
        """
        if self.file.read_only or self.file.closed:
            return
        while self.index_backlog():
            pass
        while self.pack_some(runs_min=runs_min):
            pass
        if shrink:
            self.file.rewrite()
            self.file.settle()

    def pack_some(self, *, blocks_max: int = 16, runs_min: int = 2) -> int:
        """Packs some blocks of loose runs into columns and frames; how many.

        A block is worth packing when it is complete, or has `runs_min` runs or more.
        """
        done = 0
        with self.transaction():
            found = self.logs.loose_blocks(limit=blocks_max, runs_min=runs_min)
            for no, first in found:
                done += pack_block(self.logs, self._heads_by_no[no], first)
            if done:
                self.dirty()
        return done

    def backlog(self) -> int:
        """How many rows wait to be indexed for full text."""
        tables = self.registry.tables.values()
        return sum(fulltext.backlog(self.file, table) for table in tables if table.fulltext is not None)

    def index_backlog(self, *, rows_max: int = 4_096) -> int:
        """Indexes one batch of rows that wait for full text; how many it did."""
        done = 0
        for table in self.registry.tables.values():
            if table.fulltext is not None and fulltext.backlog(self.file, table):
                with self.transaction():
                    done += fulltext.catch_up(self.file, table, rows_max=rows_max)
        return done

    def scrub_if_pending(self, *, file_bytes_max: int | None = None) -> bool:
        """Settles what an erasure has left pending, whatever the file's size when told so; whether nothing is left."""
        if not self.state.scrub_pending and not self._stored_state().scrub_pending:
            return True
        return self.settle_after_erasure(file_bytes_max=file_bytes_max)

    def _scrub_after_commit(self) -> None:
        """The next write after a reader has left settles what it held back; large files wait for a scrub by hand."""
        if self.state.scrub_pending and self.file.path.stat().st_size <= limits.SCRUB_FILE_BYTES_MAX:
            self.settle_after_erasure()
