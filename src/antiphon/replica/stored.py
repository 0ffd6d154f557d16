"""Room `replica` (imports all below it): one open file as stored: heads, state, readers, transactions."""

from __future__ import annotations

import contextlib
import threading
from collections import ChainMap
from collections.abc import Callable, Collection, Iterator
from typing import Any, Final

import msgspec

from antiphon.engines.sqlite import fulltext
from antiphon.engines.sqlite.figures import SqliteFigures, SqliteRejections
from antiphon.engines.sqlite.file import SqliteFile, rows
from antiphon.engines.sqlite.logs import SqliteLogs
from antiphon.engines.sqlite.mentions import SqliteMentions
from antiphon.engines.sqlite.tables import SqliteTables
from antiphon.engines.sqlite.tips import SqliteTips
from antiphon.identity.keystore import KeyStore
from antiphon.identity.signing import SigningKey
from antiphon.log.append import Appender
from antiphon.log.read import Hidden, LogReader, Ranges
from antiphon.log.store import LogHead, LogRole
from antiphon.model import limits
from antiphon.model.errors import Corrupt, NotFound, UnsupportedFormat
from antiphon.model.event import Event
from antiphon.model.table import Table
from antiphon.model.text import event_text, id_text
from antiphon.replica.authority import Authorities
from antiphon.replica.holds import HoldStore, Place
from antiphon.replica.stamps import Stamps
from antiphon.views.domain import Registry
from antiphon.views.feed import OutboxEntry
from antiphon.views.generations import name_of
from antiphon.views.maintain import Views
from antiphon.views.state import FileState
from antiphon.world.clock import Clock, SystemClock
from antiphon.world.entropy import Entropy, SystemEntropy
from antiphon.world.host import Host

FORMAT: Final = 1
_STALE_MS_MAX: Final = 50
_HEARD: Final = "heard/"
HEARD: Final = "heard_events"


FORGETS: Final = "forgets"
"""The setting that counts how often something was erased from a file."""


def forgets(file: SqliteFile) -> int:
    """How often something was erased from a file, here or as others had asked."""
    return int.from_bytes(file.get(FORGETS) or b"", "big")


