"""Rows of any declared table, by chance: every type of column, null where it may be, awkward values on purpose."""

from __future__ import annotations

from datetime import date, timedelta
from decimal import Decimal
from random import Random
from typing import Any

from antiphon.model.table import Column, Table, Type
from antiphon.model.values import canonical, from_units, key_of

TEXTS = ("", "grün", "a'b\"c\\d\n", "日本語", "{1,2}", "NULL", "😀" * 3, "x" * 400)
_BYTES = {Type.ID: 16, Type.PERSON: 16, Type.AGENT: 32, Type.LOG: 32}

ALL_TYPES = Table(
    "all_types",
    key=("at", "name", "who", "day"),
    columns=(
        Column("at", Type.TIMESTAMP, nullable=False),
        Column("name", Type.TEXT, nullable=False),
        Column("who", Type.ID, nullable=False),
        Column("day", Type.DATE, nullable=False),
        Column("kind", Type.ENUM, values=("this", "that")),
        Column("count", Type.INTEGER),
        Column("real", Type.REAL),
        Column("exact", Type.DECIMAL, precision=18, scale=6),
        Column("whole", Type.DECIMAL, precision=18, scale=0),
        Column("flag", Type.BOOLEAN),
        Column("later", Type.TIMESTAMP),
        Column("long", Type.DURATION),
        Column("raw", Type.BYTES),
        Column("tree", Type.JSON),
        Column("words", Type.LIST, of=Type.TEXT),
        Column("numbers", Type.LIST, of=Type.INTEGER),
        Column("times", Type.LIST, of=Type.TIMESTAMP),
        Column("ids", Type.SET, of=Type.ID),
        Column("agents", Type.SET, of=Type.AGENT),
        Column("reals", Type.MAP, of=Type.REAL),
        Column("direction", Type.VECTOR, size=3),
        Column("place", Type.GEO_POINT),
        Column("area", Type.GEO_SHAPE),
        Column("person", Type.PERSON),
        Column("source_log", Type.LOG),
    ),
    minted=False,
)


def value(column: Column, chance: Random) -> Any:
    """A canonical value of a column; None at times, where the column may be null."""
    if column.nullable and chance.random() < 0.2:
        return None
    return canonical(column, _plain(column, chance))


def _plain(column: Column, chance: Random) -> Any:  # noqa: PLR0911
    check = column.check
    least = check.least if check is not None and check.least is not None else None
    if check is not None and check.above is not None:
        least = check.above + (1 if isinstance(check.above, int) else 0.001)
    most = check.most if check is not None and check.most is not None else None
    if check is not None and check.among:
        return chance.choice(check.among)
    match column.type:
        case Type.TEXT:
            size = check.length_max if check is not None and check.length_max else 400
            return chance.choice(TEXTS)[:size]
        case Type.ENUM:
            return chance.choice(column.values)
        case Type.INTEGER | Type.DURATION:
            low, high = (-(10**9) if least is None else int(least)), (10**9 if most is None else int(most))
            return chance.randint(low, max(low, high))
        case Type.REAL:
            low, high = (-1e6 if least is None else least), (1e6 if most is None else most)
            return chance.uniform(low, max(low, high))
        case Type.DECIMAL:
            low, high = -(10**column.precision) + 1, 10**column.precision - 1
            low = low if least is None else int(Decimal(least).scaleb(column.scale))
            high = high if most is None else int(Decimal(most).scaleb(column.scale))
            units = chance.choice((0, 1, 10_000, low, high, chance.randint(low, high)))
            return from_units(column, min(max(units, low), high))
        case Type.BOOLEAN:
            return chance.random() < 0.5
        case Type.DATE:
            return date(1900, 1, 1) + timedelta(days=chance.randrange(100_000))
        case Type.TIMESTAMP:
            return chance.choice((0, -1, 1_700_000_000_123, chance.randrange(4_000_000_000_000)))
        case Type.BYTES | Type.ID | Type.PERSON | Type.AGENT | Type.LOG:
            most = check.length_max if check is not None and check.length_max else 40
            return chance.randbytes(_BYTES.get(column.type, chance.randrange(most)))
        case Type.JSON:
            return chance.choice(({"a": [1, 2.5, None, {"b": "ü"}]}, [], "text", 7, {}))
        case Type.LIST | Type.SET | Type.MAP:
            assert column.of is not None
            item = Column(column.name, column.of, nullable=False)
            items = [_plain(item, chance) for _ in range(chance.randrange(4))]
            return {f"k{n}": one for n, one in enumerate(items)} if column.type == Type.MAP else items
        case Type.VECTOR:
            return [chance.uniform(-1, 1) for _ in range(column.size)]
        case Type.GEO_POINT:
            return [chance.uniform(-180, 180), chance.uniform(-90, 90)]
    return {"type": "Point", "coordinates": [chance.uniform(-180, 180), 1.5]}


def row(table: Table, chance: Random) -> tuple[bytes, dict[str, Any]]:
    """A row and its key."""
    values = {column.name: value(column, chance) for column in table.columns}
    return key_of(table, values), values
