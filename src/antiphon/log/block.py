"""Room `log` (imports `model`): how leaves are stored: small runs at first, then columns and frames.

A *run* holds the leaves of one commit as they came. A *block* of up to 1,024 leaves holds headers as columns
(stamps and times as deltas, the rest by dictionary) and bodies in *frames* of about 16 KiB, each zstd; frames
after the first are compressed against the first, so reading one event inflates two frames at most.
`docs/protocol.md` gives the bytes.
"""

from __future__ import annotations

from itertools import accumulate
from math import gcd
from typing import Any, Final

import msgspec
import zstandard

from antiphon.model.errors import Corrupt
from antiphon.model.event import Header, Ref, State, encode_header
from antiphon.model.limits import BODY_BYTES_MAX, FRAME_BODY_BYTES
from antiphon.model.text import EntityIds

_pack: Final = msgspec.msgpack.Encoder().encode
_RAW, _ZSTD = b"\x00", b"\x01"
_RUN_PACK_BYTES: Final = 512
_INFLATED_BYTES_MAX: Final = 1_024 * (BODY_BYTES_MAX + 8_192)
_FAST: Final = zstandard.ZstdCompressionParameters.from_level(1, write_checksum=0, write_content_size=1)
_SMALL: Final = zstandard.ZstdCompressionParameters.from_level(9, write_checksum=0, write_content_size=1)


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


def _squeeze(raw: bytes) -> bytes:
    if len(raw) < _RUN_PACK_BYTES:
        return _RAW + raw
    return _ZSTD + zstandard.ZstdCompressor(compression_params=_FAST).compress(raw)


def _inflate(data: bytes, dictionary: zstandard.ZstdCompressionDict | None = None) -> bytes:
    if data[:1] == _RAW:
        return data[1:]
    try:
        if zstandard.frame_content_size(data[1:]) > _INFLATED_BYTES_MAX:
            raise Corrupt("a stored frame claims to be larger than any frame can be")
        return zstandard.ZstdDecompressor(dict_data=dictionary).decompress(data[1:])
    except zstandard.ZstdError as error:
        raise Corrupt(f"a stored frame cannot be inflated: {error}") from None


class _Run(msgspec.Struct, array_like=True):
    headers: list[bytes | None]
    bodies: list[bytes | None]
    states: bytes | None
    hashes: dict[int, bytes]


_run_decoder: Final = msgspec.msgpack.Decoder(_Run)


def pack_run(leaves: Leaves) -> bytes:
    """The bytes of a run."""
    states = None if leaves.states is None else bytes(leaves.states)
    return _squeeze(_pack(_Run(leaves.headers, leaves.bodies, states, leaves.hashes)))


def unpack_run(first: int, count: int, data: bytes) -> Leaves:
    """The leaves of a run. Raises Corrupt when the bytes are not those of `count` leaves."""
    try:
        run = _run_decoder.decode(_inflate(data))
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise Corrupt(f"the run of events from {first} cannot be read: {error}", first=first) from None
    if not len(run.headers) == len(run.bodies) == count:
        raise Corrupt(f"the run of events from {first} does not hold {count} events", first=first)
    states = None if run.states is None else bytearray(run.states)
    return Leaves(first, run.headers, run.bodies, states, run.hashes)


class Columns(msgspec.Struct, array_like=True):
    """The headers of a block, column by column; a column that says nothing is nil.

    *Units*: `stamps` and `times` are first differences in `stamp_unit` / `time_unit`; times are ms.
    `entities`: 0 none, 1 the id the event itself creates, n+2 the n-th of `entity_ids`.
    `frames` has the number of leaves in each frame.
    """

    count: int
    states: bytes | None
    hashes: dict[int, bytes] | None
    shapes: list[tuple[str, int, tuple[bytes, ...] | None, int, bytes | None]]
    shape_of: list[int] | None
    stamp_unit: int
    stamps: list[int]
    time_unit: int
    times: list[int | None] | None
    entity_ids: list[bytes]
    entities: list[int] | int
    refs: dict[int, tuple[Ref, ...]] | None
    frames: list[int]


