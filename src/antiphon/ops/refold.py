"""Room `ops` (imports `engines` and below): whether the tables say what the logs say: every event folded again.

Nothing is written, and what is remembered is bounded: a row that one event made is compared as that event comes by; of
rows that several events wrote, so many at a time as CHANGED_WRITES_MAX allows.
"""

from __future__ import annotations

import math
import zlib
from array import array
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

import msgspec

from antiphon.engines.sqlite.mentions import SqliteMentions
from antiphon.engines.sqlite.tables import SqliteTables
from antiphon.log.kinds import ERASURE_REQUESTED
from antiphon.log.read import LogReader
from antiphon.log.store import LogHead, LogRole
from antiphon.model.errors import AntiphonError, NotFound
from antiphon.model.event import Event, Role
from antiphon.model.limits import LOG_EVENTS_MAX
from antiphon.model.table import Column, Table, Type
from antiphon.model.text import EntityIds, counted, event_text
from antiphon.ops.doctor import AGAIN, SAVE, Finding, State, ok
from antiphon.ops.recount import derived_fault, rollup_fault
from antiphon.views.domain import Registry
from antiphon.views.maintain import Views
from antiphon.views.merge import Merged, Placed
from antiphon.views.store import OF_REQUESTS, StoredRow, of_cause, of_person, of_source

CHANGED_WRITES_MAX: Final = 1_000_000
"""Writes to rows that several events wrote, remembered at a time: up to 400 bytes each, where every row has few. More
are gone through in parts, and each part reads every event twice."""
_SEQ_BITS: Final = LOG_EVENTS_MAX.bit_length() - 1
_STEP: Final = 1_024
_MENTIONED: Final = {
    1: "an entity", 2: "a person", 3: "a source", 4: "that it asks for something to be forgotten", 5: "a row",
    6: "a request that it answers",
}  # fmt: skip


def check_views(
    registry: Registry,
    tables: SqliteTables,
    mentions: SqliteMentions,
    reader: LogReader,
    heads: Iterable[LogHead],
    views: Views,
    *,
    domains: Iterable[str] | None = None,
    progress: Callable[[int], None] = lambda count: None,
) -> Iterator[Finding]:
    """Whether every row, and what mentions it, is what the events make when they are folded again; and no other row is;
    and whether every figure (derived columns, rollups) is what counting those rows makes.

    Call it in a snapshot where others may write; `domains` are those that are folded here, None for all. `progress` is
    told of events read: each is, at least twice. *Cost*: about 80 µs an event, and the memory that CHANGED_WRITES_MAX
    names; to compare one row takes the events on it at once, as it does to compute it.
    """
    own = [head for head in heads if head.role != LogRole.FOREIGN]
    live = set(registry.domains) if domains is None else set(domains)
    again = _Again(registry, tables, mentions, reader, own, views, progress)
    again.live = {name for name, of in registry.domain_of_table.items() if of in live}
    try:
        fault = again.fault()
    except AntiphonError as error:
        yield Finding("views", State.WRONG, str(error), SAVE)
        return
    if fault is not None:
        yield Finding("views", State.WRONG, fault, AGAIN)
        return
    rollups = [name for name in again.live if registry.tables[name].rollup_of is not None]
    for name in sorted(rollups):
        fault = rollup_fault(registry, tables, name)
        if fault is not None:
            yield Finding("views", State.WRONG, fault, AGAIN)
            return
    rows, mentioned = counted(sum(again.rows.values()), "row"), counted(again.mentioned, "mention")
    yield ok("views", f"{rows} and {mentioned}, as their events make them")
    for name in sorted(name for name in again.live if registry.tables[name].rollup_of is None):
        expected, found = again.rows.get(name, 0), tables.count(registry.tables[name])
        if expected != found:
            detail = f"{name} has {counted(found, 'row')} where its events make {expected:,}"
            yield Finding("rows", State.WRONG, detail, AGAIN)
            return
    counts = (f"{name.replace('_', ' ')} {again.rows[name]:,}" for name in registry.tables if again.rows.get(name))
    yield ok("rows", ", ".join(counts) or "none yet")


class _TooMany(Exception):
    """A part has more writes to remember than are allowed."""


