"""The engines that keep rows, one factory each: every suite of the port `Sink` runs over all of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from antiphon.engines.memory import MemoryTables, MemoryTopics
from antiphon.engines.sealing import SealedSink, Seals
from antiphon.world.entropy import SeededEntropy
from servers.places import own_name

OWN_POSTGRES = (pytest.mark.server, pytest.mark.needs("own postgres"))
OWN_VALKEY = (pytest.mark.server, pytest.mark.needs("own valkey"))
OWN_BOTH = (pytest.mark.server, pytest.mark.needs("own postgres", "own valkey"))
"""Marks of tests that start and hurt servers of their own."""
KINDS = (pytest.param("postgres", marks=OWN_POSTGRES), pytest.param("valkey", marks=OWN_VALKEY))


PATIENCE_MS = 120_000
"""A server that is there answers within this, on a machine that others keep busy."""


def seals(*, blind: bytes = b"b" * 32) -> Seals:
    """Seals under keys that tests know."""
    return Seals(seal_key=b"s" * 32, blind_key=blind, entropy=SeededEntropy(1))


@contextmanager
def engine(name: str, request: pytest.FixtureRequest) -> Iterator[Any]:
    """An empty engine of this name, on the server of this session where it needs one."""
    if name == "memory":
        yield MemoryTables()
    elif name == "sealed":
        yield SealedSink(MemoryTables(), seals())
    elif name == "postgres":
        from antiphon.engines.postgres.tables import PostgresTables

        made = PostgresTables(request.getfixturevalue("postgres").url(), schema=own_name("s"))
        yield made
        made.close()
    elif name in ("valkey", "cluster"):
        from antiphon.engines.redis.tables import RedisTables

        place = request.getfixturevalue(name)
        cache = RedisTables(place.url(), prefix=place.prefix())
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

        place = request.getfixturevalue(name)
        made = RedisTopics(place.url(), prefix=place.prefix())
        yield made
        made.close()
    else:
        raise LookupError(name)


def held(url: str) -> str:
    """All rows of all tables of a PostgreSQL database, as text."""
    import psycopg
    from psycopg import sql

    with psycopg.connect(url, autocommit=True) as session, session.cursor() as cursor:
        listed = session.execute(
            "SELECT nspname, relname FROM pg_class JOIN pg_namespace n ON n.oid = relnamespace "
            "WHERE relkind IN ('r', 'm') AND nspname NOT IN ('pg_catalog', 'information_schema')"
        ).fetchall()
        parts = []
        for schema, name in listed:
            asked = sql.SQL("COPY (SELECT * FROM {}.{}) TO STDOUT").format(sql.Identifier(schema), sql.Identifier(name))
            with cursor.copy(asked) as copy:
                parts += [f"{schema}.{name}", *(bytes(part).decode() for part in copy)]
    return "\n".join(parts)
