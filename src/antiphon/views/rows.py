"""Room `views` (imports `log` and below): one row, from all the events on it.

The rules are in `views/merge.py`; here is how the events on a row are found, and what is done with what they add up to.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from itertools import islice, pairwise
from typing import Any, Final

from antiphon.log.store import LogHead, LogRole
from antiphon.model import limits
from antiphon.model.errors import InvalidInput, LimitExceeded, NotFound
from antiphon.model.event import Event
from antiphon.model.table import Merge, Table, Type
from antiphon.model.text import EntityIds
from antiphon.model.values import canonical, key_values
from antiphon.views.batch import RowKey
from antiphon.views.domain import AssertRow, Fold, Op, Registry, Write
from antiphon.views.figures import Figures, FigureStore
from antiphon.views.grants import cited_by
from antiphon.views.merge import (
    NOBODY,
    Authority,
    Merged,
    Outcome,
    Placed,
    Refusal,
    maker,
    merge,
    merge_on,
    place_of,
    union,
)
from antiphon.views.state import FileState
from antiphon.views.store import EventReader, MentionStore, RejectionStore, StoredRow, TableStore, of_row
from antiphon.views.tips import TIP_EVENTS_MIN, TipStore, packed, unpacked

_WIDE_WRITES_MIN: Final = 16
_STACKS: Final = frozenset({Merge.LAST_WRITE, Merge.GROW_SET})


class ComputedRows:
    """Rows of the tables of a registry, each a function of the visible events on it."""

    def __init__(
        self,
        registry: Registry,
        tables: TableStore,
        figures: FigureStore,
        mentions: MentionStore,
        rejections: RejectionStore,
        reader: Callable[[], EventReader],
        heads: Callable[[], Mapping[int, LogHead]],
        authority: Authority | None = None,
        *,
        tips: TipStore,
        attempt: Callable[[], AbstractContextManager[None]] = nullcontext,
        head_of: Callable[[bytes], LogHead | None] | None = None,
        mine: Callable[[Table, bytes], bool] | None = None,
    ) -> None:
        self._registry = registry
        self._tables = tables
        self._mentions = mentions
        self._rejections = rejections
        self._tips = tips
        self._attempt = attempt
        self._wide: tuple[Event, dict[RowKey, list[Placed]]] | None = None
        self._reader = reader
        self._heads = heads
        self._authority = authority or NOBODY
        self._head_of = head_of or self._found_head
        self._mine = mine
        self.figures = Figures(registry, tables, figures)
        self._long_keys = frozenset(name for name, table in registry.tables.items() if not _is_short(table))
        self.live: frozenset[str] = frozenset(registry.domains)
        self._quick_kept: tuple[frozenset[str], set[str], dict[str, int]] | None = None
        self._live_kept: tuple[frozenset[str], frozenset[str]] = (frozenset(), frozenset())
        self.unsaved = False
        """Whether the part of the file's state that seldom changes has changed."""

    # -- rows ----------------------------------------------------------------------------------------------------

    def _on_tip(
        self, state: FileState, key: RowKey, writes: list[Placed], strict_from: tuple[bytes, int] | None
    ) -> bool | None:
        """Lets the newest writes count on top of all before them, by what is kept of those; None where nothing is,
        False where that is not enough.
        """
        table = self._registry.tables[key[0]]
        raw = self._tips.find(table, key[1])
        if raw is None:
            return None
        if any(one.seq == next_.seq for one, next_ in pairwise(writes)):
            return False
        old = self._tables.row(table, key[1])
        outcome = merge_on(table, unpacked(raw), None if old is None else old.values, writes, self._authority)
        if outcome is None or outcome.tip is None:
            return False
        again = packed(outcome.tip)
        if again is None:
            return False
        self._check(table, outcome, strict_from)
        if outcome.refused:
            self._rejections.add(table.name, key[1], self._listed(outcome.refused))
        if again != raw:
            self._tips.keep(table, key[1], again)
        if outcome.row is not None:
            self._put_row(state, table, key[1], old, outcome.row)
        return True

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
        row, what = self._tables.row(table, key[1]), of_row(table, key[1])
        if row is None or row.log != no or self._mentions.ends(what) != (no, no):
            return False
        if table.writers.rule == "role" or self._mentions.since(what, no, writes[0].seq) != len(writes):
            return False  # a grant must be cited; or these are not the newest: an event that came before comes again
        if writes[0].seq <= row.seq or any(one.seq == next_.seq for one, next_ in pairwise(writes)):
            return False  # the row may have come with a later event of this commit
        if table.agent_in_key is not None and any(placed.author != row.values[table.agent_in_key] for placed in writes):
            return False
        values, seq = dict(row.values), row.seq
        try:
            for placed in writes:
                if placed.write.op == Op.ASSERT and any(name not in placed.write.values for name in table.required):
                    return False
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

    def remove(self, key: RowKey) -> bool:
        """Takes a row away until it is computed again; whether there was one."""
        table = self._registry.tables[key[0]]
        self._tips.keep(table, key[1], None)
        return self._put(table, key[1], self._tables.row(table, key[1]), None)

    def _found_head(self, log: bytes) -> LogHead | None:
        return next((head for head in self._heads().values() if head.id == log), None)

    def _shared_only(self, role: int) -> bool:
        """Whether a log of this role writes to shared tables alone: other people's do."""
        return role in (LogRole.FOREIGN, LogRole.FOLLOWED)

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
        self._check(table, outcome, strict_from)
        self._rejections.put(table.name, key[1], self._listed(outcome.refused))
        tip = None if outcome.tip is None or len(writes) < TIP_EVENTS_MIN else packed(outcome.tip)
        self._tips.keep(table, key[1], tip)
        old = self._tables.row(table, key[1])
        if outcome.row is None:
            changed = self._put(table, key[1], old, None)
            if writes or self._is_counted(table, key[1]):
                self._tips.expect(table, key[1])
            else:
                self._tips.met(table, key[1])
            return changed
        self._tips.met(table, key[1])
        return self._put_row(state, table, key[1], old, outcome.row)

    def _check(self, table: Table, outcome: Outcome, strict_from: tuple[bytes, int] | None) -> None:
        """Raises InvalidInput for a write from there on that does not count."""
        for refusal in outcome.refused:
            if strict_from is not None and refusal.log == strict_from[0] and refusal.seq >= strict_from[1]:
                raise InvalidInput(f"{table.name}: {refusal.detail}; nothing was recorded", rule=refusal.rule)

    def _is_counted(self, table: Table, key: bytes) -> bool:
        """Whether rows are there that figures of this one, if it were there, would count."""
        return bool(table.derived) and self.figures.counts_any(table, key_values(table, key))

    def _put_row(self, state: FileState, table: Table, key: bytes, old: StoredRow | None, merged: Merged) -> bool:
        n = state.next_row.get(table.name, 1)
        if old is None:  # one that exists keeps its number
            state.next_row[table.name] = n + 1
        values = merged.values
        if table.derived:
            values = self._with_derived(table, key, old, values)
        return self._put(table, key, old, (n, *self._place(merged), *values))

    def outcome(self, table: Table, key: bytes, writes: Iterable[Placed]) -> Outcome:
        """What these writes on one row add up to."""
        named = None
        if table.agent_in_key is not None:
            named = key_values(table, key)[table.key.index(table.agent_in_key)]
        return merge(table, writes, self._authority, named=named)

    def author_of(self, table: Table, key: bytes) -> bytes | None:
        """Whose a row is: the agent that made it, None where that is not known here. *Cost*: a look at its tip, or at
        all that was said of it where it has none.
        """
        raw = self._tips.find(table, key)
        if raw is not None:
            return unpacked(raw).author
        made = maker(table, sorted(self._writes_on(table, key, None), key=place_of))
        return None if made is None else made.author

    def _with_derived(
        self, table: Table, key: bytes, old: StoredRow | None, values: tuple[Any, ...]
    ) -> tuple[Any, ...]:
        figures = self.figures.of_new_row(table, key_values(table, key)) if old is None else old.values
        derived = {column.name for column in table.derived}
        return tuple(
            figures[name] if name in derived else value for name, value in zip(table.names, values, strict=True)
        )

    def _listed(self, refused: tuple[Refusal, ...]) -> list[tuple[int, int, str, str]]:
        return [(self._number_of(one.log), one.seq, one.rule, one.detail) for one in refused]

    def _place(self, merged: Merged) -> tuple[int, int]:
        return self._number_of(merged.log), merged.seq

    def _number_of(self, log: bytes) -> int:
        head = self._head_of(log)
        if head is None:
            raise NotFound("a row speaks by an event of a log that is not here")
        return head.no

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
            except (NotFound, KeyError):
                continue
            yield from self._folded(event, table, key)

    def _folded(self, event: Event, table: Table, key: bytes) -> Iterable[Placed]:
        """What an event writes to one row. One that writes to many is not folded again for each of them."""
        if self._wide is None or self._wide[0] != event:
            found = list(self.placed(event))
            if len(found) < _WIDE_WRITES_MIN:
                return [one for one in found if one.write.table == table.name and one.write.key == key]
            by_row: dict[RowKey, list[Placed]] = {}
            for one in found:
                by_row.setdefault((one.write.table, one.write.key), []).append(one)
            self._wide = event, by_row
        return self._wide[1].get((table.name, key), ())

    def placed(self, event: Event) -> Iterable[Placed]:
        """What an event writes, each write at its place in the one order."""
        for at, write in enumerate(self._all_writes(event)):
            minted = write.op == Op.ASSERT and self._registry.tables[write.table].minted and _made(event)
            yield Placed(event.stamp, event.log, event.seq, write, at, event.author, minted, cited_by(event.header))

    def _all_writes(self, event: Event) -> list[Write]:
        """What an event writes; nothing where it cannot be folded (it is listed then)."""
        kind = self._registry.kinds.get(event.kind)
        if kind is None or event.body is None or event.header.kind_version > kind.version:
            return []
        try:
            value = kind.read(event.body, event.header.kind_version)
            folds = self._registry.folds.get(event.kind, ())
            head, scope = self._head_of(event.log), event.header.scope
            foreign = self._shared_only(LogRole.OWN if head is None else head.role)
            found: list[Write] = []
            for fold in folds:
                if type(fold) is AssertRow and not fold.table.folds(scope, foreign=foreign):
                    continue  # what it would make is for nobody here, a fault in it too
                found += written_by(fold, event, value)
            return list(self._written(found, scope, foreign=foreign))
        except Exception:  # noqa: BLE001  # whatever a fold raises, the event stays in the log and out of the rows
            return []

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

    def _written(self, writes: Iterable[Write], scope: int, *, foreign: bool) -> Iterable[Write]:
        """The writes to tables that fold events of this scope, and of this log."""
        tables = self._registry.tables
        for write in writes:
            table = tables[write.table]
            if len(write.key) > limits.KEY_BYTES_MAX:
                raise too_long(table, write.key)
            if table.folds(scope, foreign=foreign) and self._is_mine(table, write.key):
                yield write

    def _is_mine(self, table: Table, key: bytes) -> bool:
        """Whether the row belongs into these tables, where rows are spread over several."""
        return self._mine is None or self._mine(table, key)

    def flush_figures(self, state: FileState) -> set[RowKey]:
        """Applies the figures that rows have moved; the rows of figures that changed."""
        self._wide = None  # what it holds may be forgotten
        touched, missing = self.figures.apply(state.next_row, key_values)
        for name, key in missing:
            table = self._registry.tables[name]
            if self._mentions.ends(of_row(table, key)) is not None or self._is_counted(table, key):
                self._tips.expect(table, key)
            else:
                self._tips.met(table, key)
        return touched


