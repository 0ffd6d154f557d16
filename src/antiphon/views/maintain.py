"""Room `views` (imports `log` and below): keeps rows in step with events, in the transaction that appends them.

An event that alone makes a row inserts it without looking at anything else. Every other write has its row computed
again from all events on it (`views/merge.py`), so a row is always a function of the set of visible events.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

import msgspec

from antiphon.log.read import LogReader, stamp_of
from antiphon.log.store import LogHead
from antiphon.model.errors import AntiphonError, InvalidInput, NotFound, Rejected
from antiphon.model.event import Event, Header, Scope
from antiphon.model.table import Merge, Table
from antiphon.model.text import EntityIds, event_text
from antiphon.model.values import canonical, key_values
from antiphon.views.domain import AssertRow, OnlyWith, Op, Registry, Write
from antiphon.views.figures import Figures, FigureStore
from antiphon.views.merge import NOBODY, Authority, Merged, Outcome, Placed, Refusal, merge, union
from antiphon.views.store import MentionStore, RejectionStore, StoredRow, TableStore, of_row

RowKey = tuple[str, bytes]
_MINTED, _NATURAL, _COMPUTED = 1, 2, 3
_STACKS: Final = frozenset({Merge.LAST_WRITE, Merge.GROW_SET})


class FileState(msgspec.Struct):
    """How far everything in a file has come.

    `events`, `commits` and `next_row` move with every commit and are stored in its feed entry; the rest, which
    seldom changes, is stored apart. *Units*: `events` counts all events ever appended to the file; `behind` has
    that count for domains which some process, not knowing them, has left unfolded since. `orphans` are the tables
    to whose rows something was said before they were there.
    """

    epoch: int = 1
    events: int = 0
    commits: int = 0
    next_row: dict[str, int] = {}
    folded: dict[str, str] = {}
    behind: dict[str, int] = {}
    scrub_pending: bool = False
    orphans: set[str] = set()

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
        figures: FigureStore,
        mentions: MentionStore,
        rejections: RejectionStore,
        reader: Callable[[], LogReader],
        heads: Callable[[], dict[int, LogHead]],
        authority: Authority | None = None,
    ) -> None:
        self._registry = registry
        self._tables = tables
        self._mentions = mentions
        self._rejections = rejections
        self._reader = reader
        self._heads = heads
        self._authority = authority or NOBODY
        self.figures = Figures(registry, tables, figures)
        self.live: frozenset[str] = frozenset(registry.domains)
        self._quick_kept: tuple[frozenset[str], set[str], dict[str, int]] | None = None
        self._live_kept: tuple[frozenset[str], frozenset[str]] = (frozenset(), frozenset())
        self.unsaved = False
        """Whether the part of the file's state that seldom changes has changed."""

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
        batch = _Batch(self._quick(state), strict=strict)
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
                quick[name] = (_MINTED if table.minted else _NATURAL) if plain else _COMPUTED
        self._quick_kept = self.live, set(state.orphans), quick
        return quick

    def _fold(
        self,
        batch: _Batch,
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
                if (quick == _MINTED and created) or quick == _NATURAL:
                    if table.shared and header.scope == Scope.PRIVATE:
                        continue
                    recorded = header.hlc >> 16
                    occurred = header.occurred
                    time_ms = recorded if occurred is None else occurred
                    row = fold.row((header.entity, time_ms, recorded, head.owner, head.id), value)
                    if fold.checked or fold.reals:
                        row = _checked(fold, row)
                    n = state.next_row.get(table.name, 1)
                    if quick == _MINTED:
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

    def _written(self, writes: Iterable[Write], scope: int) -> Iterable[Write]:
        """The writes to tables that fold events of this scope."""
        tables = self._registry.tables
        return (write for write in writes if scope != Scope.PRIVATE or not tables[write.table].shared)

    def _touch(self, batch: _Batch, write: Write, header: Header, head: LogHead, seq: int, *, created: bool) -> None:
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
        batch: _Batch,
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
        batch: _Batch,
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

    def flush_figures(self, state: FileState) -> set[RowKey]:
        """Applies the figures that rows have moved; the rows of figures that changed."""
        touched, missing = self.figures.apply(state.next_row, key_values)
        if missing - state.orphans:
            state.orphans |= missing
            self.unsaved = True
        return touched

    # -- rows ----------------------------------------------------------------------------------------------------

    def _overlay(self, key: RowKey, no: int, writes: list[Placed]) -> bool:
        """Puts the newest writes on top of a row that is there; False where that could differ from computing it again.

        It cannot when everything on the row is of one log (its order is that of its seqs), nothing deletes, and the
        columns take their last write or a union. Without this, the n-th update of a row would read n events.
        """
        table = self._registry.tables[key[0]]
        for placed in writes:
            op = placed.write.op
            if op == Op.DELETE or (op == Op.ASSERT and table.minted):
                return False
            if any(table.column(name).merge not in _STACKS for name in placed.write.values):
                return False
        row = self._tables.row(table, key[1])
        if row is None or row.log != no or self._mentions.ends(of_row(table, key[1])) != (no, no):
            return False
        if table.agent_in_key is not None and any(placed.author != row.values[table.agent_in_key] for placed in writes):
            return False
        values, seq = dict(row.values), row.seq
        try:
            for placed in writes:
                for name, written in placed.write.values.items():
                    column = table.column(name)
                    if column.derived is not None or column.writers is not None:
                        return False
                    value = canonical(column, written)
                    values[name] = union(values[name], value) if column.merge == Merge.GROW_SET else value
                if table.subject in placed.write.values:
                    seq = placed.seq
        except InvalidInput:
            return False
        self._put(table, key[1], row, (row.n, no, seq, *(values[name] for name in table.names)))
        return True

    def _put(self, table: Table, key: bytes, old: StoredRow | None, row: tuple[Any, ...] | None) -> bool:
        changed = self._tables.replace(table, key, row)
        if changed and self.figures.counts(table):
            new = None if row is None else dict(zip(table.names, row[3:], strict=True))
            self.figures.changed(table, None if old is None else old.values, new)
        return changed

    def _live_tables(self) -> frozenset[str]:
        live, tables = self._live_kept
        if live is not self.live:
            owner = self._registry.domain_of_table
            tables = frozenset(name for name in self._registry.tables if owner[name] in self.live)
            self._live_kept = self.live, tables
        return tables

    def recompute(
        self,
        state: FileState,
        key: RowKey,
        place: tuple[int, int] | None = None,
        *,
        strict_from: tuple[bytes, int] | None = None,
    ) -> bool:
        """Computes one row again from all visible events on it (and the one at `place`); whether it changed.

        With `strict_from` (log, seq), a write from there on that does not count is an error: InvalidInput.
        """
        table = self._registry.tables[key[0]]
        if table.name not in self._live_tables():
            return False
        writes = list(self._writes_on(table, key[1], place))
        outcome = self.outcome(table, key[1], writes)
        for refusal in outcome.refused:
            if strict_from is not None and refusal.log == strict_from[0] and refusal.seq >= strict_from[1]:
                raise InvalidInput(f"{table.name}: {refusal.detail}; nothing was recorded", rule=refusal.rule)
        self._note_refused(table, key[1], outcome.refused)
        old = self._tables.row(table, key[1])
        if outcome.row is None:
            if writes and table.name not in state.orphans:
                state.orphans.add(table.name)
                self.unsaved = True
            return self._put(table, key[1], old, None)
        n = state.next_row.get(table.name, 1)
        if old is None:  # one that exists keeps its number
            state.next_row[table.name] = n + 1
        values = outcome.row.values
        if table.derived:
            values = self._with_derived(table, key[1], old, values)
        return self._put(table, key[1], old, (n, *self._place(outcome.row), *values))

    def outcome(self, table: Table, key: bytes, writes: Iterable[Placed]) -> Outcome:
        """What these writes on one row add up to."""
        named = None
        if table.agent_in_key is not None:
            named = key_values(table, key)[table.key.index(table.agent_in_key)]
        return merge(table, writes, self._authority, named=named)

    def _with_derived(
        self, table: Table, key: bytes, old: StoredRow | None, values: tuple[Any, ...]
    ) -> tuple[Any, ...]:
        figures = self.figures.of_new_row(table, key_values(table, key)) if old is None else old.values
        derived = {column.name for column in table.derived}
        return tuple(
            figures[name] if name in derived else value for name, value in zip(table.names, values, strict=True)
        )

    def _note_refused(self, table: Table, key: bytes, refused: tuple[Refusal, ...]) -> None:
        by_id = {head.id: head.no for head in self._heads().values()} if refused else {}
        listed = [(by_id[one.log], one.seq, one.rule, one.detail) for one in refused]
        self._rejections.put(table.name, key, listed)

    def _place(self, merged: Merged) -> tuple[int, int]:
        for head in self._heads().values():
            if head.id == merged.log:
                return head.no, merged.seq
        raise NotFound("a row speaks by an event of a log that is not here")

    def _writes_on(self, table: Table, key: bytes, place: tuple[int, int] | None) -> Iterable[Placed]:
        places = self._mentions.find(of_row(table, key))
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
            yield from self._folded(event, table, key)

    def _folded(self, event: Event, table: Table, key: bytes) -> Iterable[Placed]:
        return (one for one in self.placed(event) if one.write.table == table.name and one.write.key == key)

    def placed(self, event: Event) -> Iterable[Placed]:
        """What an event writes, each write at its place in the one order."""
        for at, write in enumerate(self._all_writes(event)):
            minted = write.op == Op.ASSERT and self._registry.tables[write.table].minted and _made(event)
            yield Placed(event.stamp, event.log, event.seq, write, at, event.author, minted)

    def _all_writes(self, event: Event) -> list[Write]:
        """What an event writes; nothing where it cannot be folded (it is listed then)."""
        kind = self._registry.kinds.get(event.kind)
        if kind is None or event.body is None or event.header.kind_version > kind.version:
            return []
        try:
            value = kind.read(event.body, event.header.kind_version)
            folds = self._registry.folds.get(event.kind, ())
            found = [write for fold in folds for write in fold(event, value)]
        except Exception:  # noqa: BLE001  # whatever a fold raises, the event stays in the log and out of the rows
            return []
        return list(self._written(found, event.header.scope))

    def held_value(self, event: Event, table: str, key: bytes) -> Any:
        """What an event writes to the held column of a row."""
        declared = self._registry.tables[table]
        for placed in self._folded(event, declared, key):
            if declared.held is not None and declared.held in placed.write.values:
                return placed.write.values[declared.held]
        return None

    def keys_of(self, event: Event) -> set[RowKey]:
        """The rows that an event writes to."""
        return {(write.table, write.key) for write in self._all_writes(event)}

    def what_of(self, key: RowKey) -> bytes:
        """The key under which the events on a row are mentioned."""
        return of_row(self._registry.tables[key[0]], key[1])

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


class _Batch:
    """What one call of `apply` has collected."""

    def __init__(self, quick: dict[str, int], *, strict: bool) -> None:
        self.quick = quick
        self.strict = strict
        self.minted: dict[str, list[tuple[Any, ...]]] = {}
        self.natural: dict[str, list[tuple[Any, ...]]] = {}
        self.touched: dict[RowKey, list[Placed]] = {}
        self.mentioned: list[tuple[bytes, int, int]] = []
        self.known: set[bytes] = set()
        self._added: list[list[tuple[Any, ...]]] = []

    def add(self, rows: dict[str, list[tuple[Any, ...]]], name: str, row: tuple[Any, ...]) -> None:
        found = rows.setdefault(name, [])
        found.append(row)
        if not self.strict:
            self._added.append(found)

    def begin(self) -> None:
        """Says that another event comes."""
        self._added.clear()

    def undo(self) -> None:
        """Takes back what the event at hand has added."""
        for rows in self._added:
            rows.pop()
        self._added.clear()


def _checked(fold: AssertRow, row: tuple[Any, ...]) -> tuple[Any, ...]:
    """The row with its values in their one form. Raises InvalidInput."""
    for at in fold.reals:
        value = row[at]
        if value is not None and not math.isfinite(value):
            canonical(fold.table.columns[at], value)
    if not fold.checked:
        return row
    plain = list(row)
    for at, column in fold.checked:
        plain[at] = canonical(column, plain[at])
    return tuple(plain)


def _made(event: Event) -> bool:
    """Whether the event made the id that is its entity."""
    return event.entity is not None and event.entity == EntityIds(event.log).of(event.header.hlc, event.seq)


def _named(error: Exception, kind: str, event: str) -> AntiphonError:
    """The error with the event's name in it; an input that does not fit stays the caller's fault."""
    if isinstance(error, InvalidInput):
        return error
    return Rejected(f"the fold of {kind} failed on event {event}: {error}; nothing was recorded", kind=kind)


def _place_key(no: int, seq: int) -> bytes:
    """The key under which an event that cannot be folded is listed."""
    return no.to_bytes(8, "big") + seq.to_bytes(8, "big")
