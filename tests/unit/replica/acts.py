"""Random acts on an agent, and what its rows, texts and histories must be: a plain fold of its log."""

import os
import re
from collections.abc import Iterable, Iterator
from itertools import count
from pathlib import Path
from random import Random
from typing import Any

from hypothesis import strategies as st

from antiphon import Agent, Recorded
from antiphon.model.event import Event
from antiphon.model.table import Table
from antiphon.model.text import EntityIds, entity_text, event_text, parse_entity
from antiphon.replica.core import Replica
from antiphon.views.merge import Placed, merge
from antiphon.world.clock import ManualClock
from tests.unit.views.notes import NOTES_DOMAIN

WORDS = ("amber", "birch", "cedar", "dune", "ember", "fjord")
PEOPLE = ("Bob", "Ines Ω")
VERBS = (
    "remember", "remember", "about", "update", "supersede", "derive", "reflect", "tone", "compress",
    "note", "change", "recolour", "pin", "tear", "batch", "tidy",
)  # fmt: skip

acts = st.lists(
    st.tuples(st.sampled_from(VERBS), st.integers(0, 9), st.lists(st.sampled_from(WORDS), min_size=1, max_size=3)),
    min_size=4,
    max_size=18,
)
_homes = count()


def new_agent() -> tuple[Agent, ManualClock]:
    clock, folder = ManualClock(), Path(os.environ["ANTIPHON_HOME"])
    return Agent.create("ada", home=folder / str(next(_homes)), domains=[NOTES_DOMAIN], clock=clock), clock


class Actor:
    """Performs acts. `events` are all events recorded, in order; entities by table."""

    def __init__(self, agent: Agent, clock: ManualClock) -> None:
        self.agent, self.clock = agent, clock
        self.events: list[str] = []
        self.memories: list[str] = []
        self.notes: list[str] = []

    def perform(self, todo: Iterable[tuple[str, int, list[str]]]) -> None:
        for verb, which, words in todo:
            self.clock.pass_ms(1_000)
            for made in self._act(verb, which, " ".join(words)):
                self.events.append(made.event)

    def _live(self, entities: list[str], which: int) -> str | None:
        live = [entity for entity in entities if self.agent.get(entity) is not None]
        return live[which % len(live)] if live else None

    def _act(self, verb: str, which: int, text: str) -> Iterator[Recorded]:
        agent = self.agent
        if verb in ("update", "supersede"):
            memory = self._live(self.memories, which)
            if memory is None:
                return
            if verb == "supersede":
                yield self._memory(agent.supersede(memory, text))
            else:
                changes: list[dict[str, Any]] = [{"text": text}, {"significance": 0.9}, {"tags": [text]}]
                yield agent.update(memory, **changes[which % 3])
        elif verb == "remember":
            yield self._memory(agent.remember(text, significance=which / 10, namespace="n" * (which % 2)))
        elif verb == "about":
            yield self._memory(agent.remember(text, user=PEOPLE[which % 2]))
        elif verb == "derive":
            sources = self.live_events()
            yield self._memory(agent.remember(text, sources=sources[which : which + 2]))
        elif verb == "reflect":
            yield agent.reflect("why?", text)
        elif verb == "tone":
            yield agent.shift_tone(text)
        elif verb == "compress":
            yield from map(self._memory, agent.compress(older_than="3s", significance_max=0.5))
        elif verb == "note":
            yield self._note(agent.record("note.written", {"text": text, "colour": text[:5]}))
        elif verb in ("change", "recolour", "pin", "tear") and self.notes:
            bodies = {"change": {"text": text}, "recolour": {"colour": text}, "pin": {"where": text}, "tear": {}}
            kind = {"change": "changed", "recolour": "changed", "pin": "pinned", "tear": "torn"}[verb]
            yield agent.record(f"note.{kind}", bodies[verb], entity=self.notes[which % len(self.notes)])
        elif verb == "batch":
            with agent.batch() as batch:
                for at in range(which * 10):
                    batch.remember(f"{text} {at}")
            yield from map(self._memory, batch.recorded)
        elif verb == "tidy":
            agent.replica.tidy()

    def _memory(self, made: Recorded) -> Recorded:
        self.memories.append(made.entity or "")
        return made

    def _note(self, made: Recorded) -> Recorded:
        self.notes.append(made.entity or "")
        return made

    def live_events(self) -> list[str]:
        there = present(self.agent)
        return [event for event in self.events if event in there]


