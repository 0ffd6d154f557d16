"""Room `model` (pure; imports `model` alone): the values of columns: which fit, and their one form.

| type | value | as text or JSON |
|---|---|---|
| integer, timestamp, duration | int | number |
| decimal | Decimal of the column's scale | text |
| date | datetime.date | `2025-01-31` |
| bytes | bytes | base64 |
| id, person, agent, log | 16 or 32 bytes | multibase text |
| list, set | list; a set's in ascending order, once each | array |
| vector | list of float, each of 32 bits | array |
| geo_point | [longitude, latitude] | array |
"""

from __future__ import annotations

import math
import struct
import sys
from collections.abc import Callable
from datetime import date
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from typing import Any, Final

import msgspec

from antiphon.model import limits
from antiphon.model.errors import InvalidInput
from antiphon.model.table import Check, Column, Table, Type

INTEGER_MAX: Final = (1 << 63) - 1
_WIDTHS: Final = {Type.ID: 16, Type.PERSON: 16, Type.AGENT: 32, Type.LOG: 32}
_EPOCH: Final = date(1970, 1, 1)
_SHAPES: Final = frozenset(
    {"Point", "MultiPoint", "LineString", "MultiLineString", "Polygon", "MultiPolygon", "GeometryCollection"}
)


def canonical(column: Column, value: Any) -> Any:
    """The value in the one form of the column's type. Raises InvalidInput, naming the column and what is wrong."""
    if value is None:
        if column.nullable:
            return None
        raise InvalidInput(f"column {column.name!r} must have a value", column=column.name)
    try:
        found = _FORMS[column.type](column, value)
    except (TypeError, ValueError, ArithmeticError, RecursionError, struct.error, msgspec.MsgspecError) as error:
        raise InvalidInput(
            f"column {column.name!r} is {_article(column)}, and {shown(value)} is none: {error}", column=column.name
        ) from None
    fault = None if column.check is None else _unmet(column.check, found)
    if fault:
        raise InvalidInput(f"column {column.name!r}: {shown(value)} is {fault}", column=column.name)
    return found


def default_of(column: Column) -> Any:
    """What a column holds before anything was written to it, in the one form of its type."""
    return None if column.default is None else canonical(column, column.default)


def shown(value: Any) -> str:
    """A value as messages have it: of whatever length, and numbers as they are written."""
    if isinstance(value, Decimal):
        return f"{value!s:.60}"
    if type(value) is int and value.bit_length() > 256:  # Python writes none of thousands of digits
        return f"a number of about {value.bit_length() * 3 // 10:,} digits"
    try:
        return f"{value!r:.60}"
    except (ValueError, RecursionError):
        return f"what is there ({type(value).__name__})"


def form_of(column: Column) -> Callable[[Any], Any]:
    """`canonical` for one column: a value that has its form already, as most have, is returned at once."""
    check, width = column.check, _WIDTHS.get(column.type)
    if width is not None and check is None:
        return lambda value: value if type(value) is bytes and len(value) == width else canonical(column, value)
    kind: type | None = {Type.REAL: float, Type.INTEGER: int}.get(column.type)
    if kind is None or check is None or check != Check(least=check.least, most=check.most):
        return lambda value: canonical(column, value)
    most = INTEGER_MAX if kind is int else sys.float_info.max
    low: Any = -most if check.least is None else check.least
    high: Any = most if check.most is None else check.most
    # zero goes the long way: a real has two
    return lambda value: value if type(value) is kind and value and low <= value <= high else canonical(column, value)


def _article(column: Column) -> str:
    kind = str(column.type)
    if column.type == Type.ENUM:
        return f"one of {', '.join(column.values)}"
    if column.type == Type.VECTOR:
        return f"a vector of {column.size}"
    if column.type == Type.DECIMAL:
        return f"a decimal of {column.precision} digits, {column.scale} of them after the point"
    return f"{'an' if kind[0] in 'aei' else 'a'} {kind}"


def _unmet(check: Check, value: Any) -> str | None:
    if check.least is not None and value < check.least:
        return f"less than {check.least}"
    if check.most is not None and value > check.most:
        return f"more than {check.most}"
    if check.above is not None and value <= check.above:
        return f"not above {check.above}"
    if check.length_max is not None and len(value) > check.length_max:
        return f"longer than {check.length_max}"
    if check.among and value not in check.among:
        return f"none of {', '.join(map(str, check.among))}"
    return None


