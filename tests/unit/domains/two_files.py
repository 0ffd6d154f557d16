"""Two files with two agents each, on one clock, that hear of each other when a test says so; a third only hears.

What they decide, forget and say at once must come to the same rows everywhere.
"""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from random import Random
from typing import Any

from antiphon import Agent, Domain, Fleet
from antiphon.home import Home
from antiphon.log.ingest import parts_of
from antiphon.model.table import Table
from antiphon.replica.core import Replica
from antiphon.replica.decide import answer_requests
from antiphon.replica.hear import receive
from antiphon.replica.homes import take_in, take_in_all
from antiphon.world.clock import ManualClock

ROUNDS_MAX = 8
"""After so many exchanges without an end, something goes round for ever."""
_folders = count()


class TwoFiles:
    """Agents 0 and 1 are in the first file, 2 and 3 in the second."""

    def __init__(self, folder: Path, *, clock: ManualClock | None = None, domains: Iterable[Domain] = ()) -> None:
        self.folder, self.domains = folder, tuple(domains)
        self.clock = ManualClock() if clock is None else clock
        self.fleets = [Fleet.create(folder / f"{n}", clock=self.clock, domains=self.domains) for n in range(2)]
        self.agents: list[Agent] = [fleet.add(f"agent-{n}") for fleet in self.fleets for n in range(2)]

    @property
    def replicas(self) -> tuple[Replica, Replica]:
        return self.fleets[0].replica, self.fleets[1].replica

    def close(self) -> None:
        for fleet in self.fleets:
            fleet.close()

    def sync(self, source: int) -> None:
        """The other file hears all that there is in this one."""
        take_in_all(self.replicas[source % 2], self.replicas[1 - source % 2])

    def settle(self) -> None:
        """Everything reaches everybody, and everything that can be is decided."""
        one, two = self.replicas
        for _ in range(ROUNDS_MAX):
            moved = take_in_all(one, two) + take_in_all(two, one)
            if not moved + len(answer_requests(one)) + len(answer_requests(two)):
                return
        raise AssertionError("they never settle")

    @contextmanager
    def listener(self, chance: Random) -> Iterator[Replica]:
        """A file that hears every log, in a random order, and some of them twice."""
        home = Home.open(self.folder / "ear", create=True, clock=self.clock, domains=self.domains)
        places = [(source, head.id) for source in self.replicas for head in source.heads() if head.size]
        chance.shuffle(places)
        with home.create_file(self.folder / "ear.antiphon") as replica:
            for source, log in places + chance.sample(places, len(places) // 2):
                if take_in(source, log, replica) == 0:  # here already: it comes again, block by block
                    head = source.head(log)
                    receive(replica, head, parts_of(source.logs, source.reader, head), head.note)
            yield replica


def own_folder(name: str) -> Path:
    """A folder of this name that no other example of this run has."""
    return Path(os.environ["ANTIPHON_HOME"]) / f"{name}-{next(_folders)}"


def rows_by_key(replica: Replica, tables: Iterable[Table]) -> dict[str, list[dict[str, Any]]]:
    """The rows of these tables, in the order of their keys."""
    found = {}
    for table in tables:
        rows = replica.tables.select(table, {}, order="n", limit=100_000)
        found[table.name] = sorted((row.values for row in rows), key=lambda row: [row[name] for name in table.key])
    return found
