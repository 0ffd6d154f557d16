"""Room `engines` (imports all below it): how SQLite stores the values of columns.

Decimals are whole numbers of their smallest unit and dates are days, so that they are exact and in order; vectors are
32-bit floats; lists, sets, maps and JSON are JSON text.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from datetime import date
from decimal import Decimal
from typing import Any, Final

import msgspec

from antiphon.model.table import Column, Type
from antiphon.model.values import days, from_days, from_units, packed, units

_SQL: Final = {
    Type.TEXT: "TEXT", Type.ENUM: "TEXT", Type.INTEGER: "INTEGER", Type.REAL: "REAL", Type.DECIMAL: "INTEGER",
    Type.BOOLEAN: "INTEGER", Type.DATE: "INTEGER", Type.TIMESTAMP: "INTEGER", Type.DURATION: "INTEGER",
    Type.BYTES: "BLOB", Type.JSON: "TEXT", Type.LIST: "TEXT", Type.SET: "TEXT", Type.MAP: "TEXT", Type.VECTOR: "BLOB",
    Type.GEO_POINT: "TEXT", Type.GEO_SHAPE: "TEXT", Type.ID: "BLOB", Type.PERSON: "BLOB", Type.AGENT: "BLOB",
    Type.LOG: "BLOB",
}  # fmt: skip
KEY_AS_IS: Final = frozenset({Type.ID, Type.PERSON, Type.AGENT, Type.LOG, Type.BYTES})
"""Types whose values are a row's key as they are, where they are the whole key."""
_BYTES: Final = KEY_AS_IS
_AS_JSON: Final = frozenset({Type.JSON, Type.LIST, Type.SET, Type.MAP, Type.GEO_POINT, Type.GEO_SHAPE})
_CONVERTED: Final = _AS_JSON | {Type.DECIMAL, Type.DATE, Type.VECTOR, Type.BOOLEAN}


def sql_type(column: Column) -> str:
    """The type of the column in a CREATE TABLE."""
    return _SQL[column.type]


def is_converted(column: Column) -> bool:
    """Whether a value is stored in another form than Python's, or not at all."""
    return column.type in _CONVERTED or not column.is_stored


def stored_form(column: Column) -> Callable[[Any], Any]:
    """From a value to what is stored."""
    if not column.is_stored:
        return lambda value: None
    match column.type:
        case Type.DECIMAL:
            scale = column.scale
            return lambda value: units(value if isinstance(value, Decimal) else Decimal(str(value)), scale)
        case Type.DATE:
            return lambda value: days(value if isinstance(value, date) else date.fromisoformat(value))
        case Type.VECTOR:
            return lambda value: value if isinstance(value, bytes) else packed(value)
        case Type.BOOLEAN:
            return int
        case _:
            return lambda value: msgspec.json.encode(value).decode()


def to_stored(column: Column, value: Any) -> Any:
    """A value as it is stored and compared."""
    return stored_form(column)(value) if value is not None and column.type in _CONVERTED else value


def from_stored(column: Column) -> Callable[[Any], Any]:
    """From what is stored to the value."""
    match column.type:
        case Type.DECIMAL:
            return lambda value: from_units(column, value)
        case Type.DATE:
            return from_days
        case Type.VECTOR:
            size = column.size
            return lambda value: list(struct.unpack(f"<{size}f", value))
        case Type.BOOLEAN:
            return bool
        case Type.LIST | Type.SET if column.of in _BYTES:
            return msgspec.json.Decoder(list[bytes]).decode
        case Type.MAP if column.of in _BYTES:
            return msgspec.json.Decoder(dict[str, bytes]).decode
        case Type.LIST | Type.SET if column.of == Type.DECIMAL:
            return msgspec.json.Decoder(list[Decimal]).decode
        case Type.LIST | Type.SET if column.of == Type.DATE:
            return msgspec.json.Decoder(list[date]).decode
        case _:
            return msgspec.json.decode


def computed(column: Column, values: dict[str, Any]) -> Any:
    """The value of a column that is a ratio, a product or a beta mean of two others of the row."""
    derived = column.derived
    assert derived is not None
    one, other = (values[name] for name in derived.of)
    if derived.function == "beta":
        return (1 + (one or 0)) / (2 + (one or 0) + (other or 0))
    if one is None or other is None:
        return None
    if derived.function == "ratio":
        return None if not other else float(Decimal(one) / Decimal(other))
    if column.type == Type.DECIMAL:
        return (Decimal(one) * Decimal(other)).quantize(Decimal(1).scaleb(-column.scale))
    return float(one) * float(other)
