"""Agents in files of their own who ask each other about tasks: one board, decided by one of them."""

from pathlib import Path
from typing import Any

from antiphon import Agent
from antiphon.domains.tasks import TASKS_TABLE
from antiphon.model.text import parse_entity
from antiphon.replica.homes import take_in_all
from antiphon.world.clock import ManualClock


class Fleet:
    """Agents in files of their own; Ada's log is the home. `ada` and `bob` have one principal, `cyd` another."""

    def __init__(self, folder: Path) -> None:
        self.clock = ManualClock()
        self.folder = folder
        self.ada, self.bob = (self._agent(name, "one") for name in ("ada", "bob"))
        self.cyd = self._agent("cyd", "two")

    def _agent(self, name: str, home: str) -> Agent:
        return Agent.create(name, home=self.folder / home, clock=self.clock)

    def sync(self, *agents: Agent) -> None:
        """Everybody gets everything from everybody."""
        files = agents or (self.ada, self.bob, self.cyd)
        for source in files:
            for target in files:
                if source is not target:
                    take_in_all(source.replica, target.replica)


def row(agent: Agent, task: str | None) -> dict[str, Any]:
    found = agent.replica.tables.row(TASKS_TABLE, parse_entity(task or ""))
    assert found is not None
    return found.values


def principal_of(agent: Agent) -> tuple[Any, bytes]:
    replica = agent._principal()
    assert replica is not None
    return replica, agent.record_of_agent.principal_log
