"""Room `log` (imports `model`): bodies at rest: a block's bodies in a few frames, each compressed by itself."""

from __future__ import annotations

from itertools import accumulate
from typing import Final

import msgspec

from antiphon.log.packed import UNREADABLE, Each, deflate, inflate
from antiphon.model.errors import Corrupt
from antiphon.model.limits import FRAME_BODY_BYTES

_PREFIX_BYTES_MAX: Final = 64
_NIL: Final = b"\xc0"
_pack: Final = msgspec.msgpack.Encoder().encode


def cut_frames(bodies: list[bytes | None]) -> list[int]:
    """How many leaves go into each frame: as few frames of about FRAME_BODY_BYTES as can be, equally full."""
    total = sum(len(body) for body in bodies if body is not None)
    full = total / -(-total // FRAME_BODY_BYTES) if total else 1
    cuts: list[int] = []
    count = held = 0
    for body in bodies:
        count += 1
        held += len(body or b"")
        if held >= full * (len(cuts) + 1):
            cuts.append(count)
            count = 0
    if count:
        cuts.append(count)
    return cuts


class Frame(msgspec.Struct, array_like=True):
    """The bodies of a frame, as stored; nil stands for one that is not held.

    With a prefix, a body is the prefix and its item's own bytes (so that one MessagePack value needs no length
    beside it); without one, items are byte strings.
    """

    prefix: bytes | None
    items: Each[msgspec.Raw]

    def body(self, at: int) -> bytes | None:
        """The body at this offset, None where it is not held."""
        item = bytes(self.items[at])
        if item == _NIL:
            return None
        return self.prefix + item if self.prefix is not None else _bytes_decoder.decode(item)


_frame_decoder: Final = msgspec.msgpack.Decoder(Frame)
_bytes_decoder: Final = msgspec.msgpack.Decoder(bytes)
_values_decoder: Final = msgspec.msgpack.Decoder(list[msgspec.Raw])


def _are_values(items: list[bytes]) -> bool:
    """Whether each of these is one MessagePack value, and none of them nil."""
    try:
        values = _values_decoder.decode(b"\xdd" + len(items).to_bytes(4, "big") + b"".join(items))
    except UNREADABLE:
        return False
    return _NIL not in items and [bytes(value) for value in values] == items


def _common_start(low: bytes, high: bytes) -> int:
    for at, (a, b) in enumerate(zip(low[:_PREFIX_BYTES_MAX], high, strict=False)):
        if a != b:
            return at
    return min(len(low), len(high), _PREFIX_BYTES_MAX)


def _framed(bodies: list[bytes | None]) -> Frame:
    """The shortest form of these bodies: without their longest common start that leaves values, where there is one."""
    held = [body for body in bodies if body is not None]
    if held:
        for length in range(_common_start(min(held), max(held)), -1, -1):
            if _are_values([held[0][length:]]) and _are_values([body[length:] for body in held]):
                items = [msgspec.Raw(_NIL if body is None else body[length:]) for body in bodies]
                return Frame(held[0][:length], items)
    return Frame(None, [msgspec.Raw(_pack(body)) for body in bodies])


def pack_frames(bodies: list[bytes | None], cuts: list[int]) -> list[bytes]:
    """The frames of a block's bodies."""
    ends = accumulate(cuts)
    return [deflate(_pack(_framed(bodies[end - cut : end]))) for cut, end in zip(cuts, ends, strict=True)]


def unpack_frame(data: bytes, count: int) -> Frame:
    """A frame of so many bodies. Raises Corrupt when these bytes are none."""
    try:
        frame = _frame_decoder.decode(inflate(data, count))
        if len(frame.items) == count and (frame.prefix is not None or _are_bytes(frame.items)):
            return frame
    except UNREADABLE as error:
        raise Corrupt(f"a frame of bodies cannot be read: {error}") from None
    raise Corrupt(f"a frame does not hold {count} bodies")


def _are_bytes(items: list[msgspec.Raw]) -> bool:
    return all(bytes(item) == _NIL or _bytes_decoder.decode(item) is not None for item in items)
