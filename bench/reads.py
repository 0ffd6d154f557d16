"""Reads through the whole path by a Zipf-distributed mix: what share each place answers, and how fast.

The cache has room for a part of the rows that the store has, as a cache does; a twentieth of all rows are the reader's
own, in its file. How popular a row is has nothing to do with where it lies.
"""

from __future__ import annotations

import contextlib
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from itertools import accumulate, cycle
from random import Random
from time import monotonic, perf_counter, sleep
from typing import Any, Final

import redis

from antiphon import Agent
from antiphon.domains.tasks.commands import Tasks
from antiphon.engines.postgres.source import PostgresSource
from antiphon.engines.postgres.tables import PostgresTables
from antiphon.engines.redis.source import RedisRows
from antiphon.engines.redis.tables import RedisTables
from antiphon.query.reach import Reach
from bench.figures import Figure, Size, figure
from bench.places import scratch
from servers import Postgres, Valkey

ROWS, READS, SKEW = 10_000, 20_000, 1.0
WARMING: Final = 2
"""How many times as much is read before what counts."""
OWN: Final = 20
"""One row of so many is the reader's own."""
ROOM: Final = 0.5
"""What share of the memory that all rows take the cache has for them."""
AWAKE_S_MAX: Final = 60.0
HIT_RATE_MIN: Final = 0.8
LONG_MS: Final = 3_600_000
SHOWN: Final = {"process": "the process", "file": "the file", "cache": "Valkey", "store": "PostgreSQL"}


def mixed(store: Postgres, size: Size) -> Iterator[Figure]:
    """Hit rates by place, and the median and the 99th percentile of a read that it answered."""
    with scratch() as folder, Valkey(append_only=False) as cache, contextlib.ExitStack() as ending:
        ada = ending.enter_context(Agent.create("ada", home=folder / "ada"))
        bob = ending.enter_context(Agent.create("bob", home=folder / "bob"))
        rows = size.of(ROWS, least=400)
        theirs, own = _tasks(ada, rows - rows // OWN), _tasks(bob, rows // OWN)
        reach = _reach(ada, bob, store, cache, ending)
        reads = size.of(READS, least=1_000)
        picks = _zipf([*theirs, *own], (WARMING + 1) * reads)
        for key in picks[reads:]:  # until the cache has what is asked for most
            reach.get("tasks", key)
        _woken(reach, theirs)
        before = {name: stats.since(type(stats)(name)) for name, stats in reach.stats.items()}
        took = _timed(reach, picks[:reads])
        found = {name: stats.since(before[name]) for name, stats in reach.stats.items()}
    mix = f"{reads:,} reads of {rows:,} rows by Zipf({SKEW:g})"
    for name, shown in SHOWN.items():
        limits: dict[str, Any] = {"target": "≥ 0.8", "value_min": HIT_RATE_MIN} if name == "cache" else {}
        said = {"asked": found[name].asked, "failures": found[name].failures}
        rate = found[name].hit_rate
        yield figure(f"{mix}: hit rate of {shown}", "of those it was asked for", [rate], **limits, **said)
    for name, shown in SHOWN.items():
        slow = sorted(took[name])
        for share, word in ((0.5, "median"), (0.99, "p99")) if slow else ():
            value = slow[min(int(len(slow) * share), len(slow) - 1)]
            yield figure(f"{mix}: one from {shown}, {word}", "µs", [value])


def _woken(reach: Reach, keys: Sequence[str]) -> None:
    """Until the cache is asked again: a reader leaves it out for a while where its pulse was not there, or evicted."""
    asked, until = reach.stats["cache"].asked, monotonic() + AWAKE_S_MAX
    for key in cycle(keys):
        reach.get("tasks", key)
        if reach.stats["cache"].asked > asked or monotonic() > until:
            return
        sleep(0.05)


def _tasks(agent: Agent, count: int) -> list[str]:
    board = Tasks(agent)
    with agent.together():
        return [str(board.create(f"task {n}", description="what there is to do " * 10).entity) for n in range(count)]


def _reach(ada: Agent, bob: Agent, store: Postgres, cache: Valkey, ending: contextlib.ExitStack) -> Reach:
    """Both places are fed with all of Ada's rows; then the cache is made so small that it must let go of some."""
    client = ending.enter_context(contextlib.closing(redis.Redis.from_url(cache.url())))
    client.config_set("maxmemory-policy", "allkeys-lfu")
    empty = int(client.info("memory")["used_memory"])
    sinks = [PostgresTables(store.url(), schema="mixed"), RedisTables(cache.url())]
    for name, sink in zip(("store", "cache"), sinks, strict=True):
        ending.callback(sink.close)
        follower = ending.enter_context(contextlib.closing(ada.follow(sink, name=name, tables=["tasks"])))
        follower.run()
        follower.start()
    full = int(client.info("memory")["used_memory"])
    client.config_set("maxmemory", int(empty + ROOM * (full - empty)))
    tables = bob.replica.registry.tables
    near, far = RedisRows(cache.url(), tables), PostgresSource(store.url(), tables, schema="mixed")
    for place in (near, far):
        ending.callback(place.close)
    return bob.reach([near, far], stale_ms_max=LONG_MS)


def _zipf(keys: Sequence[str], count: int) -> list[str]:
    """Picks of keys, the n-th most popular as often as 1 / n^SKEW says."""
    chance = Random(80)
    ranked = list(keys)
    chance.shuffle(ranked)
    sums = list(accumulate(1 / n**SKEW for n in range(1, len(ranked) + 1)))
    return [ranked[bisect_left(sums, chance.random() * sums[-1])] for _ in range(count)]


def _timed(reach: Reach, keys: Sequence[str]) -> dict[str, list[float]]:
    """Microseconds a read, by the place that answered."""
    took: dict[str, list[float]] = {name: [] for name in SHOWN}
    for key in keys:
        begin = perf_counter()
        row = reach.get("tasks", key)
        spent = (perf_counter() - begin) * 1e6
        assert row is not None
        took["process" if row.source == "file" and row.stale_ms_max else row.source].append(spent)
    return took
