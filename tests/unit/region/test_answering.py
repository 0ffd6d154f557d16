"""A region answers what homes in it are asked: as one file would, once each, whoever else answers at the same time."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from antiphon import Agent
from antiphon.domains.network import NETWORK
from antiphon.domains.tasks import TASKS, Tasks
from antiphon.engines.keyfiles import Unlock
from antiphon.log import kinds
from antiphon.log.ingest import parts_of
from antiphon.log.store import LogHead
from antiphon.model.event import NEW, Draft, Event, Scope, encode_body
from antiphon.model.text import entity_text, parse_entity
from antiphon.region import Region, answering
from antiphon.replica.commit import Batch
from antiphon.replica.core import Replica
from antiphon.replica.enrol import NewAgent
from antiphon.replica.homes import hear_homes, take_in
from antiphon.views.commands import convert, draft_of
from antiphon.world.clock import ManualClock

UNLOCK = Unlock(key=bytes(32))
DOMAINS = [NETWORK, TASKS]


class World:
    """A region in which a board's home is written, with agents of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.clock = folder, ManualClock()
        self.region = Region.create(folder, domains=DOMAINS, unlock=UNLOCK, log_files=3, row_files=2, clock=self.clock)
        self.principal = self.region.add_principal()
        self.home, self.one, self.two = self.region.add_agents(self.principal.log, 3)

    def batch(self, agent: NewAgent, *said: tuple[str, dict[str, Any], bytes]) -> Batch:
        drafts, values = [], []
        for name, body, entity in said:
            kind = self.region.registry.kind(name)
            value = convert(kind, body)
            drafts.append(draft_of(kind, value, entity=entity, scope=Scope.PUBLIC))
            values.append(value)
        return Batch(agent.log, drafts, [None] * len(values))

    def say(self, agent: NewAgent, *said: tuple[str, dict[str, Any], bytes]) -> list[bytes]:
        self.clock.pass_ms(1)
        (made,) = self.region.commit([self.batch(agent, *said)])
        return [header.entity or b"" for header in made.headers]

    def tasks(self, count: int) -> list[bytes]:
        return self.say(self.home, *[("task.created", {"title": f"{n}"}, NEW) for n in range(count)])

    def ask(self, verb: str, task: bytes, **body: Any) -> tuple[str, dict[str, Any], bytes]:
        return f"task.{verb}", {"home": self.home.log, **body}, task

    def row(self, task: bytes) -> dict[str, Any]:
        found = self.region.row("tasks", {"id": task})
        assert found is not None
        return dict(found)

    def decisions(self) -> list[Event]:
        file = self.region.file_of(self.home.log)
        events = list(file.reader.events(file.head(self.home.log)))
        return [event for event in events if event.kind != "task.created" and event.kind not in TASKS.deciders]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path / "region")
    yield made
    made.region.close()


def test_what_a_region_records_for_a_home_of_its_own_is_answered(world: World) -> None:
    first, second = world.tasks(2)
    world.say(world.one, world.ask("claim", first), world.ask("claim", second))
    world.say(world.two, world.ask("claim", first))
    assert [event.kind for event in world.decisions()] == ["task.claimed", "task.claimed", "request.refused"]
    assert world.row(first)["assigned_to"] == world.one.id
    world.say(world.home, world.ask("depend", second, on=[first]))
    world.say(world.one, world.ask("start", second))
    assert world.row(second)["status"] == "claimed", "it waits for the first"
    world.say(world.one, world.ask("start", first), world.ask("submit", first, output={"done": True}))
    world.say(world.home, world.ask("complete", first, quality="0.5"))
    world.say(world.one, world.ask("start", second))
    assert (world.row(first)["status"], world.row(second)["status"]) == ("complete", "in_progress")
    assert [row["agent_id"] for row in world.region.rows("task_rewards")] == [world.one.id]
    assert world.region.answer_requests() == []
    assert world.region.rejections() == []


def test_the_rows_are_those_of_one_file(world: World) -> None:
    """Any mixture of requests: circles, double claims, moves out of turn. One file, asked in the same order, agrees."""
    chance = random.Random(3)
    tasks = world.tasks(6)
    agents = [world.home, world.one, world.two]
    with Region.create(
        world.folder.parent / "single", domains=DOMAINS, unlock=UNLOCK, log_files=1, row_files=1, clock=world.clock
    ) as single:
        for _ in range(25):
            said = []
            for _ in range(chance.randrange(1, 6)):
                task, verb = chance.choice(tasks), chance.choice(["claim", "start", "submit", "release", "fail"])
                said.append(world.ask(verb, task))
                if chance.random() < 0.4:
                    said.append(world.ask("depend", task, on=[chance.choice(tasks)]))
            world.say(chance.choice(agents), *said)
        asked = [
            event
            for agent in agents
            for event in world.region.file_of(agent.log).reader.events(world.region.file_of(agent.log).head(agent.log))
            if event.kind in TASKS.deciders
        ]
        answered = {(ref.log, ref.seq) for event in world.decisions() for ref in (event.header.refs or ())}
        assert answered == {(event.log, event.seq) for event in asked}
        assert len(world.decisions()) == len(asked), "once each"
        for log in (world.principal.log, *(agent.log for agent in agents)):
            _take(single, world.region.file_of(log), log)
        for table in ("tasks", "task_rewards"):
            rows = sorted(map(repr, world.region.rows(table)))
            assert rows == sorted(map(repr, single.rows(table)))
        assert single.rejections() == world.region.rejections() == []
        assert single.answer_requests() == [], "the home is written elsewhere"


