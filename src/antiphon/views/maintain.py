"""Room `views` (imports `log` and below): keeps rows in step with events, in the transaction that appends them.

An event that creates its entity makes a row without looking at anything else. Every other write has its row computed
again from all events on it, so a row is always a function of the set of visible events.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import msgspec

from antiphon.log.read import LogReader, stamp_of
from antiphon.log.store import LogHead
from antiphon.model.errors import AntiphonError, NotFound, Rejected
from antiphon.model.event import Event, Header
from antiphon.model.table import Merge, Table
from antiphon.model.text import EntityIds, event_text
from antiphon.views.domain import AssertRow, OnlyWith, Op, Registry, Write
from antiphon.views.merge import Merged, Placed, merge
from antiphon.views.store import MentionStore, TableStore, of_entity

RowKey = tuple[str, bytes]


class FileState(msgspec.Struct):
    """How far everything in a file has come.

    `events`, `commits` and `next_row` move with every commit and are stored in its feed entry; the rest, which
    seldom changes, is stored apart. *Units*: `events` counts all events ever appended to the file; `behind` has
    that count for domains which some process, not knowing them, has left unfolded since.
    """

    epoch: int = 1
    events: int = 0
    commits: int = 0
    next_row: dict[str, int] = {}
    folded: dict[str, str] = {}
    behind: dict[str, int] = {}
    scrub_pending: bool = False

    @property
    def version(self) -> int:
        """The feed's version: 63 bits, epoch first."""
        return self.epoch << 40 | self.events


