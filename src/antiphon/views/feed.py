"""Room `views` (imports `log` and below): the feed: what each commit changed, in order, and the ports it goes out by.

A follower (`replica/follow.py`) turns entries into changes: which rows, and how each is now. It says everything at
least once, perhaps again, perhaps late; an engine keeps what is newest by version and is right in the end.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, Protocol, runtime_checkable

import msgspec

from antiphon.model.dashboard import Dashboard
from antiphon.model.errors import Conflict, LimitExceeded, Unavailable
from antiphon.model.event import Event
from antiphon.model.table import Table
from antiphon.views.batch import RowKey
from antiphon.world.entropy import Entropy

OFFSET_BITS: Final = 40
EPOCHS_MAX: Final = 1 << 23
"""Versions have 63 bits, of which 23 count epochs: one for each time that a follower starts."""
MARK_BITS: Final = 39
"""Marks have 63 bits, of which 39 count calls: 17 years of a thousand a second. The others are drawn."""
_DRAWN_BYTES: Final = 3


class EngineEmptied(Unavailable):
    """The engine is not as it was left: emptied, or put back to an older state. Whoever feeds it begins again."""


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


class Fence(msgspec.Struct, frozen=True):
    """What an engine keeps about whoever feeds it.

    `epoch` only grows, unless the engine is put back to an older state. `mark` moves with every batch, in one step with
    it; it begins at a drawn number, which tells apart two who raise the same epoch after such a loss. `owner` is the
    id of the file that is fed from.
    """

    epoch: int = 0
    mark: int = 0
    owner: bytes = b""


class Marks(msgspec.Struct, frozen=True):
    """The marks that a feeder may find: from the last that the engine has acknowledged, to the last that it has sent.

    A call that changes rows leaves `most`. Each attempt has a mark of its own, so that an engine which took an earlier
    one and lost this one is found out.
    """

    least: int
    most: int


def first_mark(entropy: Entropy) -> int:
    """The mark under which an epoch begins."""
    return int.from_bytes(entropy.bytes(_DRAWN_BYTES), "big") << MARK_BITS


def holds(kept: Fence, epoch: int, mark: int) -> bool:
    """Whether an engine has all that was acknowledged up to a mark of an epoch."""
    return kept.epoch == epoch and kept.mark >> MARK_BITS == mark >> MARK_BITS and kept.mark >= mark


def check_fence(kept: Fence, epoch: int, marks: Marks | None) -> None:
    """Raises Conflict where another feeds the engine, EngineEmptied where the engine is older than its feeder knows."""
    if kept.epoch == epoch and (marks is None or marks.least <= kept.mark <= marks.most):
        return
    is_ours = marks is not None and kept.mark >> MARK_BITS == marks.most >> MARK_BITS
    if kept.epoch < epoch or (kept.epoch == epoch and is_ours and marks is not None and kept.mark < marks.least):
        raise EngineEmptied(
            "the engine is in an older state than it said it had reached (emptied, restored, or a standby that lacked "
            "the last changes): what it lost is delivered again",
            epoch=kept.epoch,
        )
    raise Conflict(
        f"this engine is fed under epoch {kept.epoch} by now, no longer under {epoch}: stop feeding it here, or start "
        "again to take it over",
        epoch=kept.epoch,
    )


class Fenced(Protocol):
    """What keeps two feeders of one engine apart, and tells when it has lost something: a `Fence` kept in the engine.

    Whoever feeds raises its epoch first. Every other method that is given another epoch, or marks that are not the
    engine's, changes nothing and raises what `check_fence` says; without marks only the epoch is asked. All methods
    raise Unavailable for what passes, Corrupt for what does not.
    """

    def kept(self) -> Fence:
        """The fence that the engine holds; epoch 0 where nobody has fed it."""
        ...

    def fence(self, known: int, epoch: int, *, mark: int = 0, owner: bytes = b"") -> Fence | None:
        """Puts a fence of a higher epoch in the place of one that is `known` still, in one step: the one it replaced.

        None where it was another, or the epoch is not higher.
        """
        ...


class Sink(Fenced, Protocol):
    """An engine that keeps rows of declared tables. Doing anything twice is doing it once."""

    def prepare(self, tables: Sequence[Table]) -> None:
        """Makes what is missing to keep these tables; what is there stays."""
        ...

    def apply(self, epoch: int, changes: Sequence[Change], *, marks: Marks | None = None) -> None:
        """Takes each change whose version is newer than what it has of that key, in any order; the rest is left out.

        Where there is no row, it keeps key and version alone: a tombstone. Raises Rejected when a row is refused for
        good (saying which rule, never a value); then any part of the batch may have been taken. The mark moves in the
        step that takes the batch's last part.
        """
        ...

    def rows(self, table: Table, *, after: bytes | None, limit: int) -> list[Change]:
        """The rows it has whose keys come after this one, in the order of their keys; tombstones are left out."""
        ...

    def sweep(self, epoch: int, table: Table, below: int, *, marks: Marks | None = None) -> int:
        """Removes rows and tombstones whose version is of an epoch before `below`; how many rows. Moves the mark.

        The table need not be prepared, nor be there: it may be followed no more.
        """
        ...

    def trim(self, epoch: int, table: Table, version: int, *, marks: Marks | None = None) -> int:
        """Removes tombstones older than a version; how many."""
        ...

    def pulse(self, epoch: int, *, marks: Marks | None = None) -> None:
        """Notes that all that the feeder knew a moment ago is here: readers ask how long ago that was."""
        ...


@runtime_checkable
class Retiring(Protocol):
    """What a sink has besides that drops rows which are past (`Table.retention`), a partition at a time."""

    def retire(self, epoch: int, tables: Sequence[Table], *, marks: Marks | None = None) -> int:
        """Drops the partitions of these tables that are wholly past and makes those that come; how many it dropped."""
        ...

    def horizon(self, table: Table) -> int | None:
        """Before which time, in ms since 1970 by its own clock, rows of the table are not kept; None where all are."""
        ...


@runtime_checkable
class Showing(Protocol):
    """What a sink has besides that keeps dashboards for those who read the engine itself."""

    def show(self, dashboards: Sequence[Dashboard]) -> None:
        """Keeps the figures of these, over the tables that are prepared, and of no others, fresh within minutes.

        A table that is not here leaves its figures out. What refuses them stops no feeder.
        """
        ...


@runtime_checkable
class Retaining(Protocol):
    """What a sink has besides that retains copies of rows which no change reaches, as migrations put them aside."""

    def forgotten(self, epoch: int, count: int, *, marks: Marks | None = None) -> None:
        """Drops such copies, unless it has done so since the file forgot something for the `count`-th time."""
        ...


@runtime_checkable
class Losing(Protocol):
    """What a sink has besides that may lose what cannot be told from its rows, as a cache does that evicts."""

    def lost(self) -> bool:
        """Whether something is missing that only all rows, read again, bring back; a `sweep` behind them says it is."""
        ...


@runtime_checkable
class Spreading(Protocol):
    """What a sink has besides that tells parts of rows beside them, where they may outlast their row."""

    def beside(self, table: Table) -> Iterator[set[bytes]]:
        """The keys of the rows of which something is told so, some of them again."""
        ...


class EventSink(Fenced, Protocol):
    """An engine that carries events."""

    def deliver(self, epoch: int, deliveries: Sequence[Delivery], *, marks: Marks | None = None) -> None:
        """Takes events in this order. Raises Rejected when one is refused for good; any part may have been taken.

        The mark moves in the step that takes the last of them.
        """
        ...
