"""Room `replica` (imports all below it): followers: they keep an engine's rows in step with a file's, at least once.

A follower reads the tables once, page by page, then what changed behind its cursor; rows are read when they are sent.
The engine is never ahead of the file, and a file never waits for an engine.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec

from antiphon.engines.sqlite.followers import Bootstrap, FollowerRecord, SqliteFollowers
from antiphon.model import limits
from antiphon.model.errors import InvalidInput, Unavailable
from antiphon.model.table import Table
from antiphon.model.values import canonical
from antiphon.replica.feed import Feed, Lag, by_table, lag_of
from antiphon.replica.feeder import SAVE_EVERY_MS, Feeder, state_of
from antiphon.replica.stored import Stored, forgets
from antiphon.views.batch import RowKey
from antiphon.views.feed import (
    Change,
    EngineEmptied,
    Losing,
    Retaining,
    Retiring,
    Showing,
    Sink,
    Spreading,
    epoch_of,
    offset_of,
    version_of,
)

TRIM_EVERY_MS: Final = 60_000.0
PULSE_EVERY_MS: Final = 1_000.0
REFILL_EVERY_MS: Final = 600_000.0
"""An engine that loses something again and again is filled again so often, and no oftener: it may be too small."""
_PAGE: Final = 1_024


class Difference(msgspec.Struct, frozen=True):
    """A row that engine and file do not agree on: `missing` in the engine, `extra` there, or `differs` in columns."""

    table: str
    key: bytes
    how: str
    columns: tuple[str, ...] = ()


class Standing(msgspec.Struct, frozen=True):
    """How one follower stands, as the file knows it: what it does, how far its engine is behind, what went wrong."""

    name: str
    engine: str
    state: str
    tables: list[str]
    topics: list[str]
    behind: int
    behind_seconds: float
    delivered: int
    letters: int
    error: str
    error_ms: int
    heard_ms: int


def followers_of(replica: Stored) -> list[Standing]:
    """All who follow a file, here or in other processes; up to SAVE_EVERY_MS late."""
    kept = SqliteFollowers(replica.file)
    found = []
    for record in kept.all():
        lag = lag_of(replica, record, kept.reached(record.name))
        found.append(
            Standing(
                name=record.name,
                engine=record.engine,
                state=state_of(record),
                tables=record.tables,
                topics=record.topics,
                behind=lag.events,
                behind_seconds=lag.seconds,
                delivered=record.delivered,
                letters=kept.letter_count(record.name),
                error=record.error,
                error_ms=record.error_ms,
                heard_ms=record.saved_ms,
            )
        )
    return found


class Follower(Feeder):
    """Keeps the rows of some tables in one engine in step."""

    def __init__(
        self,
        replica: Stored,
        sink: Sink,
        name: str,
        tables: Sequence[Table],
        *,
        save_ms: float = SAVE_EVERY_MS,
        take_over: bool = False,
    ) -> None:
        if not tables:
            raise InvalidInput("a follower needs at least one table")
        record = FollowerRecord(name, type(getattr(sink, "engine", sink)).__name__, [table.name for table in tables])
        super().__init__(replica, sink, record, Feed(replica, tables), save_ms=save_ms, take_over=take_over)
        self._sink, self._tables = sink, list(tables)
        self._filled: dict[str, Table] = {}
        self._is_declared = False
        self._part = self._forgets = 0
        self._trimmed_ms = replica.clock.monotonic_ms()
        self._pulsed_ms = self._trimmed_ms - PULSE_EVERY_MS
        self._refilled_ms = self._trimmed_ms - REFILL_EVERY_MS

    @property
    def sink(self) -> Sink:
        """The engine."""
        return self._sink

    def lag(self) -> Lag:
        return self._feed.lag(self._record.cursor, self._part)

    def _prepare(self) -> None:
        self._sink.prepare(self._tables)
        if isinstance(self._sink, Showing):
            self._sink.show(list(self._replica.registry.dashboards.values()))

    def _resume(self, *, goes_on: bool, is_new: bool) -> None:
        self._part = self._forgets = 0
        declared = self._replica.registry.tables
        self._filled = {name: declared[name] for name in self._record.left if name in declared}
        self._filled |= self._followers.declared(self.name) | {table.name: table for table in self._tables}
        self._is_declared = False
        if goes_on and self._replica.feed_is_whole():
            self._record.state = "bootstrapping" if self._record.bootstrap else "following"
        else:
            self._read_tables_again()
        self._retire()

    def _retire(self) -> None:
        if isinstance(self._sink, Retiring):
            self._sink.retire(self._record.epoch, self._tables, marks=self._marks())

    def _read_tables_again(self) -> None:
        self._record.bootstrap = Bootstrap(self._record.epoch)
        self._record.cursor, self._part = self._feed.version(), 0
        self._record.state = "bootstrapping"
        self._dirty, self.idle = True, False

    def _begin_again(self) -> None:
        """The feed is not the one that was followed: under a new epoch, so that what is left over can be told."""
        self._raise_again()
        self._read_tables_again()
        self.save()

    def _deliver(self) -> int:
        record = self._record
        if record.bootstrap is not None:
            return self._page(record.bootstrap)
        found = self._feed.behind(record.cursor, self._part, epoch=record.epoch, most=limits.FEED_ROWS_MAX)
        if found is None:
            self._begin_again()
            return 0
        self._apply(found.changes)
        if (record.cursor, self._part) != (found.cursor, found.part):
            record.cursor, self._part, self._dirty = found.cursor, found.part, True
        self.idle = not found.more
        if self.idle:
            self._forget()
            self._trim()
            self._pulse()
        return len(found.changes)

    def _forget(self) -> None:
        """Tells an engine that keeps copies when the file has forgotten something; the rows are as they should be."""
        count = forgets(self._replica.file)
        if count != self._forgets and isinstance(self._sink, Retaining):
            self._sink.forgotten(self._record.epoch, count, marks=self._marks())
            self._forgets = count

    def _page(self, at: Bootstrap) -> int:
        """One page of the first reading; behind the last one, what the engine has from before is swept."""
        record = self._record
        if at.table == len(self._tables):
            self._sweep(at.since)
            record.bootstrap, record.state, record.error, self._dirty = None, "following", "", True
            return 0
        table = self._tables[at.table]
        changes, last, version = self._feed.page(table, at.after, epoch=record.epoch, most=_PAGE)
        if epoch_of(version) != epoch_of(record.cursor):
            self._begin_again()
            return 0
        self._apply(changes)
        record.bootstrap = (
            Bootstrap(at.since, at.table, last) if len(changes) == _PAGE else Bootstrap(at.since, at.table + 1)
        )
        self._dirty = True
        return len(changes)

    def _sweep(self, below: int) -> None:
        """Takes out what is of older epochs; of tables that are followed no more, that is all."""
        left = [self._filled[name] for name in self._record.left if name in self._filled]
        for table in [*self._tables, *left]:
            self._moving(self._sink.sweep, self._record.epoch, table, below)
        for table in left:
            del self._filled[table.name]
            self._record.left.remove(table.name)
        self._is_declared = False

    def _keep(self) -> None:
        if not self._is_declared:
            self._followers.declare(self.name, self._filled.values())
            self._is_declared = True

    def _apply(self, changes: list[Change]) -> None:
        if changes:
            epoch = self._record.epoch
            self._deliver_or_refuse(
                changes, lambda batch: self._moving(self._sink.apply, epoch, batch), _key, instead=_buried
            )

    def _trim(self) -> None:
        """Now and then: drops tombstones older than the oldest entry of the feed, as nothing older can come any more,
        and what is past.
        """
        now = self._replica.clock.monotonic_ms()
        if now - self._trimmed_ms >= TRIM_EVERY_MS:
            self._trimmed_ms = now
            horizon = version_of(self._record.epoch, offset_of(self._feed.oldest()))
            for table in self._tables:
                self._sink.trim(self._record.epoch, table, horizon, marks=self._marks())
            self._retire()
            self._refill(now)

    def _refill(self, now: float) -> None:
        """Begins again where the engine has lost what rows, read again, bring back."""
        is_due = now - self._refilled_ms >= REFILL_EVERY_MS
        if is_due and isinstance(self._sink, Losing) and self._sink.lost():
            self._refilled_ms = now
            self._begin_again()

    def _is_due(self) -> bool:
        return self._replica.clock.monotonic_ms() - self._pulsed_ms >= PULSE_EVERY_MS

    def _pulse(self) -> None:
        """Tells the engine now and then that it has everything."""
        if self._is_due():
            self._pulsed_ms = self._replica.clock.monotonic_ms()
            self._sink.pulse(self._record.epoch, marks=self._marks())

    def drive_again(self) -> int:
        """Delivers what the engine has refused once more, as it is now; how many letters are left.

        Under a new epoch: what stands there in the place of a refused row may be of this very moment.
        """
        with self._lock:
            self.step()
            if not self._has_begun:
                raise Unavailable(f"{self.name}: the engine did not answer: {self.error}")
            keys = list(self._letters)
            if keys and not self._raise_again():
                self._has_begun = False
                raise EngineEmptied(f"{self.name}: the engine has lost something, which is delivered again first")
            with self._feed.snapshot() as version:
                changes = self._feed.images(by_table(keys), version_of(self._record.epoch, offset_of(version)))
            self._apply(changes)
            self._dirty = True
            self.save()
            return len(self._letters)

    def check(self) -> list[Difference]:
        """Where the engine's rows differ from the file's, row by row; what is not delivered yet is no difference.

        Call `run` first, or leave the follower running. *Cost*: about 30 µs a row.
        """
        return check_rows(self._feed, self._sink, self._tables)


def _key(change: Change) -> RowKey:
    return change.table, change.key


def _buried(change: Change) -> Change | None:
    """What an engine keeps of a row that it refuses: nothing, since what it had of it before is no longer so."""
    return None if change.row is None else Change(change.table, change.key, change.version, None)


def check_rows(
    feed: Feed, sink: Sink, tables: Sequence[Table], progress: Callable[[int], None] = lambda count: None
) -> list[Difference]:
    """Where an engine's rows differ from the file's. What differs is looked at twice: it may be on its way."""
    found: list[Difference] = []
    for table in tables:
        if _compared(feed, sink, table, progress):
            found += _compared(feed, sink, table, progress)
    return found


def _compared(feed: Feed, sink: Sink, table: Table, progress: Callable[[int], None]) -> list[Difference]:
    """One pass over both sides: every row of the engine, then the file's rows that were not among them.

    An engine that is `partial` may have lost rows, as a cache does; what it has must be right. What is past, an engine
    has dropped rightly.
    """
    past = sink.horizon(table) if isinstance(sink, Retiring) else None
    found = _left_over(feed, sink, table) if isinstance(sink, Spreading) else []
    seen: set[int] = set()
    after: bytes | None = None
    while page := sink.rows(table, after=after, limit=_PAGE):
        with feed.snapshot():
            ours = {change.key: change for change in feed.images({table.name: {change.key for change in page}}, 0)}
        compared = (_differing(table, change, ours[change.key]) for change in page)
        known = {one.key for one in found}
        found += [one for one in compared if one is not None and one.key not in known]
        seen |= {hash(change.key) for change in page}
        after = page[-1].key
        progress(len(page))
    last, size = 0, 0 if getattr(sink, "partial", False) else _PAGE
    while size == _PAGE:
        changes, last, _ = feed.page(table, last, epoch=0, most=_PAGE)
        found += [
            Difference(table.name, change.key, "missing")
            for change in changes
            if hash(change.key) not in seen and not is_past(table, change, past)
        ]
        size = len(changes)
    return found


def _left_over(feed: Feed, sink: Spreading, table: Table) -> list[Difference]:
    """The rows of which an engine still tells something, beside its rows, though there are none."""
    found: set[bytes] = set()
    for keys in sink.beside(table):
        with feed.snapshot():
            found |= {change.key for change in feed.images({table.name: keys}, 0) if change.row is None}
    return [Difference(table.name, key, "extra") for key in sorted(found)]


def is_past(table: Table, change: Change, horizon: int | None) -> bool:
    """Whether a row is from before a time: an engine that drops such rows need not have it."""
    if horizon is None or table.retention is None or change.row is None:
        return False
    at = change.row.get(table.retention.column)
    return isinstance(at, int) and at < horizon


def _differing(table: Table, theirs: Change, ours: Change) -> Difference | None:
    if ours.row is None:
        return Difference(table.name, ours.key, "extra")
    said = theirs.row or {}
    columns = tuple(
        column.name for column in table.columns if not _same(column, said.get(column.name), ours.row.get(column.name))
    )
    return Difference(table.name, ours.key, "differs", columns) if columns else None


def _same(column: Any, theirs: Any, ours: Any) -> bool:
    """Whether two values are one in the column's canonical form: engines may hand back another of its forms."""
    if theirs == ours:
        return True
    if theirs is None or ours is None:
        return False
    try:
        return bool(canonical(column, theirs) == canonical(column, ours))
    except InvalidInput:
        return False
