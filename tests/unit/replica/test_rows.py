"""Rows after any commits: those of a plain fold in any order, and those of a refold."""

from random import Random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.replica.acts import Actor, acts, check, folded, new_agent, stored


@settings(max_examples=12)
@given(acts, st.integers(0, 1 << 32))
def test_rows_are_a_fold_in_any_order(todo: list[Any], seed: int) -> None:
    agent, clock = new_agent()
    with agent:
        Actor(agent, clock).perform(todo)
        check(agent, clock, chance=Random(seed))
        before = stored(agent.replica)
        for name in agent.replica.registry.domains:
            agent.replica.refold(name)
        assert stored(agent.replica) == before == folded(agent.replica, agent.log())
        check(agent, clock)
