"""P4: connections formed: links of agents, recorded through the public API, with the view that they are.

Beside it, in turns: bare `apsw` that inserts the same rows, with the same cipher, pragmas and indexes.
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

BATCH, EVENTS = 1_000, 20_000


def run(size: Size) -> Iterator[Figure]:
    """All figures of P4."""
    with scratch() as folder:
        yield from _run(folder, size)


def _run(folder: Path, size: Size) -> Iterator[Figure]:
    events = size.of(EVENTS, least=BATCH) // BATCH * BATCH
    with Agent.create("ada", home=folder / "home") as agent:
        bare = Bare(folder / "bare", AGENT_LINKS)

        def connect(count: int) -> None:
            with agent.batch() as batch:
                for peer in [os.urandom(32) for _ in range(count)]:
                    body = {"peer": peer, "strength": 0.75, "shared_insights": 3}
                    batch.record(CONNECTED, body, scope=Scope.PUBLIC)

        connect(BATCH)
        row = agent.replica.file.reader.execute(f'SELECT * FROM "{AGENT_LINKS.name}" LIMIT 1').fetchone()
        found = next(iter(agent.replica.reader.events(agent.replica.head(agent.log_id))))
        raw = encode_header(found.header) + (found.body or b"")

        def ours() -> float:
            begin = perf_counter()
            for _ in range(events // BATCH):
                connect(BATCH)
            return events / (perf_counter() - begin)

        def theirs() -> float:
            parts: list[list[tuple[Any, ...]]] = [
                [(*row[:4], os.urandom(32), *row[5:]) for _ in range(BATCH)] for _ in range(events // BATCH)
            ]
            begin = perf_counter()
            for part in parts:
                bare.commit([raw] * BATCH, part)
            return events / (perf_counter() - begin)

        found_rates = alternate({"ours": ours, "theirs": theirs}, size.rounds)
        yield figure(
            "connections formed, batches of 1,000", "/s", found_rates["ours"], found_rates["theirs"],
            target="≥ 50,000/s", value_min=50_000,
        )  # fmt: skip
        bare.close()
