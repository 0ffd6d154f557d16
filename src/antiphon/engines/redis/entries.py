"""Room `engines` (imports all below it): rows as Redis keeps them: packed images, and keys of the declared patterns."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import date
from decimal import Decimal
from functools import lru_cache
from hashlib import sha1, sha256
from typing import Any, Final

import msgspec

from antiphon.model.places import DAY_MS, Cache
from antiphon.model.table import Table, Type
from antiphon.model.text import entity_text, id_text
from antiphon.model.values import canonical, key_values
from antiphon.query.shown import as_plain

WARM_MS: Final = DAY_MS
"""How long a row is kept after it was last written, however often it is read; what is older is cold."""
LIST_ITEMS_MAX: Final = 100
SET_ITEMS_MAX: Final = 100_000
"""Members of one set; further ones are left out until others go."""
SLOTS: Final = "0123456789abcdefghijklmnopqrstuv"
"""One for each cache of a table (CACHES_MAX)."""
SEGMENT_BYTES_MAX: Final = 512
"""Of a value in a key's name; of longer ones there is a hash."""
DIGITS: Final = 16
"""A version's hexadecimal digits, which begin every row."""
_RANK: Final = 1 << 63


def joined(items: Iterable[bytes]) -> bytes:
    """Strings as one, each behind its length in 32 bits."""
    return b"".join([part for item in items for part in (len(item).to_bytes(4, "big"), item)])


def _split(raw: bytes) -> list[bytes]:
    found, at = [], 0
    while at < len(raw):
        end = at + 4 + int.from_bytes(raw[at : at + 4], "big")
        found.append(raw[at + 4 : end])
        at = end
    return found


def packed(table: Table, row: Mapping[str, Any], author: bytes | None) -> bytes:
    """An image and its author as one string. *Cost*: about 3 µs."""
    image = msgspec.msgpack.encode([_plain(row.get(name)) for name in table.names])
    return joined([image, author or b""])


def _plain(value: Any) -> Any:
    if isinstance(value, Decimal | date):
        return str(value)
    return value


def unpacked(table: Table, raw: bytes) -> tuple[dict[str, Any], bytes | None]:
    """The image of a string that `packed` made, and its author."""
    image, author, *_ = _split(raw)
    values = msgspec.msgpack.decode(image, type=list[Any])
    columns = zip(table.columns, values, strict=True)
    return {
        column.name: canonical(column, value) if value is not None and column.type in _REMADE else value
        for column, value in columns
    }, author or None


def kept(table: Table, row: Mapping[str, Any], author: bytes | None, since_ms: int) -> bytes:
    """A row that was read from a further place, and as of when, in ms by the server's clock."""
    return packed(table, row, author) + joined([str(since_ms).encode()])


def kept_since(raw: bytes) -> int | None:
    """As of when a row is that `kept` packed; None of one that a feeder has written."""
    _, _, *since = _split(raw)
    return int(since[0]) if since else None


_REMADE: Final = (Type.DECIMAL, Type.DATE, Type.LIST, Type.SET, Type.MAP)


