"""Room `engines` (imports all below it): canonical values as PostgreSQL's binary format, for COPY, and back.

*Source*: PostgreSQL's documentation, "COPY", "Binary Format"; the `*_send` functions of its types; pgvector's
`vector_send`.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterable, Sequence
from datetime import date
from decimal import Decimal
from typing import Any, Final

import msgspec

from antiphon.model.errors import Rejected
from antiphon.model.table import Column, Type

Encoder = Callable[[Any], bytes]

HEAD: Final = b"PGCOPY\n\xff\r\n\0" + bytes(8)
END: Final = b"\xff\xff"
NULL: Final = b"\xff\xff\xff\xff"
POSTGRES_EPOCH_MS: Final = 946_684_800_000
"""2000-01-01 UTC, from which PostgreSQL counts."""
TIMESTAMP_MS_MAX: Final = 9_224_318_015_999_999
"""The end of the year 294276, the last that PostgreSQL knows."""
TIMESTAMP_MS_MIN: Final = -210_866_803_200_000
"""The beginning of its calendar, 4714 BC."""
DURATION_MS_MAX: Final = ((1 << 63) - 1) // 1_000
"""What fits an interval's microseconds."""
_DAYS: Final = date(2000, 1, 1).toordinal()
_OIDS: Final = {
    "boolean": 16, "bytea": 17, "bigint": 20, "text": 25, "double precision": 701, "date": 1082, "timestamptz": 1184,
    "interval": 1186, "numeric": 1700, "uuid": 2950, "jsonb": 3802,
}  # fmt: skip

_NUL_IN_JSON: Final = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")
"""The escape itself, not a backslash that is followed by the same letters."""

_int64 = struct.Struct("!iq")
_float64 = struct.Struct("!id")


def _sized(raw: bytes) -> bytes:
    return len(raw).to_bytes(4, "big") + raw


def _text(value: str) -> bytes:
    raw = value.encode()
    if b"\0" in raw:
        raise Rejected("PostgreSQL holds no NUL in text")
    return len(raw).to_bytes(4, "big") + raw


def _json(value: Any) -> bytes:
    raw = msgspec.json.encode(_plain(value))
    if _NUL_IN_JSON.search(raw) is not None:
        raise Rejected("PostgreSQL holds no NUL in JSON")
    return (len(raw) + 1).to_bytes(4, "big") + b"\x01" + raw


def _plain(value: Any) -> Any:
    """JSON's own types alone: bytes as base64 and decimals as text, which is how `model/values.py` prints them."""
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return value


def _timestamp(value: int) -> bytes:
    if not TIMESTAMP_MS_MIN <= value <= TIMESTAMP_MS_MAX:
        raise Rejected("PostgreSQL knows no time before 4714 BC or after the year 294276")
    return _int64.pack(8, (value - POSTGRES_EPOCH_MS) * 1_000)


def _interval(value: int) -> bytes:
    if abs(value) > DURATION_MS_MAX:
        raise Rejected("PostgreSQL holds no duration of more than 292,000 years in microseconds")
    return struct.pack("!iqii", 16, value * 1_000, 0, 0)


def _numeric(value: Decimal) -> bytes:
    """Groups of four decimal digits, with the weight of the first and the digits that are shown after the point."""
    sign, digits, exponent = value.as_tuple()
    assert isinstance(exponent, int)
    scale = max(-exponent, 0)
    whole = int("".join(map(str, digits)) or "0") * 10 ** max(exponent, 0)
    whole *= 10 ** (-scale % 4)
    groups: list[int] = []
    while whole:
        whole, group = divmod(whole, 10_000)
        groups.append(group)
    weight = len(groups) - 1 - (scale + 3) // 4
    groups.reverse()
    while groups and groups[-1] == 0:
        groups.pop()
    if not groups:
        weight, sign = 0, 0
    body = struct.pack(f"!hhHh{len(groups)}H", len(groups), weight, 0x4000 if sign else 0, scale, *groups)
    return _sized(body)


def _vector(value: Sequence[float]) -> bytes:
    return struct.pack(f"!ihh{len(value)}f", 4 + 4 * len(value), len(value), 0, *value)


def _array(of: Column) -> Encoder:
    encode, oid = encoder(of), _OIDS[sql_type(of)]

    def pack(value: Sequence[Any]) -> bytes:
        if not value:
            return _sized(struct.pack("!iii", 0, 0, oid))
        items = b"".join([encode(item) for item in value])
        return _sized(struct.pack("!iiiii", 1, 0, oid, len(value), 1) + items)

    return pack


