"""Room `domains` (imports `views` and below): what the commands of mind maps are given, looked at before it is said.

Each returns the value in the form in which events have it. Raises InvalidInput or LimitExceeded, naming where.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from decimal import Decimal, InvalidOperation
from typing import Any, Final

import msgspec

from antiphon.domains.mindmap import bodies, names
from antiphon.model import limits, times
from antiphon.model.errors import InvalidInput, LimitExceeded
from antiphon.model.text import check_text

_ATP_DIGITS: Final = Decimal("0.001")


def key(column: str, value: object, *, most: int = names.KEY_CHARS_MAX) -> str:
    """A word that must be there."""
    if not isinstance(value, str) or not value.strip():
        raise InvalidInput(f"{column} is a word, not {value!r:.60}")
    return _text(column, value, most)


def word(column: str, value: object) -> str | None:
    """A word, or None."""
    return None if value is None else key(column, value, most=names.WORD_CHARS_MAX)


def label(column: str, value: object) -> str | None:
    """Some words, or None."""
    if value is not None and not isinstance(value, str):
        raise InvalidInput(f"{column} is text, not {value!r:.60}")
    return None if value is None else _text(column, value, names.LABEL_CHARS_MAX)


def _text(column: str, value: str, most: int) -> str:
    check_text(value, what=column)
    if len(value) > most:
        raise InvalidInput(f"{column} has at most {most:,} characters, not {len(value):,}")
    return value


def plain(column: str, value: object) -> dict[str, Any] | None:
    """A map with text keys as it will be read back, or None."""
    if value is None:
        return None
    if not isinstance(value, Mapping) or not all(isinstance(name, str) for name in value):
        raise InvalidInput(f"{column} is a map with text keys, not {value!r:.60}")
    try:
        raw = msgspec.json.encode(dict(value))
        found: dict[str, Any] = msgspec.json.decode(raw, type=dict[str, Any])
    except (msgspec.MsgspecError, TypeError, ValueError, UnicodeError, RecursionError) as error:
        raise InvalidInput(f"{column} is a map of plain values: {error}") from None
    if len(raw) > limits.JSON_BYTES_MAX:
        raise LimitExceeded("JSON_BYTES_MAX", got=len(raw), allowed=limits.JSON_BYTES_MAX, what=f"{column} in bytes")
    return found


def number(column: str, value: object, *, most: float) -> float:
    """A number from 0 on."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= most:
        raise InvalidInput(f"{column} is a number from 0 to {most:,}, not {value!r:.60}")
    return float(value)


def energy(atp: object, network: object) -> bodies.Energy:
    """A node's energy."""
    level = number("nodes.energy: ATP", atp, most=names.ATP_MAX)
    return bodies.Energy(round(level, 3), key("nodes.energy: network", network, most=names.WORD_CHARS_MAX))


def vector(values: Sequence[float]) -> list[float]:
    """What a node means."""
    found = _numbers("node_embeddings.embedding", values)
    if len(found) != names.VECTOR_SIZE:
        raise InvalidInput(f"node_embeddings.embedding has {names.VECTOR_SIZE} numbers, not {len(found)}")
    if not any(found):
        raise InvalidInput("node_embeddings.embedding has no direction: all its numbers are 0")
    return found


def _numbers(column: str, values: object) -> list[float]:
    if isinstance(values, str | bytes) or not isinstance(values, Sequence):
        raise InvalidInput(f"{column} is a list of numbers, not {values!r:.60}")
    for one in values:
        if isinstance(one, bool) or not isinstance(one, int | float) or not math.isfinite(one):
            raise InvalidInput(f"{column} is a list of finite numbers, and {one!r:.60} is none")
    return [float(one) for one in values]


def point(said: Mapping[str, Any]) -> bodies.Point:
    """How a node was at some time."""
    fields = bodies.Point.__struct_fields__
    if not isinstance(said, Mapping) or "time" not in said or set(said) - set(fields):
        raise InvalidInput(f"consciousness_streams: a point has a time, and any of {', '.join(fields[1:])}")
    made = bodies.Point(times.to_ms(said["time"]))
    if said.get("atp_level") is not None:
        made.atp_level = _level(said["atp_level"])
    if said.get("attention_score") is not None:
        made.attention_score = number("consciousness_streams.attention_score", said["attention_score"],
                                      most=names.WEIGHT_MAX)  # fmt: skip
    if said.get("resonance_vector") is not None:
        made.resonance_vector = _numbers("consciousness_streams.resonance_vector", said["resonance_vector"])
        if len(made.resonance_vector) > names.VECTOR_SIZE:
            raise InvalidInput(f"consciousness_streams.resonance_vector has at most {names.VECTOR_SIZE} numbers")
    if made == bodies.Point(made.time):
        raise InvalidInput(f"consciousness_streams: a point says nothing: give it any of {', '.join(fields[1:])}")
    return made


def _level(value: object) -> Decimal:
    try:
        if isinstance(value, bool):
            raise TypeError
        level = Decimal(str(value))
        if not 0 <= level <= names.ATP_MAX:
            raise TypeError
        return level.quantize(_ATP_DIGITS)
    except (InvalidOperation, TypeError):
        raise InvalidInput(
            f"consciousness_streams.atp_level is a number from 0 to ATP_MAX ({names.ATP_MAX:,}), not {value!r:.60}"
        ) from None


def count(what: str, value: object, *, least: int, most: int, limit: str) -> int:
    """A count between two bounds, the upper one named."""
    if type(value) is not int or not least <= value <= most:
        raise InvalidInput(f"{what} is from {least} to {limit} ({most:,}), not {value!r:.60}")
    return value
