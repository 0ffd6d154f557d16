"""The fleet of the region demo: an agent a person, and a thread in which they write down what they said and did."""

from __future__ import annotations

import re
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from antiphon import Fleet
from antiphon.demo import seeing, society
from antiphon.domains.tasks import names
from antiphon.domains.tasks.commands import Tasks
from antiphon.model.event import Scope
from antiphon.model.text import parse_entity, parse_id
from servers.region.talks import Talk, Task

PACE_S: Final = 0.2
"""A conversation begins so long after the one before, or later."""
_WORD: Final = re.compile(r"[a-z']{5,}")


class Wrote(msgspec.Struct):
    """What a writer did so far."""

    talks: int = 0
    messages: int = 0
    memories: int = 0
    insights: int = 0
    tasks: int = 0
    commits: list[tuple[float, float, int]] = []
    """(when it began, how long it took, of how many messages) of each conversation's commit.

    *Units*: seconds of `time.monotonic`, ms.
    """


class Chatting:
    """People of the corpus as agents of one fleet, each with a principal of its own.

    Agents are called by numbers, not by names: an agent's name stays when what it recorded is forgotten.
    """

    def __init__(self, fleet: Fleet, talks: Sequence[Talk]) -> None:
        self.fleet, self.talks = fleet, talks
        people = list(dict.fromkeys(person for talk in talks for person in talk.meeting.people))
        self.agents = {person: f"agent-{number:02}" for number, person in enumerate(people, 1)}
        fleet.add_all(list(self.agents.values()), own_principals=True)
        self.ids = {person: parse_id(fleet.agent(agent).id) for person, agent in self.agents.items()}
        with fleet.batch() as batch:
            for person, agent in self.agents.items():
                batch.record(agent, "agent.enlisted", {"codename": person}, scope=Scope.PUBLIC)
        self.wrote = Wrote()
        self.finished = False
        """Whether everything is written."""
        self._stop = threading.Event()
        self._error: BaseException | None = None
        self._thread: threading.Thread | None = None
        self._said: dict[str, set[str]] = defaultdict(set)
        self._partners: dict[str, dict[str, None]] = defaultdict(dict)

    # -- the thread ----------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Writes in a thread of its own, a conversation at a time."""
        self._thread = threading.Thread(target=self._run, name="fleet")
        self._thread.start()

    def stop(self) -> None:
        """Ends the thread after the conversation that it is at."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    def wait(self, talks: int) -> None:
        """Until so many conversations are written. Raises what ended the thread."""
        self._until(lambda: self.wrote.talks >= talks)

    def wait_to_the_end(self) -> None:
        """Until everything is written. Raises what ended the thread."""
        self._until(lambda: self.finished)

    def _until(self, true: Callable[[], bool]) -> None:
        while self._error is None and not true():
            time.sleep(0.02)
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        try:
            for talk in self.talks:
                if self._stop.is_set():
                    return
                began = time.monotonic()
                self._write(talk)
                self.wrote.talks += 1
                self._stop.wait(max(0.0, PACE_S - (time.monotonic() - began)))
            self._agree()
            self.finished = True
        except BaseException as error:  # noqa: BLE001  # `wait` raises it where somebody sees it
            self._error = error

    # -- what is written -----------------------------------------------------------------------------------------

    def _write(self, talk: Talk) -> None:
        began = time.monotonic()
        with self.fleet.batch() as batch:
            for message in talk.messages:
                told = {"recipient": self.ids[talk.other(message.person)], "content": message.text}
                batch.record(
                    self.agents[message.person], "message.sent", told, occurred=message.sent_ms, scope=Scope.PUBLIC
                )
        self.wrote.commits.append((began, (time.monotonic() - began) * 1000, len(talk.messages)))
        self.wrote.messages += len(talk.messages)
        self._remember(talk)
        renamed = tuple(self.agents[person] for person in talk.meeting.people)
        society.meet(
            self.fleet, [msgspec.structs.replace(talk.meeting, people=(renamed[0], renamed[1]))], lambda _: None
        )
        for message in talk.messages:
            self._said[message.person] |= {*_WORD.findall(message.text.lower())}
        one, other = talk.meeting.people
        self._partners[one][other] = self._partners[other][one] = None
        if talk.opinions:
            said = [
                msgspec.structs.replace(each, person=self.agents[each.person], other=self.agents[each.other])
                for each in talk.opinions
            ]
            self.wrote.insights += len(said)
            seeing.see(self.fleet, said, [])
        for task in talk.tasks:
            self._put_on_board(task, talk.other(task.person))

    def _agree(self) -> None:
        """What they said that they like, and the crystals of what several like."""
        likings = [
            msgspec.structs.replace(one, person=self.agents[one.person]) for talk in self.talks for one in talk.likings
        ]
        self.wrote.insights += sum(one.likes for one in likings)
        seeing.see(self.fleet, [], likings)

    def _remember(self, talk: Talk) -> None:
        """Each of the two remembers, for itself, the longest thing that the other said."""
        for person in talk.meeting.people:
            other = talk.other(person)
            longest = max((one for one in talk.messages if one.person == other), key=lambda one: len(one.text))
            with self.fleet.agent(self.agents[person]).batch() as batch:
                batch.remember(f"{other} said: {longest.text}", user=other, occurred=longest.sent_ms)
            self.wrote.memories += 1

    def _put_on_board(self, task: Task, other: str) -> None:
        """A task that the other takes, one time in four each: not, to do it later, to do it now, and does.

        Of those whom the author talked with, all vote for it who used one of its longer words too.
        """
        author, worker = (Tasks(self.fleet.agent(self.agents[one])) for one in (task.person, other))
        made = author.create(task.title, category="said in a chat")
        assert made.entity is not None
        entity, key = made.entity, parse_entity(made.entity)
        words = {*_WORD.findall(task.title.lower())}
        with self.fleet.batch() as batch:
            for one in self._partners[task.person]:
                if one == other or words & self._said[one]:
                    voted = {"task": key, "vote": 1}
                    batch.record(self.agents[one], names.VOTED, voted, scope=Scope.PUBLIC)
        steps = self.wrote.tasks % 4
        self.wrote.tasks += 1
        if steps > 0:
            worker.claim(entity)
        if steps > 1:
            worker.start(entity)
        if steps > 2:
            worker.submit(entity)
            author.complete(entity)