class Views:
    """Folds events to rows for the domains of a registry."""

    def __init__(
        self,
        registry: Registry,
        tables: TableStore,
        mentions: MentionStore,
        reader: Callable[[], LogReader],
        heads: Callable[[], dict[int, LogHead]],
    ) -> None:
        self._registry = registry
        self._tables = tables
        self._mentions = mentions
        self._reader = reader
        self._heads = heads
        self.live: frozenset[str] = frozenset(registry.domains)

    def apply(
        self,
        state: FileState,
        head: LogHead,
        *,
        first: int,
        headers: Sequence[Header],
        bodies: Sequence[bytes],
        values: Sequence[Any],
        created: Sequence[bool],
    ) -> set[RowKey]:
        """Folds these events of one log; the keys of rows that did not simply come new.

        *Shapes*: all sequences have one entry an event; a value of None is read from its body.
        Raises Rejected, naming the event, when a fold raises: the whole commit then fails.
        """
        rows: dict[str, list[tuple[Any, ...]]] = {}
        touched: dict[RowKey, list[Placed]] = {}
        mentioned: list[tuple[bytes, int, int]] = []
        folds_of, live = self._registry.folds, self._live_tables()
        no = head.no
        for at, header in enumerate(headers):
            folds = folds_of.get(header.kind)
            if folds is None:
                continue
            seq = first + at
            try:
                value = values[at]
                if value is None:
                    value = self._registry.kinds[header.kind].read(bodies[at], header.kind_version)
                for fold in folds:
                    if type(fold) is AssertRow and created[at]:
                        name = fold.table.name
                        if name not in live:
                            continue
                        occurred = header.occurred
                        time_ms = header.hlc >> 16 if occurred is None else occurred
                        n = state.next_row.get(name, 1)
                        state.next_row[name] = n + 1
                        row = (n, no, seq, *fold.row(header.entity, time_ms, value))
                        rows.setdefault(name, []).append(row)
                        continue
                    if type(fold) is OnlyWith and getattr(value, fold.field) is None:
                        continue
                    event = Event(head.id, seq, header, bodies[at], stamp_of(head, seq, header.hlc))
                    self._collect(fold(event, value), event, head, touched, mentioned, created=created[at])
            except AntiphonError:
                raise
            except Exception as error:
                raise Rejected(
                    f"the fold of {header.kind} failed on event {event_text(head.id, seq)}: "
                    f"{type(error).__name__}: {error}; nothing was recorded",
                    kind=header.kind,
                ) from error
        for name, new in rows.items():
            self._tables.insert(self._registry.tables[name], new)
        if mentioned:
            self._mentions.add(mentioned)
        for key, writes in touched.items():
            if not self._overlay(key, no, writes):
                self.recompute(state, key, (no, writes[-1].seq))
        return set(touched)

    def _collect(
        self,
        writes: Iterable[Write],
        event: Event,
        head: LogHead,
        touched: dict[RowKey, list[Placed]],
        mentioned: list[tuple[bytes, int, int]],
        *,
        created: bool,
    ) -> None:
        """Notes what one fold of one event writes, and to which rows that other events created."""
        live = self._live_tables()
        for write in writes:
            if write.table in live:
                placed = Placed(event.stamp, head.id, event.seq, write)
                touched.setdefault((write.table, write.key), []).append(placed)
                self._mention(mentioned, head, write, event, created=created)

    def _overlay(self, key: RowKey, no: int, writes: list[Placed]) -> bool:
        """Puts the newest writes on top of a row that is there; False where that could differ from computing it again.

        It cannot when everything on the row is of one log (its order is that of its seqs), nothing deletes, and no
        column keeps its first write. Without this, the n-th update of a row would read n events.
        """
        table = self._registry.tables[key[0]]
        if any(placed.write.op == Op.DELETE for placed in writes) or any(
            column.merge != Merge.LAST_WRITE for column in table.columns
        ):
            return False
        row = self._tables.row(table, key[1])
        if row is None or row.log != no or self._mentions.ends(of_entity(key[1])) != (no, no):
            return False
        values, seq = dict(row.values), row.seq
        for placed in writes:
            values.update(placed.write.values)
            if table.subject in placed.write.values:
                seq = placed.seq
        self._tables.replace(table, key[1], (row.n, no, seq, *(values[name] for name in table.names)))
        return True

    def _live_tables(self) -> frozenset[str]:
        owner = self._registry.domain_of_table
        return frozenset(name for name in self._registry.tables if owner[name] in self.live)

    def _mention(
        self,
        mentioned: list[tuple[bytes, int, int]],
        head: LogHead,
        write: Write,
        event: Event,
        *,
        created: bool,
    ) -> None:
        """Notes that the event writes to a row that another event created, and that other event with it."""
        if created and write.key == event.entity:
            return
        what = of_entity(write.key)
        mentioned.append((what, head.no, event.seq))
        if self._mentions.ends(what) is not None:
            return
        origin = self._origin(write, head)
        if origin is not None:
            mentioned.append((what, *origin))

    def _origin(self, write: Write, head: LogHead) -> tuple[int, int] | None:
        """The place of the event that created a row's entity."""
        row = self._tables.row(self._registry.tables[write.table], write.key)
        if row is not None:
            return row.log, row.seq
        heads = self._heads().values()
        kin = [head, *(other for other in heads if other.owner == head.owner and other.no != head.no)]
        for candidate in kin:
            seq = self._reader().find_entity(candidate, write.key)
            if seq is not None:
                return candidate.no, seq
        return None

    def recompute(self, state: FileState, key: RowKey, place: tuple[int, int] | None = None) -> bool:
        """Computes one row again from all visible events on it (and the one at `place`); whether it changed."""
        table = self._registry.tables[key[0]]
        if table.name not in self._live_tables():
            return False
        merged = merge(table, self._writes_on(table, key[1], place))
        if merged is None:
            return self._tables.replace(table, key[1], None)
        n = state.next_row.get(table.name, 1)
        if self._tables.row(table, key[1]) is None:  # one that exists keeps its number
            state.next_row[table.name] = n + 1
        return self._tables.replace(table, key[1], (n, *self._place(merged), *merged.values))

    def _place(self, merged: Merged) -> tuple[int, int]:
        for head in self._heads().values():
            if head.id == merged.log:
                return head.no, merged.seq
        raise NotFound("a row speaks by an event of a log that is not here")

    def _writes_on(self, table: Table, key: bytes, place: tuple[int, int] | None) -> Iterable[Placed]:
        places = self._mentions.find(of_entity(key))
        if not places:
            row = self._tables.row(table, key)
            places = [] if row is None else [(row.log, row.seq)]
        if place is not None and place not in places:  # the event that creates an entity is not mentioned under it
            places = [*places, place]
        heads = self._heads()
        for no, seq in places:
            try:
                event = self._reader().event(heads[no], seq)
            except NotFound:
                continue
            yield from self._folded(event, table.name, key)

    def _folded(self, event: Event, table: str, key: bytes) -> Iterable[Placed]:
        kind = self._registry.kinds.get(event.kind)
        if kind is None or event.body is None or event.header.kind_version > kind.version:
            return
        value = kind.read(event.body, event.header.kind_version)
        folds = self._registry.folds.get(event.kind, ())
        for at, write in enumerate(write for fold in folds for write in fold(event, value)):
            if write.table == table and write.key == key:
                yield Placed(event.stamp, event.log, event.seq, write, at)

    def held_value(self, event: Event, table: str, key: bytes) -> Any:
        """What an event writes to the held column of a row."""
        held = self._registry.tables[table].held
        for placed in self._folded(event, table, key):
            if held is not None and held in placed.write.values:
                return placed.write.values[held]
        return None

    def keys_of(self, event: Event) -> set[RowKey]:
        """The rows that an event writes to."""
        kind = self._registry.kinds.get(event.kind)
        if kind is None or event.body is None or event.header.kind_version > kind.version:
            return set()
        value = kind.read(event.body, event.header.kind_version)
        folds = self._registry.folds.get(event.kind, ())
        return {(write.table, write.key) for fold in folds for write in fold(event, value)}

    def refold(self, state: FileState, domain: str, logs: Iterable[LogHead]) -> int:
        """Drops a domain's tables and folds all events again; how many events it read."""
        wanted = self._registry.domains[domain]
        kinds = {kind.name for kind in wanted.kinds}
        for table in wanted.tables:
            self._tables.drop(table)
            state.next_row.pop(table.name, None)
        before, self.live = self.live, frozenset({domain})
        count = 0
        try:
            for head in logs:
                ids = EntityIds(head.id)
                batch: list[Event] = []
                for event in self._reader().events(head):
                    count += 1
                    if event.kind in kinds and event.body is not None:
                        batch.append(event)
                    if len(batch) >= 1_024:
                        self._refold_batch(state, head, ids, batch)
                        batch = []
                self._refold_batch(state, head, ids, batch)
        finally:
            self.live = before
        return count

    def _refold_batch(self, state: FileState, head: LogHead, ids: EntityIds, batch: list[Event]) -> None:
        for event in batch:
            kind = self._registry.kinds[event.kind]
            if event.header.kind_version > kind.version:
                continue
            created = event.entity is not None and event.entity == ids.of(event.header.hlc, event.seq)
            self.apply(
                state,
                head,
                first=event.seq,
                headers=[event.header],
                bodies=[event.body or b""],
                values=[None],
                created=[created],
            )
