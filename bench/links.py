"""P4: connections formed: links of agents, recorded through the public API, with the view that they are.

Beside it, in turns: bare `apsw` that inserts the same rows, with the same cipher, pragmas and indexes. The peers are
random, so the index of the links is written to all over: a table of 100,000 has a figure of its own.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from time import perf_counter
from typing import Any

from antiphon import Agent
from antiphon.domains.network.agents import AGENT_LINKS, CONNECTED
from antiphon.model.event import Scope, encode_header
from bench.bare import Bare
from bench.figures import Figure, Size, alternate, figure
from bench.places import scratch

BATCH, EVENTS, GROWN = 1_000, 20_000, 100_000


def run(size: Size) -> Iterator[Figure]:
    """All figures of P4."""
    events = size.of(EVENTS, least=BATCH) // BATCH * BATCH
    with scratch() as folder:
        rates: dict[str, list[float]] = {"ours": [], "theirs": []}
        for at in range(size.rounds + 1):
            pair = _Pair(folder / str(at))
            for name, rate in (("ours", pair.ours(events)), ("theirs", pair.theirs(events))):
                rates[name] += [rate] if at else []
            pair.close()
        yield figure(
            f"connections formed, a file's first {EVENTS:,}, batches of 1,000", "/s", rates["ours"], rates["theirs"],
            target="≥ 50,000/s", value_min=50_000,
        )  # fmt: skip
        pair = _Pair(folder / "grown")
        there = size.of(GROWN, least=BATCH) // BATCH * BATCH
        pair.ours(there)
        pair.theirs(there)
        part = max(BATCH, events // 4 // BATCH * BATCH)
        found = alternate({"ours": lambda: pair.ours(part), "theirs": lambda: pair.theirs(part)}, size.rounds)
        yield figure(f"connections formed where {GROWN:,} are, batches of 1,000", "/s", found["ours"], found["theirs"])
        pair.close()


class _Pair:
    """An agent's file and a bare one."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self._agent = Agent.create("ada", home=folder / "home")
        self._bare = Bare(folder / "bare", AGENT_LINKS)
        self._connect([os.urandom(32) for _ in range(BATCH)])
        replica = self._agent.replica
        self._row = replica.file.reader.execute(f'SELECT * FROM "{AGENT_LINKS.name}" LIMIT 1').fetchone()
        found = next(iter(replica.reader.events(replica.head(self._agent.log_id))))
        self._raw = encode_header(found.header) + (found.body or b"")

    def _connect(self, peers: list[bytes]) -> None:
        with self._agent.batch() as batch:
            for peer in peers:
                body = {"peer": peer, "strength": 0.75, "shared_insights": 3}
                batch.record(CONNECTED, body, scope=Scope.PUBLIC)

    def ours(self, events: int) -> float:
        """Links a second."""
        parts = [[os.urandom(32) for _ in range(BATCH)] for _ in range(events // BATCH)]
        begin = perf_counter()
        for part in parts:
            self._connect(part)
        return events / (perf_counter() - begin)

    def theirs(self, events: int) -> float:
        """Rows a second of the bare file."""
        parts: list[list[tuple[Any, ...]]] = [
            [(*self._row[:4], os.urandom(32), *self._row[5:]) for _ in range(BATCH)] for _ in range(events // BATCH)
        ]
        begin = perf_counter()
        for part in parts:
            self._bare.commit([self._raw] * BATCH, part)
        return events / (perf_counter() - begin)

    def close(self) -> None:
        self._agent.close()
        self._bare.close()
