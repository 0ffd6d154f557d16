"""Commits, forgetting and refolds at random, on the way to an engine where everything goes wrong, and which is put back
to older states; feeders that die at every step, and two who feed at once. In the end the engine has the file's rows,
one by one, and nothing forgotten.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import pytest

from antiphon import Agent
from antiphon.engines.memory import MemoryTables
from antiphon.model.errors import Conflict, NotFound
from antiphon.replica.feeder import Feeder
from antiphon.replica.follow import Follower
from antiphon.world.clock import ManualClock
from antiphon.world.entropy import SeededEntropy
from tests.faults.engine import Crash, FaultyTables
from tests.unit.replica.acts import Actor
from tests.unit.views.notes import NOTES_DOMAIN

SEEDS = 12
SLOW_SEEDS = 200
ACTS = (
    "note", "note", "remember", "about", "update", "supersede", "change", "recolour", "pin", "tear", "batch", "tidy",
)  # fmt: skip
OFTEN = ("act",) * 6 + ("feed",) * 8
SELDOM = ("forget", "refuse", "late", "refold", "reopen", "lose", "back up", "restore")
_SAVE = Feeder.save


def rows_of(agent: Agent) -> dict[tuple[str, bytes], Any]:
    """Every row of the file, by table and key."""
    tables, found = agent.replica.tables, {}
    for name, table in agent.replica.registry.tables.items():
        for row in tables.page(table, 0, 1 << 20) if tables.exists(table) else ():
            found[name, row.values[table.key[0]]] = dict(row.values)
    return found


def kept_by(engine: MemoryTables, agent: Agent) -> dict[tuple[str, bytes], Any]:
    """Every row of the engine."""
    found = {}
    for name, table in agent.replica.registry.tables.items():
        for change in MemoryTables.rows(engine, table, after=None, limit=1 << 20):
            found[name, change.key] = dict(change.row or {})
    return found


def all_bytes(engine: MemoryTables) -> bytes:
    """Everything the engine holds, tombstones too."""
    return msgspec.json.encode([[*kept.values()] for kept in engine._tables.values()])


class World:
    """One file, one engine, and up to two feeders."""

    def __init__(self, home: Path, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
        self.chance = Random(seed)
        self.clock = ManualClock()
        self.home = home
        self.agent = Agent.create("ada", home=home, domains=[NOTES_DOMAIN], **self._world(seed))
        self.actor = Actor(self.agent, self.clock)
        self.engine = FaultyTables(self.chance, self.clock)
        self.feeders: list[Follower | None] = [None, None]
        self.words: dict[str, str] = {}
        self.forgotten: set[str] = set()
        self.said = 0
        self.backup = self.engine.state()
        monkeypatch.setattr(Feeder, "save", self._dying_save())

    def _world(self, seed: int) -> dict[str, Any]:
        return {"clock": self.clock, "entropy": SeededEntropy(seed), "background": False}

    def _dying_save(self) -> Callable[..., None]:
        def save(feeder: Feeder, *, force: bool = False) -> None:
            if self.engine._maybe("crash before save"):
                raise Crash
            _SAVE(feeder, force=force)
            if self.engine._maybe("crash after save"):
                raise Crash

        return save

    def act(self) -> None:
        self.said += 1
        word = f"word{self.said}end"
        before = len(self.actor.events)
        with suppress(NotFound):  # a memory it would change was forgotten
            self.actor.perform([(self.chance.choice(ACTS), self.chance.randrange(10), [word])])
        for event in self.actor.events[before:]:
            self.words[event] = word

    def forget(self) -> None:
        live = self.actor.live_events()
        if live:
            targets = self.chance.sample(live, min(len(live), self.chance.randrange(1, 4)))
            self.agent.forget(targets)
            there = {self.words.get(event) for event in self.actor.live_events()}
            self.forgotten = {word for word in self.words.values() if word not in there}

    def feeder(self, which: int) -> None:
        """Two feeders under one name: the second takes over from the first, who finds out at its next call."""
        name = "rows" if self.chance.random() < 0.8 else "other"
        found = self.feeders[which]
        if found is None or self.chance.random() < 0.1:
            tables = list(self.agent.replica.registry.tables.values())
            found = self.feeders[which] = Follower(self.agent.replica, self.engine, name, tables, save_ms=3_000)
        try:
            for _ in range(self.chance.randrange(1, 8)):
                found.step()
        except (Crash, Conflict):
            self.feeders[which] = None
        if found.state == "retrying":
            self.clock.pass_ms(self.chance.choice((10, 1_000, 40_000)))

    def play(self, steps: int) -> None:
        for _ in range(steps):
            match self.chance.choice(OFTEN + SELDOM):
                case "act":
                    self.act()
                case "feed":
                    self.feeder(self.chance.choice((0, 0, 0, 1)))
                case "forget":
                    self.forget()
                case "refuse":
                    self.refuse()
                case "late":
                    self.engine.arrive()
                case "back up":
                    self.backup = self.engine.state()
                case "restore" if self.chance.random() < 0.6:
                    self.engine.put_back(self.backup)
                case "refold" if self.chance.random() < 0.4:
                    self.agent.replica.refold(self.chance.choice(("notes", "memory")))
                case "reopen" if self.chance.random() < 0.4:
                    self.reopen()
                case "lose" if self.chance.random() < 0.2:
                    with self.agent.replica.file.transaction():
                        newest = "SELECT max(version) FROM outbox"
                        self.agent.replica.file.writer.execute(f"DELETE FROM outbox WHERE version >= ({newest}) - 1")
                    self.reopen()

    def refuse(self) -> None:
        """The engine refuses one row for good, or none any more."""
        keys = sorted(key for _, key in rows_of(self.agent))
        self.engine.refused = {self.chance.choice(keys)} if keys and self.chance.random() < 0.5 else set()

    def reopen(self) -> None:
        """The process ends, feeders with it."""
        self.feeders = [None, None]
        self.agent.close()
        self.agent = Agent.open("ada", home=self.home, domains=[NOTES_DOMAIN], **self._world(self.said + 1_000))
        self.actor.agent = self.agent

    def end(self) -> Follower:
        """Everything works at last: one feeder delivers what is left."""
        self.engine.trouble, self.engine.refused, trouble = 0.0, set(), self.engine.trouble
        self.engine.arrive()
        follower = self.one_feeder()
        follower.run()
        assert follower.drive_again() == 0
        assert follower.letters() == []
        assert kept_by(self.engine, self.agent) == rows_of(self.agent)
        assert follower.check() == []
        assert follower.lag().events == 0
        held = all_bytes(self.engine)
        for word in self.forgotten:
            assert word.encode() not in held, f"{word} was forgotten"
        self.engine.trouble = trouble
        return follower

    def one_feeder(self) -> Follower:
        tables = list(self.agent.replica.registry.tables.values())
        return Follower(self.agent.replica, self.engine, "rows", tables, save_ms=3_000)

    def go_on(self, follower: Follower, steps: int) -> None:
        """The same feed, followed to the end: nobody may need to read the tables again, whoever dies on the way."""
        self.engine.trouble, trouble = 0.0, self.engine.trouble
        self.actor.perform([("note", 0, ["mended"])])  # where the feed had lost its end, it begins anew here
        follower.run()
        self.engine.trouble, self.engine.spared = trouble, ("kept", "fence", "save", "sweep")
        again = 0
        for _ in range(steps):
            match self.chance.choice(("act", "act", "forget", "feed", "feed", "feed", "refuse", "die")):
                case "act":
                    self.act()
                case "forget":
                    self.forget()
                case "refuse":
                    self.refuse()
                case "die":
                    follower = self.one_feeder()
                case "feed":
                    try:
                        self.clock.pass_ms(self.chance.choice((0, 2_000, 40_000)))
                        follower.step()
                    except Crash:
                        follower = self.one_feeder()
            kept = self.agent.followers()[-1]
            again += kept.state == "bootstrapping"
        self.engine.trouble, self.engine.refused = 0.0, set()
        self.engine.arrive()
        self.clock.pass_ms(40_000)
        follower.run()
        follower.drive_again()
        assert not again
        assert kept_by(self.engine, self.agent) == rows_of(self.agent)


def play(home: Path, seed: int, monkeypatch: pytest.MonkeyPatch) -> set[str]:
    world = World(home, seed, monkeypatch)
    world.play(140)
    world.go_on(world.end(), 60)
    world.end()
    world.agent.close()
    return world.engine.seen


def test_the_engine_has_the_files_rows_in_the_end(
    tmp_path: Path, sim_seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: set[str] = set()
    for seed in range(sim_seed * 1_000, sim_seed * 1_000 + SEEDS):
        print("seed", seed)
        seen |= play(tmp_path / str(seed), seed, monkeypatch)
    if sim_seed == 1:
        assert len(seen) > 15, f"too little went wrong: {sorted(seen)}"


@pytest.mark.slow
def test_the_engine_has_the_files_rows_in_the_end_many_times(
    tmp_path: Path, sim_seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for seed in range(sim_seed * 7_919, sim_seed * 7_919 + SLOW_SEEDS):
        print("seed", seed)
        play(tmp_path / str(seed), seed, monkeypatch)
