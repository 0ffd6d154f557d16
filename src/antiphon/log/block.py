"""Room `log` (imports `model`): how leaves are stored: small runs at first, then columns and frames.

A *run* holds the leaves of one commit as they came. A *block* of up to 1,024 leaves holds headers as columns
(stamps and times as deltas, the rest by dictionary) and bodies in *frames* of at most about 14 KiB, each zstd by
itself, so that reading one event inflates its columns and one frame.
`docs/protocol.md` gives the bytes.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Sequence
from itertools import accumulate, pairwise
from math import gcd
from typing import Any, Final

import msgspec

from antiphon.log.packed import UNREADABLE, Each, Some, deflate, inflate, squeeze
from antiphon.model.errors import Corrupt
from antiphon.model.event import Header, Ref, State, encode_header
from antiphon.model.limits import BLOCK_LEAVES
from antiphon.model.text import EntityIds

_pack: Final = msgspec.msgpack.Encoder().encode


class Leaves(msgspec.Struct):
    """Consecutive leaves of one log, as held.

    *Shapes*: `headers` and `bodies` have one entry a leaf (None where not held); `states` is None when every leaf
    is whole; `hashes` has the leaf hash of each leaf whose header is gone and the body hash of each withheld one.
    """

    first: int
    headers: list[bytes | None]
    bodies: list[bytes | None]
    states: bytearray | None = None
    hashes: dict[int, bytes] = {}

    def state(self, at: int) -> int:
        """The state of the leaf at this offset."""
        return State.WHOLE if self.states is None else self.states[at]

    def forget(self, at: int, leaf: bytes, state: State) -> None:
        """Drops header and body at this offset; the leaf's hash stays."""
        if self.states is None:
            self.states = bytearray(len(self.headers))
        self.states[at] = state
        self.headers[at] = self.bodies[at] = None
        self.hashes[at] = leaf

    def extend(self, other: Leaves) -> None:
        """Appends the leaves that follow."""
        base = len(self.headers)
        if other.states is not None or self.states is not None:
            mine = self.states if self.states is not None else bytearray(base)
            self.states = mine + (other.states if other.states is not None else bytearray(len(other.headers)))
        self.headers += other.headers
        self.bodies += other.bodies
        self.hashes.update({base + at: value for at, value in other.hashes.items()})


class _Run(msgspec.Struct, array_like=True):
    headers: Each[bytes | None]
    bodies: Each[bytes | None]
    states: bytes | None
    hashes: Some[int, bytes]


_run_decoder: Final = msgspec.msgpack.Decoder(_Run)


def pack_run(leaves: Leaves) -> bytes:
    """The bytes of a run."""
    states = None if leaves.states is None else bytes(leaves.states)
    return squeeze(_pack(_Run(leaves.headers, leaves.bodies, states, leaves.hashes)))


def unpack_run(first: int, count: int, data: bytes | memoryview) -> Leaves:
    """The leaves of a run. Raises Corrupt when the bytes are not those of `count` leaves."""
    try:
        run = _run_decoder.decode(inflate(data, min(max(count, 0), BLOCK_LEAVES)))
    except UNREADABLE as error:
        raise Corrupt(f"the run of events from {first} cannot be read: {error}", first=first) from None
    if not len(run.headers) == len(run.bodies) == count:
        raise Corrupt(f"the run of events from {first} does not hold {count} events", first=first)
    if run.states is not None and (len(run.states) != count or max(run.states, default=0) > max(State)):
        raise Corrupt(f"the run of events from {first} has states that are not its leaves'", first=first)
    states = None if run.states is None else bytearray(run.states)
    return Leaves(first, run.headers, run.bodies, states, run.hashes)


_WIDTHS: Final = {1: "b", 2: "h", 4: "i", 8: "q"}


def pack_ints(values: Sequence[int]) -> bytes:
    """A column of integers: the bytes that each takes (1, 2, 4 or 8), then they, signed and little-endian."""
    most = max(map(abs, values), default=0)
    width = next(width for width in _WIDTHS if most < 1 << 8 * width - 1)
    column = array(_WIDTHS[width], values)
    if sys.byteorder == "big":
        column.byteswap()
    return bytes([width]) + column.tobytes()


def unpack_ints(data: bytes) -> array[int]:
    """The integers of a column. Raises ValueError for bytes that are none. *Cost*: a copy; no object an integer."""
    if data[0] not in _WIDTHS:
        raise ValueError("a column of integers of no known width")
    column = array(_WIDTHS[data[0]], data[1:])
    if sys.byteorder == "big":
        column.byteswap()
    return column


