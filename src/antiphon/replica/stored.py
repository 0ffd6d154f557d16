"""Room `replica` (imports all below it): one open file as stored: heads, state, readers, transactions."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import Any, Final

import msgspec

from antiphon.engines.sqlite import fulltext
from antiphon.engines.sqlite.figures import SqliteFigures, SqliteRejections
from antiphon.engines.sqlite.file import SqliteFile, rows
from antiphon.engines.sqlite.logs import SqliteLogs
from antiphon.engines.sqlite.tables import SqliteMentions, SqliteTables
from antiphon.identity.keystore import KeyStore
from antiphon.identity.signing import SigningKey
from antiphon.log.append import Appender
from antiphon.log.read import LogReader
from antiphon.log.store import LogHead, LogRole
from antiphon.model import limits
from antiphon.model.errors import Corrupt, NotFound, UnsupportedFormat
from antiphon.model.event import Event
from antiphon.model.text import event_text, id_text
from antiphon.replica.authority import Authorities
from antiphon.views.domain import Registry
from antiphon.views.feed import OutboxEntry
from antiphon.views.maintain import Views
from antiphon.views.state import FileState
from antiphon.world.clock import Clock, SystemClock
from antiphon.world.entropy import Entropy, SystemEntropy
from antiphon.world.host import Host

FORMAT: Final = 1
_STALE_MS_MAX: Final = 50


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
        self.logs = SqliteLogs(file)
        self.tables = SqliteTables(file, self._held)
        self.mentions = SqliteMentions(file)
        self.rejections = SqliteRejections(file)
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
        self._write_reader = LogReader(self.logs, lambda: self._tick)
        self.views = Views(
            registry,
            self.tables,
            SqliteFigures(file, self.tables),
            self.mentions,
            self.rejections,
            lambda: self._write_reader,
            lambda: self._heads_by_no,
            Authorities(file),
        )
        self.state = FileState()
        self._settled = False
        self._others: tuple[str, ...] = ()
        self._loose = False
        self._feed_lost = False
        self._check_format()

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

    def _stored_state(self) -> FileState:
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
            self.state = self._stored_state()
            self._mend_state()
        self._settled = False

    def _mend_state(self) -> None:
        """Where the feed has lost its newest entries: what they said follows from logs and tables."""
        sql = "SELECT coalesce(sum(size), 0) FROM logs WHERE role != ?"
        events: int = self.file.reader.execute(sql, (LogRole.FOREIGN,)).get
        self._feed_lost = events != self.state.events
        if self._feed_lost:
            self.state.events = events
            self.state.next_row = self.tables.next_numbers()
            self.state.epoch += 1

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
        self.tables.forget_caches()
        self.mentions.forget_caches()
        self.rejections.forget_caches()
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
        self._ended()

    def _ended(self) -> None:
        """What to do after a transaction that succeeded."""

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

    def _event_or_none(self, no: int, seq: int) -> Event | None:
        with contextlib.suppress(NotFound):
            return self._write_reader.event(self._heads_by_no[no], seq)
        return None

    def dirty(self) -> None:
        """Inside a transaction, after stored blocks were rewritten: drops what was cached of them."""
        self._appender.forget_caches()
        self._moved()
