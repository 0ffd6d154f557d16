"""Engines that follow, on real servers, which `servers/` installs and starts.

Rows a second stand beside each server's own bulk path in the same run: COPY into the same table; pipelined SET, and the
commands that keep the same keys. Rows are messages between agents, as the domain *network* declares them.
"""

from __future__ import annotations

import contextlib
import os
import resource
import statistics
import subprocess
import sys
from collections.abc import Iterator
from itertools import count, islice
from pathlib import Path
from time import perf_counter, sleep, time
from typing import Any

import msgspec
import psycopg
import redis

from antiphon import Agent
from antiphon.domains.network.exchange import MESSAGES
from antiphon.domains.tasks.commands import Tasks
from antiphon.engines.postgres import ddl
from antiphon.engines.postgres.binary import sql_type
from antiphon.engines.postgres.source import PostgresSource
from antiphon.engines.postgres.tables import PostgresTables
from antiphon.engines.redis.source import RedisRows
from antiphon.engines.redis.tables import RedisTables
from antiphon.engines.urls import engine_at
from antiphon.model.places import Places
from antiphon.model.table import Type
from antiphon.model.values import canonical, key_of
from antiphon.views.feed import Change, version_of
from bench.figures import Figure, Size, alternate, figure
from bench.places import PLAIN, scratch
from bench.reads import mixed
from bench.texts import texts
from servers import Postgres, Valkey

BATCH, ROWS = 4_096, 40_960
PACE, PACE_S, PART, LATE = 5_000, 5, 100, 100_000
LONG_MS = 3_600_000
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
    with Postgres() as server, Valkey() as cache:
        yield _postgres(server, rows, size.rounds)
        yield from _redis(cache, rows, size.rounds)
        for name, url in (("PostgreSQL", server.url()), ("Valkey", cache.url())):
            yield from _followed(name, url, size)
        yield from _reads(server, cache, size)
        yield from mixed(server, size)
    for name, package in (("PostgreSQL", "postgres"), ("Redis and Valkey", "redis")):
        yield figure(f"lines of code of the engine {name}, without blanks and comments", "lines", [_lines(package)])


def _followed(name: str, url: str, size: Size) -> Iterator[Figure]:
    """The lag while one process writes 5,000 rows a second and another feeds; and catching up."""
    with scratch() as folder:
        home = folder / "home"
        words = list(islice(texts(215), size.of(LATE, least=2_000)))
        some = words[: size.of(PACE * PACE_S, least=1_000)]
        Agent.create("ada", home=home, domains=[PLAIN]).close()
        with Agent.open("ada", home=home, domains=[PLAIN]) as agent, _feeder(home, url, len(some)) as feeder:
            assert feeder.stdout is not None
            feeder.stdout.readline()
            _produce(agent, some, pace=PACE)
            told = msgspec.json.decode(feeder.stdout.readline(), type=Told)
        for share, shown in ((0.5, "median"), (0.99, "p99")):
            lag = told.lags[min(int(len(told.lags) * share), len(told.lags) - 1)]
            yield figure(f"{name}: lag at {PACE:,} rows/s, {shown}", "ms", [lag])
        yield figure(f"{name}: memory of the feeding process", "MB", [told.memory_mb])
        with Agent.open("ada", home=home, domains=[PLAIN]) as agent:
            _produce(agent, words, pace=None)
            sink = engine_at(url)
            follower = agent.follow(sink, name="bench", tables=["plain_notes"], take_over=True)
            begin = perf_counter()
            count = follower.run()
            seconds = perf_counter() - begin
            follower.close()
            sink.close()
        yield figure(f"{name}: catching up with {len(words):,} rows", "/s", [count / seconds])


class Told(msgspec.Struct):
    """What a feeding process saw: its lags in ms in ascending order, and the most memory it held."""

    lags: list[float]
    memory_mb: float


def _feeder(home: Path, url: str, rows: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "bench.engines", str(home), url, str(rows)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[1])


def _produce(agent: Agent, words: list[str], *, pace: int | None) -> None:
    begin = perf_counter()
    for at in range(0, len(words), PART):
        if pace is not None:
            sleep(max(0.0, begin + at / pace - perf_counter()))
        now = time()
        with agent.batch() as batch:
            for text in words[at : at + PART]:
                batch.record("plain.noted", {"text": text, "topic": "x", "weight": now})