class _Pattern:
    """One cache place of a table, taken apart once."""

    def __init__(self, table: Table, place: Cache, prefix: str, slot: str) -> None:
        self._table, self._shape, self._place = table, place.shape, place
        self.is_loose = not place.is_single or not set(place.columns) <= set(table.key)
        first, *rest = place.pattern.split("{")
        self._first = (prefix + first).encode()
        parts = [part.split("}", 1) for part in rest]
        self._named = [(place.column_of(name), after.encode()) for name, after in parts]
        self.names = b"[^:]*".join(map(re.escape, [self._first, *(after for _, after in self._named)]))
        self._head = [slot.encode() if self.is_loose else b"", place.shape.encode()]
        self._ttl = str(place.ttl_ms).encode()
        self._nothing = joined([self._head[0], b"", b"", b"0", b"", b"", b""])
        self._of = [(name, place.name_of(name)) for name in (place.of or table.names)]
        self._accepted = place.accepted
        self._ranked = place.is_single and not set(table.key) <= place.fixed
        times = (name for name in table.key if table.column(name).type == Type.TIMESTAMP)
        self._latest = place.latest or next(times, None)

    def effect(self, row: Mapping[str, Any], key: bytes) -> bytes:
        """What the row has there, or that it has nothing: a column of the pattern or all that is kept is null, or the
        condition is not so.
        """
        name = self._name(row)
        if name is None:
            return self._nothing
        value = self._value(row) if self._is_met(row) else b""
        return joined([*self._head, name, self._ttl, self._since(row), self._rank(row, key), value])

    def none(self, values: Mapping[str, Any], key: bytes) -> bytes:
        """That a row of this key has nothing there any more, known by the key's values alone."""
        name = None if self.is_loose else self._name(values)
        if name is None:
            return self._nothing
        return joined([*self._head, name, self._ttl, b"", b"0" if self._ranked else b"", b""])

    def _name(self, row: Mapping[str, Any]) -> bytes | None:
        name = self._first
        for column, after in self._named:
            value = row.get(column)
            if value is None:
                return None
            name += segment(_text(self._table, column, value)) + after
        return name

    def _is_met(self, row: Mapping[str, Any]) -> bool:
        return self._place.where is None or row.get(self._place.where[0]) in self._accepted

    def _since(self, row: Mapping[str, Any]) -> bytes:
        """When the time to live began, where a column says so: what has no such time is over."""
        return b"" if self._place.since is None else str(row.get(self._place.since) or 0).encode()

    def _rank(self, row: Mapping[str, Any], key: bytes) -> bytes:
        """By which one of the rows that share a key is told; the higher key, where they are equal."""
        if not self._ranked:
            return b""
        latest = None if self._latest is None else row.get(self._latest)
        return f"{0 if latest is None else latest + _RANK:016x}{sha256(key).hexdigest()[:DIGITS]}".encode()

    def _value(self, row: Mapping[str, Any]) -> bytes:
        if self._shape == "flag":
            return b"1"
        said = [(name, told, row[name]) for name, told in self._of if row.get(name) is not None]
        if self._shape == "set":
            return _text(self._table, said[0][0], said[0][2]) if said else b""
        if self._shape == "hash":
            fields = [part for name, told, value in said for part in (told.encode(), _text(self._table, name, value))]
            return joined(fields)
        plain = as_plain(self._table, {name: value for name, _, value in said})
        return msgspec.json.encode({told: plain[name] for name, told, _ in said})


class Entries:
    """Makes the rows of one table into what the scripts take."""

    def __init__(self, table: Table, prefix: str) -> None:
        self.table = table
        slots = zip(table.places.caches, SLOTS, strict=False)
        self._patterns = [_Pattern(table, place, prefix, slot) for place, slot in slots]
        self.loose = [pattern.names for pattern in self._patterns if pattern.is_loose]
        """What the keys are called that a row may leave for another, or shares with many: see `scripts.py`."""
        self.tight = [pattern.names for pattern in self._patterns if not pattern.is_loose]
        """What the others are called, as regular expressions too."""
        names = (f"{prefix}{what}:{table.name}".encode() for what in ("rows", "gone", "held", "until"))
        self.index, self.gone, self.held, self.until = names
        self.lead = f"{prefix}row:{table.name}:".encode()

    def effects_of(self, row: Mapping[str, Any], key: bytes) -> bytes:
        """What a row has in keys of the table's patterns."""
        return joined([pattern.effect(row, key) for pattern in self._patterns])

    def no_effects(self, key: bytes) -> bytes:
        """That a row of this key has nothing in any of them."""
        if not self._patterns:
            return b""
        values = dict(zip(self.table.key, key_values(self.table, key), strict=True))
        return joined([pattern.none(values, key) for pattern in self._patterns])


_MEANING: Final = re.compile(rb"[%:{}\x00-\x1f\x7f]")
"""What separates the parts of a key's name, means something in it to a cluster, or breaks a line."""


def segment(value: bytes) -> bytes:
    """A value as a part of a key's name: no two values are one part, and none is more than one.

    What would separate parts is written as in a URL (`%3A`); of what is longer than SEGMENT_BYTES_MAX there is the
    SHA-256 behind `%.`, which no escape begins with.
    """
    escaped = _MEANING.sub(lambda found: b"%%%02X" % found.group()[0], value)
    return escaped if len(escaped) <= SEGMENT_BYTES_MAX else b"%." + sha256(value).hexdigest().encode()


def owner_of(prefix: str, key: bytes) -> str:
    """The name of what says whose a key is, as in `scripts.OWNER`."""
    return f"{prefix}antiphon:of:{sha1(key, usedforsecurity=False).hexdigest()}"


@lru_cache(maxsize=1 << 16)
def _known(width: int, raw: bytes) -> bytes:
    return (entity_text(raw) if width == 16 else id_text(raw)).encode()


def _text(table: Table, name: str, value: Any) -> bytes:
    """A value as it stands in a key or in a field of a hash."""
    if isinstance(value, str):
        return value.encode()
    kind = table.by_name[name].type
    if kind in (Type.ID, Type.PERSON, Type.AGENT, Type.LOG):
        return _known(len(value), value)
    made = as_plain(table, {name: value})[name]
    return made.encode() if isinstance(made, str) else msgspec.json.encode(made)
