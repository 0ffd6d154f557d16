"""P6: one read through the public API, encrypted and warm, beside bare `apsw` by key on an equal file."""

from __future__ import annotations

import random
import statistics
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from time import perf_counter_ns
from typing import Any

from antiphon import Agent
from antiphon.domains.memory import MEMORIES
from antiphon.model.event import encode_header
from antiphon.model.table import Table
from antiphon.query.cache import RowCache
from bench.bare import Bare
from bench.figures import Figure, Size, alternate, figure
from bench.places import PLAIN, scratch
from bench.texts import texts

EVENTS = 40_000


def _median_us(read: Callable[[Any], object], items: Sequence[Any], before: Callable[[], None] | None = None) -> float:
    took = []
    for item in items:
        if before is not None:
            before()
        start = perf_counter_ns()
        read(item)
        took.append(perf_counter_ns() - start)
    return statistics.median(took) / 1_000


def _stored_us(agent: Agent, receipts: Sequence[Any], picked: Sequence[int]) -> float:
    """Rows from the file: what the process keeps of them is dropped before each read, outside the clock."""

    def drop() -> None:
        agent._rows = RowCache(agent.replica.fresh)

    def read(at: int) -> None:
        assert agent.get(receipts[at].entity) is not None

    took = _median_us(read, picked, drop)
    assert agent._rows.hits == 0, "a row that should have come from the file came from the cache"
    return took


def _kept_us(agent: Agent, receipts: Sequence[Any], picked: Sequence[int]) -> float:
    """Rows that the process keeps: each was read before."""
    few = [picked[at % 100] for at in range(len(picked))]
    for at in few[:100]:
        agent.get(receipts[at].entity)
    before = agent._rows.hits
    took = _median_us(lambda at: agent.get(receipts[at].entity), few)
    assert agent._rows.hits - before == len(few), "a row that should have been kept was read again"
    return took


def _filled(agent: Agent, events: int) -> list[Any]:
    words = texts(215, seed=2)
    receipts = []
    for at in range(0, events, 1_000):
        with agent.batch() as batch:
            for text in islice(words, min(1_000, events - at)):
                batch.record("plain.noted", {"text": text, "topic": "plans", "weight": 0.5})
        receipts += batch.recorded
    while agent.replica.pack_some():
        pass
    return receipts


def _twin(agent: Agent, table: Table, bare: Bare, rows: int) -> list[tuple[int, bytes]]:
    """Fills the bare file with the same rows and events; (seq, key) of each."""
    replica = agent.replica
    found = replica.file.reader.execute(f'SELECT * FROM "{table.name}" ORDER BY n').fetchall()
    events = replica.reader.events(replica.head(agent.log_id), found[0][2])
    raws = [encode_header(event.header) + (event.body or b"") for event in islice(events, rows)]
    for at in range(0, len(found), 10_000):
        bare.commit(raws[at : at + 10_000], found[at : at + 10_000])
    return [(at, row[3]) for at, row in enumerate(found, 1)]


def run(size: Size) -> Iterator[Figure]:
    """View rows, then events in cached and uncached blocks."""
    with scratch() as folder:
        events, reads = size.of(EVENTS, least=2_048), size.of(3_000, least=50)
        chance = random.Random(7)
        with Agent.create("reader", home=folder / "home", domains=(PLAIN,)) as agent:
            receipts = _filled(agent, events)
            bare = Bare(folder / "plain.bare", PLAIN.tables[0])
            places = _twin(agent, PLAIN.tables[0], bare, events)
            picked = [chance.randrange(len(places)) for _ in range(reads)]
            found = alternate(
                {
                    "stored": lambda: _stored_us(agent, receipts, picked),
                    "kept": lambda: _kept_us(agent, receipts, picked),
                    "bare": lambda: _median_us(_row_reader(bare, PLAIN.tables[0]), [places[at][1] for at in picked]),
                    "cached": lambda: _median_us(lambda at: agent.event(receipts[at].event), _near(picked)),
                    "uncached": lambda: _median_us(
                        lambda at: agent.event(receipts[at].event), picked, agent.replica.reader.forget_caches
                    ),
                    "bare event": lambda: _median_us(_event_reader(bare), [places[at][0] for at in picked]),
                },
                size.rounds,
            )
            yield figure("read a view row", "µs", found["stored"], found["bare"], target="≤ 1.5×", ratio_max=1.5)
            yield figure(
                "read a row, in-process cache", "µs", found["kept"], found["bare"], target="≤ 2 µs", value_max=2
            )
            yield figure(
                "read an event, block cached", "µs", found["cached"], found["bare event"], target="≤ 5 µs", value_max=5
            )
            yield figure(
                "read an event, block not cached", "µs", found["uncached"], found["bare event"],
                target="≤ 60 µs", value_max=60,
            )  # fmt: skip
            bare.close()
        yield from _memories(folder, size, reads)


def _memories(folder: Any, size: Size, reads: int) -> Iterator[Figure]:
    """A row whose text is kept in the log alone and fetched from there."""
    with Agent.create("rememberer", home=folder / "home2") as agent:
        words = texts(215, seed=3)
        receipts = []
        for _ in range(size.of(20, least=2)):
            with agent.batch() as batch:
                for text in islice(words, 1_000):
                    batch.remember(text)
            receipts += batch.recorded
        while agent.replica.pack_some():
            pass
        bare = Bare(folder / "memories.bare", MEMORIES)
        places = _twin(agent, MEMORIES, bare, len(receipts))
        chance = random.Random(8)
        picked = [chance.randrange(len(places)) for _ in range(reads)]
        found = alternate(
            {
                "ours": lambda: _stored_us(agent, receipts, picked),
                "bare": lambda: _median_us(_row_reader(bare, MEMORIES), [places[at][1] for at in picked]),
            },
            size.rounds,
        )
        yield figure("read a memory, its text from the log", "µs", found["ours"], found["bare"])
        bare.close()


def _near(picked: Sequence[int]) -> list[int]:
    return [at % 900 for at in picked]


def _row_reader(bare: Bare, table: Table) -> Callable[[bytes], object]:
    sql = f'SELECT * FROM "{table.name}" WHERE "{table.key[0]}"=?'
    execute = bare.connection.execute
    return lambda key: execute(sql, (key,)).fetchone()


def _event_reader(bare: Bare) -> Callable[[int], object]:
    execute = bare.connection.execute
    return lambda seq: execute("SELECT event FROM events WHERE seq=?", (seq,)).get
