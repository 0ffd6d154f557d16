"""Room `query` (imports `knowledge` and below): where a page ended, as text that says nothing but to us.

A cursor is a place in an order, not a right: whoever makes one up gets the rows that they may read from there on.
"""

from __future__ import annotations

import base64
import binascii
from typing import Any, Final

import msgspec

from antiphon.model import limits
from antiphon.model.errors import InvalidInput
from antiphon.model.values import canonical
from antiphon.query.plan import Plan, Position, meets

_NO_CURSOR: Final = "this is no cursor: give one that a page ended with, unchanged"
_ANOTHER: Final = (
    "this cursor is another question's: give it back with the table, conditions and order that it came with"
)


def cursor_of(plan: Plan, at: Position) -> str:
    """The text of a position."""
    raw = msgspec.msgpack.encode([plan.digest, at.sealed]) if at.sealed else raw_of(plan, at)
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def position_of(plan: Plan, cursor: str) -> Position:
    """The position behind a cursor. Raises InvalidInput when it is none, or another question's."""
    try:
        if not isinstance(cursor, str) or len(cursor) > limits.CURSOR_CHARS_MAX:
            raise ValueError("too long, or no text")
        raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        parts = msgspec.msgpack.decode(raw)
        sealed = msgspec.convert(parts, tuple[bytes, bytes]) if len(parts) == 2 else None
    except (ValueError, TypeError, binascii.Error, msgspec.MsgspecError):
        raise InvalidInput(_NO_CURSOR) from None
    if sealed is None:
        return read(plan, raw)
    if not sealed[1]:
        raise InvalidInput(_NO_CURSOR)
    if sealed[0] != plan.digest:
        raise InvalidInput(_ANOTHER)
    return Position(sealed=sealed[1])


def raw_of(plan: Plan, at: Position) -> bytes:
    """A position's bytes, as they stand for all who may see its row."""
    return msgspec.msgpack.encode([plan.digest, at.n, list(at.values)])


def read(plan: Plan, raw: bytes) -> Position:
    """The position of these bytes. Raises InvalidInput."""
    try:
        digest, n, found = msgspec.msgpack.decode(raw, type=tuple[bytes, int, list[Any]])
    except (ValueError, msgspec.MsgspecError):
        raise InvalidInput(_NO_CURSOR) from None
    if digest != plan.digest or len(found) != len(plan.order):
        raise InvalidInput(_ANOTHER)
    columns = [plan.table.column(name) for name, _ in plan.order]
    free = [msgspec.structs.replace(column, nullable=True, check=None) for column in columns]
    values = tuple(canonical(column, value) for column, value in zip(free, found, strict=True))
    if not all(meets(bound, values[0]) for bound in plan.bounds) or not -(1 << 62) < n < 1 << 62:
        raise InvalidInput("this cursor lies outside of what was asked: give one that a page ended with, unchanged")
    return Position(values, n)