class Stored:
    """Logs, tables and state of one open file, with what is cached of them; transactions over them."""

    def __init__(
        self,
        file: SqliteFile,
        registry: Registry,
        keys: KeyStore,
        *,
        clock: Clock | None = None,
        entropy: Entropy | None = None,
        host: Host | None = None,
    ) -> None:
        self.file = file
        self.registry = registry
        self.keys = keys
        self.clock: Clock = clock or SystemClock()
        self.entropy: Entropy = entropy or SystemEntropy()
        self.host = host or Host()
        self.logs = self.logs_of(file)
        self.holds = HoldStore(file)
        self.tables = SqliteTables(file, self._held)
        self.mentions = SqliteMentions(file)
        self.rejections = SqliteRejections(file)
        self.tips = SqliteTips(file)
        self._appender = Appender(self.logs, self.entropy)
        self._local = threading.local()
        self._tick = 0
        self._seen_version = -1
        self._seen_ms = -1.0
        self._writer_version = -1
        self._heads: dict[bytes, LogHead] = {}
        self._heads_by_no: dict[int, LogHead] = {}
        self._cut_heads: dict[int, LogHead] = {}
        self._stamps = Stamps(lambda: iter(self._heads_by_no.values()))
        self._named: dict[bytes, LogHead] = {}
        self._shown_heads: dict[int, LogHead] = {}
        self._shown_owners: dict[bytes, list[LogHead]] = {}
        self._shown_tick = -1
        self._signers: dict[bytes, SigningKey] = {}
        self.authority = Authorities(file)
        self._write_reader = LogReader(self.logs, lambda: self._tick, hidden=self.hidden)
        self.views = self.views_over(self.tables, SqliteFigures(file, self.tables), self.rejections, self.tips)
        self.state = FileState()
        self._settled = False
        self._others: tuple[str, ...] = ()
        self._loose = False
        self._feed_lost = False
        self._version_before = 0
        self.rollbacks = 0
        """How often something was read in a transaction that then failed."""
        self._check_format()

    def _known_head(self, log: bytes) -> LogHead | None:
        """A log's number and role: outside a transaction too, where heads were perhaps never read."""
        found = self._heads.get(log) or self._named.get(log)
        if found is None:
            found = self.logs.head(log)
            if found is not None:
                self._named[log] = found
        return found

    is_mine: Callable[[Table, bytes], bool] | None = None
    """Which rows this file keeps, by table and key; None for all."""

    def logs_of(self, file: SqliteFile) -> SqliteLogs:
        """Where the logs are that are folded here: in the file itself."""
        return SqliteLogs(file)

    def views_over(
        self, tables: SqliteTables, figures: SqliteFigures, rejections: SqliteRejections, tips: SqliteTips
    ) -> Views:
        """What folds this file's events into these tables."""
        return Views(
            self.registry,
            tables,
            figures,
            self.mentions,
            rejections,
            lambda: self._write_reader,
            lambda: ChainMap(self._cut_heads, self._heads_by_no),
            self.authority,
            tips=tips,
            attempt=self._attempt,
            head_of=self._known_head,
            mine=self.is_mine,
        )

    @contextlib.contextmanager
    def _attempt(self) -> Iterator[None]:
        """Inside a transaction: what fails in the block leaves no trace, in memory either."""
        try:
            with self.file.attempt():
                yield
        except BaseException:
            for cached in (self.tables, self.mentions, self.rejections, self.tips):
                cached.forget_caches()
            raise

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

    def stored_state(self) -> FileState:
        """How far everything has come, as stored now."""
        raw = self.file.get("state")
        state = FileState() if raw is None else msgspec.msgpack.decode(raw, type=FileState)
        last = self.file.reader.execute("SELECT version, entry FROM outbox ORDER BY version DESC LIMIT 1").fetchone()
        if last is not None:
            state.epoch = max(state.epoch, last[0] >> 40)
            with contextlib.suppress(msgspec.MsgspecError, UnicodeError):  # damaged: as if it were not there
                entry = msgspec.msgpack.decode(last[1], type=OutboxEntry)
                state.events = last[0] & (limits.LOG_EVENTS_MAX - 1)
                state.commits, state.next_row = entry.commits, entry.next_row
        return state

    def _load_state(self) -> None:
        with self.file.snapshot():
            self.state = self.stored_state()
            self._mend_state()
        self._settled = False

    def _mend_state(self) -> None:
        """Where the feed has lost its newest entries: what they said follows from logs and tables."""
        events = self.fed_events()
        self._feed_lost = events != self.state.events
        if self._feed_lost:
            self.state.events = events
            self.state.next_row = self.tables.next_numbers()
            self.state.epoch += 1

    def feed_is_whole(self) -> bool:
        """Whether the feed's newest entry is there still. Where it is not, the next write begins the feed anew."""
        with self.file.snapshot():
            return self.fed_events() == self.stored_state().events

    def heard_events(self) -> int:
        """How far what others wrote has moved the feed: by each event that was folded, and by one where rows alone
        were computed again.
        """
        return int.from_bytes(self.file.get(HEARD) or b"", "big")

    def fed_events(self) -> int:
        """How far the feed must have come, by what else is in the file."""
        sql = "SELECT coalesce(sum(size), 0) FROM logs WHERE role IN (?, ?)"
        own: int = self.file.reader.execute(sql, (LogRole.OWN, LogRole.PAST)).get
        return own + self.heard_events()

    def heard_to(self, no: int) -> int:
        """How many events of a log that others write are folded here."""
        cut = self._cut_heads.get(no)
        return 0 if cut is None else cut.size

    def hear_to(self, head: LogHead, size: int) -> None:
        """Inside a transaction: keeps how many events of a log that others write are folded."""
        self.file.put(f"{_HEARD}{head.no}", size.to_bytes(8, "big"))
        self._cut(head, size)

    def _cut(self, head: LogHead, size: int) -> None:
        self._cut_heads[head.no] = _cut_at(head, size)

    def cut_head(self, head: LogHead) -> LogHead:
        """A log as far as the tables here have it: of those that others write, what is folded."""
        return self._cut_heads.get(head.no, head)

    def folded_heads(self) -> list[LogHead]:
        """All logs in the file as far as its tables have them: of those that others write, what is folded."""
        heard = {int(name.removeprefix(_HEARD)): raw for name, raw in self.file.settings(_HEARD)}
        heads = self.heads()
        for at, head in enumerate(heads):
            if head.role in (LogRole.FOREIGN, LogRole.FOLLOWED):
                size = int.from_bytes(heard.get(head.no, b""), "big")
                heads[at] = _cut_at(head, size)
        return heads

    def _cut_all(self) -> None:
        """Reads again how far others' logs are folded. What of them is not, no row may be made from."""
        self._cut_heads = {}
        self._named = {}
        self._stamps.forget()
        heard = {int(name.removeprefix(_HEARD)): raw for name, raw in self.file.settings(_HEARD)}
        for head in self._heads_by_no.values():
            if head.role in (LogRole.FOREIGN, LogRole.FOLLOWED):
                self._cut(head, int.from_bytes(heard.get(head.no, b""), "big"))

    def begin_feed(self) -> None:
        """Inside a transaction: begins the feed anew, in a new epoch, which tells whoever follows it to read the tables
        again. Entries of older epochs stay until they are too many.
        """
        if not self._feed_lost:
            self.state.epoch += 1
        self._feed_lost = False
        self._save_state()
        entry = OutboxEntry([], [], self.state.commits, self.state.next_row)
        self.file.writer.execute(
            "INSERT OR REPLACE INTO outbox VALUES(?,?)", (self.state.version, msgspec.msgpack.encode(entry))
        )

    def _save_state(self) -> None:
        self.views.unsaved = False
        self.file.put("state", msgspec.msgpack.encode(self.state))

    def _moved(self) -> None:
        self._tick += 1

    def forget_caches(self) -> None:
        """Drops everything that another writer, or a rollback, may have made stale."""
        self._appender.forget_caches()
        self.holds.forget_caches()
        self.tables.forget_caches()
        self.mentions.forget_caches()
        self.rejections.forget_caches()
        self.tips.forget_caches()
        self._stamps.forget()
        self.views.figures.clear()
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
        if self._feed_lost:
            self.begin_feed()
        self._heads_by_no = {head.no: head for head in self.logs.heads()}
        self._heads = {head.id: head for head in self._heads_by_no.values()}
        self._cut_all()
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
            found = self._local.reader = LogReader(self.logs, self.fresh, self.file.snapshot, self.hidden)
        return found

    def hidden(self) -> Hidden:
        """What is hidden of others' logs in this file, while erasures wait out their hold."""
        return self.holds.hidden()

    def standing_erasures(self) -> dict[Place, Ranges]:
        """What the tables here must leave out, by the erasure that says so."""
        return self.holds.standing()

    @property
    def writing_reader(self) -> LogReader:
        """The reader to use inside a transaction: it sees what the transaction has written."""
        return self._write_reader

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

    def owners(self) -> Collection[bytes]:
        """The agents and principals whose logs are in the file; at most 50 ms behind other processes."""
        self._show_heads()
        return self._shown_owners.keys()

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """A write transaction over logs, views and feed; what failed leaves no trace, in memory either."""
        outermost = not self.file.is_writing
        try:
            with self.file.transaction():
                self.refresh_in_transaction()
                if outermost:
                    self._version_before = self.state.version
                yield
                events = self.state.events  # here, before another thread begins to write
        except BaseException:
            self.rollbacks += 1
            self.forget_caches()
            raise
        finally:
            self._moved()
        self._ended(events)

    def _ended(self, events: int) -> None:
        """What to do after a transaction that succeeded, and left so many events in the file."""

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
        table = name_of(table)
        with contextlib.suppress(NotFound):
            if self.file.is_writing:
                # of an event that was hidden just now too: its row goes, and its terms in full text must go with it
                return self.views.held_value(self._write_reader.beneath(self._heads_by_no[no], seq), table, key)
            return self.views.held_value(self.reader.event(self._head_with(no, seq), seq), table, key)
        return None

    def _head_with(self, no: int, seq: int) -> LogHead:
        """The head of a log that has this event: as this thread has read it, also in a snapshot of some time ago, which
        others must not see.
        """
        kept: dict[int, LogHead] = self._local.__dict__.setdefault("heads", {})
        head = kept.get(no)
        if head is None or head.size <= seq:
            head = self.logs.head_no(no)
            if head is None:
                raise NotFound(f"there is no log number {no} in {self.file.path}")
            kept[no] = head
            shown = self._shown_heads.get(no)
            if shown is None or shown.size <= seq:  # another process has just written it
                self._moved()
        return head

    def _event_or_none(self, no: int, seq: int) -> Event | None:
        with contextlib.suppress(NotFound):
            return self._write_reader.event(self._heads_by_no[no], seq)
        return None

    def dirty(self) -> None:
        """Inside a transaction, after stored blocks were rewritten: drops what was cached of them."""
        self._appender.forget_caches()
        self._moved()


def _cut_at(head: LogHead, size: int) -> LogHead:
    """A log as if it had so many events."""
    return msgspec.structs.replace(head, size=size, resets=[reset for reset in head.resets if reset[0] < size])
