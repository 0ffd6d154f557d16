"""Room `engines` (imports all below it): canonical values as parameters of PostgreSQL's statements, none rounded.

Times and durations go in the server's own binary form. As reals they would be off by milliseconds beyond the year
4253, so that a row would not be found by its own key, and a page that begins behind it would hold it again.
"""

from __future__ import annotations

import struct
from typing import Any, Final

import psycopg
from psycopg.adapt import Dumper
from psycopg.pq import Format

from antiphon.engines.postgres.binary import DURATION_MS_MAX, POSTGRES_EPOCH_MS, TIMESTAMP_MS_MAX, TIMESTAMP_MS_MIN
from antiphon.model.table import Column, Type

MICROS_MAX: Final = (1 << 63) - 1
"""`infinity` for a time, and longer than any duration that is held."""


class Moment(int):
    """A time: microseconds since 2000. Before and after all that the server knows: minus and plus infinity."""


class Length(int):
    """A duration, in microseconds."""


class _Moments(Dumper):
    oid, format = psycopg.postgres.types["timestamptz"].oid, Format.BINARY

    def dump(self, obj: Any) -> bytes:
        return struct.pack("!q", obj)


class _Lengths(Dumper):
    oid, format = psycopg.postgres.types["interval"].oid, Format.BINARY

    def dump(self, obj: Any) -> bytes:
        return struct.pack("!qii", obj, 0, 0)


def adapt(session: psycopg.Connection) -> None:
    """Teaches one connection these types: taught to all, they would also stand for the times of whoever else uses the
    driver in this process.
    """
    session.adapters.register_dumper(Moment, _Moments)
    session.adapters.register_dumper(Length, _Lengths)


def asked(column: Column) -> str:
    """The placeholder for a value of a column."""
    match column.type:
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
    """The value as the driver takes it in that place; what PostgreSQL cannot hold is beyond all that it holds."""
    match column.type:
        case Type.ID | Type.PERSON:
            return value.hex()
        case Type.TIMESTAMP:
            return Moment(_micros(value, POSTGRES_EPOCH_MS, TIMESTAMP_MS_MIN, TIMESTAMP_MS_MAX))
        case Type.DURATION:
            return Length(_micros(value, 0, -DURATION_MS_MAX, DURATION_MS_MAX))
    return value


def _micros(value: int, epoch: int, least: int, most: int) -> int:
    if value < least:
        return -MICROS_MAX - 1
    return MICROS_MAX if value > most else (value - epoch) * 1_000
