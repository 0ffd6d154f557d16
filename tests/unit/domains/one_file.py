"""Three agents of one file with the commands of a domain, and how a test says that an act is refused."""

from collections.abc import Callable
from typing import Any, Generic, Protocol, TypeVar

import pytest

from antiphon import Agent, Fleet
from antiphon.model.text import parse_entity
from antiphon.replica.core import Replica
from antiphon.world.clock import ManualClock

Commands = TypeVar("Commands")
Errors = type[Exception] | tuple[type[Exception], ...]


class OneFile(Generic[Commands]):
    """Ada, Bob and Cyd; Ada's log is the home of what she makes."""

    def __init__(self, fleet: Fleet, clock: ManualClock, commands: Callable[[Agent], Commands]) -> None:
        self.fleet, self.replica, self.clock = fleet, fleet.replica, clock
        self.agents: dict[str, Agent] = {name: fleet.add(name) for name in ("ada", "bob", "cyd")}
        self.ada, self.bob, self.cyd = (commands(agent) for agent in self.agents.values())

    def events(self) -> int:
        return events_in(self.replica)

    def row(self, table: str, entity: str) -> dict[str, Any]:
        found = self.replica.tables.row(self.replica.registry.table(table), parse_entity(entity))
        assert found is not None
        return found.values


class InFile(Protocol):
    """An agent, a fleet, or what a test has made of them."""

    replica: Replica


def events_in(replica: Replica) -> int:
    """How many events there are in a file, of all logs."""
    return sum(head.size for head in replica.heads())


def refuses(where: InFile, error: Errors, words: str, act: Callable[[], Any]) -> None:
    """The act is refused in these words, and nothing is recorded."""
    before = events_in(where.replica)
    with pytest.raises(error, match=words):
        act()
    assert events_in(where.replica) == before
