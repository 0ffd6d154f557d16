"""The engines that keep rows, one factory each: every suite of the port `Sink` runs over all of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any

import pytest

from antiphon.engines.memory import MemoryTables, MemoryTopics
from antiphon.engines.sealing import SealedSink, Seals
from antiphon.world.entropy import SeededEntropy

_numbers = count()


def seals(*, blind: bytes = b"b" * 32) -> Seals:
    """Seals under keys that tests know."""
    return Seals(seal_key=b"s" * 32, blind_key=blind, entropy=SeededEntropy(1))


@contextmanager
def engine(name: str, request: pytest.FixtureRequest) -> Iterator[Any]:
    """An empty engine of this name, on the server of this session where it needs one."""
    number = next(_numbers)
    if name == "memory":
        yield MemoryTables()
    elif name == "sealed":
        yield SealedSink(MemoryTables(), seals())
    elif name == "postgres":
        from antiphon.engines.postgres.tables import PostgresTables

        made = PostgresTables(request.getfixturevalue("postgres").url(), schema=f"s{number}")
        yield made
        made.close()
    elif name in ("valkey", "cluster"):
        from antiphon.engines.redis.tables import RedisTables

        cache = RedisTables(request.getfixturevalue(name).url(), prefix=f"{{{number}}}:")
        yield cache
        cache.close()
    else:
        raise LookupError(name)


@contextmanager
def carrier(name: str, request: pytest.FixtureRequest) -> Iterator[Any]:
    """An empty engine of events of this name."""
    if name == "memory":
        yield MemoryTopics()
    elif name in ("valkey", "cluster"):
        from antiphon.engines.redis.live import RedisTopics

        made = RedisTopics(request.getfixturevalue(name).url(), prefix=f"{{{next(_numbers)}}}:")
        yield made
        made.close()
    else:
        raise LookupError(name)
