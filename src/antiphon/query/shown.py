"""Room `query` (imports `knowledge` and below): values of columns as people type them, and as JSON shows them.

The forms are those of the table in `model/values.py`.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from antiphon.model import times
from antiphon.model.errors import InvalidInput
from antiphon.model.table import Column, Table, Type
from antiphon.model.text import entity_text, id_text, parse_entity, parse_id

_WORDS: Final = {"true": True, "false": False, "1": True, "0": False}


def from_text(column: Column, text: str) -> Any:
    """What was typed, as a value of the column; `null` is null but for text. Raises InvalidInput."""
    try:
        match column.type:
            case Type.TEXT | Type.ENUM | Type.DECIMAL | Type.DATE if text != "null" or column.type == Type.TEXT:
                return text
            case _ if text == "null":
                return None
            case Type.INTEGER | Type.DURATION:
                return int(text)
            case Type.TIMESTAMP:
                return int(text) if text.lstrip("-").isdigit() else times.to_ms(text)
            case Type.REAL:
                return float(text)
            case Type.BOOLEAN:
                return _WORDS[text.lower()]
            case Type.ID | Type.PERSON:
                return parse_entity(text)
            case Type.AGENT | Type.LOG:
                return parse_id(text)
            case Type.BYTES:
                return base64.b64decode(text, validate=True)
            case _:
                return msgspec.json.decode(text)
    except (ValueError, KeyError, binascii.Error, msgspec.DecodeError):
        raise InvalidInput(
            f"column {column.name!r} is of type {column.type}, and {text!r:.60} is none", column=column.name
        ) from None


def as_plain(table: Table, row: Mapping[str, Any]) -> dict[str, Any]:
    """A row as plain JSON values: ids as text, so that they can be typed again."""
    return {name: _plain(table.column(name), value) for name, value in row.items()}


def _plain(column: Column, value: Any) -> Any:
    kind = column.of or column.type
    if isinstance(value, list):
        return [_plain(column, item) for item in value]
    if isinstance(value, dict) and column.type == Type.MAP:
        return {name: _plain(column, item) for name, item in value.items()}
    if isinstance(value, bytes) and kind in (Type.ID, Type.PERSON):
        return entity_text(value)
    if isinstance(value, bytes) and kind in (Type.AGENT, Type.LOG):
        return id_text(value)
    return value


def for_people(column: Column, value: Any) -> str:
    """A plain value on one line, times as they are written."""
    if column.type == Type.TIMESTAMP and isinstance(value, int):
        return times.iso(value)
    return as_text(value)


def as_text(value: Any) -> str:
    """A plain value on one line."""
    if value is None:
        return ""
    return value if isinstance(value, str) else msgspec.json.encode(value).decode().strip('"')
