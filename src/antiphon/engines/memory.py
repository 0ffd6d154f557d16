"""Room `engines` (imports all below it): rows and topics in this process's memory: the smallest engines there are.

They keep every promise of `Sink` and `EventSink`, so they show what a server has to do; what reads rows hot, in the
process that feeds them, can use them as they are.
"""

from __future__ import annotations

import threading
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from antiphon.model.errors import InvalidInput
from antiphon.model.table import Table
from antiphon.views.feed import Change, Delivery, Fence, Marks, check_fence, epoch_of


class _Fenced:
    """The fence, and the lock under which it is asked."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._fence = Fence()

    def kept(self) -> Fence:
        with self._lock:
            return self._fence

    def fence(self, known: int, epoch: int, *, mark: int = 0, owner: bytes = b"") -> Fence | None:
        with self._lock:
            before = self._fence
            if before.epoch != known or epoch <= known:
                return None
            self._fence = Fence(epoch, mark, owner)
            return before

    def _check(self, epoch: int, marks: Marks | None) -> None:
        check_fence(self._fence, epoch, marks)

    def _move(self, marks: Marks | None) -> None:
        if marks is not None:
            self._fence = msgspec.structs.replace(self._fence, mark=marks.most)


class MemoryTables(_Fenced):
    """Rows of declared tables; see `Sink` for the promises. *Cost*: about 1 µs a row."""

    def __init__(self) -> None:
        super().__init__()
        self._tables: dict[str, dict[bytes, Change]] = {}
        self._ordered: dict[str, list[bytes]] = {}
        self.pulses = 0

    def prepare(self, tables: Sequence[Table]) -> None:
        with self._lock:
            for table in tables:
                self._tables.setdefault(table.name, {})

    def apply(self, epoch: int, changes: Sequence[Change], *, marks: Marks | None = None) -> None:
        with self._lock:
            self._check(epoch, marks)
            for change in changes:
                kept = self._tables.get(change.table)
                if kept is None:
                    raise InvalidInput(f"the table {change.table!r} was not prepared here", table=change.table)
                had = kept.get(change.key)
                if had is None:
                    self._ordered.pop(change.table, None)
                elif had.version >= change.version:
                    continue
                kept[change.key] = change
            self._move(marks)

    def row(self, table: str, key: bytes) -> Mapping[str, Any] | None:
        """One row, None when there is none."""
        with self._lock:
            found = self._tables.get(table, {}).get(key)
            return None if found is None else found.row

    def rows(self, table: Table, *, after: bytes | None, limit: int) -> list[Change]:
        with self._lock:
            kept = self._tables.get(table.name, {})
            keys = self._ordered.get(table.name)
            if keys is None:
                keys = self._ordered[table.name] = sorted(kept)
            found: list[Change] = []
            for at in range(0 if after is None else bisect_right(keys, after), len(keys)):
                if len(found) == limit:
                    break
                change = kept[keys[at]]
                if change.row is not None:
                    found.append(change)
            return found

    def tombstones(self, table: str) -> int:
        """How many keys it keeps of rows that are gone."""
        with self._lock:
            return sum(change.row is None for change in self._tables.get(table, {}).values())

    def sweep(self, epoch: int, table: Table, below: int, *, marks: Marks | None = None) -> int:
        with self._lock:
            self._check(epoch, marks)
            kept = self._tables.get(table.name, {})
            old = [key for key, change in kept.items() if epoch_of(change.version) < below]
            self._move(marks)
            return self._drop(table, old)

    def trim(self, epoch: int, table: Table, version: int, *, marks: Marks | None = None) -> int:
        with self._lock:
            self._check(epoch, marks)
            kept = self._tables.get(table.name, {})
            old = [key for key, change in kept.items() if change.row is None and change.version < version]
            self._drop(table, old)
            return len(old)

    def pulse(self, epoch: int, *, marks: Marks | None = None) -> None:
        with self._lock:
            self._check(epoch, marks)
            self.pulses += 1

    def _drop(self, table: Table, keys: Sequence[bytes]) -> int:
        gone = [self._tables[table.name].pop(key) for key in keys]
        if gone:
            self._ordered.pop(table.name, None)
        return sum(change.row is not None for change in gone)


class MemoryTopics(_Fenced):
    """Topics of events, each a list that grows; see `EventSink` for the promises. Readers leave out ids seen before."""

    def __init__(self) -> None:
        super().__init__()
        self.topics: dict[str, list[Delivery]] = {}

    def deliver(self, epoch: int, deliveries: Sequence[Delivery], *, marks: Marks | None = None) -> None:
        with self._lock:
            self._check(epoch, marks)
            for delivery in deliveries:
                self.topics.setdefault(delivery.topic, []).append(delivery)
            self._move(marks)
