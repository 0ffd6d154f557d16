"""Room `ops` (imports `engines` and below): values of an old installation as bytes that say all of them. Pure."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any


def content_of(value: Any) -> bytes:
    """A value as bytes that say all of it: JSON in ASCII, bytes as base64."""
    try:
        return json.dumps(value, sort_keys=True, default=_as_json).encode("ascii")
    except RecursionError:
        return "".join(_written(value)).encode("ascii")


class _Sign(str):
    """What is written as it is."""

    __slots__ = ()


def _written(value: Any) -> Iterator[str]:
    """The same JSON, of a value that is nested too deep for the one of Python."""
    waiting: list[Any] = [value]
    while waiting:
        one = waiting.pop()
        if isinstance(one, _Sign):
            yield one
            continue
        inner: list[Any] = []
        if isinstance(one, dict):
            for key, part in sorted(one.items()):
                inner += [_Sign(f"{', ' if inner else '{'}{json.dumps(key)}: "), part]
            waiting += [_Sign("}" if inner else "{}"), *reversed(inner)]
        elif isinstance(one, list):
            for part in one:
                inner += [_Sign(", " if inner else "["), part]
            waiting += [_Sign("]" if inner else "[]"), *reversed(inner)]
        else:
            yield json.dumps(one, default=_as_json)


def _as_json(value: Any) -> Any:
    if isinstance(value, bytes):
        return {"base64": base64.b64encode(value).decode()}
    return str(value)
