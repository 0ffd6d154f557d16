"""Room `ops` (imports `engines` and below): values of an old installation as values of columns.

Pure but for looking up who is who. A reader raises Unfit where a value does not fit: then it is kept beside the row.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from decimal import Decimal, InvalidOperation
from typing import Any, Final, Protocol

import msgspec

from antiphon.model import times
from antiphon.model.errors import InvalidInput
from antiphon.model.text import parse_id

TIME_MAX: Final = 1 << 53
_SECONDS_BELOW: Final = 1e11  # as seconds the year 5138, as milliseconds 1973


class Refs(Protocol):
    """Which thing of the old installation is which here."""

    def entity(self, sort: str, former_id: str) -> bytes | None:
        """The entity that a record has become, None where it has not (yet)."""
        ...

    def depth(self, loop: bytes) -> int:
        """How many forks a loop is away from where its line began."""
        ...

    def now_ms(self) -> int:
        """What the time is."""
        ...


class Unfit(Exception):
    """That a value does not fit its column; says why, where that is more than its form."""


class _Nobody:
    """Knows nobody: for what names nothing."""

    def entity(self, sort: str, former_id: str) -> bytes | None:
        return None

    def depth(self, loop: bytes) -> int:
        return 0

    def now_ms(self) -> int:
        return 0


NOBODY: Final = _Nobody()
Reader = Callable[[Any, Refs], Any]


def text(value: Any, refs: Refs) -> str:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str) or not value:
        raise Unfit
    return value


def any_text(value: Any, refs: Refs) -> str:
    """Text, empty or not, as a memory has it."""
    return "" if value == "" else text(value, refs)


def word(most: int) -> Reader:
    def read(value: Any, refs: Refs) -> str:
        found = text(value, refs)
        if len(found) > most:
            raise Unfit
        return found

    return read


def integer(least: int, most: int) -> Reader:
    def read(value: Any, refs: Refs) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise Unfit
        return value

    return read


def decimal(scale: int, most: str) -> Reader:
    unit = Decimal(1).scaleb(-scale)

    def read(value: Any, refs: Refs) -> Decimal:
        try:
            found = Decimal("nan" if isinstance(value, bool) else str(value))
            if found.is_finite() and 0 <= found <= Decimal(most) and found == found.quantize(unit):
                return found
        except InvalidOperation:
            pass
        raise Unfit

    return read


def share(value: Any, refs: Refs) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise Unfit
    return float(value)


def real(value: Any, refs: Refs) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise Unfit
    return float(value)


def boolean(value: Any, refs: Refs) -> bool:
    if value not in (0, 1, True, False):
        raise Unfit
    return bool(value)


def anything(value: Any, refs: Refs) -> Any:
    return value


def json_object(value: Any, refs: Refs) -> dict[str, Any]:
    """A JSON object, from itself or from its text."""
    if isinstance(value, str):
        try:
            value = msgspec.json.decode(value)
        except (msgspec.MsgspecError, UnicodeError, RecursionError):
            raise Unfit from None
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise Unfit
    return value


def moment(value: Any, refs: Refs) -> int:
    """Milliseconds since 1970, from these, from seconds or from ISO 8601 text."""
    try:
        if isinstance(value, str):
            try:
                value = float(value)
            except ValueError:
                return times.to_ms(value)
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise Unfit
        ms = round(value * 1000) if abs(value) < _SECONDS_BELOW else round(value)
    except (InvalidInput, OverflowError):
        raise Unfit from None
    if abs(ms) > TIME_MAX:
        raise Unfit
    return ms


def states(**words: str) -> Reader:
    known = {word: state for state, said in words.items() for word in (state, *said.split())}

    def read(value: Any, refs: Refs) -> str:
        found = known.get(value.lower()) if isinstance(value, str) else None
        if found is None:
            raise Unfit
        return found

    return read


def one_ref(sort: str) -> Reader:
    def read(value: Any, refs: Refs) -> bytes:
        former = text(value, refs)
        found = refs.entity(sort, former)
        if found is None:
            raise Unfit(f"{former!r:.60} is no {sort} that was taken")
        return found

    return read


def many_refs(sort: str) -> Reader:
    one = one_ref(sort)

    def read(value: Any, refs: Refs) -> list[bytes]:
        if isinstance(value, str):  # as PostgreSQL and SQLite write arrays
            value = array_of(value)
        if not isinstance(value, list):
            raise Unfit
        return [one(item.get("loop_id") if isinstance(item, dict) else item, refs) for item in value]

    return read


def array_of(text: str) -> list[str]:
    if text.startswith("{") and text.endswith("}"):
        return [part.strip().strip('"') for part in text[1:-1].split(",") if part.strip()]
    try:
        found = msgspec.json.decode(text)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        raise Unfit from None
    if not isinstance(found, list):
        raise Unfit
    return found


def agent(value: Any, refs: Refs) -> bytes:
    """An agent of ours, where an installation was written by `migrate-to`."""
    former = text(value, refs)
    try:
        return parse_id(former)
    except InvalidInput:
        raise Unfit(f"{former!r:.60} is no agent of here") from None


def agents(value: Any, refs: Refs) -> list[bytes]:
    if not isinstance(value, list):
        raise Unfit
    return [agent(one, refs) for one in value]
