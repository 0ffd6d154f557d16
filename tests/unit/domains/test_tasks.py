"""The board: who may do what in which state, what is refused and with which words, and in which order tasks come."""

import math
from collections.abc import Callable, Iterator
from threading import Thread
from typing import Any

import msgspec
import pytest

from antiphon import Agent, Conflict, Fleet, InvalidInput, LimitExceeded, NotFound
from antiphon.domains.tasks import TASKS, TASKS_TABLE, Tasks
from antiphon.domains.tasks.names import STATES
from antiphon.domains.tasks.ranking import ORDERS, controversy, hot, ordered
from antiphon.home import default_folder
from antiphon.model import limits
from antiphon.model.event import Scope
from antiphon.model.table import parties
from antiphon.model.text import id_text, parse_entity, parse_id
from antiphon.world.clock import ManualClock
from tests.unit.domains.one_file import OneFile, refuses

HOUR = 3_600_000
NOWHERE = "01890000-0000-7000-8000-000000000000"


class Board(OneFile[Tasks]):
    """The board of Ada's."""

    def __init__(self, fleet: Fleet, clock: ManualClock) -> None:
        super().__init__(fleet, clock, Tasks)

    def task(self, task: str) -> dict[str, Any]:
        return self.row(TASKS_TABLE.name, task)

    def made(self, state: str = "open", **how: Any) -> str:
        """A task of Ada's in some state, in Bob's hands."""
        task = self.ada.create("map the harbour", **how).entity
        assert task is not None
        path: dict[str, list[Callable[[str], Any]]] = {
            "open": [], "claimed": [self.bob.claim], "in_progress": [self.bob.claim, self.bob.start],
            "review": [self.bob.claim, self.bob.start, self.bob.submit],
            "complete": [self.bob.claim, self.bob.start, self.bob.submit, self.ada.complete],
            "failed": [self.bob.claim, self.bob.fail],
        }  # fmt: skip
        for step in path[state]:
            step(task)
        assert self.task(task)["status"] == state
        return task


@pytest.fixture
def board() -> Iterator[Board]:
    clock = ManualClock()
    with Fleet.create(default_folder(), clock=clock) as fleet:
        yield Board(fleet, clock)


# -- decisions -------------------------------------------------------------------------------------------------------


def test_a_task_goes_through_its_states_to_its_reward(board: Board) -> None:
    task = board.made(reward="2.5", bonus={"oxytocin": 1})
    bob = parse_id(board.agents["bob"].id)
    board.clock.pass_ms(1_000)
    claimed = board.bob.claim(task)
    assert claimed.wait().entity == task
    assert (board.task(task)["assigned_to"], board.task(task)["claimed_at"]) == (bob, board.clock.now_ms())
    board.clock.pass_ms(1_000)
    board.bob.start(task)
    assert board.task(task)["started_at"] == board.clock.now_ms()
    board.bob.submit(task, output={"map": [1, 2]})
    board.clock.pass_ms(1_000)
    board.ada.complete(task, quality=0.75)
    row = board.task(task)
    assert (row["status"], row["output"], str(row["quality_score"])) == ("complete", {"map": [1, 2]}, "0.750000")
    (reward,) = board.bob.rewards()
    assert (reward["task_id"], str(reward["dopamine"]), reward["bonus"]) == (row["id"], "2.500000", {"oxytocin": 1})
    assert reward["completed_at"] == row["completed_at"] == board.clock.now_ms()
    assert board.cyd.rewards() == []


def test_the_first_claim_wins_and_the_second_gets_conflict(board: Board) -> None:
    task = board.made()
    board.bob.claim(task)
    refuses(board, Conflict, "is claimed already", lambda: board.cyd.claim(task))
    assert board.task(task)["assigned_to"] == parse_id(board.agents["bob"].id)


