"""P2: from a commit through view and feed to a subscriber in another process: how many, how late, and at what cost.

Beside the rate stands that of the commits themselves when nobody follows (P1), measured in the same run. Lag is counted
from before the commit until the row is in the other process's engine.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from time import perf_counter, process_time, sleep, time

import msgspec

from antiphon import Agent
from bench.figures import Figure, Size, figure
from bench.places import PLAIN, scratch
from bench.texts import texts

EVENTS, BATCH = 40_000, 1_000
PACE = 20_000
"""The events a second, in batches, at which the lag is taken."""
BUSY = (150, 2_000)
"""The commits of one event a second at which the lag is taken, and for how long."""
BUSY_S, IDLE_S = 5, 10


class Seen(msgspec.Struct):
    """What a subscriber tells: when it had everything, its lags in ms in ascending order, and its processor time."""

    last: float
    lags: list[float]
    cpu_s: float

    def at(self, share: float) -> float:
        """The lag that this share of the rows does not exceed."""
        return self.lags[min(int(len(self.lags) * share), len(self.lags) - 1)]


def run(size: Size) -> Iterator[Figure]:
    """All figures of P2."""
    events = size.of(EVENTS, least=2 * BATCH) // BATCH * BATCH
    words = list(islice(texts(215), events))
    with scratch() as folder:
        rates: list[float] = []
        alone: list[float] = []
        lags: list[float] = []
        for at in range(size.rounds):
            home = folder / str(at)
            with Agent.create("ada", home=home, domains=[PLAIN]) as agent:
                alone.append(_produce(agent, words, batch=BATCH))
            begin, seen = _followed(home, words, batch=BATCH)
            rates.append(events / (seen.last - begin))
            lags.append(_followed(home, words, batch=BATCH, pace=PACE)[1].at(0.99))
        yield figure(
            "committed, viewed and seen by another process, batches of 1,000", "/s", rates, alone,
            target="≥ 40,000/s", value_min=40_000,
        )  # fmt: skip
        yield figure(f"lag at {PACE:,}/s in batches of 1,000, p99", "ms", lags, target="< 1,000 ms", value_max=1_000)
        yield from _busy(folder / "0", words, size)
        yield from _idle(folder / "0", words, size)


def _busy(home: Path, words: list[str], size: Size) -> Iterator[Figure]:
    """The lag while single events are committed."""
    for pace in BUSY:
        some = words[: max(20, round(pace * BUSY_S * min(size.scale, 1)))]
        found = [_followed(home, some, batch=1, pace=pace)[1] for _ in range(max(1, size.rounds - 2))]
        for name, share in (("median", 0.5), ("p95", 0.95), ("p99", 0.99), ("most", 1.0)):
            lags = [seen.at(share) for seen in found]
            limits = {"target": "< 20 ms", "value_max": 20.0} if name == "p99" else {}
            yield figure(f"lag at {pace:,} commits/s, {name}", "ms", lags, **limits)


def _idle(home: Path, words: list[str], size: Size) -> Iterator[Figure]:
    """What a follower costs while nothing happens: a busy loop would be all of a core."""
    with Agent.open("ada", home=home, domains=[PLAIN]) as agent, _subscriber(home, 1) as subscriber:
        assert subscriber.stdout is not None
        subscriber.stdout.readline()
        seconds = IDLE_S * min(1, size.scale)
        sleep(seconds)
        _produce(agent, words[:1], batch=1)
        seen = msgspec.json.decode(subscriber.stdout.readline(), type=Seen)
    yield figure(f"processor time of an idle follower in {IDLE_S} s", "s", [seen.cpu_s / seconds * IDLE_S])


def _produce(agent: Agent, words: list[str], *, batch: int, pace: int | None = None) -> float:
    """Events a second of what was committed."""
    begin = perf_counter()
    for at in range(0, len(words), batch):
        if pace is not None:
            sleep(max(0.0, begin + at / pace - perf_counter()))
        now = time()
        with agent.batch() as some:
            for text in words[at : at + batch]:
                some.record("plain.noted", {"text": text, "topic": "x", "weight": now})
    return len(words) / (perf_counter() - begin)


def _subscriber(home: Path, events: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "bench.live", str(home), str(events)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[1])


def _followed(home: Path, words: list[str], *, batch: int, pace: int | None = None) -> tuple[float, Seen]:
    """When the first event was begun, and what a subscriber saw of them all."""
    with Agent.open("ada", home=home, domains=[PLAIN]) as agent, _subscriber(home, len(words)) as subscriber:
        assert subscriber.stdout is not None
        subscriber.stdout.readline()  # it has what was there before
        begin = time()
        _produce(agent, words, batch=batch, pace=pace)
        return begin, msgspec.json.decode(subscriber.stdout.readline(), type=Seen)


def subscribe(home: Path, events: int) -> None:
    """The other process: follows from now on until it has seen so many, then says when, how late and at what cost."""
    from antiphon.engines.memory import MemoryTables
    from antiphon.views.feed import Change, Marks

    class Counting(MemoryTables):
        lags: list[float] = []  # noqa: RUF012  # there is one of it
        counting = False
        last = 0.0

        def apply(self, epoch: int, changes: Sequence[Change], *, marks: Marks | None = None) -> None:
            super().apply(epoch, changes, marks=marks)
            if self.counting:
                now = self.last = time()
                self.lags += [now - change.row["weight"] for change in changes if change.row is not None]

    sink = Counting()
    with Agent.open("ada", home=home, domains=[PLAIN]) as agent:
        follower = agent.follow(sink, name=f"bench-{events}-{time()}", tables=["plain_notes"])
        follower.run()
        sink.counting = True
        begin = process_time()
        follower.start()
        print("ready", flush=True)
        while len(sink.lags) < events:
            sleep(0.02)
        cpu_s = process_time() - begin
        follower.close()
    print(msgspec.json.encode(Seen(sink.last, sorted(lag * 1_000 for lag in sink.lags), cpu_s)).decode(), flush=True)


if __name__ == "__main__":
    subscribe(Path(sys.argv[1]), int(sys.argv[2]))