def test_two_that_answer_at_once_answer_once(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    tasks = world.tasks(3)
    with monkeypatch.context() as patch:
        patch.setattr(Region, "answer_requests", lambda self: [])
        world.say(world.one, *[world.ask("claim", task) for task in tasks])
    real, others = answering.Answering._write, list[Event]()

    def late(self: Any, made: Any, tried: Any) -> list[Event]:
        """Somebody else decides between the reading of the rows and the writing."""
        if not others:
            with Region.open(world.folder, domains=DOMAINS, unlock=UNLOCK, clock=world.clock) as other:
                monkeypatch.setattr(answering.Answering, "_write", real)
                others.extend(other.answer_requests())
        return real(self, made, tried)

    monkeypatch.setattr(answering.Answering, "_write", late)
    assert world.region.answer_requests() == []
    assert len(others) == len(world.decisions()) == 3


def test_threads_that_ask_at_once_have_one_answer_each(world: World) -> None:
    (task,) = world.tasks(1)

    def ask(agent: NewAgent) -> None:
        for _ in range(5):
            world.region.commit([world.batch(agent, world.ask("claim", task))])

    threads = [Thread(target=ask, args=(agent,)) for agent in (world.one, world.two)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    world.region.answer_requests()
    assert [event.kind for event in world.decisions()].count("task.claimed") == 1
    assert len(world.decisions()) == 10


def test_what_comes_from_elsewhere_is_answered_when_it_is_asked_for(world: World, tmp_path: Path) -> None:
    """An agent with a file of its own asks a home in the region, and hears its answer."""
    (task,) = world.tasks(1)
    with Agent.create("cyd", home=tmp_path / "cyd", clock=world.clock) as cyd:
        home = world.region.file_of(world.home.log)
        for log in (world.principal.log, world.home.log):
            take_in(world.region.file_of(log), log, cyd.replica)
        hear_homes(cyd.replica, world.principal.log, cyd.replica)
        asked = Tasks(cyd).claim(entity_text(task))
        principal = cyd._principal()
        assert principal is not None
        for source, log in ((principal, cyd.record_of_agent.principal_log), (cyd.replica, cyd.log_id)):
            _take(world.region, source, log)
        (decision,) = world.region.answer_requests()
        assert decision.kind == "task.claimed"
        assert world.row(task)["assigned_to"] == cyd.record_of_agent.agent
        take_in(home, world.home.log, cyd.replica)
        assert parse_entity(asked.wait(0).entity or "") == task


def _take(region: Region, source: Replica, log: bytes) -> None:
    head = source.head(log)
    region.take(
        LogHead(0, head.id, head.owner, head.key), parts_of(source.logs, source.reader, head, shared=True), head.note
    )


def test_what_waits_for_homes_elsewhere_is_not_read_each_time(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each claim would cost all that is asked of others; and what they have comes here with them, once they move."""
    tasks = world.tasks(3)
    with monkeypatch.context() as patch:
        patch.setattr(answering.Answering, "_home", lambda self, named: None)
        world.say(world.one, *[world.ask("claim", task) for task in tasks])
    read: list[int] = []
    real = answering.Answering._event
    monkeypatch.setattr(
        answering.Answering, "_event", lambda self, head, seq: read.append(seq) or real(self, head, seq)
    )
    far = bytes(32)
    for _ in range(3):
        world.say(world.two, ("task.claim", {"home": far}, tasks[0]))
    assert len(world.decisions()) == 3, "the home is here again"
    read.clear()
    assert world.region.answer_requests() == []
    assert not read
    world.say(world.two, world.ask("claim", tasks[0]))
    assert len(set(read)) == 1
    assert len(world.decisions()) == 4


def test_a_home_that_moved_away_is_not_answered_for(world: World) -> None:
    """The principal says that another log decides now: the region asks that one."""
    (task,) = world.tasks(1)
    file = world.region.file_of(world.home.log)
    body = kinds.HomeMoved(world.home.log, file.head(world.home.log).size, bytes(32), world.two.log)
    world.region.commit([Batch(world.principal.log, [Draft(kinds.HOME_MOVED, encode_body(body))], [None])])
    world.say(world.one, world.ask("claim", task))
    assert world.decisions() == []
    other = world.region.file_of(world.two.log)
    assert [event.kind for event in other.reader.events(other.head(world.two.log))] == ["task.claimed"]
    assert world.row(task)["assigned_to"] == world.one.id