ASKS: dict[str, Callable[[Tasks, str], Any]] = {
    "claim": Tasks.claim, "start": Tasks.start, "release": Tasks.release, "submit": Tasks.submit,
    "complete": Tasks.complete, "fail": Tasks.fail,
}  # fmt: skip
MAY = {
    ("open", "claim"): {"ada": "claimed", "bob": "claimed", "cyd": "claimed"},
    ("open", "fail"): {"ada": "failed"},
    ("claimed", "start"): {"bob": "in_progress"},
    ("claimed", "release"): {"bob": "open", "ada": "open"},
    ("claimed", "fail"): {"bob": "failed", "ada": "failed"},
    ("in_progress", "release"): {"bob": "open", "ada": "open"},
    ("in_progress", "submit"): {"bob": "review"},
    ("in_progress", "fail"): {"bob": "failed", "ada": "failed"},
    ("review", "start"): {"ada": "in_progress"},
    ("review", "complete"): {"ada": "complete"},
    ("review", "fail"): {"bob": "failed", "ada": "failed"},
}


@pytest.mark.parametrize("state", STATES)
def test_each_state_lets_these_agents_do_this_and_nobody_else(board: Board, state: str) -> None:
    for ask, act in ASKS.items():
        for name in board.agents:
            task, tasks = board.made(state), getattr(board, name)
            then = MAY.get((state, ask), {}).get(name)
            if then is not None:
                act(tasks, task)
                assert board.task(task)["status"] == then
            else:
                refuses(board, (Conflict, NotFound), "task", lambda: act(tasks, task))  # noqa: B023
                assert board.task(task)["status"] == state


def test_a_released_task_is_anybodys(board: Board) -> None:
    task = board.made("in_progress")
    board.bob.release(task)
    row = board.task(task)
    assert (row["assigned_to"], row["claimed_at"], row["started_at"]) == (None, None, None)
    board.cyd.claim(task)


def test_dependencies_are_waited_for_and_never_go_in_circles(board: Board) -> None:
    first, second = board.made(), board.made()
    third = board.made(depends_on=[second])
    board.ada.depend(second, first)
    one, two, three = (parse_entity(task) for task in (first, second, third))
    assert (board.task(second)["depends_on"], board.task(first)["blocks"]) == ([one], [two])
    assert board.task(second)["blocks"] == [three]
    refuses(board, Conflict, f"circle.*{first} ← {second} ← {third} ← {first}", lambda: board.ada.depend(first, third))
    refuses(board, Conflict, f"circle.*{first} ← {first}", lambda: board.ada.depend(first, first))
    refuses(board, Conflict, f"depends_on: there is no task {NOWHERE}", lambda: board.ada.depend(first, NOWHERE))
    refuses(board, Conflict, "for the agent that made it to say", lambda: board.bob.depend(third, first))
    refuses(board, NotFound, NOWHERE, lambda: board.ada.create("x", depends_on=[NOWHERE]))
    refuses(board, LimitExceeded, "TASK_DEPENDENCIES_MAX", lambda: board.ada.depend(first, []))
    board.bob.claim(second)
    refuses(board, Conflict, f"waits for {first}, which is open", lambda: board.bob.start(second))
    for act in (board.cyd.claim, board.cyd.start, board.cyd.submit, board.ada.complete):
        act(first)
    board.bob.start(second)


def test_there_are_limits_to_what_a_task_waits_for(board: Board, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "TASK_DEPENDENCIES_MAX", 2)
    tasks = [board.made() for _ in range(5)]
    board.ada.depend(tasks[0], tasks[1:3])
    refuses(board, Conflict, "TASK_DEPENDENCIES_MAX", lambda: board.ada.depend(tasks[0], tasks[3]))
    monkeypatch.setattr(limits, "DEPENDENCY_WALK_MAX", 1)
    refuses(board, Conflict, "DEPENDENCY_WALK_MAX", lambda: board.ada.depend(tasks[4], tasks[0]))


def test_another_board_decides_about_its_own(board: Board) -> None:
    """A task names its home; where that is another agent's log, that log decides, whoever made the task."""
    other = board.bob.create("on Ada's board", home=id_text(board.agents["ada"].log_id))
    assert other.entity is not None
    board.cyd.claim(other.entity)
    (decided,) = [e for e in board.agents["ada"].log() if e.kind == "task.claimed"]
    assert decided.author == parse_id(board.agents["ada"].id)
    mine = board.made()
    bobs = board.bob.create("on Bob's own board")
    refuses(board, Conflict, "on this board", lambda: board.ada.depend(mine, bobs.entity or ""))


