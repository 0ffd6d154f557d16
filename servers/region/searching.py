"""Whether somebody's words and name are in a file, in what pg_dump says, or under any key of a cache."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
import redis

from antiphon.engines.sqlite import pages
from antiphon.home import Home
from antiphon.model.errors import InvalidInput
from servers import Postgres
from servers.region.talks import Talk

WORDS_MAX: Final = 50
IN_FILE: Final = 3
"""How many of them are looked for in the file: each means reading it once more."""
_PLAIN: Final = re.compile(r"[A-Za-z0-9 ,.!?']{25,}")
"""What stands in every encoding of a text as it was typed."""


class Place(msgspec.Struct, frozen=True):
    """One place that was searched, and how many of what was looked for it holds."""

    name: str
    searched: str
    words: int
    of: int
    named: bool


class Person(msgspec.Struct, frozen=True):
    """Somebody's name, and things that they and nobody else said, the longest first."""

    name: str
    words: tuple[str, ...]


def choose(talks: Sequence[Talk]) -> Person:
    """Somebody who said much, and things that nobody else said; where they can, the first three go on talking.

    Raises InvalidInput where so little was said that there is nobody.
    """
    said: dict[str, list[str]] = {}
    for talk in talks:
        for message in talk.messages:
            said.setdefault(message.person, []).append(message.text)
    ranked = sorted(said, key=lambda name: (-len(said[name]), name))
    for name in [*ranked[3:], *ranked[:3]]:
        others = "\n".join(text for other, texts in said.items() if other != name for text in texts)
        words = {text for text in said[name] if _PLAIN.fullmatch(text) and text not in others}
        if words:
            return Person(name, tuple(sorted(words, key=lambda text: (-len(text), text))[:WORDS_MAX]))
    raise InvalidInput("nobody said anything of their own: take more messages")


def in_file(path: Path, person: Person) -> Place:
    """The encrypted file, by its bytes: pages decrypted, frames inflated, indexes, write-ahead log."""
    key = Home.open(path.parent).ring.get(f"file:{path.stem}")
    words = person.words[:IN_FILE]
    found = sum(bool(pages.find_text(path, key, text.encode())) for text in words)
    named = bool(pages.find_text(path, key, person.name.encode()))
    return Place("the file", f"{path.stat().st_size / 1e6:.1f} MB, decrypted", found, len(words), named)


def in_postgres(server: Postgres, person: Person) -> Place:
    """All that pg_dump says of the database."""
    dump = server.dump()
    return _counted("PostgreSQL", f"pg_dump, {len(dump) / 1e6:.1f} MB", dump.encode(), person)


def in_cache(client: redis.Redis, person: Person) -> Place:
    """Every key and what it holds, of every type."""
    found: list[bytes] = []
    count = 0
    for name in client.scan_iter(count=1_000):
        count += 1
        found += [name, *_held(client, name)]
    raw = b"\n".join(found)
    return _counted("Valkey", f"{count:,} keys, {len(raw) / 1e6:.1f} MB", raw, person)


def _held(client: redis.Redis, name: bytes) -> list[bytes]:
    kind: Any = client.type(name)
    held: Any
    if kind == b"string":
        held = [client.get(name) or b""]
    elif kind == b"hash":
        fields: Any = client.hgetall(name)
        held = [part for pair in fields.items() for part in pair]
    elif kind == b"list":
        held = client.lrange(name, 0, -1)
    elif kind == b"set":
        held = client.smembers(name)
    elif kind == b"zset":
        held = client.zrange(name, 0, -1)
    else:
        held = [repr(client.xrange(name)).encode()]
    return list(held)


def _counted(name: str, searched: str, raw: bytes, person: Person) -> Place:
    words = sum(text.encode() in raw for text in person.words)
    return Place(name, searched, words, len(person.words), person.name.encode() in raw)