def _integer(column: Column, value: Any) -> int:
    if type(value) is not int:
        raise TypeError("it is no whole number")
    if not -INTEGER_MAX <= value <= INTEGER_MAX:
        raise ValueError("it does not fit 63 bits")
    return value


def _real(column: Column, value: Any) -> float:
    if type(value) not in (int, float):
        raise TypeError("it is no number")
    found = float(value)
    if not math.isfinite(found):
        raise ValueError("it is not finite")
    return found + 0.0  # one zero, not two


def _decimal(column: Column, value: Any) -> Decimal:
    if isinstance(value, bool) or not isinstance(value, int | str | Decimal | float):
        raise TypeError("it is no number")
    try:
        exact = Decimal(str(value)) if isinstance(value, float) else Decimal(value)
    except InvalidOperation:
        raise ValueError("it is no number") from None
    if not exact.is_finite():
        raise ValueError("it is not finite")
    scaled = exact.scaleb(column.scale)
    if scaled != scaled.to_integral_value():
        raise ValueError(f"it has more than {column.scale} digits after the point")
    if abs(scaled) >= 10**column.precision:
        raise ValueError(f"it has more than {column.precision - column.scale} digits before the point")
    return from_units(column, int(scaled))


def units(value: Decimal, scale: int) -> int:
    """A decimal as a whole number of its smallest units."""
    return int(value.scaleb(scale))


def from_units(column: Column, whole: int) -> Decimal:
    """The decimal that is this many of its column's smallest units."""
    return Decimal(whole).scaleb(-column.scale)


def _boolean(column: Column, value: Any) -> bool:
    if type(value) is not bool:
        raise TypeError("it is neither true nor false")
    return value


