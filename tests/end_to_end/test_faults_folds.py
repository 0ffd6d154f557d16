"""A fold that raises, on some event of a commit.

Expected: the command fails whole, the error names kind and event, nothing is recorded or left in memory; a process that
does not know the domain may write meanwhile.
"""

# ruff: noqa: PT012  # a batch is a block

from __future__ import annotations

import threading
from collections.abc import Iterable
from pathlib import Path

import msgspec
import pytest

from antiphon import Agent
from antiphon.model.errors import AntiphonError, Rejected
from antiphon.model.event import Event
from antiphon.model.table import Column, Table, Type
from antiphon.views.domain import AssertRow, Domain, Kind, Op, Write
from tests.faults.world import check_sound, texts


class _Tally(msgspec.Struct):
    amount: int


TALLIES = Table("tallies", key="id", columns=(Column("id", Type.ID, nullable=False), Column("amount", Type.INTEGER)))


def _touchy(event: Event, body: _Tally) -> Iterable[Write]:
    if body.amount == 13:
        raise ZeroDivisionError("thirteen")
    assert event.entity is not None
    yield Write(TALLIES.name, event.entity, Op.UPDATE, {"amount": body.amount})


COUNTING = Domain(
    "counting",
    kinds=(Kind("counting.begun", _Tally), Kind("counting.counted", _Tally)),
    tables=(TALLIES,),
    folds={"counting.begun": (AssertRow(TALLIES, amount="amount"),), "counting.counted": (_touchy,)},
)


def test_the_command_fails_whole(own_home: Path) -> None:
    with Agent.create("ada", home=own_home / "home", domains=[COUNTING]) as agent:
        begun = agent.record("counting.begun", {"amount": 1})
        agent.record("counting.counted", {"amount": 12}, entity=begun.entity)
        before, size = texts(agent), agent.replica.head(agent.log_id).size
        with pytest.raises(Rejected) as caught:
            agent.record("counting.counted", {"amount": 13}, entity=begun.entity)
        said = str(caught.value)
        assert "counting.counted" in said
        assert f"/{size}" in said, "the event is named by its place"
        assert "thirteen" in said
        assert "nothing was recorded" in said
        with pytest.raises(Rejected), agent.batch() as batch:
            batch.remember("a good one in the same commit")
            batch.record("counting.counted", {"amount": 13}, entity=begun.entity)
        assert texts(agent) == before
        assert agent.replica.head(agent.log_id).size == size
        assert agent.recall("good") == []
        assert (agent.get(begun.entity or "") or {})["amount"] == 12
        agent.record("counting.counted", {"amount": 14}, entity=begun.entity)
        assert (agent.get(begun.entity or "") or {})["amount"] == 14
        check_sound(agent.replica)


def test_others_in_the_group_are_not_harmed(own_home: Path) -> None:
    with Agent.create("ada", home=own_home / "home", domains=[COUNTING]) as agent:
        begun = agent.record("counting.begun", {"amount": 1})
        barrier, outcomes = threading.Barrier(6), {}

        def work(thread: int) -> None:
            barrier.wait()
            try:
                outcomes[thread] = agent.record(
                    "counting.counted", {"amount": 13 if thread == 2 else thread}, entity=begun.entity
                )
            except AntiphonError as error:
                outcomes[thread] = error

        threads = [threading.Thread(target=work, args=(thread,)) for thread in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [thread for thread, outcome in outcomes.items() if isinstance(outcome, Rejected)] == [2]
        assert sum(event.kind == "counting.counted" for event in agent.log()) == 5
        check_sound(agent.replica)


def test_a_process_without_the_domain_may_write_and_the_rows_catch_up(own_home: Path) -> None:
    home = own_home / "home"
    with Agent.create("ada", home=home, domains=[COUNTING]) as agent:
        begun = agent.record("counting.begun", {"amount": 1})
        agent.record("counting.counted", {"amount": 2}, entity=begun.entity)
    with Agent.open("ada", home=home) as agent:
        agent.remember("by an older program")
        assert agent.verify().ok
    with Agent.open("ada", home=home, domains=[COUNTING]) as agent:
        assert (agent.get(begun.entity or "") or {})["amount"] == 2
        check_sound(agent.replica)
