"""Messages a second, the designs' headline figure, and P1 with the network's views: in a home with all domains.

Beside them, in turns: bare `apsw` that is handed the finished event bytes and view rows, as in `commit`. Full text of
batches over 64 events is left to the background step, as everywhere.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

from antiphon import Agent
from antiphon.domains.network.agents import CONSCIOUSNESS_STREAM, NOTED
from antiphon.domains.network.exchange import MESSAGES, SENT
from antiphon.domains.network.ids import circle_of
from antiphon.model.event import Scope
from bench.commit import Setting
from bench.figures import Figure, Size, alternate, figure
from bench.places import scratch

PEERS = [os.urandom(32) for _ in range(100)]
DESIGNS = 4_202
"""The messages a second that the designs name."""


def _send(agent: Agent, some: list[str]) -> None:
    me = agent.record_of_agent.agent
    with agent.batch() as batch:
        for at, text in enumerate(some):
            peer = PEERS[at % len(PEERS)]
            body = {"recipient": peer, "content": text}
            batch.record(SENT, body, scope=Scope.CIRCLE, circle=circle_of(me, peer))


def _note(agent: Agent, some: list[str]) -> None:
    with agent.batch() as batch:
        for text in some:
            batch.record(NOTED, {"event_type": "thought", "content": text, "field_impact": 0.25})


def run(size: Size) -> Iterator[Figure]:
    """Messages, then notes of the agent's own stream, in batches of each size."""
    with scratch() as folder:
        for name, table, write in (("messages", MESSAGES, _send), ("stream notes", CONSCIOUSNESS_STREAM, _note)):
            setting = Setting(folder, table.name, None, table, write)
            for batch, events in ((1_000, size.of(20) * 1_000), (100, size.of(100, least=2) * 100), (1, size.of(800))):
                found = alternate(
                    {
                        "ours": lambda batch=batch, events=events, setting=setting: setting.ours(batch, events),
                        "bare": lambda batch=batch, events=events, setting=setting: setting.theirs(batch, events),
                    },
                    size.rounds,
                )
                limits = {"target": f"≥ {DESIGNS:,}/s", "value_min": DESIGNS} if table is MESSAGES and batch > 1 else {}
                yield figure(
                    f"{name}, all domains, batches of {batch:,}", "/s", found["ours"], found["bare"],
                    **limits, event_bytes=round(setting.event_bytes),
                )  # fmt: skip
            setting.close()
