"""Room `model` (pure; imports `model` alone): events, their headers and the one encoding of a header.

A header is a MessagePack array in fixed order with shortest integers; what is absent is nil. A header that
does not come out the same when encoded again is refused. Log and seq are its place in the tree, not in it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import datetime
from enum import IntEnum
from itertools import pairwise
from typing import Any, Final

import msgspec

from antiphon.model import limits
from antiphon.model.errors import LimitExceeded, ProtocolViolation

HEADER_VERSION: Final = 1
PLAIN_DEPTH_MAX: Final = 64


class Scope(IntEnum):
    """Who may hold an event's content."""

    PRIVATE = 0
    CIRCLE = 1
    PUBLIC = 2


class Role(IntEnum):
    """What a ref means."""

    SOURCE = 0
    TARGET = 1
    REPLY = 2
    CAUSE = 3


class State(IntEnum):
    """How much of a leaf is held."""

    WHOLE = 0
    WITHHELD = 1
    ERASED = 2
    PRUNED = 3
    HIDDEN = 4


class Ref(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """A pointer to another event; the leaf hash says which one even after a fork."""

    role: int
    log: bytes
    seq: int
    leaf: bytes


class Header(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """What is known of an event without its body."""

    version: int
    hlc: int
    occurred: int | None
    kind: str
    kind_version: int
    entity: bytes | None
    about: tuple[bytes, ...] | None
    scope: int
    circle: bytes | None
    refs: tuple[Ref, ...] | None


class Draft(msgspec.Struct, gc=False):
    """An event before it has a place: what a command wants to record.

    `entity` is 16 bytes, None (none), or `NEW` (the id that this event creates, known at commit).
    """

    kind: str
    body: bytes
    kind_version: int = 1
    entity: bytes | None = None
    occurred: int | None = None
    about: tuple[bytes, ...] | None = None
    scope: int = 0
    circle: bytes | None = None
    refs: tuple[Ref, ...] | None = None


NEW: Final = b""
"""As a draft's entity: the entity that the event itself creates."""


class Event(msgspec.Struct, frozen=True):
    """An event at its place in a log. `body` is None where only the leaf's hash or header is held.

    `author` is the agent (or principal) whose log it is.
    """

    log: bytes
    seq: int
    header: Header
    body: bytes | None
    stamp: int
    author: bytes = b""

    @property
    def entity(self) -> bytes | None:
        return self.header.entity

    @property
    def kind(self) -> str:
        return self.header.kind

    def decoded(self) -> Any:
        """The body as Python values, whatever its kind. Raises ProtocolViolation when it is not MessagePack."""
        try:
            return None if self.body is None else decode_body(self.body)
        except (ValueError, OverflowError, RecursionError) as error:  # msgspec's errors are ValueErrors
            raise ProtocolViolation(f"the body of this {self.kind} cannot be read: {error}") from None

    def plain(self) -> Any:
        """The body as values that JSON knows; see `plain_body`."""
        return plain_body(self.body)


_encoder: Final = msgspec.msgpack.Encoder()
encode_header: Final = _encoder.encode
encode_body: Final = _encoder.encode
_header_decoder: Final = msgspec.msgpack.Decoder(Header, strict=True)
decode_body: Final = msgspec.msgpack.Decoder().decode


class _NotPlain(ValueError):
    """A value that JSON cannot say."""


def plain_body(raw: bytes | None, *, bytes_as: Callable[[bytes], str] = bytes.hex) -> Any:
    """A body as values that JSON knows, None when there is none; it never raises, whoever wrote the body.

    Bytes are written by `bytes_as`, extensions in hexadecimal. A body that does not decode, nests deeper than
    PLAIN_DEPTH_MAX or has keys that no text can tell apart is one text: its bytes in hexadecimal.
    """
    if not raw:
        return None
    try:
        return _plain(decode_body(raw), bytes_as, 0)
    except (ValueError, OverflowError, RecursionError):  # msgspec's errors and those of Unicode are ValueErrors
        return raw.hex()


def _plain(value: Any, bytes_as: Callable[[bytes], str], depth: int) -> Any:
    if depth > PLAIN_DEPTH_MAX:
        raise _NotPlain(f"it nests deeper than {PLAIN_DEPTH_MAX}")
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, bytes):
        return bytes_as(value)
    if isinstance(value, list | tuple):
        return [_plain(item, bytes_as, depth + 1) for item in value]
    if isinstance(value, dict):
        found = {_key(key, bytes_as, depth + 1): _plain(item, bytes_as, depth + 1) for key, item in value.items()}
        if len(found) != len(value):
            raise _NotPlain("two of its keys read the same")
        return found
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, msgspec.msgpack.Ext):
        return bytes(value.data).hex()
    raise _NotPlain(f"it holds a {type(value).__name__}")