_columns_decoder: Final = msgspec.msgpack.Decoder(Columns)
_header_decoder: Final = msgspec.msgpack.Decoder(Header)


def _unit(deltas: list[int]) -> int:
    return gcd(*deltas) or 1


def pack_columns(leaves: Leaves, *, ids: EntityIds, frames: list[int]) -> bytes:
    """The column bytes of a block's headers. Headers that are not held leave no trace but their hash."""
    shapes: dict[Any, int] = {}
    known: dict[bytes, int] = {}
    shape_of: list[int] = []
    entities: list[int] = []
    stamps: list[int] = []
    times: list[int | None] = []
    refs: dict[int, tuple[Ref, ...]] = {}
    last_stamp = last_time = 0
    for at, raw in enumerate(leaves.headers):
        if raw is None:
            shape_of.append(0)
            entities.append(0)
            stamps.append(0)
            times.append(None)
            continue
        head = _header_decoder.decode(raw)
        shape = (head.kind, head.kind_version, head.about, head.scope, head.circle)
        shape_of.append(shapes.setdefault(shape, len(shapes)))
        stamps.append(head.hlc - last_stamp)
        last_stamp = head.hlc
        if head.occurred is None:
            times.append(None)
        else:
            times.append(head.occurred - last_time)
            last_time = head.occurred
        if head.entity is None:
            entities.append(0)
        elif head.entity == ids.of(head.hlc, leaves.first + at):
            entities.append(1)
        else:
            entities.append(2 + known.setdefault(head.entity, len(known)))
        if head.refs is not None:
            refs[at] = head.refs
    stamp_unit = _unit(stamps)
    present = [time for time in times if time is not None]
    time_unit = _unit(present) if present else 1
    columns = Columns(
        count=len(leaves.headers),
        states=None if leaves.states is None else bytes(leaves.states),
        hashes=leaves.hashes or None,
        shapes=list(shapes),
        shape_of=shape_of if len(shapes) > 1 else None,
        stamp_unit=stamp_unit,
        stamps=[delta // stamp_unit for delta in stamps],
        time_unit=time_unit,
        times=[None if time is None else time // time_unit for time in times] if present else None,
        entity_ids=list(known),
        entities=entities if len(set(entities)) > 1 else entities[0],
        refs=refs or None,
        frames=frames,
    )
    raw = _pack(columns)
    return _ZSTD + zstandard.ZstdCompressor(compression_params=_SMALL).compress(raw)


def unpack_columns(data: bytes) -> Columns:
    """The columns in these bytes."""
    try:
        columns = _columns_decoder.decode(_inflate(data))
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise Corrupt(f"a block's columns cannot be read: {error}") from None
    if sum(columns.frames) != columns.count or len(columns.stamps) != columns.count:
        raise Corrupt("a block's columns contradict each other")
    return columns


def header_at(columns: Columns, at: int, *, first: int, ids: EntityIds) -> Header | None:
    """One header out of the columns, or None where it is not held. *Cost*: two short sums."""
    if columns.states is not None and columns.states[at] > State.WITHHELD:
        return None
    kind, kind_version, about, scope, circle = columns.shapes[columns.shape_of[at] if columns.shape_of else 0]
    hlc = sum(columns.stamps[: at + 1]) * columns.stamp_unit
    times = columns.times
    occurred = None
    if times is not None and times[at] is not None:
        occurred = sum(filter(None, times[: at + 1])) * columns.time_unit
    code = columns.entities if isinstance(columns.entities, int) else columns.entities[at]
    entity = None if code == 0 else ids.of(hlc, first + at) if code == 1 else columns.entity_ids[code - 2]
    refs = None if columns.refs is None else columns.refs.get(at)
    return Header(1, hlc, occurred, kind, kind_version, entity, about, scope, circle, refs)


def headers_of(columns: Columns, *, first: int, ids: EntityIds) -> list[Header | None]:
    """All headers of a block, in one pass."""
    count, states, unit = columns.count, columns.states, columns.stamp_unit
    stamps = accumulate(columns.stamps)
    times: list[int | None] = [None] * count
    if columns.times is not None:
        total = 0
        for at, delta in enumerate(columns.times):
            if delta is not None:
                total += delta
                times[at] = total * columns.time_unit
    shape_of = columns.shape_of or [0] * count
    codes = [columns.entities] * count if isinstance(columns.entities, int) else columns.entities
    refs = columns.refs or {}
    headers: list[Header | None] = []
    for at, (stamp, occurred, shape, code) in enumerate(zip(stamps, times, shape_of, codes, strict=True)):
        if states is not None and states[at] > State.WITHHELD:
            headers.append(None)
            continue
        hlc = stamp * unit
        entity = None if code == 0 else ids.of(hlc, first + at) if code == 1 else columns.entity_ids[code - 2]
        kind, kind_version, about, scope, circle = columns.shapes[shape]
        headers.append(Header(1, hlc, occurred, kind, kind_version, entity, about, scope, circle, refs.get(at)))
    return headers


def cut_frames(bodies: list[bytes | None]) -> list[int]:
    """How many leaves go into each frame: a frame closes once it holds FRAME_BODY_BYTES."""
    cuts: list[int] = []
    count = held = 0
    for body in bodies:
        count += 1
        held += len(body or b"")
        if held >= FRAME_BODY_BYTES:
            cuts.append(count)
            count = held = 0
    if count:
        cuts.append(count)
    return cuts


class _Frame(msgspec.Struct, array_like=True):
    lengths: list[int]
    bodies: bytes


_frame_decoder: Final = msgspec.msgpack.Decoder(_Frame)


def pack_frames(bodies: list[bytes | None], cuts: list[int]) -> list[bytes]:
    """The frames of a block's bodies. A body not held has length -1."""
    frames: list[bytes] = []
    compressor = zstandard.ZstdCompressor(compression_params=_SMALL)
    at = 0
    for cut in cuts:
        part = bodies[at : at + cut]
        at += cut
        lengths = [-1 if body is None else len(body) for body in part]
        raw = _pack(_Frame(lengths, b"".join(body for body in part if body is not None)))
        frames.append(_ZSTD + compressor.compress(raw))
        if len(frames) == 1 and len(cuts) > 1:
            shared = zstandard.ZstdCompressionDict(raw, dict_type=zstandard.DICT_TYPE_RAWCONTENT)
            compressor = zstandard.ZstdCompressor(compression_params=_SMALL, dict_data=shared)
    return frames


def inflate_frame(data: bytes, first_frame: bytes | None) -> bytes:
    """A frame's raw bytes; `first_frame` is the raw first frame of its block, None for that one itself."""
    if first_frame is None:
        return _inflate(data)
    shared = zstandard.ZstdCompressionDict(first_frame, dict_type=zstandard.DICT_TYPE_RAWCONTENT)
    return _inflate(data, shared)


def bodies_of(raw: bytes) -> list[bytes | None]:
    """The bodies in a raw frame."""
    try:
        frame = _frame_decoder.decode(raw)
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise Corrupt(f"a frame of bodies cannot be read: {error}") from None
    bodies: list[bytes | None] = []
    at = 0
    for length in frame.lengths:
        if length < 0:
            bodies.append(None)
        else:
            bodies.append(frame.bodies[at : at + length])
            at += length
    if at != len(frame.bodies):
        raise Corrupt("a frame of bodies has bytes that belong to no body")
    return bodies


def encode_headers(headers: list[Header | None]) -> list[bytes | None]:
    """Canonical bytes of headers, None kept."""
    return [None if header is None else encode_header(header) for header in headers]