class _Again:
    """Folds events again without writing, and compares."""

    def __init__(
        self,
        registry: Registry,
        tables: SqliteTables,
        mentions: SqliteMentions,
        reader: LogReader,
        heads: list[LogHead],
        views: Views,
        progress: Callable[[int], None],
    ) -> None:
        self._views = views
        self._registry, self._tables, self._mentions, self._reader = registry, tables, mentions, reader
        self._heads, self._progress = {head.no: head for head in heads}, progress
        self._numbers = {head.id: head.no for head in heads}
        self.live: set[str] = set()
        self.rows: dict[str, int] = {}
        self.mentioned = 0

    def fault(self) -> str | None:
        """The first difference, in words; None when there is none."""
        parts = 1
        while True:
            self.rows, self.mentioned = {}, 0
            try:
                found = (self._fault_in(part, parts) for part in range(parts))
                return next((fault for fault in found if fault is not None), None)
            except _TooMany:
                parts *= 2

    def _fault_in(self, part: int, parts: int) -> str | None:
        """The same of the rows whose keys fall into one part of several; mentions by headers count in the first."""
        changed = self._changed(part, parts)
        writes: dict[bytes, array[int]] = {key: array("q") for key in changed}
        count = 0
        for no, event, _ in self._events():
            wanted = set() if part else self._mentions_of(event)
            single: dict[tuple[str, bytes], list[Placed]] = {}
            here: set[bytes] = set()
            for placed in self._writes(event):
                what = self._what(placed)
                if what in changed:
                    here.add(what)
                elif zlib.crc32(what) % parts == part:
                    single.setdefault((placed.write.table, placed.write.key), []).append(placed)
            for what in here:
                writes[what].append(no << _SEQ_BITS | event.seq)
                count += 1
                if count > CHANGED_WRITES_MAX and len(changed) > 1:
                    raise _TooMany
            fault = self._mention_fault(no, event, wanted)
            for (name, key), placed_here in single.items():
                fault = fault or self._row_fault(name, key, placed_here)
            if fault is not None:
                return fault
        return next((fault for key in changed if (fault := self._changed_fault(key, writes[key])) is not None), None)

    def _events(self) -> Iterator[tuple[int, Event, bytes | None]]:
        """Each event with its log's number, and the entity that it creates."""
        waiting = 0
        for no, head in self._heads.items():
            ids = EntityIds(head.id)
            for event in self._reader.events(head):
                own = event.entity is not None and event.entity == ids.of(event.header.hlc, event.seq)
                yield no, event, event.entity if own else None
                waiting += 1
                if waiting == _STEP:
                    self._progress(waiting)
                    waiting = 0
        self._progress(waiting)

    def _changed(self, part: int, parts: int) -> set[bytes]:
        """The keys that an event writes which did not create them."""
        found: set[bytes] = set()
        for _, event, own in self._events():
            for placed in self._writes(event):
                what = self._what(placed)
                if placed.write.key != own and zlib.crc32(what) % parts == part:
                    found.add(what)
            if len(found) > CHANGED_WRITES_MAX:
                raise _TooMany
        return found

    def _writes(self, event: Event) -> Iterator[Placed]:
        return (placed for placed in self._views.placed(event) if placed.write.table in self.live)

    def _what(self, placed: Placed) -> bytes:
        return self._views.what_of((placed.write.table, placed.write.key))

    def _changed_fault(self, what: bytes, places: array[int]) -> str | None:
        writes: dict[tuple[str, bytes], list[Placed]] = {}
        for place in places:
            no, seq = place >> _SEQ_BITS, place & (LOG_EVENTS_MAX - 1)
            try:
                event = self._reader.event(self._heads[no], seq)
            except NotFound:  # forgotten since, where no snapshot is held
                continue
            if len(places) > 1:  # a row of one event is found by the row itself
                fault = self._mention_fault(no, event, {what})
                if fault is not None:
                    return fault
            for placed in self._writes(event):
                if self._what(placed) == what:
                    writes.setdefault((placed.write.table, placed.write.key), []).append(placed)
        found = (self._row_fault(name, key, placed) for (name, key), placed in writes.items())
        return next((fault for fault in found if fault is not None), None)

    def _row_fault(self, name: str, key: bytes, writes: list[Placed]) -> str | None:
        table = self._registry.tables[name]
        merged, row = self._views.outcome(table, key, writes).row, self._tables.row(table, key)
        place = event_text(writes[-1].log, writes[-1].seq)
        if merged is None:
            return None if row is None else f"{name} has a row that event {place} leaves none of"
        if row is None:
            return f"{name} lacks the row that event {place} makes"
        self.rows[name] = self.rows.get(name, 0) + 1
        other = self._differing(table, merged, row)
        if not other:
            figures = derived_fault(self._views.figures, table, row, self.live)
            if figures:
                return f"the row in {name} of event {place} has wrong figures: {', '.join(figures)}"
        return (
            f"the row in {name} of event {place} differs from what was recorded: {', '.join(other)}" if other else None
        )

    def _differing(self, table: Table, merged: Merged, row: StoredRow) -> list[str]:
        if (row.log, row.seq) != (self._numbers[merged.log], merged.seq):
            return ["the event that it speaks by"]
        pairs = zip(table.columns, merged.values, strict=True)
        said = ((column, value) for column, value in pairs if column.derived is None)
        return [column.name for column, value in said if not _same(column, value, row.values[column.name])]

    def _mentions_of(self, event: Event) -> set[bytes]:
        """The mentions that an event's header alone calls for."""
        header = event.header
        wanted = {of_person(person) for person in header.about or ()}
        wanted |= {of_source(ref.log, ref.seq) for ref in header.refs or () if ref.role == Role.SOURCE}
        wanted |= {of_cause(ref.log, ref.seq) for ref in header.refs or () if ref.role == Role.CAUSE}
        return wanted | ({OF_REQUESTS} if header.kind == ERASURE_REQUESTED else set())

    def _mention_fault(self, no: int, event: Event, wanted: set[bytes]) -> str | None:
        for what in sorted(wanted):
            if not self._mentions.has(what, no, event.seq):
                place = event_text(event.log, event.seq)
                return f"of what event {place} mentions, {_MENTIONED[what[0]]} is not noted"
        self.mentioned += len(wanted)
        return None


def _same(column: Column, made: Any, stored: Any) -> bool:
    """Whether a stored value is what an engine makes of this one."""
    if column.type == Type.JSON and made is not None:
        made = msgspec.json.decode(msgspec.json.encode(made))
    if isinstance(made, float) and math.isnan(made):
        made = None  # what is no number is stored as nothing
    if made == stored:
        return True
    if made is None or stored is None:
        return False
    return str(int(made) if isinstance(made, bool) else made) == str(
        int(stored) if isinstance(stored, bool) else stored
    )
