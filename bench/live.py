"""P2: from a commit through view and feed to a subscriber in another process.

Beside the rate stands that of the commits themselves when nobody follows (P1), measured in the same run.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from time import perf_counter, sleep, time

from antiphon import Agent
from bench.figures import Figure, Size, figure
from bench.places import PLAIN, scratch
from bench.texts import texts

EVENTS, BATCH, PACE = 40_000, 1_000, 20_000
"""`PACE` is the events a second at which the lag is taken."""


def run(size: Size) -> Iterator[Figure]:
    """All figures of P2."""
    events = size.of(EVENTS, least=2 * BATCH) // BATCH * BATCH
    rates: list[float] = []
    alone: list[float] = []
    lags: list[float] = []
    for _ in range(size.rounds):
        with scratch() as folder:
            with Agent.create("ada", home=folder / "home", domains=[PLAIN]) as agent:
                alone.append(_produce(agent, events, pace=None))
            rates.append(_followed(folder / "home", events, pace=None)[0])
            lags.append(_followed(folder / "home", events, pace=PACE)[1])
    yield figure(
        "committed, viewed and seen by another process, batches of 1,000", "/s", rates, alone,
        target="≥ 40,000/s", value_min=40_000,
    )  # fmt: skip
    yield figure(f"p99 lag at {PACE:,}/s", "ms", lags, target="< 1,000 ms", value_max=1_000)


def _produce(agent: Agent, events: int, *, pace: int | None) -> float:
    """Events a second of what was committed."""
    words = texts(215)
    parts = [[next(words) for _ in range(BATCH)] for _ in range(events // BATCH)]
    begin = perf_counter()
    for at, part in enumerate(parts):
        if pace is not None:
            sleep(max(0.0, begin + at * BATCH / pace - perf_counter()))
        now = time()
        with agent.batch() as batch:
            for text in part:
                batch.record("plain.noted", {"text": text, "topic": "x", "weight": now})
    return events / (perf_counter() - begin)


def _followed(home: Path, events: int, *, pace: int | None) -> tuple[float, float]:
    """(events a second until the subscriber had them all, its 99th percentile of lag in ms)."""
    command = [sys.executable, "-m", "bench.live", str(home), str(events)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[1]) as subscriber:
        assert subscriber.stdout is not None
        subscriber.stdout.readline()  # it has what was there before
        with Agent.open("ada", home=home, domains=[PLAIN]) as agent:
            begin = time()
            _produce(agent, events, pace=pace)
            seen = json.loads(subscriber.stdout.readline())
    return events / (seen["last"] - begin), seen["p99_ms"]


def subscribe(home: Path, events: int) -> None:
    """The other process: follows from now on until it has seen so many, then says when, and how late they were."""
    from antiphon.engines.memory import MemoryTables
    from antiphon.model.table import Table
    from antiphon.views.feed import Change

    class Seen(MemoryTables):
        lags: list[float] = []  # noqa: RUF012  # there is one of it
        counting = False

        def apply(self, epoch: int, changes: list[Change]) -> None:  # type: ignore[override]  # a list, as it is called
            super().apply(epoch, changes)
            if self.counting:
                now = time()
                self.lags += [now - change.row["weight"] for change in changes if change.row is not None]

        def prepare(self, tables: list[Table]) -> None:  # type: ignore[override]  # a list, as it is called
            super().prepare(tables)

    sink = Seen()
    with Agent.open("ada", home=home, domains=[PLAIN], read_only=False) as agent:
        follower = agent.follow(sink, name=f"bench-{events}-{time()}", tables=["plain_notes"])
        follower.run()
        sink.counting = True
        follower.start()
        print("ready", flush=True)
        while len(sink.lags) < events:
            sleep(0.005)
        last = time()
        follower.close()
    lags = sorted(sink.lags)
    print(json.dumps({"last": last, "p99_ms": lags[int(len(lags) * 0.99)] * 1_000}), flush=True)


if __name__ == "__main__":
    subscribe(Path(sys.argv[1]), int(sys.argv[2]))
