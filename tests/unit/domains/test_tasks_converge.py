"""Boards in several files: whatever is claimed, voted, moved and forgotten, in whatever order it comes, rows agree.

Two files with two agents each write; a third one only hears, each log whole, in a random order and some of it twice.
"""

from contextlib import closing, suppress
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from antiphon import AntiphonError, Conflict, InvalidInput, NotFound
from antiphon.domains.tasks import TASK_VOTES, TASKS, TASKS_TABLE, Tasks
from antiphon.domains.wisdom import WISDOM, Wisdom
from antiphon.model.text import entity_text, id_text, parse_id
from antiphon.replica.core import Replica
from antiphon.replica.decide import answer_requests
from antiphon.replica.homes import move_home
from tests.unit.domains.two_files import TwoFiles, own_folder, rows_by_key

VERBS = (
    "create", "create", "claim", "claim", "start", "release", "submit", "complete", "fail", "depend", "vote", "vote",
    "down", "unvote", "retire", "comment", "share", "acknowledge", "forget", "move", "sync", "sync", "answer", "late",
)  # fmt: skip
acts = st.lists(st.tuples(st.sampled_from(VERBS), st.integers(0, 3), st.integers(0, 7)), min_size=8, max_size=30)


class World(TwoFiles):
    """What may happen on a board, and among insights."""

    def __init__(self) -> None:
        super().__init__(own_folder("converge"))
        self.boards = [Tasks(agent) for agent in self.agents]
        self.tasks: list[str] = []
        self.events: list[tuple[int, str]] = []
        self.insights: list[str] = []

    def do(self, verb: str, who: int, what: int) -> None:
        self.clock.pass_ms(what % 3)  # often nothing: stamps of several logs are then equal
        with suppress(Conflict, NotFound, InvalidInput):
            self._do(verb, who, what)

    def _do(self, verb: str, who: int, what: int) -> None:
        agent, board = self.agents[who], self.boards[who]
        task = self._task(verb, who, what)
        if verb == "create":
            home = id_text(self.agents[what % 4].log_id)
            made = board.create(f"task {len(self.tasks)}", reward=what, home=home)
            self.tasks.append(made.entity or "")
        elif verb == "move":
            self._move(who, what)
        elif verb == "sync":
            self.sync(who)
        elif verb == "answer":
            answer_requests(self.replicas[who % 2])
        elif verb == "late":
            self.clock.pass_ms(60_000)
        elif verb == "forget" and self.events:
            owner, event = self.events[what % len(self.events)]
            self.agents[owner].forget(event)
        elif verb == "share":
            self.insights.append(Wisdom(agent).share(f"insight {what}").entity or "")
        elif verb == "acknowledge" and self.insights:
            self.events.append((who, Wisdom(agent).acknowledge(self.insights[what % len(self.insights)]).event))
        elif task:
            self._on(verb, who, what, task)

    def _task(self, verb: str, who: int, what: int) -> str:
        """Some task; one for which the act makes sense here, if there is any."""
        agent = self.agents[who]
        me, replica = parse_id(agent.id), agent.replica
        rows = replica.tables.select(TASKS_TABLE, {}, order="n", limit=1_000)
        states = {
            "claim": ("open",), "start": ("claimed",), "release": ("claimed", "in_progress"),
            "submit": ("in_progress",), "complete": ("review",), "fail": ("open", "claimed"),
        }.get(verb, ())  # fmt: skip
        mine = "created_by" if verb in ("complete", "retire", "fail") else "assigned_to"
        fits = [row for row in rows if row.values["status"] in states]
        own = [row for row in fits if row.values[mine] == me] if verb != "claim" else fits
        if verb == "unvote":
            votes = replica.tables.select(TASK_VOTES, {"agent_id": me}, order="n", limit=1_000)
            return entity_text(votes[what % len(votes)].values["task_id"]) if votes else ""
        chosen = [entity_text(row.values["id"]) for row in own or rows]
        return chosen[what % len(chosen)] if chosen else ""

    def _on(self, verb: str, who: int, what: int, task: str) -> None:
        board = self.boards[who]
        if verb in ("vote", "down"):
            self.events.append((who, board.vote(task, 1 if verb == "vote" else -1).event))
        elif verb == "comment":
            self.events.append((who, board.comment(task, f"words {what}").event))
        elif verb == "depend":
            board.depend(task, self.tasks[(what + who + 1) % len(self.tasks)])
        elif verb in ("claim", "start", "release", "submit", "complete", "fail", "unvote", "retire"):
            getattr(board, verb)(task)

    def _move(self, who: int, what: int) -> None:
        fleet = self.fleets[who // 2]
        agents = self.agents[who // 2 * 2 : who // 2 * 2 + 2]
        source, target = agents[what % 2].log_id, agents[1 - what % 2].log_id
        size = fleet.replica.head(source).size
        log = agents[0].record_of_agent.principal_log
        move_home(fleet.replica, log, fleet.replica, source=source, target=target, size=max(0, size - what))


def rows_of(replica: Replica) -> dict[str, list[dict[str, Any]]]:
    return rows_by_key(replica, (*TASKS.tables, *WISDOM.tables))


def check_states(rows: dict[str, list[Any]]) -> None:
    """What every decision keeps true, where no decision has been forgotten or made void."""
    by_id = {row["id"]: row for row in rows["tasks"]}
    for row in rows["tasks"]:
        votes = [vote["vote"] for vote in rows["task_votes"] if vote["task_id"] == row["id"]]
        assert (row["upvotes"], row["downvotes"]) == (votes.count(1), votes.count(-1))
        assert (row["assigned_to"] is None) == (row["status"] == "open") or row["status"] == "failed"
        reached, waiting = set(), list(row["depends_on"])
        while waiting:
            at = waiting.pop()
            assert at != row["id"], f"a circle through {entity_text(at)}"
            if at in by_id and at not in reached:
                reached.add(at)
                waiting += by_id[at]["depends_on"]


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None, max_examples=25)
@given(acts, st.randoms(use_true_random=False))
def test_boards_agree_whatever_happens(todo: list[tuple[str, int, int]], chance: Random) -> None:
    agree(todo, chance)


@pytest.mark.slow
@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None, max_examples=300)
@given(st.lists(acts, min_size=1, max_size=3), st.randoms(use_true_random=False))
def test_boards_agree_whatever_happens_for_long(todo: list[list[tuple[str, int, int]]], chance: Random) -> None:
    agree([act for part in todo for act in part], chance)


def agree(todo: list[tuple[str, int, int]], chance: Random) -> None:
    """What everybody holds in the end is the same, is what a refold makes, and keeps what decisions keep."""
    with closing(World()) as made:
        for act in todo:
            made.do(*act)
        made.settle()
        one, two = (rows_of(replica) for replica in made.replicas)
        assert one == two
        with made.listener(chance) as ear:
            assert rows_of(ear) == one
        if not any(verb == "move" for verb, *_ in todo):
            check_states(one)
        for domain in ("tasks", "wisdom"):
            made.replicas[0].refold(domain)
        assert rows_of(made.replicas[0]) == one
        for fleet in made.fleets:
            for verdict in fleet.verify():
                assert verdict.ok


def test_the_world_does_what_it_says() -> None:
    """The acts above are not all refused: some of each kind get through."""
    done: dict[str, int] = {}
    chance = Random(1)
    with closing(World()) as made:
        for _ in range(400):
            verb = chance.choice(VERBS)
            try:
                made.clock.pass_ms(1)
                made._do(verb, chance.randrange(4), chance.randrange(8))
                done[verb] = done.get(verb, 0) + 1
            except AntiphonError:
                continue
    assert set(done) == set(VERBS)
