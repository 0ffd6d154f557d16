"""The wall clock jumps: an hour back, a year ahead and back again, while open and across reopening.

Expected: the order of recording is kept; a clock that lies far ahead is flagged while it does (`clock_suspect`), and
when it comes back a `clock.reset` event says so; rows are what a refold gives at every step.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from antiphon import Agent
from antiphon.log.kinds import CLOCK_RESET
from antiphon.world.clock import ManualClock
from tests.faults.world import check_sound, table_rows

HOUR = 3_600_000
YEAR = 366 * 24 * HOUR


def _reopen(agent: Agent, home: Path, clock: ManualClock) -> Agent:
    agent.close()
    return Agent.open("ada", home=home, clock=clock)


@pytest.mark.parametrize("reopened", [False, True])
def test_an_hour_back(own_home: Path, reopened: bool) -> None:
    clock = ManualClock()
    agent = Agent.create("ada", home=own_home / "home", clock=clock)
    first = agent.remember("first")
    clock.set_wall(clock.now_ms() - HOUR)
    if reopened:
        agent = _reopen(agent, own_home / "home", clock)
    assert agent.stats()["clock_suspect"] is True
    second = agent.remember("second")
    clock.pass_ms(1_000)
    third = agent.remember("third")
    events = list(agent.log())
    seqs = {event.seq: event for event in events}
    order = [int(made.event.rpartition("/")[2]) for made in (first, second, third)]
    assert order == sorted(order)
    stamps = [(event.stamp, event.seq) for event in events]
    assert stamps == sorted(stamps), "what was recorded later must not come earlier"
    assert sum(event.kind == CLOCK_RESET for event in events) == 1
    assert all(at in seqs for at in order)
    assert agent.stats()["clock_suspect"] is False
    assert agent.stats()["logs"][-1]["clock_resets"] == 1
    check_sound(agent.replica)
    agent.close()


def test_a_few_minutes_back_needs_no_reset(own_home: Path) -> None:
    clock = ManualClock()
    with Agent.create("ada", home=own_home / "home", clock=clock) as agent:
        agent.remember("first")
        clock.set_wall(clock.now_ms() - 240_000)
        for number in range(3):
            agent.remember(f"later {number}")
        stamps = [event.header.hlc for event in agent.log()]
        assert stamps == sorted(set(stamps))
        assert CLOCK_RESET not in {event.kind for event in agent.log()}
        assert agent.stats()["clock_suspect"] is False


@pytest.mark.parametrize("reopened", [False, True])
def test_a_year_ahead_and_back(own_home: Path, reopened: bool) -> None:
    clock = ManualClock()
    home = own_home / "home"
    agent = Agent.create("ada", home=home, clock=clock)
    memory = agent.remember("version one")
    assert memory.entity
    clock.set_wall(clock.now_ms() + YEAR)
    if reopened:
        agent = _reopen(agent, home, clock)
    agent.update(memory.entity, text="version two")
    ahead = agent.remember("from the future")
    assert agent.stats()["clock_suspect"] is False, "while it lies, nothing here can tell"
    clock.set_wall(clock.now_ms() - YEAR)
    if reopened:
        agent = _reopen(agent, home, clock)
    stats = agent.stats()
    assert stats["clock_suspect"] is True
    assert stats["clock_ahead_ms"] > YEAR - HOUR
    agent.update(memory.entity, text="version three")
    after = agent.remember("back in time")
    row = agent.get(memory.entity)
    assert row is not None
    assert row["content"] == "version three", "a clock that ran ahead must not win for a year"
    assert [event.kind for event in agent.log()].count(CLOCK_RESET) == 1
    assert agent.stats()["clock_suspect"] is False
    order = [event.seq for event in sorted(agent.log(), key=lambda event: (event.stamp, event.log, event.seq))]
    assert order == sorted(order)
    assert int(ahead.event.rpartition("/")[2]) < int(after.event.rpartition("/")[2])
    check_sound(agent.replica)
    if reopened:
        agent = _reopen(agent, home, clock)
        check_sound(agent.replica)
    agent.close()


def test_back_and_forth_many_times(own_home: Path) -> None:
    clock = ManualClock()
    with Agent.create("ada", home=own_home / "home", clock=clock) as agent:
        memory = agent.remember("value start")
        for turn in range(6):
            clock.set_wall(clock.now_ms() + (YEAR if turn % 2 == 0 else -YEAR - HOUR))
            agent.update(memory.entity or "", text=f"value {turn}")
            row = agent.get(memory.entity or "")
            assert row is not None
            assert row["content"] == f"value {turn}"
            rows = table_rows(agent.replica)
            agent.replica.refold("memory")
            assert table_rows(agent.replica) == rows
        stamps = [(event.stamp, event.seq) for event in agent.log()]
        assert stamps == sorted(stamps)
        assert agent.verify().ok
