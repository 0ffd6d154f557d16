"""P1: events a second through the public API, encoded, hashed, signed, folded, fed, encrypted and fsynced.

Beside it, in turns: bare `apsw` that is handed the finished event bytes and view rows (same cipher, pragmas and
indexes, one transaction a batch), and `eventsourcing`'s SQLite recorder with `synchronous=FULL`, without encryption.
"""

from __future__ import annotations

import statistics
import threading
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from time import perf_counter
from typing import Any
from uuid import uuid4

from antiphon import Agent, Domain
from antiphon.domains.memory import MEMORIES
from antiphon.model.event import encode_header
from antiphon.model.table import Table
from bench.bare import Bare
from bench.figures import Figure, Size, alternate, figure
from bench.places import INDEXED, PLAIN, UNFOLDED, scratch
from bench.texts import texts

TEXT_CHARS = 215
"""With header, keys and the other fields, about 300 bytes an event."""
SAMPLE_EVENTS = 4_000
THREADS = 8
TOPICS = ("weather", "plans", "people", "code", "supper", "music")

Write = Callable[[Agent, list[str]], None]


def _noted(kind: str) -> Write:
    def write(agent: Agent, some: list[str]) -> None:
        with agent.batch() as batch:
            for at, text in enumerate(some):
                batch.record(kind, {"text": text, "topic": TOPICS[at % len(TOPICS)], "weight": len(text) / 300})

    return write


def _remember(agent: Agent, some: list[str]) -> None:
    with agent.batch() as batch:
        for at, text in enumerate(some):
            batch.remember(text, type=TOPICS[at % len(TOPICS)], significance=len(text) / 300)


def _remember_indexed(agent: Agent, some: list[str]) -> None:
    """With the full-text backlog that a large commit leaves drained, too."""
    _remember(agent, some)
    while agent.replica.index_backlog():
        pass