# -- votes and comments ----------------------------------------------------------------------------------------------


def test_votes_are_counted_one_an_agent(board: Board) -> None:
    task = board.made()
    board.ada.vote(task)
    board.bob.vote(task, -1, reason="too vague")
    board.cyd.vote(task, -1)
    board.cyd.vote(task, 1)
    assert (board.task(task)["upvotes"], board.task(task)["downvotes"]) == (2, 1)
    board.cyd.unvote(task)
    assert (board.task(task)["upvotes"], board.task(task)["downvotes"]) == (1, 1)
    refuses(board, NotFound, "no vote", lambda: board.cyd.unvote(task))
    for wrong in (2, 0, True, 1.0, "1"):
        refuses(board, InvalidInput, "task_votes.vote is 1", lambda: board.cyd.vote(task, wrong))  # type: ignore[arg-type]  # noqa: B023
    refuses(board, NotFound, NOWHERE, lambda: board.cyd.vote(NOWHERE))


def test_a_forgotten_vote_counts_no_more(board: Board) -> None:
    task = board.made()
    vote = board.bob.vote(task)
    board.agents["bob"].forget(vote.event)
    assert board.task(task)["upvotes"] == 0


def test_comments_make_threads_and_have_votes(board: Board) -> None:
    task = board.made()
    said = board.bob.comment(task, "which harbour?").entity or ""
    reply = board.ada.comment(task, "the old one", parent=said).entity or ""
    board.cyd.vote_comment(reply)
    board.bob.vote_comment(reply, -1)
    board.bob.unvote_comment(reply)
    board.bob.edit_comment(said, "which of the two harbours?")
    one, two = board.cyd.comments(task)
    assert (one["content"], two["content"]) == ("which of the two harbours?", "the old one")
    assert (two["parent_comment_id"], two["upvotes"], two["downvotes"]) == (one["id"], 1, 0)
    assert one["edited_at"] is not None
    assert two["edited_at"] is None
    other = board.made()
    refuses(board, InvalidInput, "another task", lambda: board.bob.comment(other, "x", parent=said))
    refuses(board, NotFound, NOWHERE, lambda: board.bob.comment(task, "x", parent=NOWHERE))
    refuses(board, InvalidInput, "another agent's", lambda: board.cyd.edit_comment(said, "x"))
    refuses(board, InvalidInput, "needs words", lambda: board.cyd.comment(task, " "))


# -- what does not fit -----------------------------------------------------------------------------------------------


def deep(levels: int) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for _ in range(levels):
        found = {"in": found}
    return found


@pytest.mark.parametrize(
    ("words", "how"),
    [
        ("priority", {"priority": 11}),
        ("priority", {"priority": 0}),
        ("team_assignment", {"team": "omega"}),
        ("dopamine_reward", {"reward": "much"}),
        ("dopamine_reward", {"reward": "-1"}),
        ("dopamine_reward", {"reward": "0.0000001"}),
        ("dopamine_reward", {"reward": "NaN"}),
        ("value_delivered", {"value": "0.001"}),
        ("fibonacci_size", {"fibonacci_size": 0}),
        ("completion_bonus", {"bonus": deep(40)}),
    ],
)
def test_what_does_not_fit_is_refused_with_its_column(board: Board, words: str, how: dict[str, Any]) -> None:
    refuses(board, InvalidInput, words, lambda: board.ada.create("x", **how))


def test_a_task_needs_words_and_an_answer_a_known_state(board: Board) -> None:
    task = board.made()
    refuses(board, InvalidInput, "needs words", lambda: board.ada.create("  "))
    refuses(board, InvalidInput, "one of the orders", lambda: board.ada.list(order="best"))
    refuses(board, InvalidInput, "status is one of", lambda: board.ada.list(status="done"))
    refuses(board, InvalidInput, "from 0 to 1", lambda: board.ada.complete(task, quality=2))