def written_by(fold: Fold, event: Event, value: Any) -> list[Write]:
    """What a fold makes of an event. Raises LimitExceeded."""
    found = list(islice(fold(event, value), limits.EVENT_WRITES_MAX + 1))
    if len(found) > limits.EVENT_WRITES_MAX:
        raise LimitExceeded(
            "EVENT_WRITES_MAX",
            got=len(found),
            allowed=limits.EVENT_WRITES_MAX,
            what="the rows that one event writes to",
        )
    return found


def _is_short(table: Table) -> bool:
    """Whether no key of this table can be longer than a key may be."""
    most = 0
    for column in (table.column(name) for name in table.key):
        length_max = None if column.check is None else column.check.length_max
        if column.type in (Type.TEXT, Type.BYTES):
            most += 4 * (limits.KEY_BYTES_MAX if length_max is None else length_max)
        else:
            most += 40
    return most <= limits.KEY_BYTES_MAX


def too_long(table: Table, key: bytes) -> LimitExceeded:
    """A key is longer than a key may be."""
    what = f"the key of a row of {table.name} in bytes"
    return LimitExceeded("KEY_BYTES_MAX", got=len(key), allowed=limits.KEY_BYTES_MAX, what=what)


def _made(event: Event) -> bool:
    """Whether the event made the id that is its entity."""
    return event.entity is not None and event.entity == EntityIds(event.log).of(event.header.hlc, event.seq)
