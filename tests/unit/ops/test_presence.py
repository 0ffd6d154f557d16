"""What heartbeats came to is recorded once, page by page, whoever dies in between; counted here in memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random

import pytest

from antiphon import Agent, Conflict, InvalidInput
from antiphon.domains.network.presence import ROLLED_UP
from antiphon.engines.redis.beats import Heard
from antiphon.model.places import HOUR_MS
from antiphon.model.text import parse_id
from antiphon.ops import presence as module
from antiphon.ops.presence import PresenceRecorder


class Counts:
    """Ended periods in memory; `dies_at` names the step of which number fails."""

    def __init__(self) -> None:
        self.heard: dict[tuple[int, bytes], Heard] = {}
        self.owner: bytes | None = None
        self.dies_at: int | None = None
        self.pages: list[int] = []

    def add(self, agent: bytes, hour: int, beats: int) -> None:
        since = hour * HOUR_MS
        self.heard[hour, agent] = Heard(agent, since, HOUR_MS, beats, since + 1, since + 9, 8)

    def claim(self, who: bytes) -> bool:
        if self.owner is None:
            self.owner = who
        return self.owner == who

    def ended(self, who: bytes, *, limit: int) -> list[Heard]:
        oldest = min((hour for hour, _ in self.heard), default=None)
        found = [one for (hour, _), one in sorted(self.heard.items()) if hour == oldest][:limit]
        self.pages.append(len(found))
        return found

    def taken(self, who: bytes, heard: Sequence[Heard]) -> None:
        if self.dies_at == len(self.pages):
            raise Conflict("dies here")
        for one in heard:
            del self.heard[one.since_ms // HOUR_MS, one.agent]

    def release(self, who: bytes) -> None:
        self.owner = None if self.owner == who else self.owner


@pytest.fixture
def agent(own_home: Path) -> Iterator[Agent]:
    with Agent.create("keeper", home=own_home) as made:
        yield made


def recorded(agent: Agent) -> int:
    return sum(event.kind == ROLLED_UP for event in agent.log())


def beats(agent: Agent, who: bytes, hour: int) -> int | None:
    row = agent.table("agent_presence").get(parse_id(agent.id), who, hour * HOUR_MS)
    return None if row is None else row["beats"]


def test_what_was_not_dropped_is_recorded_again_only_where_there_is_more(agent: Agent) -> None:
    counts, ada = Counts(), b"a" * 32
    counts.add(ada, 5, 7)
    assert PresenceRecorder(agent, counts).run() == 1
    counts.add(ada, 5, 7)
    counts.add(ada, 6, 1)
    assert PresenceRecorder(agent, counts).run() == 1
    counts.add(ada, 5, 3)
    assert PresenceRecorder(agent, counts).run() == 0, "a server put back to an older state heard less"
    counts.add(ada, 5, 9)
    assert PresenceRecorder(agent, counts).run() == 1
    assert (beats(agent, ada, 5), beats(agent, ada, 6)) == (9, 1)


def test_nothing_is_recorded_by_who_has_not_the_claim(agent: Agent) -> None:
    counts = Counts()
    counts.add(b"a" * 32, 5, 7)
    counts.owner = b"z" * 32
    assert PresenceRecorder(agent, counts).run() == 0
    counts.release(b"z" * 32)
    recorder = PresenceRecorder(agent, counts)
    assert recorder.run() == 1
    recorder.release()
    assert counts.owner is None


def test_a_run_ends_at_its_limit(agent: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PAGE_AGENTS", 4)
    counts = Counts()
    for n in range(10):
        counts.add(bytes([n]) * 32, n % 2, 1)
    recorder = PresenceRecorder(agent, counts)
    assert recorder.run(most=6) == 6
    assert counts.pages == [4, 1, 1]
    assert recorder.run() == 4
    with pytest.raises(InvalidInput, match="one agent or more"):
        recorder.run(most=0)


@pytest.mark.parametrize("seed", range(10))
def test_whenever_it_dies_each_agent_and_period_has_one_event(
    agent: Agent, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    chance, counts, made = Random(seed), Counts(), {}
    monkeypatch.setattr(module, "PAGE_AGENTS", chance.randrange(1, 6))
    for _ in range(30):
        who, hour = bytes([chance.randrange(6)]) * 32, chance.randrange(4)
        made[who, hour] = chance.randrange(1, 100)
        counts.add(who, hour, made[who, hour])
    while counts.heard:
        counts.dies_at = len(counts.pages) + chance.randrange(1, 5)
        try:
            PresenceRecorder(agent, counts).run()
        except Conflict:
            counts.dies_at = None
    assert {(who, hour): beats(agent, who, hour) for who, hour in made} == made
    assert recorded(agent) == len(made)