# -- authority -------------------------------------------------------------------------------------------------------


def test_nobody_retires_anothers_task(board: Board) -> None:
    task = board.made()
    refuses(board, InvalidInput, "another agent's|written by", lambda: board.bob.retire(task))
    board.ada.retire(task)
    assert board.ada.get(task) is None


def test_what_is_forgotten_of_a_request_is_gone_from_its_decision(board: Board) -> None:
    task = board.made("in_progress")
    asked = board.bob.submit(task, output={"seen": "Zoe at the pier"})
    assert board.task(task)["output"] == {"seen": "Zoe at the pier"}
    decided = board.agents["ada"].event(asked.event)
    request = next(event for event in board.agents["bob"].log() if event.kind == "task.submit")
    done = board.agents["bob"].forget(request.seq)
    assert done.derived == [asked.event]
    assert (board.task(task)["output"], board.task(task)["status"]) == (None, "in_progress")
    with pytest.raises(NotFound):
        board.agents["ada"].event(decided.seq)
    board.bob.submit(task)


def test_nobody_decides_without_being_the_home(board: Board) -> None:
    task = board.made()
    body = {"agent": parse_id(board.agents["bob"].id)}
    with pytest.raises(InvalidInput, match="another agent's"):
        board.agents["bob"].record("task.claimed", body, entity=task, scope=Scope.PUBLIC)
    assert board.task(task)["status"] == "open"


def test_tasks_under_way_are_seen_by_their_parties_alone(board: Board) -> None:
    task = board.made("claimed")
    assert board.cyd.get(task) is not None
    board.bob.start(task)
    assert (board.cyd.get(task), board.ada.get(task) is None, board.bob.get(task) is None) == (None, False, False)


@pytest.mark.parametrize("besides", [("colour", ("red",)), ("priority", ("5",)), ("status", ()), ("status", ("lost",))])
def test_what_is_open_to_all_must_be_a_value_of_a_column(besides: tuple[str, tuple[str, ...]]) -> None:
    with pytest.raises(InvalidInput, match="readers while"):
        msgspec.structs.replace(TASKS_TABLE, access=parties("created_by", besides=besides))


# -- orders ----------------------------------------------------------------------------------------------------------


def test_hot_is_lemmys_rank() -> None:
    assert hot(0, 0) == pytest.approx(0.4771213 / 3.4822022, rel=1e-6)  # log10(3) / 2^1.8
    assert hot(97, 8 * HOUR) == pytest.approx(2 / 63.0957344, rel=1e-6)  # log10(100) / 10^1.8
    assert hot(-2, HOUR) == hot(-50, HOUR) == 0  # log10(1)
    assert hot(5, -HOUR) == hot(5, 0)
    assert hot(7, 2 * HOUR) == pytest.approx(1 / 12.1257325, rel=1e-6)  # log10(10) / 4^1.8


def test_controversy_is_lemmys_rank() -> None:
    assert controversy(10, 5) == pytest.approx(math.sqrt(15))
    assert controversy(5, 10) == controversy(10, 5)
    assert controversy(4, 4) == 8
    assert controversy(9, 0) == controversy(0, 9) == controversy(0, 0) == 0


def test_the_orders_of_the_board(board: Board) -> None:
    old, split, new = board.ada.create("old"), board.ada.create("split"), None
    for tasks in (board.ada, board.bob, board.cyd):
        tasks.vote(old.entity or "")
    board.ada.vote(split.entity or "")
    board.bob.vote(split.entity or "", -1)
    board.clock.pass_ms(20 * HOUR)
    new = board.ada.create("new")

    def titles(order: str, **how: Any) -> list[str]:
        return [row["title"] for row in board.cyd.list(order=order, **how)]

    assert titles("hot") == ["new", "old", "split"]
    assert titles("top") == ["old", "new", "split"]
    assert titles("new")[0] == "new"
    assert titles("controversial")[0] == "split"
    assert titles("hot", limit=1) == ["new"]
    assert titles("hot", as_of=board.clock.now_ms() + 10_000 * HOUR) == ["old", "new", "split"]
    board.bob.claim(new.entity or "")
    assert titles("new", status="claimed") == ["new"]


