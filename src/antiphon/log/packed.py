"""Room `log` (imports `model`): bytes at rest: compressed where that pays, and refused where they claim too much."""

from __future__ import annotations

import threading
from typing import Annotated, Final, TypeVar

import msgspec
import zstandard

from antiphon.model.errors import Corrupt
from antiphon.model.limits import BLOCK_LEAVES, BODY_BYTES_MAX, FRAME_BODY_BYTES, HEADER_BYTES_MAX

_RAW, _ZSTD = b"\x00", b"\x01"
_RUN_PACK_BYTES: Final = 512
_LEAF_BYTES_MAX: Final = BODY_BYTES_MAX + HEADER_BYTES_MAX + 128
_FAST: Final = zstandard.ZstdCompressionParameters.from_level(1, write_checksum=0, write_content_size=1)
_DEEP: Final = zstandard.ZstdCompressionParameters.from_level(9, write_checksum=0, write_content_size=1)
_SMALL: Final = zstandard.ZstdCompressionParameters.from_level(
    9, source_size=2 * FRAME_BODY_BYTES, write_checksum=0, write_content_size=1
)
"""With tables sized for a frame, 3% smaller on chat than without. Level 15 saves 1% more but, packing in the background
of commits, costs them 1 µs of processor an event."""
_local: Final = threading.local()

T = TypeVar("T")
K = TypeVar("K")
Each = Annotated[list[T], msgspec.Meta(max_length=BLOCK_LEAVES)]
Some = Annotated[dict[K, T], msgspec.Meta(max_length=BLOCK_LEAVES)]
"""At most one entry a leaf. The decoder looks at the length it is told before it makes room for anything."""
UNREADABLE: Final = (msgspec.DecodeError, msgspec.ValidationError, RecursionError)
"""What decoding hostile bytes raises."""


def squeeze(raw: bytes) -> bytes:
    """Packed in no time: for what is written in a commit."""
    if len(raw) < _RUN_PACK_BYTES:
        return _RAW + raw
    return _ZSTD + zstandard.ZstdCompressor(compression_params=_FAST).compress(raw)


def deflate(raw: bytes) -> bytes:
    """Packed well: for what is written in the background."""
    parameters = _SMALL if len(raw) <= 2 * FRAME_BODY_BYTES else _DEEP
    return _ZSTD + zstandard.ZstdCompressor(compression_params=parameters).compress(raw)


def _decompressor() -> zstandard.ZstdDecompressor:
    """This thread's: making one costs as much as inflating 8 KB."""
    found: zstandard.ZstdDecompressor | None = getattr(_local, "decompressor", None)
    if found is None:
        found = _local.decompressor = zstandard.ZstdDecompressor()
    return found


def packed_bytes_max(leaves: int) -> int:
    """More than so many leaves can take, compressed or not."""
    return (leaves + 1) * _LEAF_BYTES_MAX


def inflate(data: bytes | memoryview, leaves: int = BLOCK_LEAVES) -> bytes | memoryview:
    """What was packed. Raises Corrupt, before it makes room, for more than so many leaves can take."""
    most = packed_bytes_max(leaves)
    if data[:1] == _RAW and len(data) <= most:
        return data[1:]
    try:
        if data[:1] != _ZSTD or zstandard.frame_content_size(data[1:]) > most:
            raise Corrupt("a stored frame is of no kind we know, or claims to be larger than any can be")
        return _decompressor().decompress(data[1:], allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise Corrupt(f"a stored frame cannot be inflated: {error}") from None