class _Stored(msgspec.Struct, array_like=True):
    """The headers of a block, column by column; a column that says nothing is nil. Integers by `pack_ints`."""

    count: int
    states: bytes | None
    hashes: Some[int, bytes] | None
    shapes: Each[tuple[str, int, tuple[bytes, ...] | None, int, bytes | None]]
    shape_of: bytes | None
    stamp: int
    stamp_unit: int
    stamps: bytes
    time: int
    time_unit: int
    times: bytes | None
    timed: bytes | None
    entity_ids: Each[bytes]
    entities: bytes | int
    refs: Some[int, tuple[Ref, ...]] | None
    frames: Each[int]


class Columns(msgspec.Struct):
    """The headers of a block, column by column, ready to be looked at.

    *Units*: `stamps` and `times` are differences to the one before, from `stamp` and `time` on, in `stamp_unit`
    and `time_unit`; times are ms. `timed` is None when every header or none has a time, else 1 where there is one.
    `entities`: 0 none, 1 the id the event itself creates, n+2 the n-th of `entity_ids`; one number when all agree.
    `frames` has the number of leaves in each frame.
    """

    count: int
    states: bytes | None
    hashes: dict[int, bytes]
    shapes: list[tuple[str, int, tuple[bytes, ...] | None, int, bytes | None]]
    shape_of: array[int] | None
    stamp: int
    stamp_unit: int
    stamps: array[int]
    time: int
    time_unit: int
    times: array[int] | None
    timed: bytes | None
    entity_ids: list[bytes]
    entities: array[int] | int
    refs: dict[int, tuple[Ref, ...]]
    frames: list[int]

    def stamps_of(self, upto: int) -> list[int]:
        """The stamps of the first headers."""
        return [self.stamp + total * self.stamp_unit for total in accumulate(self.stamps[:upto])]

    def times_of(self, upto: int) -> list[int]:
        """The times of the first headers; where one has none, that of the one before."""
        return [self.time + total * self.time_unit for total in accumulate((self.times or ())[:upto])]

    def header(self, at: int, stamp: int, occurred: int, *, first: int, ids: EntityIds) -> Header | None:
        """One header, given its stamp and (where it has one) its time; None where it is not held."""
        if self.states is not None and self.states[at] > State.WITHHELD:
            return None
        kind, kind_version, about, scope, circle = self.shapes[0 if self.shape_of is None else self.shape_of[at]]
        code = self.entities if isinstance(self.entities, int) else self.entities[at]
        return Header(
            1,
            stamp,
            None if self.times is None or (self.timed is not None and not self.timed[at]) else occurred,
            kind,
            kind_version,
            None if code == 0 else ids.of(stamp, first + at) if code == 1 else self.entity_ids[code - 2],
            about,
            scope,
            circle,
            self.refs.get(at),
        )


_columns_decoder: Final = msgspec.msgpack.Decoder(_Stored)
_header_decoder: Final = msgspec.msgpack.Decoder(Header)


