"""Room `replica` (imports all below it): reading a file's feed: which rows changed, and how they are now.

In any thread or process that has the file open. Every answer is of one moment: rows are read at delivery, in the
snapshot that says which they are, so what was forgotten meanwhile is not in it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Final

import msgspec

from antiphon.engines.sqlite.file import SqliteFile, rows
from antiphon.engines.sqlite.followers import FollowerRecord
from antiphon.engines.sqlite.made import is_made
from antiphon.log.read import LogReader, every_kind
from antiphon.log.store import LogHead, LogRole
from antiphon.model.errors import NotFound
from antiphon.model.event import Event
from antiphon.model.table import Table
from antiphon.model.values import key_of
from antiphon.replica.stored import Stored
from antiphon.views.batch import RowKey
from antiphon.views.domain import AssertRow
from antiphon.views.feed import Change, OutboxEntry, epoch_of, offset_of, version_of
from antiphon.world.clock import Clock

PAUSE_MS_MIN: Final = 2.0
PAUSE_MS_MAX: Final = 50.0
_PATIENCE: Final = 8
"""Whoever waits looks again after an eighth of the time that nothing has happened for."""
_PAGE: Final = 1_024


class Advance(msgspec.Struct):
    """What came behind a cursor, and where that leaves it.

    `part` says how much of the entry behind `cursor` is in it already, where that is longer than one answer may be.
    """

    changes: list[Change]
    cursor: int
    part: int
    more: bool


class Lag(msgspec.Struct, frozen=True):
    """How far a follower is behind: events it has not delivered, and the age of the oldest of them."""

    events: int
    seconds: float


class Watch:
    """Says when somebody has committed to a file, at next to no cost: it looks often while things happen, seldom when
    nothing has for long. *Cost*: 20 looks a second when idle, 5 µs each.
    """

    def __init__(self, file: SqliteFile, clock: Clock) -> None:
        self._file, self._clock = file, clock
        self._version = -1
        self._changed_ms = clock.monotonic_ms()

    def changed(self) -> bool:
        """Whether there was a commit since the last look. Ask in the thread that reads."""
        version = self._file.version()
        if version == self._version:
            return False
        self._version = version
        self._changed_ms = self._clock.monotonic_ms()
        return True

    @property
    def pause_ms(self) -> float:
        """How long to wait before looking again."""
        quiet = self._clock.monotonic_ms() - self._changed_ms
        return min(max(quiet / _PATIENCE, PAUSE_MS_MIN), PAUSE_MS_MAX)


class Feed:
    """The feed of some tables of a file."""

    def __init__(self, replica: Stored, tables: Sequence[Table] = ()) -> None:
        self._replica = replica
        self._file = replica.file
        self._tables = {table.name: table for table in tables}
        self._seen = 0
        self._authors: dict[int, bytes | None] = {}
        self._heads: dict[int, LogHead] = {}
        self._plain: dict[str, tuple[str, ...] | None] = {}
        self.reader = LogReader(replica.logs, lambda: self._seen, replica.file.snapshot, replica.hidden)
        """Reads events as they are in the snapshot: nothing that was forgotten before it is kept."""

    @contextlib.contextmanager
    def snapshot(self) -> Iterator[int]:
        """A moment of the file, and the feed's version then."""
        with self._file.snapshot():
            version: int | None = self._file.reader.execute("SELECT max(version) FROM outbox").get
            self._seen = self._file.version()
            yield self._replica.stored_state().version if version is None else version

    def table(self, name: str) -> Table:
        """One of its tables."""
        return self._tables[name]

    def version(self) -> int:
        """The newest version."""
        with self.snapshot() as version:
            return version

    def oldest(self) -> int:
        """The oldest version that has an entry still."""
        version: int | None = self._file.reader.execute("SELECT min(version) FROM outbox").get
        return version or 0

    def behind(self, cursor: int, part: int, *, epoch: int, most: int) -> Advance | None:
        """The rows that changed behind a cursor, as they are now, versioned under `epoch`; None where the feed is not
        the one that the cursor knows: it began anew, or was trimmed past it. Then read the tables again.
        """
        with self.snapshot() as newest:
            if epoch_of(newest) != epoch_of(cursor) or newest < cursor:
                return None
            keys: dict[str, set[bytes]] = {name: set() for name in self._tables}
            room = most
            commits = None if offset_of(cursor) else 0
            sql = "SELECT version, entry FROM outbox WHERE version >= ? ORDER BY version LIMIT ?"
            entries = rows(self._file.reader, sql, (cursor, most + 1))
            for version, raw in entries:
                try:
                    entry = msgspec.msgpack.decode(raw, type=OutboxEntry)
                except (msgspec.MsgspecError, UnicodeError):  # damaged: what it said is in the tables
                    return None
                if version == cursor:
                    commits = entry.commits
                    continue
                if commits is None or entry.commits != commits + 1:  # something is missing before it
                    return None
                commits = entry.commits
                taken, left = self._take(entry, part, room, keys)
                room -= taken
                if left:
                    part += taken
                    break
                cursor, part = version, 0
                if room <= 0:
                    break
            return Advance(self.images(keys, version_of(epoch, offset_of(newest))), cursor, part, cursor < newest)

    def _take(self, entry: OutboxEntry, part: int, room: int, keys: dict[str, set[bytes]]) -> tuple[int, int]:
        """Adds the keys of an entry behind its first `part` things, at most `room`: how many, and what is left."""
        taken = 0
        for no, first, count in entry.spans:
            skipped = min(part, count)
            part -= skipped
            now = min(count - skipped, room - taken)
            for event in self.events(no, first + skipped, first + skipped + now, whole=self._is_folded):
                plain = self._plain_of(event.kind)
                if plain is None or event.entity is None:
                    for table, key in self._replica.views.keys_of(event):
                        keys.setdefault(table, set()).add(key)
                    continue
                for table in plain:
                    keys[table].add(event.entity)
            taken += now
            if skipped + now < count:
                return taken, 1
        again = entry.rows[part : part + room - taken]
        for table, key in again:
            keys.setdefault(table, set()).add(key)
        return taken + len(again), len(entry.rows) - part - len(again)

    def _is_folded(self, kind: str) -> bool:
        """Whether the body of an event of this kind says which rows it is about."""
        return self._plain_of(kind) is None

    def _plain_of(self, kind: str) -> tuple[str, ...] | None:
        """The tables to which an event of this kind writes the row of its entity and no other; None where it may write
        more, so that its body must be folded to know.
        """
        if kind not in self._plain:
            folds = self._replica.registry.folds.get(kind, ())
            tables = [fold.table.name for fold in folds if type(fold) is AssertRow and fold.table.minted]
            followed = tuple(name for name in tables if name in self._tables)
            self._plain[kind] = followed if len(tables) == len(folds) else None
        return self._plain[kind]

    def events(self, no: int, first: int, last: int, *, whole: Callable[[str], bool] = every_kind) -> Iterable[Event]:
        """The events of a span that are still there, with bodies where `whole` says so of their kind. In a snapshot."""
        return self.reader.events(self.head(no, last), first, last, whole=whole) if first < last else ()

    def head(self, no: int, size: int) -> LogHead:
        """The head of a log that has so many events. In a snapshot."""
        head = self._heads.get(no)
        if head is None or head.size < size:
            head = self._replica.logs.head_no(no)
            if head is None:
                raise NotFound(f"there is no log number {no} in {self._file.path}")
            self._heads[no] = head
        return head

    def images(self, keys: Mapping[str, Collection[bytes]], version: int) -> list[Change]:
        """These rows as they are, by table, of the tables of this feed. In a snapshot."""
        changes = []
        for name in sorted(keys.keys() & self._tables.keys()):
            wanted = sorted(keys[name])
            found = self._replica.tables.by_keys(self._tables[name], wanted) if is_made(self._file.reader, name) else {}
            for key in wanted:
                row = found.get(key)
                if row is None:
                    changes.append(Change(name, key, version, None))
                else:
                    changes.append(Change(name, key, version, row.values, self._author(row.log)))
        return changes

    def _author(self, no: int) -> bytes | None:
        """Whose log it is; None for what no event wrote."""
        if no not in self._authors:
            head = self._replica.logs.head_no(no)
            self._authors[no] = None if head is None else head.owner
        return self._authors[no]

    def page(self, table: Table, after: int, *, epoch: int, most: int) -> tuple[list[Change], int, int]:
        """Some rows of a table as they are, those numbered above `after`; the last one's number, and the version."""
        with self.snapshot() as newest:
            if not is_made(self._file.reader, table.name):
                return [], after, newest
            version = version_of(epoch, offset_of(newest))
            found = self._replica.tables.page(table, after, most)
            changes = [
                Change(table.name, key_of(table, row.values), version, row.values, self._author(row.log))
                for row in found
            ]
            return changes, found[-1].n if found else after, newest

    def lag(self, cursor: int, part: int = 0) -> Lag:
        """How far a cursor is behind."""
        with self.snapshot() as newest:
            if newest <= cursor:
                return Lag(0, 0.0)
            same = epoch_of(newest) == epoch_of(cursor)
            events = offset_of(newest) - (offset_of(cursor) + part if same else 0)
            sql = "SELECT entry FROM outbox WHERE version > ? ORDER BY version LIMIT 1"
            raw = self._file.reader.execute(sql, (cursor,)).get
            return Lag(max(events, 0), self._age(raw, part))

    def _age(self, raw: bytes | None, part: int) -> float:
        """Since when the first event of an entry waits, in seconds."""
        with contextlib.suppress(msgspec.MsgspecError, UnicodeError):
            entry = OutboxEntry([], []) if raw is None else msgspec.msgpack.decode(raw, type=OutboxEntry)
            for no, first, count in entry.spans:
                seq = first + min(part, count - 1)
                header = self.reader.header(self.head(no, seq + 1), seq)
                if header is not None:
                    return max(0.0, (self._replica.clock.now_ms() - (header.hlc >> 16)) / 1000)
        return 0.0

    def sizes(self) -> dict[int, int]:
        """How many events each log has that is this file's own, by number. In a snapshot."""
        return {no: size for no, role, size in self._replica.logs.sizes() if role != LogRole.FOREIGN}


