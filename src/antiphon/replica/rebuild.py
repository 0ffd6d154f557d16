"""Room `replica` (imports all below it): views of another version: columns added, tables folded again beside the old.

While a generation is made, readers have the rows that the old one was left with, and what is appended waits: the swap,
one transaction, comes when every event is folded and every row indexed. What is done is kept batch by batch, so a
process that dies loses one batch, and any process that knows the domain goes on with it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Final

import msgspec

from antiphon.engines.sqlite import fulltext, generation
from antiphon.engines.sqlite.tips import SqliteTips
from antiphon.log.store import LogHead
from antiphon.model import limits
from antiphon.model.errors import AntiphonError, InvalidInput, NotFound
from antiphon.model.table import Table
from antiphon.model.text import EntityIds
from antiphon.model.values import key_of, key_values
from antiphon.views.batch import RowKey
from antiphon.views.domain import Domain
from antiphon.views.generations import Building, added_columns, name_in
from antiphon.views.state import FileState
from antiphon.views.store import of_row

if TYPE_CHECKING:
    from antiphon.replica.commit import Writer

_BUILDING: Final = "building/"
_NUMBER: Final = "generation"
_BATCHES_INDEXED: Final = 4
"""Batches indexed in one step: more than one step folds, so that indexing catches up as well."""


class _Fold:
    """What folds one generation: its tables, and views over them."""

    def __init__(self, replica: Writer, domain: str, building: Building) -> None:
        self.number = building.number
        self.tables = generation.BuildingTables(replica.file, replica.tables, building.tables, building.number)
        self.rejections = generation.BuildingRejections(replica.file, building.number)
        self.tips = SqliteTips(replica.file, building.number)
        figures = generation.BuildingFigures(replica.file, self.tables, building.tables)
        self.views = replica.views_over(self.tables, figures, self.rejections, self.tips)
        self.views.live = frozenset({domain})


class Generations:
    """The generations that are being made in one file."""

    def __init__(self, replica: Writer) -> None:
        self._replica = replica
        self._folds: dict[str, _Fold] = {}

    # -- which version a domain's tables are of ------------------------------------------------------------------

    def all(self) -> dict[str, Building]:
        """What is being made, by domain, as stored now."""
        found = self._replica.file.settings(_BUILDING)
        return {name.removeprefix(_BUILDING): msgspec.msgpack.decode(raw, type=Building) for name, raw in found}

    def is_busy(self) -> bool:
        """Whether `step` has something to do."""
        return bool(self.all() or generation.put_away(self._replica.file))

    def of(self, domain: str) -> Building | None:
        """What is being made of one domain."""
        raw = self._replica.file.get(_BUILDING + domain)
        return None if raw is None else msgspec.msgpack.decode(raw, type=Building)

    def make_current(self, name: str) -> bool:
        """Whether a domain's tables are of its version here: at once where that is quick, else making them begins.

        Tables that newer code has folded, or is folding, are left to it.
        """
        replica = self._replica
        domain = replica.registry.domains[name]
        stored, building = replica.state.folded.get(name), self.of(name)
        if stored is not None and domain.is_older_than(stored):
            return False
        if self._is_current(domain):  # what other code may be making beside it is for that code
            return True
        if building is not None and domain.is_older_than(building.fingerprint):
            return False
        if building is None and self._add_columns(domain):
            return True
        if replica.state.events <= limits.REFOLD_AT_ONCE_EVENTS_MAX:
            replica.refold(name)
            return True
        self._begin(domain)
        return False

    def _is_current(self, domain: Domain) -> bool:
        state = self._replica.state
        current = state.folded.get(domain.name) == self._replica.registry.fingerprints[domain.name]
        return not state.events or (current and domain.name not in state.behind)

    def _add_columns(self, domain: Domain) -> bool:
        """Gives tables the columns they lack, where that makes them current; whether it does."""
        replica = self._replica
        stored = replica.state.folded.get(domain.name)
        if stored is None or domain.name in replica.state.behind:
            return False
        if added_columns(domain, stored, replica.tables.made) is None:
            return False
        with replica.transaction():
            if replica.state.folded.get(domain.name) != stored:  # another process was quicker
                return self._is_current(domain)
            for table, columns in added_columns(domain, stored, replica.tables.made) or ():
                replica.tables.add_columns(table, columns)
            replica.folded_as_now(domain.name)
        return True

    # -- making one ----------------------------------------------------------------------------------------------

    def _begin(self, domain: Domain) -> None:
        replica = self._replica
        with replica.transaction():
            building = self.of(domain.name)
            if building is not None and building.fingerprint == replica.registry.fingerprints[domain.name]:
                return
            self._discard(domain.name)
            for table in self._tables_of(domain.name):
                generation.adapt(replica.file, replica.tables, table, self._next_number())
            self._start(domain.name)
            replica.call_keeper()

    def _next_number(self) -> int:
        return int.from_bytes(self._replica.file.get(_NUMBER) or b"", "big") + 1

    def _start(self, domain: str) -> None:
        replica = self._replica
        number = self._next_number()
        replica.file.put(_NUMBER, number.to_bytes(4, "big"))
        names = tuple(table.name for table in self._tables_of(domain))
        self._save(domain, Building(replica.registry.fingerprints[domain], number, names))

    def _save(self, domain: str, building: Building) -> None:
        self._replica.file.put(_BUILDING + domain, msgspec.msgpack.encode(building))

    def _discard(self, domain: str) -> None:
        """Drops what was made so far."""
        replica = self._replica
        with replica.transaction():
            building = self.of(domain)
            if building is None:
                return
            generation.discard(replica.tables, replica.file, building.number)
            generation.BuildingRejections(replica.file, building.number).discard()
            SqliteTips(replica.file, building.number).discard()
            replica.file.drop(_BUILDING + domain)
        self._folds.pop(domain, None)

    def restart(self) -> None:
        """Inside a transaction: begins all of them anew, when the order or the weight of old events has changed, or
        some are visible no more.
        """
        self._clear_away()
        for name in self.all():
            if name in self._replica.registry.domains:
                self._discard(name)
                self._start(name)

    def discard_unknown(self) -> None:
        """Inside a transaction that forgets: drops what this process cannot clear, and what was put away."""
        self._clear_away()
        for name, building in self.all().items():
            if building.fingerprint != self._replica.registry.fingerprints.get(name):
                self._discard(name)

    def _clear_away(self) -> None:
        for away in generation.put_away(self._replica.file):
            generation.clear(self._replica.file, away)

    def names(self) -> set[str]:
        """The names in the file of all tables that are being made."""
        return {name_in(table, building.number) for building in self.all().values() for table in building.tables}

    def remade(self) -> list[Table]:
        """The tables in use of domains that this code folds again beside them, where their rows are found by key."""
        registry, file = self._replica.registry, self._replica.file
        mine = [name for name, made in self.all().items() if made.fingerprint == registry.fingerprints.get(name)]
        return [table for name in mine for table in self._tables_of(name) if generation.has_key(file, table)]

    def drop_old_rows(self, gone: Mapping[int, Collection[int]]) -> None:
        """Inside a transaction that forgets these (seqs by log number), while they can still be read: drops the rows in
        which older code let them have a say, from tables that are being folded again. Readers keep the others.

        *Cost*: nothing while no such table is there, else every row and mention is looked at.
        """
        replica, keys = self._replica, set[RowKey]()
        old = {table.name: table for table in self.remade()}
        for no, seqs in gone.items() if old else ():
            for table in old.values():
                numbers = [] if table.rollup_of else generation.spoken_by(replica.file, table, no, seqs)
                keys |= {
                    (table.name, key_of(table, row.values)) for row in replica.tables.rows(table, numbers).values()
                }
            for what in replica.mentions.mentioned_by(no, seqs):
                if what[0] == 5:
                    of, _, raw = what[1:].partition(b"\0")
                    keys |= {(name, raw) for name in old if name.encode() == of}
                elif what[0] == 1:
                    keys |= {(name, what[1:]) for name, table in old.items() if _is_row(table, what)}
        for key in keys:
            replica.views.remove(key)

    def _tables_of(self, domain: str) -> list[Table]:
        registry = self._replica.registry
        return [table for name, table in registry.tables.items() if registry.domain_of_table[name] == domain]

    def _fold_of(self, domain: str, building: Building) -> _Fold:
        found = self._folds.get(domain)
        if found is None or found.number != building.number:
            found = self._folds[domain] = _Fold(self._replica, domain, building)
        return found

    def step(self, *, events_max: int = limits.REFOLD_BATCH_EVENTS) -> bool:
        """Folds, indexes or clears one batch, or swaps; whether there is more to do. A fault is kept, to be seen."""
        for name in self.all():
            try:
                if self._step(name, events_max):
                    return True
            except AntiphonError as error:
                self._folds.clear()
                self._keep_fault(name, str(error))
                raise
        if not generation.put_away(self._replica.file):
            return False
        with self._replica.transaction():
            return generation.clear_some(self._replica.file, rows_max=events_max)

    def _keep_fault(self, name: str, fault: str) -> None:
        with self._replica.transaction():
            building = self.of(name)
            if building is not None:
                building.fault = fault
                self._save(name, building)

    def _step(self, name: str, events_max: int) -> bool:
        replica = self._replica
        live = replica.views.live
        try:
            with replica.transaction():
                building = self.of(name)
                if building is None or building.fingerprint != replica.registry.fingerprints.get(name):
                    return False
                fold = self._fold_of(name, building)
                self._fold_some(name, building, fold, events_max)
                if self._is_behind(building) or not self._is_indexed(building, fold):
                    building.fault = ""
                    self._save(name, building)
                else:  # in the transaction that caught up: where others go on writing there is no quieter moment
                    self._swap(name, building, fold)
                    self._folds.pop(name)
                    replica.views.live |= {name}  # before another thread can append
        except BaseException:
            replica.views.live = live
            raise
        return True

    def _fold_some(self, name: str, building: Building, fold: _Fold, events_max: int) -> bool:
        """Folds up to so many more events; whether there were any."""
        replica = self._replica
        kinds = {kind.name for kind in replica.registry.domains[name].kinds}
        state = FileState(next_row=building.next_row, orphans=building.orphans)
        left = events_max
        for head in self.heads():
            first = building.cursors.get(head.no, 0)
            last = min(head.size, first + left)
            if first >= last:
                continue
            events = replica.writing_reader.events(head, first, last)
            fold.views.fold_events(state, head, EntityIds(head.id), [event for event in events if event.kind in kinds])
            building.cursors[head.no] = last
            left -= last - first
            if not left:
                break
        return left < events_max

    def _is_behind(self, building: Building) -> bool:
        return any(building.cursors.get(head.no, 0) < head.size for head in self.heads())

    def _is_indexed(self, building: Building, fold: _Fold) -> bool:
        """Indexes some batches of rows for full text; whether none is left."""
        return any(not self._index_some(building, fold) for _ in range(_BATCHES_INDEXED))

    def heads(self) -> list[LogHead]:
        """The logs that are folded, by number."""
        return self._replica.folded_heads()

    def _index_some(self, building: Building, fold: _Fold) -> bool:
        """Indexes a batch of rows for full text; whether there were any."""
        registry, done = self._replica.registry, 0
        for name in building.tables:
            table = registry.tables[name]
            if table.fulltext is not None:
                done += fulltext.catch_up(
                    self._replica.file, fold.tables.at(table), rows_max=limits.REFOLD_BATCH_EVENTS
                )
        return done > 0

    def _swap(self, name: str, building: Building, fold: _Fold) -> None:
        """Puts the generation in place of the old one; whoever follows the feed reads the tables again."""
        replica = self._replica
        kinds = {kind.name for kind in replica.registry.domains[name].kinds}
        for table in self._tables_of(name):
            fold.tables.take_over(table)
            replica.state.next_row.pop(table.name, None)
            replica.state.orphans.discard(table.name)
        fold.rejections.take_over(building.tables, self._listed(kinds))
        fold.tips.take_over(building.tables)
        replica.tips.forget_caches()
        replica.state.next_row.update(building.next_row)
        replica.state.orphans |= building.orphans
        replica.file.drop(_BUILDING + name)
        self._count_again(name)
        replica.folded_as_now(name)

    def _listed(self, kinds: set[str]) -> list[bytes]:
        """The keys of the events of these kinds that are listed because their bodies do not fit."""
        replica, found = self._replica, []
        heads = {head.no: head for head in replica.heads()}
        for _, key, no, seq, _, _ in replica.rejections.list(table="", limit=1 << 62):
            try:
                header = replica.writing_reader.header(heads[no], seq)
            except (NotFound, KeyError):
                header = None
            if header is None or header.kind in kinds:
                found.append(key)
        return found

    def _count_again(self, domain: str) -> None:
        """Counts again what this domain's tables and those of others derive from each other. *Cost*: 50 µs a row."""
        replica = self._replica
        owner, tables = replica.registry.domain_of_table, replica.registry.tables
        for table in tables.values():
            across = [
                column
                for column in table.derived
                if column.derived is not None
                and domain in (owner[table.name], owner[column.derived.table])
                and owner[table.name] != owner[column.derived.table]
            ]
            if not across or owner[table.name] not in replica.views.live | {domain}:
                continue
            for row in replica.tables.all_rows(table):
                parts = [row.values[name] for name in table.key]
                figures = replica.views.figures.counted(table, parts)
                values = {**row.values, **{column.name: figures[column.name] for column in across}}
                again = (row.n, row.log, row.seq, *(values[name] for name in table.names))
                replica.tables.replace(table, key_of(table, row.values), again)

    # -- while one is made ---------------------------------------------------------------------------------------

    def take_out(self, keys: set[RowKey]) -> list[tuple[str, RowKey]]:
        """Inside a transaction that forgets: removes these rows from what is being made, as long as their text can be
        read; those that there were, by domain.
        """
        owner, found = self._replica.registry.domain_of_table, []
        for name, building in self.all().items():
            if building.fingerprint == self._replica.registry.fingerprints.get(name):
                views = self._fold_of(name, building).views
                found += [(name, key) for key in sorted(keys) if owner.get(key[0]) == name and views.remove(key)]
        return found

    def put_back(self, taken: list[tuple[str, RowKey]]) -> None:
        """Inside the same transaction, when the events are gone: computes those rows again from the rest."""
        for name in {name for name, _ in taken}:
            building = self.of(name)
            if building is None:
                continue
            views = self._fold_of(name, building).views
            state = FileState(next_row=building.next_row, orphans=building.orphans)
            for key in (key for of, key in taken if of == name):
                views.recompute(state, key)
            views.flush_figures(state)
            self._save(name, building)

    def run(self, *, ms_max: float | None = None) -> bool:
        """Goes on until everything is current, or for so long; whether it is."""
        clock = self._replica.clock
        until = None if ms_max is None else clock.monotonic_ms() + ms_max
        while until is None or clock.monotonic_ms() < until:
            if not self.step():
                return True
        return False


def _is_row(table: Table, what: bytes) -> bool:
    """Whether what is mentioned, an entity or whatever else has a key as long, can be a row of this table."""
    try:
        return of_row(table, what[1:]) == what and bool(key_values(table, what[1:]))
    except InvalidInput:
        return False
