"""Room `model` (pure; imports `model` alone): times as people write them, and as milliseconds since 1970 UTC."""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime, timedelta
from typing import Final

from antiphon.model.errors import InvalidInput

Time = int | str | datetime
"""Milliseconds since 1970 UTC, ISO 8601 text, or a datetime (UTC where it names no zone)."""
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_AGE: Final = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d|w|y)")
_AGE_MS_MAX: Final = 1 << 53
_UNIT_MS: Final = {
    "ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000, "y": 31_557_600_000,
}  # fmt: skip


def to_ms(time: Time) -> int:
    """The milliseconds since 1970 UTC. Raises InvalidInput."""
    if isinstance(time, bool):
        raise InvalidInput("a time is milliseconds since 1970, ISO 8601 text or a datetime, not a boolean")
    if isinstance(time, int):
        return time
    if isinstance(time, str):
        written = time
        try:
            time = datetime.fromisoformat(written.strip())
        except ValueError:
            raise InvalidInput(
                f"{written[:60]!r} is not a time: write it like 2026-11-21 or 2026-11-21T09:30:00Z"
            ) from None
    if time.tzinfo is None:
        time = time.replace(tzinfo=UTC)
    return (time - _EPOCH) // timedelta(milliseconds=1)


def iso(ms: int) -> str:
    """A time as ISO 8601 in UTC; plain milliseconds where the calendar ends."""
    try:
        moment = _EPOCH + timedelta(milliseconds=ms)
    except OverflowError:
        return f"{ms}ms"
    return moment.isoformat(timespec="milliseconds" if ms % 1000 else "seconds").replace("+00:00", "Z")


def age_ms(text: str) -> int:
    """The milliseconds in an age like 30d, 12h or 1.5y. Raises InvalidInput."""
    found = _AGE.fullmatch(text.strip())
    if found is None:
        raise InvalidInput(f"{text[:40]!r} is not an age: write it like 30d, 12h or 2y (ms, s, m, h, d, w, y)")
    age = float(found[1]) * _UNIT_MS[found[2]]
    if not math.isfinite(age) or age > _AGE_MS_MAX:
        raise InvalidInput(f"{text[:40]!r} is too long an age: at most {_AGE_MS_MAX // _UNIT_MS['y']:,} years")
    return int(age)