def _key(key: Any, bytes_as: Callable[[bytes], str], depth: int) -> str:
    return key if isinstance(key, str) else str(_plain(key, bytes_as, depth))


def decode_header(raw: bytes) -> Header:
    """The header in these bytes. Raises ProtocolViolation for any bytes but the one canonical encoding."""
    if len(raw) > limits.HEADER_BYTES_MAX:
        raise LimitExceeded(
            "HEADER_BYTES_MAX", got=len(raw), allowed=limits.HEADER_BYTES_MAX, what="an event header in bytes"
        )
    try:
        header = _header_decoder.decode(raw)
        canonical = encode_header(header) == raw
    except (msgspec.DecodeError, msgspec.ValidationError, UnicodeError, RecursionError) as error:
        raise ProtocolViolation(f"not an event header: {error}") from None
    if not canonical:
        raise ProtocolViolation("an event header that is not in its canonical encoding")
    fault = header_fault(header)
    if fault:
        raise ProtocolViolation(f"an event header with {fault}")
    return header


def stored_header(raw: bytes) -> Header:
    """The header in bytes that were looked at when they were stored here. Raises ProtocolViolation."""
    try:
        return _header_decoder.decode(raw)
    except (msgspec.DecodeError, msgspec.ValidationError, UnicodeError, RecursionError) as error:
        raise ProtocolViolation(f"not an event header: {error}") from None


def header_fault(header: Header) -> str | None:
    """What is wrong with a header's values, or None when nothing is."""
    if header.version != HEADER_VERSION:
        return f"version {header.version} (this Antiphon knows {HEADER_VERSION})"
    if not 0 <= header.hlc < 1 << 63:
        return "a stamp outside 63 bits"
    if header.occurred is not None and not -(1 << 53) <= header.occurred <= 1 << 53:
        return "a time of occurrence outside 53 bits"
    if not header.kind or len(header.kind.encode()) > limits.KIND_BYTES_MAX:
        return f"a kind that is empty or over {limits.KIND_BYTES_MAX} bytes"
    if not 0 < header.kind_version < 1 << 16:
        return "a kind version outside 1..65535"
    if header.entity is not None and len(header.entity) != 16:
        return "an entity id that is not 16 bytes"
    if header.scope not in (0, 1, 2):
        return f"an unknown scope {header.scope!r:.40}: there are Scope.PRIVATE, CIRCLE, PUBLIC (antiphon.model.event)"
    if (header.circle is not None) != (header.scope == Scope.CIRCLE):
        return "a circle without its scope, or the reverse"
    if header.circle is not None and len(header.circle) != 16:
        return "a circle id that is not 16 bytes"
    return _about_fault(header.about) or _refs_fault(header.refs)


def _about_fault(about: tuple[bytes, ...] | None) -> str | None:
    if about is None:
        return None
    if not about or len(about) > limits.ABOUT_PER_EVENT_MAX:
        return f"an empty list of people, or more than ABOUT_PER_EVENT_MAX ({limits.ABOUT_PER_EVENT_MAX})"
    if any(len(person) != 16 for person in about):
        return "a pseudonym that is not 16 bytes"
    if any(a >= b for a, b in pairwise(about)):
        return "people that are not sorted and unique"
    return None


def _refs_fault(refs: tuple[Ref, ...] | None) -> str | None:
    if refs is None:
        return None
    if not refs or len(refs) > limits.REFS_PER_EVENT_MAX:
        return f"an empty list of refs, or more than REFS_PER_EVENT_MAX ({limits.REFS_PER_EVENT_MAX})"
    for ref in refs:
        if ref.role not in (0, 1, 2, 3):
            return f"an unknown ref role {ref.role}"
        if len(ref.log) != 32 or len(ref.leaf) != 32 or not 0 <= ref.seq < limits.LOG_EVENTS_MAX:
            return "a ref that names no event"
    return None
