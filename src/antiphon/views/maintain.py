"""Room `views` (imports `log` and below): keeps rows in step with events, in the transaction that appends them.

An event that alone makes a row inserts it without looking at anything else. Every other write has its row computed
again from all events on it (`views/merge.py`), so a row is always a function of the set of visible events.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from typing import Any, Final

from antiphon.log.read import stamp_of
from antiphon.log.store import LogHead
from antiphon.model import limits
from antiphon.model.errors import AntiphonError, Corrupt, InvalidInput, Rejected, Unavailable
from antiphon.model.event import Event, Header, Scope
from antiphon.model.table import Table
from antiphon.model.text import EntityIds, event_text
from antiphon.model.values import key_of
from antiphon.views.batch import COMPUTED, FRESH, MINTED, NATURAL, Batch, Folded, RowKey, checked, wholly_checked
from antiphon.views.domain import AssertRow, OnlyWith, Write
from antiphon.views.grants import cited_by
from antiphon.views.kept import RowsOf, check_together
from antiphon.views.merge import FAULTS, Placed
from antiphon.views.rows import ComputedRows, too_long, written_by
from antiphon.views.state import FileState
from antiphon.views.store import of_row

_STEP: Final = 1_024


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
    ) -> set[RowKey]:
        """Folds the events of a commit, all of one log; the keys of rows that did not simply come new.

        *Shapes*: all sequences have one entry an event; a value of None is read from its body. What cannot be folded,
        or may not be written, fails the whole commit: InvalidInput or Rejected, naming the event.
        """
        try:
            seqs = range(first, first + len(headers))
            return self._apply(state, head, seqs, headers, bodies, values, created).touched
        except FAULTS as error:
            raise Rejected(f"a row could not be made: {type(error).__name__}: {error}; nothing was recorded") from error

    def _apply(
        self,
        state: FileState,
        head: LogHead,
        seqs: Sequence[int],
        headers: Sequence[Header],
        bodies: Sequence[bytes],
        values: Sequence[Any],
        created: Sequence[bool],
        *,
        strict: bool = True,
        writes_max: int = 1 << 62,
    ) -> Folded:
        batch = Batch(self._quick(state), strict=strict, foreign=self._shared_only(head.role))
        end: int | None = None
        folds_of = self._registry.folds
        for at, header in enumerate(headers):
            folds = folds_of.get(header.kind)
            if folds is None:
                continue
            seq = seqs[at]
            if batch.writes >= writes_max:
                end = seq
                break
            batch.begin()
            try:
                value = values[at]
                if value is None:
                    value = self._registry.kinds[header.kind].read(bodies[at], header.kind_version)
                self._fold(batch, state, head, seq, header, bodies[at], value, folds, created[at])
            except Exception as error:
                if strict:
                    raise _named(error, header.kind, event_text(head.id, seq)) from error
                batch.undo()
                self._list_fault(head, seq, error)
        return Folded(self._finish(batch, state, head, seqs, headers, bodies), batch.writes, end)

    def _quick(self, state: FileState) -> dict[str, int]:
        """By table: how rows that one event makes come into it."""
        known = self._quick_kept
        if known is not None and known[0] is self.live and known[1] == state.orphans:
            return known[2]
        live = self._live_tables()
        quick = {}
        for name, table in self._registry.tables.items():
            if name in live:
                ahead = name in state.orphans
                if not table.is_plain or (ahead and not table.minted):
                    quick[name] = COMPUTED
                else:
                    quick[name] = (FRESH if ahead else MINTED) if table.minted else NATURAL
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
        unseen, seen = "", False
        for fold in folds:
            if type(fold) is AssertRow:
                table = fold.table
                quick = batch.quick.get(table.name, 0)
                if quick == FRESH and batch.strict:  # nothing can have been said of an id that is made just now
                    quick = MINTED
                if header.scope not in table.folded_scopes or (batch.foreign and not table.shared):
                    unseen = table.name
                    continue
                if (quick == MINTED and created) or quick == NATURAL:
                    recorded = header.hlc >> 16
                    occurred = header.occurred
                    time_ms = recorded if occurred is None else occurred
                    row = fold.row((header.entity, time_ms, recorded, head.owner, head.id), value)
                    if not batch.strict:
                        fits = wholly_checked(fold, row)
                    else:
                        fits = checked(fold, row) if fold.checked or fold.reals else row
                    named = table.agent_in_key if quick == NATURAL else None
                    if fits is not None and (named is None or fits[table.names.index(named)] == head.owner):
                        if table.name in self._long_keys and len(_key_in(table, fits)) > limits.KEY_BYTES_MAX:
                            raise too_long(table, _key_in(table, fits))
                        if self._mine is not None and not self._mine(table, _key_in(table, fits)):
                            continue
                        if not self._is_awaited(batch, table, fits):
                            n = state.next_row.get(table.name, 1)
                            state.next_row[table.name] = n + 1
                            new = batch.minted if quick == MINTED else batch.natural
                            batch.add(new, table.name, (n, head.no, seq, *fits))
                            seen = True
                            continue
            elif type(fold) is OnlyWith and getattr(value, fold.field) is None:
                continue
            event = Event(head.id, seq, header, body, stamp_of(head, seq, header.hlc), head.owner)
            made = written_by(fold, event, value)
            writes += self._written(made, header.scope, foreign=batch.foreign)
            unseen = made[0].table if made and not writes else unseen
        if batch.strict and unseen and not seen and not writes:
            scopes = self._registry.tables[unseen].scopes
            raise InvalidInput(
                f"a {Scope(header.scope).name.lower()} {header.kind} would change nothing: {unseen} folds "
                f"{' and '.join(scopes)} events alone. Record it with scope=Scope.{scopes[-1].upper()}",
                kind=header.kind,
            )
        for write in writes:
            self._touch(batch, write, header, head, seq, created=created)

    def _is_awaited(self, batch: Batch, table: Table, values: tuple[Any, ...]) -> bool:
        """Whether something was said of a row with this key before it is there; not of an id that is made just now."""
        if (table.minted and batch.strict) or not self._tips.expects(table):
            return False
        return self._tips.is_expected(table, _key_in(table, values))

    def _touch(self, batch: Batch, write: Write, header: Header, head: LogHead, seq: int, *, created: bool) -> None:
        """Notes what one event writes, and to which rows that other events made."""
        if write.table not in batch.quick:
            return
        minted = created and write.key == header.entity
        cited = cited_by(header)
        placed = Placed(stamp_of(head, seq, header.hlc), head.id, seq, write, 0, head.owner, minted, cited)
        batch.touched.setdefault((write.table, write.key), []).append(placed)
        batch.writes += 1
        table = self._registry.tables[write.table]
        what = of_row(table, write.key)
        batch.mentioned.append((what, head.no, seq))
        if what not in batch.known and self._mentions.ends(what) is None:
            row = self._tables.row(table, write.key)
            if row is not None:  # made by one event alone, which nothing mentions yet
                batch.mentioned.append((what, row.log, row.seq))
        batch.known.add(what)

    def _finish(
        self,
        batch: Batch,
        state: FileState,
        head: LogHead,
        seqs: Sequence[int],
        headers: Sequence[Header],
        bodies: Sequence[bytes],
    ) -> set[RowKey]:
        made: dict[str, Sequence[tuple[Any, ...]]] = {}
        for name, new in batch.minted.items():
            table = self._registry.tables[name]
            if not batch.strict:
                made[name] = self._insert_new(batch, table, new, head, seqs, headers, bodies)
                continue
            self._tables.insert(table, new)
            self._count(table, new)
            made[name] = new
        for name, new in batch.natural.items():
            made[name] = self._insert_new(batch, self._registry.tables[name], new, head, seqs, headers, bodies)
        self._mention_made(batch, made)
        if batch.mentioned:
            self._mentions.add(batch.mentioned)
        strict_from = (head.id, seqs[0]) if batch.strict and seqs else None
        for key, writes in batch.touched.items():
            writes.sort(key=lambda placed: placed.seq)
            done = self._on_tip(state, key, writes, strict_from)
            if not (self._overlay(key, head.no, writes) if done is None else done):
                self.recompute(state, key, (head.no, writes[-1].seq), strict_from=strict_from)
        if batch.strict and self._registry.kept_together:
            self._check_together(batch)
        return set(batch.touched) | self.flush_figures(state)

    def _check_together(self, batch: Batch) -> None:
        """Fails the commit where what it wrote breaks what homes keep true of several rows."""
        rows = RowsOf(self._registry, self._tables)
        for (name, key), writes in batch.touched.items():
            table = self._registry.tables[name]
            written = {column for placed in writes for column in placed.write.values} & table.kept_together
            row = rows.row(name, key) if written else None
            if row is not None:
                check_together(rows, table, row, written)

    def _mention_made(self, batch: Batch, made: dict[str, Sequence[tuple[Any, ...]]]) -> None:
        """Mentions the events whose rows came new and were written to by others of the same commit."""
        for name in {name for name, _ in batch.touched} & made.keys():
            table = self._registry.tables[name]
            for row in made[name]:
                key = _key_in(table, row[3:])
                if (name, key) in batch.touched:
                    batch.mentioned.append((of_row(table, key), row[1], row[2]))

    def _insert_new(
        self,
        batch: Batch,
        table: Table,
        new: list[tuple[Any, ...]],
        head: LogHead,
        seqs: Sequence[int],
        headers: Sequence[Header],
        bodies: Sequence[bytes],
    ) -> list[tuple[Any, ...]]:
        """Rows that may be there already, made by what was mentioned of them: those that came new."""
        inserted = self._tables.insert_new(table, new)
        made = [row for row in new if row[0] in inserted]
        self._count(table, made)
        for row in new:
            if row[0] not in inserted:
                at = bisect_left(seqs, row[2])
                self._again(batch, table, row, head, headers[at], bodies[at])
            elif not batch.strict and not table.minted:
                # an older fold may have left mentions of the row: where there are some, there must be all
                what = of_row(table, key_of(table, dict(zip(table.names, row[3:], strict=True))))
                if self._mentions.ends(what) is not None:
                    batch.mentioned.append((what, head.no, row[2]))
        return made

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
        header: Header,
        body: bytes,
    ) -> None:
        """A row that was there already: what the event says of it joins what others have said."""
        seq = row[2]
        event = Event(head.id, seq, header, body, stamp_of(head, seq, header.hlc), head.owner)
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
            self._tips.drop(self._registry.tables[name])
            if any(c.derived is not None and c.derived.table not in mine for c in self._registry.tables[name].derived):
                state.orphans.add(name)  # its figures are of rows that are there already
        self.figures.restart(mine)
        self._rejections.drop(sorted(mine))
        self.unsaved = True
        before, self.live = self.live, frozenset({domain})
        count = 0
        try:
            for head in logs:
                self._forget_faults(head, kinds)
                ids = EntityIds(head.id)
                batch: list[Event] = []
                for event in self._reader().events(head):
                    count += 1
                    if event.kind in kinds:
                        batch.append(event)
                    if len(batch) >= _STEP:
                        self.fold_events(state, head, ids, batch)
                        batch = []
                self.fold_events(state, head, ids, batch)
        finally:
            self.live = before
        return count

    def _forget_faults(self, head: LogHead, kinds: set[str]) -> None:
        """Takes events of these kinds off the list of those whose bodies do not fit."""
        for _, key, no, seq, _, _ in self._rejections.list(table="", limit=1 << 62):
            if no == head.no:
                header = self._reader().header(head, seq) if seq < head.size else None
                if header is None or header.kind in kinds:
                    self._rejections.put("", key, [])

    def fold_events(
        self, state: FileState, head: LogHead, ids: EntityIds, batch: Sequence[Event], *, writes_max: int = 1 << 62
    ) -> Folded:
        """Folds stored events of one log until they have written so much. What does not fit, or makes anything fail,
        is listed: whoever writes such an event holds nobody else's up.
        """
        kinds = self._registry.kinds
        known = [
            event
            for event in batch
            if event.body is not None and event.kind in kinds and event.header.kind_version <= kinds[event.kind].version
        ]
        folded = Folded()
        waiting: list[Sequence[Event]] = [known]
        while waiting and folded.end is None:
            events = waiting.pop()
            if not events:
                continue
            before = dict(state.next_row), set(state.orphans)
            try:
                with self._attempt():
                    found = self._fold_stored(state, head, ids, events, writes_max - folded.writes)
            except (Unavailable, Corrupt, MemoryError):  # no event's fault
                raise
            except Exception as error:  # noqa: BLE001  # whatever a fold, a merge or a figure makes of it
                self.figures.clear()
                state.next_row.clear()
                state.next_row.update(before[0])
                state.orphans = before[1]
                if len(events) > 1:  # one of them is to blame: the others must not wait for it
                    middle = len(events) // 2
                    waiting += [events[middle:], events[:middle]]
                else:
                    self._list_fault(head, events[0].seq, error)
                continue
            folded.touched |= found.touched
            folded.writes += found.writes
            folded.end = found.end if found.end is not None or folded.writes < writes_max else _first(waiting)
        return folded

    def _fold_stored(
        self, state: FileState, head: LogHead, ids: EntityIds, events: Sequence[Event], writes_max: int
    ) -> Folded:
        return self._apply(
            state,
            head,
            [event.seq for event in events],
            [event.header for event in events],
            [event.body or b"" for event in events],
            [None] * len(events),
            [event.entity is not None and event.entity == ids.of(event.header.hlc, event.seq) for event in events],
            strict=False,
            writes_max=writes_max,
        )

    def _list_fault(self, head: LogHead, seq: int, error: Exception) -> None:
        """Lists an event that cannot be folded."""
        said = str(error) if isinstance(error, AntiphonError) else f"the fold failed: {type(error).__name__}: {error}"
        self._rejections.put("", _place_key(head.no, seq), [(head.no, seq, "body", said)])

    def forget_fault(self, no: int, seq: int) -> None:
        """Takes an event that is gone off the list of those whose bodies do not fit."""
        self._rejections.put("", _place_key(no, seq), [])

    def withdraw(self, head: LogHead, events: Iterable[Event]) -> set[RowKey]:
        """Takes back what these events of one log say, which are visible no more: the rows to be computed again.

        Those rows are gone until then, so that indexes let go of text while it can still be read.
        """
        keys: set[RowKey] = set()
        for event in events:
            said = self.keys_of(event)
            keys |= said
            self._mentions.remove((self.what_of(key), head.no, event.seq) for key in said)
            self._rejections.put("", _place_key(head.no, event.seq), [])
        for key in keys:
            self.remove(key)
        return keys


def _key_in(table: Table, values: tuple[Any, ...]) -> bytes:
    """The key of a row that has these values."""
    return key_of(table, {part: values[table.names.index(part)] for part in table.key})


def _named(error: Exception, kind: str, event: str) -> AntiphonError:
    """The error with the event's name in it; an input that does not fit stays the caller's fault."""
    if isinstance(error, InvalidInput):
        return error
    said = str(error) if isinstance(error, AntiphonError) else f"{type(error).__name__}: {error}"
    return Rejected(f"the fold of {kind} failed on event {event}: {said}; nothing was recorded", kind=kind)


def _first(waiting: list[Sequence[Event]]) -> int | None:
    """The first of the events that wait, None when none does."""
    return waiting[-1][0].seq if waiting else None


def _place_key(no: int, seq: int) -> bytes:
    """The key under which an event that cannot be folded is listed."""
    return no.to_bytes(8, "big") + seq.to_bytes(8, "big")