def _differences(values: list[int]) -> tuple[int, list[int], int]:
    """The first value, the differences to the one before, and the unit that they are multiples of."""
    deltas = [after - before for before, after in pairwise(values)]
    unit = gcd(*deltas) or 1
    return values[0], [0, *(delta // unit for delta in deltas)], unit


def _filled(values: list[int | None]) -> list[int]:
    """The values, with the one before (or the first there is) where there is none."""
    last = next((value for value in values if value is not None), 0)
    return [last := last if value is None else value for value in values]


def pack_columns(leaves: Leaves, *, ids: EntityIds, frames: list[int]) -> bytes:
    """The column bytes of a block's headers. Headers that are not held leave no trace but their hash."""
    shapes: dict[Any, int] = {}
    known: dict[bytes, int] = {}
    shape_of: list[int] = []
    entities: list[int] = []
    stamps: list[int | None] = []
    times: list[int | None] = []
    refs: dict[int, tuple[Ref, ...]] = {}
    for at, raw in enumerate(leaves.headers):
        if raw is None:
            shape_of.append(0)
            entities.append(0)
            stamps.append(None)
            times.append(None)
            continue
        head = _header_decoder.decode(raw)
        shape = (head.kind, head.kind_version, head.about, head.scope, head.circle)
        shape_of.append(shapes.setdefault(shape, len(shapes)))
        stamps.append(head.hlc)
        times.append(head.occurred)
        if head.entity is None:
            entities.append(0)
        elif head.entity == ids.of(head.hlc, leaves.first + at):
            entities.append(1)
        else:
            entities.append(2 + known.setdefault(head.entity, len(known)))
        if head.refs is not None:
            refs[at] = head.refs
    stamp, stamp_deltas, stamp_unit = _differences(_filled(stamps))
    time, time_deltas, time_unit = _differences(_filled(times))
    columns = _Stored(
        count=len(leaves.headers),
        states=None if leaves.states is None else bytes(leaves.states),
        hashes=leaves.hashes or None,
        shapes=list(shapes),
        shape_of=pack_ints(shape_of) if len(shapes) > 1 else None,
        stamp=stamp,
        stamp_unit=stamp_unit,
        stamps=pack_ints(stamp_deltas),
        time=time,
        time_unit=time_unit,
        times=None if times.count(None) == len(times) else pack_ints(time_deltas),
        timed=bytes(time is not None for time in times) if None in times else None,
        entity_ids=list(known),
        entities=pack_ints(entities) if len(set(entities)) > 1 else entities[0],
        refs=refs or None,
        frames=frames,
    )
    return deflate(_pack(columns))


def unpack_columns(data: bytes) -> Columns:
    """The columns in these bytes."""
    try:
        stored = _columns_decoder.decode(inflate(data))
        columns = Columns(
            stored.count,
            stored.states,
            stored.hashes or {},
            stored.shapes,
            None if stored.shape_of is None else unpack_ints(stored.shape_of),
            stored.stamp,
            stored.stamp_unit,
            unpack_ints(stored.stamps),
            stored.time,
            stored.time_unit,
            None if stored.times is None else unpack_ints(stored.times),
            stored.timed,
            stored.entity_ids,
            stored.entities if isinstance(stored.entities, int) else unpack_ints(stored.entities),
            stored.refs or {},
            stored.frames,
        )
    except (msgspec.DecodeError, msgspec.ValidationError, ValueError, IndexError) as error:
        raise Corrupt(f"a block's columns cannot be read: {error}") from None
    if not _fits(columns):
        raise Corrupt("a block's columns contradict each other")
    return columns


def _fits(columns: Columns) -> bool:
    """Whether every column has an entry a leaf, and points at what is there."""
    count, entities = columns.count, columns.entities
    codes = (entities,) if isinstance(entities, int) else entities
    some_header = columns.states is None or min(columns.states, default=0) <= State.WITHHELD
    shape_of = columns.shape_of if columns.shape_of is not None else (0,) * some_header
    per_leaf = (columns.stamps, columns.states, columns.shape_of, columns.times, columns.timed)
    return (
        0 < count <= BLOCK_LEAVES
        and sum(columns.frames) == count
        and min(columns.frames) > 0
        and all(column is None or len(column) == count for column in per_leaf)
        and (isinstance(entities, int) or len(entities) == count)
        and min(shape_of, default=0) >= 0
        and max(shape_of, default=-1) < len(columns.shapes)
        and min(codes) >= 0
        and max(codes) < len(columns.entity_ids) + 2
        and max(columns.states or (0,)) <= max(State)
    )


def header_at(columns: Columns, at: int, *, first: int, ids: EntityIds) -> Header | None:
    """One header out of the columns, or None where it is not held. *Cost*: two short sums."""
    stamp = columns.stamp + sum(columns.stamps[: at + 1]) * columns.stamp_unit
    occurred = 0 if columns.times is None else columns.time + sum(columns.times[: at + 1]) * columns.time_unit
    return columns.header(at, stamp, occurred, first=first, ids=ids)


def headers_of(
    columns: Columns, *, first: int, ids: EntityIds, low: int = 0, high: int | None = None
) -> list[Header | None]:
    """The headers of a block, or those of some of its leaves, in one pass."""
    high = columns.count if high is None else high
    stamps = columns.stamps_of(high)
    times = columns.times_of(high) or [0] * high
    if not (min(stamps) >= 0 and max(stamps) < 1 << 63 and min(times) >= -(1 << 63) and max(times) < 1 << 63):
        raise Corrupt(f"the block of events from {first} has a time that no clock shows", first=first)
    return [columns.header(at, stamps[at], times[at], first=first, ids=ids) for at in range(low, high)]


def encode_headers(headers: list[Header | None]) -> list[bytes | None]:
    """Canonical bytes of headers, None kept."""
    return [None if header is None else encode_header(header) for header in headers]