def feed(home: Path, url: str, rows: int) -> None:
    """The other process: feeds until so many rows are there, then says how late they were."""
    sink = engine_at(url)
    lags: list[float] = []
    apply = sink.apply

    def timed(epoch: int, changes: list[Change], **said: Any) -> None:
        apply(epoch, changes, **said)
        now = time()
        lags.extend((now - change.row["weight"]) * 1_000 for change in changes if change.row is not None)

    sink.apply = timed
    with Agent.open("ada", home=home, domains=[PLAIN]) as agent:
        follower = agent.follow(sink, name="bench", tables=["plain_notes"], take_over=True)
        follower.run()
        print("ready", flush=True)
        follower.start()
        while len(lags) < rows:
            if follower.has_ended:
                raise SystemExit(f"the feeder has ended: {follower.error}")
            sleep(0.01)
        follower.close()
    sink.close()
    memory_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1_024
    print(msgspec.json.encode(Told(sorted(lags), memory_mb)).decode(), flush=True)


def _reads(server: Postgres, cache: Valkey, size: Size) -> Iterator[Figure]:
    """One row by its key, from each place that may have it."""
    with scratch() as folder, Agent.create("ada", home=folder / "ada") as ada:
        bob = Agent.create("bob", home=folder / "bob")
        tasks = [Tasks(ada).create(f"task {n}").entity for n in range(50)]
        own = Tasks(bob).create("a task of his own").entity
        tables = bob.replica.registry.tables
        sinks = [PostgresTables(server.url(), schema="reads"), RedisTables(cache.url(), prefix="reads:")]
        for name, sink in zip(("store", "cache"), sinks, strict=True):
            with contextlib.closing(ada.follow(sink, name=name, tables=["tasks"])) as follower:
                follower.run()
        near = RedisRows(cache.url(), tables, prefix="reads:")
        far = PostgresSource(server.url(), tables, schema="reads")
        count = size.of(2_000, least=200)
        cases = {
            "the process's cache (hit)": (bob.reach([near, far], stale_ms_max=LONG_MS), [own]),
            "Valkey (hit)": (bob.reach([near, far], stale_ms_max=LONG_MS), tasks),
            "PostgreSQL (hit)": (bob.reach([far], stale_ms_max=LONG_MS), tasks),
            "all places (miss)": (bob.reach([near, far], stale_ms_max=LONG_MS), [bytes([n]) * 16 for n in range(50)]),
        }
        for name, (reach, keys) in cases.items():
            took = []
            for at in range(count):
                begin = perf_counter()
                reach.get("tasks", keys[at % len(keys)])
                took.append((perf_counter() - begin) * 1e6)
            yield figure(f"one row from {name}, median", "µs", [statistics.median(took)])
        for one in (near, far, *sinks, bob):
            one.close()


def _lines(package: str) -> int:
    folder = Path(__file__).parents[1] / "src/antiphon/engines" / package
    text = "\n".join(file.read_text() for file in sorted(folder.glob("*.py")))
    lines = (line.strip() for line in text.splitlines())
    return sum(bool(line) and not line.startswith("#") for line in lines)


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


def _redis(server: Valkey, rows: int, rounds: int) -> Iterator[Figure]:
    client = redis.Redis.from_url(server.url())
    bare = msgspec.structs.replace(MESSAGES, places=Places())
    for at, (table, keys) in enumerate(((bare, False), (MESSAGES, True))):
        sink = RedisTables(server.url(), prefix=f"bench{at}:")
        sink.prepare([table])
        sink.fence(0, 1)

        def theirs(*, lists: bool = keys) -> float:
            made = messages(rows)
            begin = perf_counter()
            for first in range(0, rows, BATCH):
                pipe = client.pipeline(transaction=False)
                for change in made[first : first + BATCH]:
                    row = change.row or {}
                    pipe.set(b"bare:" + change.key, msgspec.msgpack.encode([*row.values()]), px=86_400_000)
                    if lists:
                        name = b"bare:whispers:" + row["recipient"]
                        pipe.lpush(name, msgspec.msgpack.encode([row["message_id"], row["sender"], row["sent_at"]]))
                        pipe.ltrim(name, 0, 99)
                        pipe.pexpire(name, 3_600_000)
                pipe.execute()
            return rows / (perf_counter() - begin)

        def ours(*, into: RedisTables = sink) -> float:
            made = messages(rows)
            begin = perf_counter()
            for first in range(0, rows, BATCH):
                into.apply(1, made[first : first + BATCH])
            return rows / (perf_counter() - begin)

        found = alternate({"ours": ours, "theirs": theirs}, rounds)
        sink.close()
        client.flushall()
        what = "SET, LPUSH, LTRIM and PEXPIRE" if keys else "SET"
        yield figure(
            f"rows into Valkey{' and their pattern' if keys else ''}, batches of 4,096, beside pipelined {what}",
            "/s", found["ours"], found["theirs"], target="≥ 0.5×", ratio_min=0.5,
        )  # fmt: skip
    client.close()


if __name__ == "__main__":
    feed(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
