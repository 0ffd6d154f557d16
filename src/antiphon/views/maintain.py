"""Room `views` (imports `log` and below): keeps rows in step with events, in the transaction that appends them.

An event that alone makes a row inserts it without looking at anything else. Every other write has its row computed
again from all events on it (`views/merge.py`), so a row is always a function of the set of visible events.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

from antiphon.log.read import stamp_of
from antiphon.log.store import LogHead
from antiphon.model.errors import AntiphonError, InvalidInput, Rejected
from antiphon.model.event import Event, Header, Scope
from antiphon.model.table import Merge, Table
from antiphon.model.text import EntityIds, event_text
from antiphon.views.batch import COMPUTED, MINTED, NATURAL, Batch, RowKey, checked
from antiphon.views.domain import AssertRow, OnlyWith, Write
from antiphon.views.merge import Placed
from antiphon.views.rows import ComputedRows
from antiphon.views.state import FileState
from antiphon.views.store import of_row

_STACKS: Final = frozenset({Merge.LAST_WRITE, Merge.GROW_SET})


class Views(ComputedRows):
    """Folds events to rows for the domains of a registry."""

    # -- events in -----------------------------------------------------------------------------------------------

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
        strict: bool = True,
    ) -> set[RowKey]:
        """Folds these events of one log; the keys of rows that did not simply come new.

        *Shapes*: all sequences have one entry an event; a value of None is read from its body. What cannot be folded,
        or may not be written, fails the whole commit when `strict` (InvalidInput or Rejected, naming the event), else
        it is listed among the rejections.
        """
        batch = Batch(self._quick(state), strict=strict)
        folds_of = self._registry.folds
        for at, header in enumerate(headers):
            folds = folds_of.get(header.kind)
            if folds is None:
                continue
            seq = first + at
            batch.begin()
            try:
                value = values[at]
                if value is None:
                    value = self._registry.kinds[header.kind].read(bodies[at], header.kind_version)
                self._fold(batch, state, head, seq, header, bodies[at], value, folds, created[at])
            except Exception as error:
                if not isinstance(error, AntiphonError):
                    error = Rejected(f"the fold failed: {type(error).__name__}: {error}", kind=header.kind)
                if strict:
                    raise _named(error, header.kind, event_text(head.id, seq)) from error
                batch.undo()
                self._rejections.put("", _place_key(head.no, seq), [(head.no, seq, "body", str(error))])
        return self._finish(batch, state, head, first, headers, bodies)

    def _quick(self, state: FileState) -> dict[str, int]:
        """By table: how rows that one event makes come into it."""
        known = self._quick_kept
        if known is not None and known[0] is self.live and known[1] == state.orphans:
            return known[2]
        live = self._live_tables()
        quick = {}
        for name, table in self._registry.tables.items():
            if name in live:
                plain = table.is_plain and name not in state.orphans
                quick[name] = (MINTED if table.minted else NATURAL) if plain else COMPUTED
        self._quick_kept = self.live, set(state.orphans), quick
        return quick

    def _fold(
        self,
        batch: Batch,
        state: FileState,
        head: LogHead,
        seq: int,
        header: Header,
        body: bytes,
        value: Any,
        folds: tuple[Any, ...],
        created: bool,
    ) -> None:
        writes: list[Write] = []
        for fold in folds:
            if type(fold) is AssertRow:
                table = fold.table
                quick = batch.quick.get(table.name, 0)
                if (quick == MINTED and created) or quick == NATURAL:
                    if table.shared and header.scope == Scope.PRIVATE:
                        continue
                    recorded = header.hlc >> 16
                    occurred = header.occurred
                    time_ms = recorded if occurred is None else occurred
                    row = fold.row((header.entity, time_ms, recorded, head.owner, head.id), value)
                    if fold.checked or fold.reals:
                        row = checked(fold, row)
                    n = state.next_row.get(table.name, 1)
                    if quick == MINTED:
                        state.next_row[table.name] = n + 1
                        batch.add(batch.minted, table.name, (n, head.no, seq, *row))
                        continue
                    named = table.agent_in_key
                    if named is None or row[table.names.index(named)] == head.owner:
                        state.next_row[table.name] = n + 1
                        batch.add(batch.natural, table.name, (n, head.no, seq, *row))
                        continue
            elif type(fold) is OnlyWith and getattr(value, fold.field) is None:
                continue
            event = Event(head.id, seq, header, body, stamp_of(head, seq, header.hlc), head.owner)
            writes += self._written(fold(event, value), header.scope)
        for write in writes:
            self._touch(batch, write, header, head, seq, created=created)

    def _touch(self, batch: Batch, write: Write, header: Header, head: LogHead, seq: int, *, created: bool) -> None:
        """Notes what one event writes, and to which rows that other events made."""
        if write.table not in batch.quick:
            return
        minted = created and write.key == header.entity
        placed = Placed(stamp_of(head, seq, header.hlc), head.id, seq, write, 0, head.owner, minted)
        batch.touched.setdefault((write.table, write.key), []).append(placed)
        if minted:
            return
        what = of_row(self._registry.tables[write.table], write.key)
        batch.mentioned.append((what, head.no, seq))
        if what not in batch.known and self._mentions.ends(what) is None:
            origin = self._origin(write, head)
            if origin is not None:
                batch.mentioned.append((what, *origin))
        batch.known.add(what)

    def _origin(self, write: Write, head: LogHead) -> tuple[int, int] | None:
        """The place of the event that made a row."""
        table = self._registry.tables[write.table]
        row = self._tables.row(table, write.key)
        if row is not None:
            return row.log, row.seq
        if not table.minted:
            return None
        heads = self._heads().values()
        kin = [head, *(other for other in heads if other.owner == head.owner and other.no != head.no)]
        for candidate in kin:
            seq = self._reader().find_entity(candidate, write.key)
            if seq is not None:
                return candidate.no, seq
        return None

    def _finish(
        self,
        batch: Batch,
        state: FileState,
        head: LogHead,
        first: int,
        headers: Sequence[Header],
        bodies: Sequence[bytes],
    ) -> set[RowKey]:
        for name, new in batch.minted.items():
            table = self._registry.tables[name]
            self._tables.insert(table, new)
            self._count(table, new)
        for name, new in batch.natural.items():
            table = self._registry.tables[name]
            inserted = self._tables.insert_new(table, new)
            self._count(table, [row for row in new if row[0] in inserted])
            for row in new:
                if row[0] not in inserted:
                    self._again(batch, table, row, head, first, headers, bodies)
        if batch.mentioned:
            self._mentions.add(batch.mentioned)
        strict_from = (head.id, first) if batch.strict else None
        for key, writes in batch.touched.items():
            if not self._overlay(key, head.no, writes):
                self.recompute(state, key, (head.no, writes[-1].seq), strict_from=strict_from)
        return set(batch.touched) | self.flush_figures(state)

    def _count(self, table: Table, rows: Iterable[tuple[Any, ...]]) -> None:
        if self.figures.counts(table):
            for row in rows:
                self.figures.changed(table, None, dict(zip(table.names, row[3:], strict=True)))

    def _again(
        self,
        batch: Batch,
        table: Table,
        row: tuple[Any, ...],
        head: LogHead,
        first: int,
        headers: Sequence[Header],
        bodies: Sequence[bytes],
    ) -> None:
        """A row that was there already: what the event says of it joins what others have said."""
        seq = row[2]
        header = headers[seq - first]
        event = Event(head.id, seq, header, bodies[seq - first], stamp_of(head, seq, header.hlc), head.owner)
        value = self._registry.kinds[header.kind].read(event.body or b"", header.kind_version)
        for fold in self._registry.folds[header.kind]:
            if type(fold) is AssertRow and fold.table is table:
                for write in fold(event, value):
                    self._touch(batch, write, header, head, seq, created=False)

    # -- again from the beginning --------------------------------------------------------------------------------

    def refold(self, state: FileState, domain: str, logs: Iterable[LogHead]) -> int:
        """Drops a domain's tables and folds all events again; how many events it read."""
        kinds = {kind.name for kind in self._registry.domains[domain].kinds}
        mine = {name for name, owner in self._registry.domain_of_table.items() if owner == domain}
        for name in mine:
            self._tables.drop(self._registry.tables[name])
            state.next_row.pop(name, None)
            state.orphans.discard(name)
            if any(self._registry.domain_of_table[c.derived.table] != domain for c in self._derived_of(name)):
                state.orphans.add(name)  # its figures are of rows that are there already
        self._rejections.drop(sorted(mine))
        self.unsaved = True
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
                        self.fold_events(state, head, ids, batch)
                        batch = []
                self.fold_events(state, head, ids, batch)
        finally:
            self.live = before
        return count

    def _derived_of(self, table: str) -> list[Any]:
        return list(self._registry.tables[table].derived)

    def fold_events(self, state: FileState, head: LogHead, ids: EntityIds, batch: Sequence[Event]) -> set[RowKey]:
        """Folds stored events of one log; what does not fit is listed. The keys of rows that did not come new."""
        touched: set[RowKey] = set()
        for event in batch:
            kind = self._registry.kinds[event.kind]
            if event.header.kind_version > kind.version or event.body is None:
                continue
            created = event.entity is not None and event.entity == ids.of(event.header.hlc, event.seq)
            touched |= self.apply(
                state,
                head,
                first=event.seq,
                headers=[event.header],
                bodies=[event.body],
                values=[None],
                created=[created],
                strict=False,
            )
        return touched


def _named(error: Exception, kind: str, event: str) -> AntiphonError:
    """The error with the event's name in it; an input that does not fit stays the caller's fault."""
    if isinstance(error, InvalidInput):
        return error
    return Rejected(f"the fold of {kind} failed on event {event}: {error}; nothing was recorded", kind=kind)


def _place_key(no: int, seq: int) -> bytes:
    """The key under which an event that cannot be folded is listed."""
    return no.to_bytes(8, "big") + seq.to_bytes(8, "big")