class Setting:
    """One agent with its domain, and the bare file that writes the same."""

    def __init__(self, folder: Path, name: str, domain: Domain | None, table: Table | None, write: Write) -> None:
        self.agent = Agent.create(name, home=folder / "home", domains=() if domain is None else (domain,))
        self.bare = Bare(folder / f"{name}.bare", table)
        self._write, self._table = write, table
        self._words: Iterator[str] = texts(TEXT_CHARS)
        write(self.agent, self.words(SAMPLE_EVENTS))
        self._events, self._rows = self._sample()
        self.event_bytes = statistics.mean(map(len, self._events))

    def words(self, count: int) -> list[str]:
        return list(islice(self._words, count))

    def _sample(self) -> tuple[list[bytes], list[tuple[Any, ...]]]:
        replica = self.agent.replica
        found = replica.reader.events(replica.head(self.agent.log_id))
        events = [encode_header(event.header) + (event.body or b"") for event in found]
        if self._table is None:
            return events, []
        return events, replica.file.reader.execute(f'SELECT * FROM "{self._table.name}" ORDER BY n').fetchall()

    def ours(self, batch: int, events: int) -> float:
        """Events a second."""
        parts = [self.words(batch) for _ in range(events // batch)]
        start = perf_counter()
        for part in parts:
            self._write(self.agent, part)
        return batch * len(parts) / (perf_counter() - start)

    def theirs(self, batch: int, events: int) -> float:
        """Events a second of the bare file. Keys of rows are made new, in the order of time, outside the clock."""
        parts = [self._fresh(at * batch, batch) for at in range(events // batch)]
        start = perf_counter()
        for raws, rows in parts:
            self.bare.commit(raws, rows)
        return batch * len(parts) / (perf_counter() - start)

    def _fresh(self, at: int, count: int) -> tuple[list[bytes], list[tuple[Any, ...]]]:
        places = [place % len(self._events) for place in range(at, at + count)]
        events = [self._events[place] for place in places]
        if not self._rows:
            return events, []
        return events, [(*self._rows[place][:3], _new_key(), *self._rows[place][4:]) for place in places]

    def threads(self, work: Callable[[int], Callable[[], None]], each: int) -> tuple[float, float]:
        """(events a second, 99th percentile in ms) of 8 threads that commit one event at a time."""
        took: list[float] = []
        ready = threading.Barrier(THREADS + 1)

        def run(steps: list[Callable[[], None]]) -> None:
            mine = []
            ready.wait()
            for step in steps:
                start = perf_counter()
                step()
                mine.append(perf_counter() - start)
            took.extend(mine)

        lists = [[work(at * each + step) for step in range(each)] for at in range(THREADS)]
        running = [threading.Thread(target=run, args=(steps,)) for steps in lists]
        for thread in running:
            thread.start()
        ready.wait()
        start = perf_counter()
        for thread in running:
            thread.join()
        seconds = perf_counter() - start
        took.sort()
        return len(took) / seconds, took[int(len(took) * 0.99)] * 1_000

    def our_step(self, at: int) -> Callable[[], None]:
        text = self.words(1)
        return lambda: self._write(self.agent, text)

    def their_step(self, at: int) -> Callable[[], None]:
        raws, rows = self._fresh(at, 1)
        return lambda: self.bare.commit(raws, rows)

    def close(self) -> None:
        self.agent.close()
        self.bare.close()


_keys = 0


def _new_key() -> bytes:
    """A key in the order of time with a random end, as entity ids are."""
    global _keys  # noqa: PLW0603  # a counter of this process
    _keys += 1
    return (0x01A1 << 32 | _keys).to_bytes(6, "big") + uuid4().bytes[6:]


class _Eventsourcing:
    """The recorder that its applications use, at equal durability: WAL and `synchronous=FULL`, on disk."""

    def __init__(self, path: Path, states: list[bytes]) -> None:
        from eventsourcing.persistence import StoredEvent
        from eventsourcing.sqlite import SQLiteApplicationRecorder, SQLiteDatastore

        self._stored = StoredEvent
        self._datastore = SQLiteDatastore(str(path), pool_size=1, max_overflow=0)
        with self._datastore.get_connection(commit=True) as connection:  # the only one there is, so the one that writes
            cursor = connection.cursor()
            cursor.execute("PRAGMA synchronous=FULL")
            for pragma, wanted in (("synchronous", 2), ("journal_mode", "wal")):
                cursor.execute(f"PRAGMA {pragma}")
                assert next(iter(cursor.fetchone())) == wanted, f"the other side runs with another {pragma}"
        self._recorder = SQLiteApplicationRecorder(self._datastore)
        self._recorder.create_table()
        self._states, self._log, self._size = states, uuid4(), 0

    def rate(self, batch: int, events: int) -> float:
        parts = []
        for _ in range(events // batch):
            states = [self._states[(self._size + at) % len(self._states)] for at in range(batch)]
            parts.append(
                [self._stored(self._log, self._size + at, "bench:Noted", raw) for at, raw in enumerate(states)]
            )
            self._size += batch
        start = perf_counter()
        for part in parts:
            self._recorder.insert_events(part)
        return batch * len(parts) / (perf_counter() - start)

    def close(self) -> None:
        self._datastore.close()


class _Application:
    """The same package as people use it: an application that saves an aggregate with so many new events."""

    def __init__(self, path: Path, words: Callable[[int], list[str]]) -> None:
        from eventsourcing.application import Application
        from eventsourcing.domain import Aggregate, event

        class Notes(Aggregate):
            @event("Noted")
            def note(self, text: str, topic: str, weight: float) -> None:
                self.last = text

        places = {"PERSISTENCE_MODULE": "eventsourcing.sqlite", "SQLITE_DBNAME": str(path)}
        self._application = Application(env=places)
        self._notes = Notes
        self._words = words

    def rate(self, batch: int, events: int) -> float:
        parts = [self._words(batch) for _ in range(events // batch)]
        notes = self._notes()
        self._application.save(notes)
        start = perf_counter()
        for part in parts:
            for at, text in enumerate(part):
                notes.note(text, TOPICS[at % len(TOPICS)], len(text) / 300)
            self._application.save(notes)
        return batch * len(parts) / (perf_counter() - start)

    def close(self) -> None:
        self._application.close()


def _batches(size: Size) -> list[tuple[int, int, str, dict[str, float]]]:
    return [
        (1_000, size.of(20, least=1) * 1_000, "≥ 100,000/s and ≥ 0.8×", {"value_min": 100_000, "ratio_min": 0.8}),
        (100, size.of(100, least=2) * 100, "≥ 60,000/s", {"value_min": 60_000}),
        (1, size.of(800, least=20), "≥ 0.7×", {"ratio_min": 0.7}),
    ]


def run(size: Size) -> Iterator[Figure]:
    """One view in batches and threads, against both baselines; then everything on; then parts off."""
    with scratch() as folder:
        yield from _one_view(folder, size)
        yield from _others(folder, size)


def _one_view(folder: Path, size: Size) -> Iterator[Figure]:
    setting = Setting(folder, "plain", PLAIN, PLAIN.tables[0], _noted("plain.noted"))
    other = _Eventsourcing(folder / "eventsourcing.db", setting._events)
    public = _Application(folder / "application.db", setting.words)
    about = {"event_bytes": round(setting.event_bytes)}
    for batch, events, target, limits in _batches(size):
        found = alternate(
            {
                "ours": lambda batch=batch, events=events: setting.ours(batch, events),
                "bare": lambda batch=batch, events=events: setting.theirs(batch, events),
                "other": lambda batch=batch, events=events: other.rate(batch, min(events, 5_000 if batch > 1 else 200)),
                "public": lambda batch=batch, events=events: public.rate(
                    batch, min(events, 5_000 if batch > 1 else 200)
                ),
            },
            size.rounds,
        )
        name = f"commit, one view, batches of {batch:,}"
        yield figure(name, "events/s", found["ours"], found["bare"], target=target, **limits, **about)
        yield figure(
            f"{name}, against eventsourcing",
            "events/s",
            found["ours"],
            found["other"],
            target="≥ 3×",
            ratio_min=3,
            **about,
        )
        yield figure(
            f"{name}, against eventsourcing's application", "events/s", found["ours"], found["public"], **about
        )
    each = size.of(250, least=5)
    pairs: dict[str, list[tuple[float, float]]] = {"ours": [], "bare": []}
    for at in range(size.rounds + 1):
        for name, step in (("ours", setting.our_step), ("bare", setting.their_step)):
            measured = setting.threads(step, each)
            if at:
                pairs[name].append(measured)
    rates = {name: [rate for rate, _ in some] for name, some in pairs.items()}
    tails = {name: [tail for _, tail in some] for name, some in pairs.items()}
    yield figure(
        "commit, one view, 8 threads of 1", "events/s", rates["ours"], rates["bare"],
        target="≥ 8,000/s", value_min=8_000, **about,
    )  # fmt: skip
    yield figure(
        "commit, one view, 8 threads of 1, 99th percentile", "ms", tails["ours"], tails["bare"],
        target="≤ 3 ms", value_max=3, **about,
    )  # fmt: skip
    other.close()
    public.close()
    setting.close()


def _others(folder: Path, size: Size) -> Iterator[Figure]:
    settings = [
        ("log and feed, no view", UNFOLDED, None, _noted("unfolded.noted")),
        ("view with three indexes", INDEXED, INDEXED.tables[0], _noted("indexed.noted")),
        ("memories, full text left to the background", None, MEMORIES, _remember),
        ("memories, everything on", None, MEMORIES, _remember_indexed),
    ]
    for at, (title, domain, table, write) in enumerate(settings):
        setting = Setting(folder, f"other{at}", domain, table, write)
        for batch, whole, _, _ in _batches(size):
            events = max(batch, whole // 2)
            found = alternate(
                {
                    "ours": lambda batch=batch, events=events, setting=setting: setting.ours(batch, events),
                    "bare": lambda batch=batch, events=events, setting=setting: setting.theirs(batch, events),
                },
                max(1, size.rounds - 2),
            )
            yield figure(
                f"commit, {title}, batches of {batch:,}", "events/s", found["ours"], found["bare"],
                event_bytes=round(setting.event_bytes),
            )  # fmt: skip
        setting.close()