_SQL: Final = {
    Type.TEXT: "text", Type.ENUM: "text", Type.INTEGER: "bigint", Type.REAL: "double precision",
    Type.BOOLEAN: "boolean", Type.DATE: "date", Type.TIMESTAMP: "timestamptz", Type.DURATION: "interval",
    Type.BYTES: "bytea", Type.JSON: "jsonb", Type.MAP: "jsonb", Type.GEO_POINT: "point", Type.GEO_SHAPE: "jsonb",
    Type.ID: "uuid", Type.PERSON: "uuid", Type.AGENT: "bytea", Type.LOG: "bytea",
}  # fmt: skip

_ENCODERS: Final[dict[Type, Encoder]] = {
    Type.TEXT: _text,
    Type.ENUM: _text,
    Type.INTEGER: lambda value: _int64.pack(8, value),
    Type.REAL: lambda value: _float64.pack(8, value),
    Type.DECIMAL: _numeric,
    Type.BOOLEAN: lambda value: b"\0\0\0\1\1" if value else b"\0\0\0\1\0",
    Type.DATE: lambda value: struct.pack("!ii", 4, value.toordinal() - _DAYS),
    Type.TIMESTAMP: _timestamp,
    Type.DURATION: _interval,
    Type.BYTES: _sized,
    Type.JSON: _json,
    Type.MAP: _json,
    Type.GEO_POINT: lambda value: struct.pack("!idd", 16, *value),
    Type.GEO_SHAPE: _json,
    Type.ID: _sized,
    Type.PERSON: _sized,
    Type.AGENT: _sized,
    Type.LOG: _sized,
    Type.VECTOR: _vector,
}


def sql_type(column: Column, *, vectors: bool = True) -> str:
    """What a column is in PostgreSQL. Without pgvector a vector is an array of reals."""
    match column.type:
        case Type.DECIMAL:
            return f"numeric({column.precision},{column.scale})"
        case Type.VECTOR:
            return f"vector({column.size})" if vectors else "real[]"
        case Type.LIST | Type.SET:
            item = item_of(column)
            return "jsonb" if _SQL.get(item.type) not in _OIDS else f"{_SQL[item.type]}[]"
    return _SQL[column.type]


def item_of(column: Column) -> Column:
    """What a list or a set is made of, as a column."""
    assert column.of is not None
    return Column(column.name, column.of, nullable=False, precision=column.precision, scale=column.scale)


def encoder(column: Column, *, vectors: bool = True) -> Encoder:
    """What makes a canonical value that is not None into a field: its length and its bytes."""
    if column.type in (Type.LIST, Type.SET):
        return _json if sql_type(column) == "jsonb" else _array(item_of(column))
    if column.type == Type.VECTOR and not vectors:
        return lambda value: _sized(
            struct.pack("!iiiii", 1, 0, 700, len(value), 1) + b"".join([struct.pack("!if", 4, one) for one in value])
        )
    return _ENCODERS[column.type]


def copied(rows: Iterable[Sequence[Any]], encoders: Sequence[Encoder]) -> bytes:
    """Rows as one COPY in binary format. *Cost*: about 0.4 µs a value. Raises Rejected, naming no value."""
    count = len(encoders).to_bytes(2, "big")
    parts = [HEAD]
    for row in rows:
        parts.append(count)
        parts += [NULL if value is None else encode(value) for value, encode in zip(row, encoders, strict=True)]
    parts.append(END)
    return b"".join(parts)


# -- back --------------------------------------------------------------------------------------------------------


def selected(column: Column, name: str) -> str:
    """The expression by which a column is read in a form that any value of it survives."""
    match column.type:
        case Type.TIMESTAMP | Type.DURATION:
            return f"(extract(epoch from {name}) * 1000)::bigint"
        case Type.VECTOR:
            return f"{name}::real[]"
        case Type.GEO_POINT:
            return f"CASE WHEN {name} IS NOT NULL THEN ARRAY[{name}[0], {name}[1]] END"
        case Type.LIST | Type.SET if sql_type(column) in ("timestamptz[]", "interval[]"):
            asked = "(extract(epoch from item) * 1000)::bigint"
            items = f"ARRAY(SELECT {asked} FROM unnest({name}) WITH ORDINALITY AS u(item, n) ORDER BY n)"
            return f"CASE WHEN {name} IS NOT NULL THEN {items} END"
    return name


def value_of(column: Column, raw: Any) -> Any:
    """The canonical value of what `selected` gave."""
    if raw is None:
        return None
    match column.type:
        case Type.ID | Type.PERSON:
            return raw.bytes
        case Type.BYTES | Type.AGENT | Type.LOG:
            return bytes(raw)
        case Type.LIST | Type.SET:
            item = item_of(column)
            return [value_of(item, one) for one in raw]
    return raw
