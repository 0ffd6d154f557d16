"""A domain's rows as functions of the set of its events: what agents of one file did, and whatever order it comes in.

A test says its story as data (`Story`): the domain, its commands, and what one may do. A refused act leaves nothing.
"""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from random import Random
from typing import Any

from hypothesis import strategies as st

from antiphon import Agent, AntiphonError, Domain, Fleet
from antiphon.model.event import Event
from antiphon.model.text import EntityIds
from antiphon.replica.core import Replica
from antiphon.world.clock import ManualClock

START = 1_800_000_000_000
AGENTS = ("ada", "bob", "cyd")
_homes = count()

Do = tuple[str, int, int, int]
"""An act: its verb, who does it, a number that chooses what it is about, and how many ms pass before it."""


def acts_of(
    verbs: Sequence[str], *, who: int, which: int, pauses_ms: Sequence[int], least: int, most: int
) -> st.SearchStrategy[list[Do]]:
    """Lists of `least` to `most` acts by agents 0 to `who`, with numbers 0 to `which`."""
    one = st.tuples(st.sampled_from(verbs), st.integers(0, who), st.integers(0, which), st.sampled_from(pauses_ms))
    return st.lists(one, min_size=least, max_size=most)


Act = Callable[["Played", Any, int, int], Any]
"""Called with what was played so far, the commands of its agent, the number drawn for it, and who that agent is; it
returns what was recorded: one, several or none."""


@dataclass(frozen=True)
class Story:
    """What may happen in a domain."""

    domain: Domain
    commands: Callable[[Agent], Any]
    acts: Mapping[str, Act]


class Played:
    """Three agents of one file that have done what was drawn. `made` has (who, entity) by verb."""

    def __init__(self, story: Story, fleet: Fleet, clock: ManualClock) -> None:
        self.story, self.fleet, self.replica, self.clock = story, fleet, fleet.replica, clock
        self.agents: list[Agent] = [fleet.agent(name) for name in AGENTS]
        self._commands = [story.commands(agent) for agent in self.agents]
        self.made: dict[str, list[tuple[int, str]]] = {}
        self.events: list[tuple[int, str]] = []

    def play(self, todo: Sequence[Do]) -> None:
        for verb, who, which, later in todo:
            self.clock.pass_ms(later)
            with suppress(AntiphonError):
                if verb == "forget":
                    mine = [event for maker, event in self.events if maker == who]
                    self.agents[who].forget(mine[which % len(mine)] if mine else "none")
                    continue
                found = self.story.acts[verb](self, self._commands[who], which, who)
                for one in found if isinstance(found, list) else [] if found is None else [found]:
                    self.events.append((who, one.event))
                    self.made.setdefault(verb, []).append((who, getattr(one, "entity", None) or ""))

    def one(self, verb: str, which: int, who: int | None = None) -> str:
        """An entity that some act of this verb made; with `who`, one that this agent made."""
        listed = [entity for maker, entity in self.made.get(verb, []) if who in (None, maker)]
        return listed[which % len(listed)] if listed else "none"

    def of(self, table: str) -> list[dict[str, Any]]:
        return [row.values for row in self.replica.tables.all_rows(self.replica.registry.tables[table])]

    def rows(self) -> dict[str, list[Any]]:
        return rows_of(self.replica, self.story.domain)


@contextmanager
def played(story: Story, todo: Sequence[Do]) -> Iterator[Played]:
    clock = ManualClock(START)
    folder = Path(os.environ["ANTIPHON_HOME"]) / f"{story.domain.name}-{next(_homes)}"
    with Fleet.create(folder, clock=clock, domains=[story.domain]) as fleet:
        fleet.add_all(AGENTS)
        made = Played(story, fleet, clock)
        made.play(todo)
        yield made


# -- what must be ----------------------------------------------------------------------------------------------------


def rows_of(replica: Replica, domain: Domain) -> dict[str, list[Any]]:
    """All rows of a domain, figures among them, without the numbers that only this file gives them."""
    found = {}
    for name, table in replica.registry.tables.items():
        if replica.registry.domain_of_table[name] == domain.name:
            stored = replica.tables.all_rows(table)
            found[name] = sorted((repr(row.values), row.log, row.seq) for row in stored)
    return found


def events_of(replica: Replica, domain: Domain) -> dict[int, list[Event]]:
    """The events of a domain's kinds, by the number of their log."""
    kinds = {kind.name for kind in domain.kinds}
    return {
        head.no: [event for event in replica.reader.events(head) if event.kind in kinds] for head in replica.heads()
    }


def fold_in(replica: Replica, domain: Domain, order: Sequence[int]) -> None:
    """Folds a domain again, event by event: the next one of each log named in turn."""
    left = {no: iter(events) for no, events in events_of(replica, domain).items()}
    heads = {head.no: head for head in replica.heads()}
    with replica.transaction():
        replica.views.refold(replica.state, domain.name, [])
        replica.file.writer.execute("DROP TABLE IF EXISTS mentions")
        replica.mentions.forget_caches()
        for no in order:
            replica.views.fold_events(replica.state, heads[no], EntityIds(heads[no].id), [next(left[no])])


def check_any_order(replica: Replica, domain: Domain, seed: int) -> None:
    """The rows are the same when the logs' events come in another order, drawn by this seed."""
    before = rows_of(replica, domain)
    order = [no for no, events in events_of(replica, domain).items() for _ in events]
    Random(seed).shuffle(order)
    fold_in(replica, domain, order)
    assert rows_of(replica, domain) == before


def check_each_row_is_the_merge_of_its_writes(replica: Replica, domain: Domain, chance: Random) -> None:
    """Of all writes on it, in a random order; no other row is there. What rows derive or hold elsewhere is left out."""
    writes: dict[tuple[str, bytes], list[Any]] = {}
    for events in events_of(replica, domain).values():
        for event in events:
            for placed in replica.views.placed(event):
                writes.setdefault((placed.write.table, placed.write.key), []).append(placed)
    tables, found = replica.registry.tables, 0
    for (name, key), on_row in writes.items():
        table = tables[name]
        chance.shuffle(on_row)
        outcome = replica.views.outcome(table, key, on_row)
        stored = replica.tables.row(table, key)
        if outcome.row is None:
            assert stored is None
            continue
        assert stored is not None
        found += 1
        for column, value in zip(table.columns, outcome.row.values, strict=True):
            if column.derived is None and not column.held:
                assert stored.values[column.name] == value
    said = [table for table in domain.tables if table.rollup_of is None]
    assert found == sum(replica.tables.count(table) for table in said)
