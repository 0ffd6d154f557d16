"""Rows a second into real servers, beside each server's own bulk path: COPY into the same table, pipelined SET.

The servers are installed and started by `servers/`. Rows are messages between agents, as the domain *network* declares
them.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import count
from time import perf_counter
from typing import Any

import msgspec
import psycopg
import redis

from antiphon.domains.network.exchange import MESSAGES
from antiphon.engines.postgres import ddl
from antiphon.engines.postgres.binary import sql_type
from antiphon.engines.postgres.tables import PostgresTables
from antiphon.engines.redis.tables import RedisTables
from antiphon.model.table import Type
from antiphon.model.values import canonical, key_of
from antiphon.views.feed import Change, version_of
from bench.figures import Figure, Size, alternate, figure
from servers import Postgres, Valkey

BATCH, ROWS = 4_096, 40_960
_next = count(1)
_AGENTS = [os.urandom(32) for _ in range(1_000)]


def messages(rows: int) -> list[Change]:
    """New messages, as the feed would deliver them."""
    found = []
    for _ in range(rows):
        values: dict[str, Any] = dict.fromkeys(MESSAGES.names)
        for column in MESSAGES.columns:
            match column.type:
                case Type.ID:
                    value: Any = os.urandom(16)
                case Type.AGENT | Type.LOG:
                    value = _AGENTS[next(_next) % len(_AGENTS)]
                case Type.TIMESTAMP:
                    value = 1_700_000_000_000 + next(_next)
                case Type.TEXT:
                    value = "the tide is rising, and so are the three of us; see you at the bridge"
                case _:
                    value = None if column.nullable else column.default
            values[column.name] = canonical(column, value)
        found.append(Change(MESSAGES.name, key_of(MESSAGES, values), version_of(1, next(_next)), values))
    return found


def run(size: Size) -> Iterator[Figure]:
    """Both engines, one after the other."""
    rows = size.of(ROWS, least=BATCH)
    with Postgres() as server:
        yield _postgres(server, rows, size.rounds)
    with Valkey() as cache:
        yield _redis(cache, rows, size.rounds)


def _postgres(server: Postgres, rows: int, rounds: int) -> Figure:
    sink = PostgresTables(server.url())
    sink.prepare([MESSAGES])
    sink.fence(0, 1)
    bare = msgspec.structs.replace(MESSAGES)
    dialect = ddl.Dialect(schema="bare")
    with psycopg.connect(server.url(), autocommit=True) as session:
        session.execute("CREATE SCHEMA bare")
        for statement in (*ddl.table_sql(bare, dialect), *ddl.indexes_sql(bare, dialect)):
            session.execute(statement.encode())
        names = [*MESSAGES.names, ddl.VERSION]
        copy_sql = (
            f"COPY bare.{ddl.quoted(MESSAGES.name)} ({', '.join(map(ddl.quoted, names))}) FROM STDIN (FORMAT binary)"
        )
        types = [*(sql_type(column) for column in MESSAGES.columns), "bigint"]

        def theirs() -> float:
            made = [[_driver(c.type, change.row[c.name]) for c in MESSAGES.columns] + [change.version]
                    for change in messages(rows) if change.row is not None]  # fmt: skip
            begin = perf_counter()
            for at in range(0, rows, BATCH):
                with session.transaction(), session.cursor().copy(copy_sql.encode()) as copy:
                    copy.set_types(types)
                    for row in made[at : at + BATCH]:
                        copy.write_row(row)
            return rows / (perf_counter() - begin)

        def ours() -> float:
            made = messages(rows)
            begin = perf_counter()
            for at in range(0, rows, BATCH):
                sink.apply(1, made[at : at + BATCH])
            return rows / (perf_counter() - begin)

        found = alternate({"ours": ours, "theirs": theirs}, rounds)
    sink.close()
    return figure(
        "rows into PostgreSQL, batches of 4,096, beside COPY into the same table", "/s", found["ours"], found["theirs"],
        target="≥ 0.5×", ratio_min=0.5,
    )  # fmt: skip


def _driver(kind: Type, value: Any) -> Any:
    """A value as the driver takes it."""
    if value is None:
        return None
    if kind == Type.ID:
        from uuid import UUID

        return UUID(bytes=value)
    if kind == Type.TIMESTAMP:
        from datetime import UTC, datetime

        return datetime.fromtimestamp(value / 1000, UTC)
    return value


def _redis(server: Valkey, rows: int, rounds: int) -> Figure:
    sink = RedisTables(server.url())
    sink.prepare([MESSAGES])
    sink.fence(0, 1)
    client = redis.Redis.from_url(server.url())

    def theirs() -> float:
        made = [(change.key, [*(change.row or {}).values()]) for change in messages(rows)]
        begin = perf_counter()
        for at in range(0, rows, BATCH):
            pipe = client.pipeline(transaction=False)
            for key, values in made[at : at + BATCH]:
                pipe.set(b"bare:" + key, msgspec.msgpack.encode(values), px=86_400_000)
            pipe.execute()
        return rows / (perf_counter() - begin)

    def ours() -> float:
        made = messages(rows)
        begin = perf_counter()
        for at in range(0, rows, BATCH):
            sink.apply(1, made[at : at + BATCH])
        return rows / (perf_counter() - begin)

    found = alternate({"ours": ours, "theirs": theirs}, rounds)
    client.close()
    sink.close()
    return figure(
        "rows into Valkey, batches of 4,096, beside pipelined SET", "/s", found["ours"], found["theirs"],
        target="≥ 0.5×", ratio_min=0.5,
    )  # fmt: skip