def present(agent: Agent) -> set[str]:
    """The events that are still there."""
    return {event_text(event.log, event.seq) for event in agent.log()}


# -- what must be ----------------------------------------------------------------------------------------------------


def folded(replica: Replica, events: Iterable[Event], *, chance: Random | None = None) -> dict[str, dict[bytes, Any]]:
    """The rows of all tables, from these events alone; with `chance`, in a random order, some of them twice."""
    log = list(events)
    if chance is not None:
        log += chance.sample(log, len(log) // 2)
        chance.shuffle(log)
    writes: dict[tuple[str, bytes], list[Placed]] = {}
    for event in log:
        kind = replica.registry.kinds.get(event.kind)
        if kind is None or event.body is None:
            continue
        body = kind.read(event.body, event.header.kind_version)
        made = [write for fold in replica.registry.folds[event.kind] for write in fold(event, body)]
        for at, write in enumerate(made):
            minted = event.entity == EntityIds(event.log).of(event.header.hlc, event.seq)
            placed = Placed(event.stamp, event.log, event.seq, write, at, event.author, minted)
            writes.setdefault((write.table, write.key), []).append(placed)
    rows: dict[str, dict[bytes, Any]] = {name: {} for name in replica.registry.tables}
    for (name, key), found in writes.items():
        merged = merge(replica.registry.tables[name], found).row
        if merged is not None:
            rows[name][key] = dict(zip(replica.registry.tables[name].names, merged.values, strict=True))
    return rows


def stored(replica: Replica) -> dict[str, dict[bytes, Any]]:
    """The rows as they are, without number and place."""
    return {name: _rows(replica, table) for name, table in replica.registry.tables.items()}


def _rows(replica: Replica, table: Table) -> dict[bytes, Any]:
    found = replica.tables.select(table, {}, order="n", limit=1_000_000)
    return {row.values[table.key[0]]: row.values for row in found}


def check(agent: Agent, clock: ManualClock, *, chance: Random | None = None) -> None:
    """Rows, full text and history say what the events that are left say, and nothing else."""
    events = list(agent.log())
    rows = folded(agent.replica, events, chance=chance)
    assert stored(agent.replica) == rows
    _check_text(agent, rows)
    _check_history(agent, events)
    assert agent.verify().ok
    _check_mentions(agent, events)
    for name, table in agent.replica.registry.tables.items():
        if table.fulltext is not None and agent.replica.tables.exists(table):
            with agent.replica.file.transaction():  # raises where index and rows differ
                sql = f'INSERT INTO "{name}_fts"("{name}_fts", rank) VALUES(\'integrity-check\', 1)'
                agent.replica.file.writer.execute(sql)


def _check_mentions(agent: Agent, events: list[Event]) -> None:
    reader = agent.replica.file.reader
    if reader.execute("SELECT 1 FROM sqlite_schema WHERE name='mentions'").get:
        mentioning = {seq for (seq,) in reader.execute("SELECT DISTINCT seq FROM mentions")}
        assert mentioning <= {event.seq for event in events}, "what is gone mentions nobody"


def _check_text(agent: Agent, rows: dict[str, dict[bytes, Any]]) -> None:
    texts = {"memories": "content", "reflections": "response", "notes": "text"}
    for word in WORDS:
        expected = {
            (name, key)
            for name, column in texts.items()
            for key, row in rows[name].items()
            if word in re.findall(r"\w+", f"{row[column]} {row.get('tags')}")
        }
        found = {(hit.table, parse_entity(hit.entity)) for hit in agent.recall(word, limit=1_000)}
        newest = {(name, key) for name, key in found if rows[name][key].get("superseded_by") is None}
        assert expected <= found
        assert found - expected <= newest, "only what corrects a match may come without matching"


def _check_history(agent: Agent, events: list[Event]) -> None:
    written: dict[bytes, list[tuple[bytes, int]]] = {}
    for event in events:
        keys = {key for _, key in agent.replica.views.keys_of(event)}
        for key in keys | ({event.entity} if event.entity else set()):
            written.setdefault(key, []).append((event.log, event.seq))
    for key, places in written.items():
        history = [(event.log, event.seq) for event in agent.history(entity_text(key))]
        assert history == sorted(places, key=lambda place: place[1])
