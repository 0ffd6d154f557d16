"""Room `views` (imports `log` and below): the feed: what each commit changed, in order, and the ports it goes out by.

A follower (`replica/follow.py`) turns entries into changes: which rows, and how each is now. It says everything at
least once, perhaps again, perhaps late; an engine keeps what is newest by version and is right in the end.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol, runtime_checkable

import msgspec

from antiphon.model.errors import LimitExceeded, Unavailable
from antiphon.model.event import Event
from antiphon.model.table import Table
from antiphon.views.batch import RowKey

OFFSET_BITS: Final = 40
EPOCHS_MAX: Final = 1 << 23
"""Versions have 63 bits, of which 23 count epochs: one for each time that a follower starts."""


class EngineEmptied(Unavailable):
    """The engine holds no epoch any more: somebody emptied it. Whoever feeds it begins again."""


class OutboxEntry(msgspec.Struct, array_like=True):
    """What one commit changed: spans of new events (log number, first seq, count), and rows computed again.

    It also says how far the file had come then: the count of commits, and the next number of each table's rows.
    """

    spans: list[tuple[int, int, int]]
    rows: list[RowKey]
    commits: int = 0
    next_row: dict[str, int] = {}


def version_of(epoch: int, offset: int) -> int:
    """The version of what is read at this offset under this epoch. Raises LimitExceeded."""
    if epoch >= EPOCHS_MAX:
        raise LimitExceeded("EPOCHS_MAX", got=epoch, allowed=EPOCHS_MAX - 1, what="the epoch of a follower")
    return epoch << OFFSET_BITS | offset


def epoch_of(version: int) -> int:
    """The epoch of a version."""
    return version >> OFFSET_BITS


def offset_of(version: int) -> int:
    """How many events there were at a version."""
    return version & ((1 << OFFSET_BITS) - 1)


class Change(msgspec.Struct, frozen=True):
    """A row as it is at a version: its image by column, held and derived columns filled in; None when there is none."""

    table: str
    key: bytes
    version: int
    row: Mapping[str, Any] | None
    author: bytes | None = None
    """The agent that the row speaks for, where an engine keeps row access."""


class Delivery(msgspec.Struct, frozen=True):
    """An event on its way to a topic. `id` tells whether it was seen before; `key` says which partition."""

    topic: str
    id: str
    key: bytes
    event: Event


class Fenced(Protocol):
    """What keeps two feeders of one engine apart: a number kept in the engine, which only grows.

    Whoever feeds raises it first. Every other method that is given an older epoch than the engine holds raises Conflict
    and changes nothing. All methods raise Unavailable for what passes, Corrupt for what does not.
    """

    def epoch(self) -> int:
        """The epoch that the engine holds; 0 where nobody has fed it."""
        ...

    def fence(self, known: int, epoch: int) -> bool:
        """Raises the epoch in one step, if it is `known` still; whether it was."""
        ...


class Sink(Fenced, Protocol):
    """An engine that keeps rows of declared tables. Doing anything twice is doing it once."""

    def prepare(self, tables: Sequence[Table]) -> None:
        """Makes what is missing to keep these tables; what is there stays."""
        ...

    def apply(self, epoch: int, changes: Sequence[Change]) -> None:
        """Takes each change whose version is newer than what it has of that key, in any order; the rest is left out.

        Where there is no row, it keeps key and version alone: a tombstone. Raises Rejected when a row is refused for
        good (saying which rule, never a value); then any part of the batch may have been taken.
        """
        ...

    def rows(self, table: Table, *, after: bytes | None, limit: int) -> list[Change]:
        """The rows it has whose keys come after this one, in the order of their keys; tombstones are left out."""
        ...

    def sweep(self, epoch: int, table: Table, below: int) -> int:
        """Removes rows and tombstones whose version is of an epoch before `below`; how many rows."""
        ...

    def trim(self, epoch: int, table: Table, version: int) -> int:
        """Removes tombstones older than a version; how many."""
        ...

    def pulse(self, epoch: int) -> None:
        """Notes that all that the feeder knew a moment ago is here: readers ask how long ago that was."""
        ...


@runtime_checkable
class Retiring(Protocol):
    """What a sink has besides that drops rows which are past (`Table.retention`), a partition at a time."""

    def retire(self, epoch: int, tables: Sequence[Table]) -> int:
        """Drops the partitions of these tables that are wholly past and makes those that come; how many it dropped."""
        ...

    def horizon(self, table: Table) -> int | None:
        """Before which time, in ms since 1970 by its own clock, rows of the table are not kept; None where all are."""
        ...


class EventSink(Fenced, Protocol):
    """An engine that carries events."""

    def deliver(self, epoch: int, deliveries: Sequence[Delivery]) -> None:
        """Takes events in this order. Raises Rejected when one is refused for good; any part may have been taken."""
        ...
