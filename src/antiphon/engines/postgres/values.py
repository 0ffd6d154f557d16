"""Room `engines` (imports all below it): canonical values as parameters of PostgreSQL's statements."""

from __future__ import annotations

from typing import Any

from antiphon.model.table import Column, Type


def asked(column: Column) -> str:
    """The placeholder for a value of a column."""
    match column.type:
        case Type.TIMESTAMP:
            return "(timestamptz 'epoch' + %s::float8 * INTERVAL '1 millisecond')"
        case Type.DURATION:
            return "(%s::float8 * INTERVAL '1 millisecond')"
        case Type.ID | Type.PERSON:
            return "%s::uuid"
        case Type.DECIMAL:
            return "%s::numeric"
        case Type.REAL:
            return "%s::float8"
        case Type.INTEGER:
            return "%s::bigint"
        case Type.AGENT | Type.LOG | Type.BYTES:
            return "%s::bytea"
        case Type.DATE:
            return "%s::date"
    return "%s"


def parameter(column: Column, value: Any) -> Any:
    """The value as the driver takes it in that place."""
    return value.hex() if column.type in (Type.ID, Type.PERSON) else value