def test_ties_are_broken_alike_everywhere() -> None:
    rows = [{"id": bytes([n]) * 16, "upvotes": 1, "downvotes": 1, "score": 0, "created_at": n // 2} for n in range(6)]
    for order in ORDERS:
        first = ordered(rows, order, as_of=10)
        assert first == ordered(list(reversed(rows)), order, as_of=10)


def test_the_declaration_has_its_places() -> None:
    streams = {stream.topic: stream for stream in TASKS_TABLE.places.streams}
    assert (streams["task.created"].partitions, streams["task.completed"].retention_ms) == (6, 30 * 24 * HOUR)
    hot_index = TASKS_TABLE.indexes[0]
    assert (hot_index.accepted, hot_index.include) == (("open", "claimed"), ("title", "assigned_to", "dopamine_reward"))
    assert not any("hot" in column.name for table in TASKS.tables for column in table.columns)
    assert set(TASKS.deciders) <= {kind.name for kind in TASKS.kinds}


def test_an_agent_reads_its_own_task(board: Board) -> None:
    task = board.made()
    agent: Agent = board.agents["ada"]
    found = agent.get(task)
    assert found is not None
    assert found["title"] == "map the harbour"


# -- all or nothing --------------------------------------------------------------------------------------------------


def test_a_task_and_what_it_waits_for_are_made_together_or_not_at_all(
    board: Board, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = board.made()
    retired = board.made()
    board.ada.retire(retired)
    before = board.events()
    second = board.ada.create("second", depends_on=first).entity or ""
    assert board.events() == before + 3  # the task, the request, the decision
    assert board.task(second)["depends_on"] == [parse_entity(first)]
    refuses(board, NotFound, retired, lambda: board.ada.create("third", depends_on=[retired]))
    other = board.bob.create("on Bob's board").entity or ""
    home = id_text(board.agents["ada"].log_id)
    refuses(board, InvalidInput, "another board", lambda: board.ada.create("third", depends_on=[other], home=home))
    refuses(board, LimitExceeded, "TASK_DEPEND", lambda: board.ada.create("x", depends_on=[first] * 1_000))
    monkeypatch.setattr(limits, "DEPENDENCY_WALK_MAX", 0)  # the home says no
    refuses(board, Conflict, "DEPENDENCY_WALK_MAX", lambda: board.ada.create("third", depends_on=[first]))
    assert [row["title"] for row in board.ada.list(order="new")].count("third") == 0


def test_what_is_recorded_together_stands_or_falls_together(board: Board) -> None:
    """A refusal takes back what was recorded in the same block, rows and caches too; other threads go on meanwhile."""
    ada = board.agents["ada"]
    task = board.made("claimed")
    before = board.events()
    noted: list[str] = []

    def act() -> None:
        with ada.together():
            noted.append(ada.remember("never").entity or "")
            assert ada.get(noted[0]) is not None
            board.ada.vote(task)
            board.ada.claim(task)

    refuses(board, Conflict, "is claimed already", act)
    assert (ada.get(noted[0]), board.task(task)["upvotes"], ada.recall("never")) == (None, 0, [])
    with ada.together():
        ada.remember("kept")
        board.ada.vote(task)
    assert (board.events(), board.task(task)["upvotes"]) == (before + 2, 1)
    assert ada.verify().ok
    done: list[int] = []

    def write(name: str) -> None:
        for at in range(20):
            with board.agents[name].together():
                board.agents[name].remember(f"{name} {at}")
                board.agents[name].remember(f"{name} {at} again")
            board.agents[name].remember(f"{name} alone {at}")
            done.append(at)

    threads = [Thread(target=write, args=(name,)) for name in ("ada", "bob", "cyd")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert (len(done), board.events()) == (60, before + 2 + 180)