def _text(column: Column, value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError("it is no text")
    value.encode()  # a lone surrogate raises
    return value


def _enum(column: Column, value: Any) -> str:
    if value not in column.values:
        raise ValueError("it is not among them")
    return str(value)


def _date(column: Column, value: Any) -> date:
    if type(value) is date:
        return value
    if isinstance(value, str):
        return date.fromisoformat(value)
    raise TypeError("it is no date")


def _bytes(column: Column, value: Any) -> bytes:
    if not isinstance(value, bytes):
        hint = {Type.AGENT: "parse_id", Type.LOG: "parse_id", Type.ID: "parse_entity", Type.PERSON: "parse_entity"}
        made = f": antiphon.model.text.{hint[column.type]} makes them of text" if column.type in hint else ""
        raise TypeError(f"it is no bytes{made}")
    width = _WIDTHS.get(column.type)
    if width is not None and len(value) != width:
        raise ValueError(f"it has {len(value)} bytes, not {width}")
    return value


def _json(column: Column, value: Any) -> Any:
    raw = msgspec.json.encode(value)
    if len(raw) > limits.JSON_BYTES_MAX:
        raise ValueError(f"it has {len(raw):,} bytes, over JSON_BYTES_MAX ({limits.JSON_BYTES_MAX:,})")
    if _depth(value) > limits.JSON_DEPTH_MAX:
        raise ValueError(f"it nests deeper than JSON_DEPTH_MAX ({limits.JSON_DEPTH_MAX})")
    return msgspec.json.decode(raw)


def _depth(value: Any, at: int = 0) -> int:
    if at > limits.JSON_DEPTH_MAX:
        return at
    if isinstance(value, dict):
        return max((_depth(item, at + 1) for item in value.values()), default=at + 1)
    if isinstance(value, list | tuple):
        return max((_depth(item, at + 1) for item in value), default=at + 1)
    return at


@lru_cache(maxsize=1_024)
def _item_column(name: str, of: Type) -> Column:
    return Column(name, of, nullable=False)


def _items(column: Column, value: Any) -> list[Any]:
    if not isinstance(value, list | tuple | set | frozenset):
        raise TypeError("it is no list")
    if len(value) > limits.ITEMS_MAX:
        raise ValueError(f"it has {len(value):,} items, over ITEMS_MAX ({limits.ITEMS_MAX:,})")
    assert column.of is not None
    item = _item_column(column.name, column.of)
    return [canonical(item, one) for one in value]


def _set(column: Column, value: Any) -> list[Any]:
    return sorted(set(_items(column, value)))


def _map(column: Column, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise TypeError("it is no map from text")
    if len(value) > limits.ITEMS_MAX:
        raise ValueError(f"it has {len(value):,} items, over ITEMS_MAX ({limits.ITEMS_MAX:,})")
    assert column.of is not None
    item = _item_column(column.name, column.of)
    return {key: canonical(item, value[key]) for key in sorted(value)}


def _vector(column: Column, value: Any) -> list[float]:
    if isinstance(value, bytes):
        if len(value) != 4 * column.size:
            raise ValueError(f"it has {len(value)} bytes, not {4 * column.size}")
        found = list(struct.unpack(f"<{column.size}f", value))
    else:
        if not isinstance(value, list | tuple):
            raise TypeError("it is no list of numbers")
        if len(value) != column.size:
            raise ValueError(f"it has {len(value)} numbers, not {column.size}")
        found = list(struct.unpack(f"<{column.size}f", struct.pack(f"<{column.size}f", *value)))
    if not all(map(math.isfinite, found)):
        raise ValueError("not all its numbers are finite")
    return found


def packed(vector: list[float]) -> bytes:
    """A vector as 32-bit floats, least byte first."""
    return struct.pack(f"<{len(vector)}f", *vector)


def _point(column: Column, value: Any) -> list[float]:
    if not isinstance(value, list | tuple) or len(value) != 2:
        raise TypeError("it is no [longitude, latitude]")
    longitude, latitude = (_real(column, number) for number in value)
    if abs(longitude) > 180 or abs(latitude) > 90:
        raise ValueError("it is not on the globe")
    return [longitude, latitude]


def _shape(column: Column, value: Any) -> Any:
    if not isinstance(value, dict) or value.get("type") not in _SHAPES:
        raise TypeError("it is no GeoJSON geometry")
    if ("geometries" if value["type"] == "GeometryCollection" else "coordinates") not in value:
        raise ValueError("it has no coordinates")
    return _json(column, value)


_FORMS: Final[dict[Type, Callable[[Column, Any], Any]]] = {
    Type.TEXT: _text, Type.ENUM: _enum, Type.INTEGER: _integer, Type.REAL: _real, Type.DECIMAL: _decimal,
    Type.BOOLEAN: _boolean, Type.DATE: _date, Type.TIMESTAMP: _integer, Type.DURATION: _integer, Type.BYTES: _bytes,
    Type.JSON: _json, Type.LIST: _items, Type.SET: _set, Type.MAP: _map, Type.VECTOR: _vector,
    Type.GEO_POINT: _point, Type.GEO_SHAPE: _shape, Type.ID: _bytes, Type.PERSON: _bytes, Type.AGENT: _bytes,
    Type.LOG: _bytes,
}  # fmt: skip


# -- keys --------------------------------------------------------------------------------------------------------


def key_of(table: Table, values: dict[str, Any]) -> bytes:
    """The bytes that stand for a row's key: an id or an agent itself, else a MessagePack array of the key's values.

    Values are canonical already. Raises KeyError when a part is missing.
    """
    if len(table.key) == 1:
        value = values[table.key[0]]
        if isinstance(value, bytes):
            return value
    return msgspec.msgpack.encode([_key_part(values[name]) for name in table.key])


def key_values(table: Table, key: bytes) -> tuple[Any, ...]:
    """The key's values, from its bytes. Raises InvalidInput when they are no key of this table."""
    first = table.column(table.key[0])
    if len(table.key) == 1 and first.type in (Type.ID, Type.PERSON, Type.AGENT, Type.LOG, Type.BYTES):
        return (canonical(first, key),)
    try:
        parts = msgspec.msgpack.decode(key, type=list[Any])
    except (msgspec.DecodeError, msgspec.ValidationError):
        parts = []
    if len(parts) != len(table.key):
        raise InvalidInput(f"{key.hex():.60} is no key of the table {table.name!r}", table=table.name)
    columns = [table.column(name) for name in table.key]
    return tuple(
        _EPOCH.fromordinal(_EPOCH.toordinal() + part) if column.type == Type.DATE else canonical(column, part)
        for column, part in zip(columns, parts, strict=True)
    )


def _key_part(value: Any) -> Any:
    return value.toordinal() - _EPOCH.toordinal() if isinstance(value, date) else value


def days(value: date) -> int:
    """A date as days since 1970."""
    return value.toordinal() - _EPOCH.toordinal()


def from_days(count: int) -> date:
    """The date that is so many days after 1970 began."""
    return date.fromordinal(_EPOCH.toordinal() + count)