def by_table(keys: Iterable[RowKey]) -> dict[str, set[bytes]]:
    """Keys of rows, by table."""
    found: dict[str, set[bytes]] = {}
    for table, key in keys:
        found.setdefault(table, set()).add(key)
    return found


class Tail:
    """The changes of one table as they come, for one reader who keeps no cursor: everything at least once."""

    def __init__(self, feed: Feed, table: Table, *, from_start: bool) -> None:
        self._feed, self._table = feed, table
        self._cursor, self._part = feed.version(), 0
        self._after: int | None = 0 if from_start else None
        self.more = from_start
        """Whether there was more than one answer holds."""

    def read(self, *, most: int = _PAGE) -> list[Change]:
        """What has changed since the last time; where the feed began anew, all rows come again."""
        epoch = epoch_of(self._cursor)
        if self._after is None:
            found = self._feed.behind(self._cursor, self._part, epoch=epoch, most=most)
            if found is not None:
                self._cursor, self._part, self.more = found.cursor, found.part, found.more
                return found.changes
            self._cursor, self._part, self._after = self._feed.version(), 0, 0
            epoch = epoch_of(self._cursor)
        changes, self._after, _ = self._feed.page(self._table, self._after, epoch=epoch, most=most)
        if len(changes) < most:
            self._after = None
        self.more = True
        return changes


def lag_of(replica: Stored, record: FollowerRecord, reached: dict[int, int]) -> Lag:
    """How far a follower is behind, by what it has kept in the file."""
    feed = Feed(replica)
    if record.tables:
        return feed.lag(record.cursor)
    with feed.snapshot():
        waiting = {no: size for no, size in feed.sizes().items() if size > reached.get(no, 0)}
        ages = []
        for no, size in waiting.items():
            header = feed.reader.header(feed.head(no, size), reached.get(no, 0))
            if header is not None:
                ages.append((replica.clock.now_ms() - (header.hlc >> 16)) / 1000)
        behind = sum(size - reached.get(no, 0) for no, size in waiting.items())
        return Lag(behind, max(0.0, *ages, 0.0))
