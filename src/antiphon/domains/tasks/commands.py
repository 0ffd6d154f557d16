"""Room `domains` (imports `views` and below): the commands of tasks: what an agent can do on a board.

What is decided is asked of the task's home: where that is in the same file, the answer is there when the command
returns, and Conflict says why not; else the command returns what can be waited for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from antiphon.domains.tasks import bodies, names
from antiphon.domains.tasks.board import Best
from antiphon.domains.tasks.ranking import ORDERS
from antiphon.model import limits, times
from antiphon.model.errors import InvalidInput, LimitExceeded, NotFound
from antiphon.model.event import Scope
from antiphon.model.text import entity_text, parse_entity, parse_id
from antiphon.model.times import Time
from antiphon.views.commands import Answer, Receipt, Recorder

OPEN: Final = ("open", "claimed")
"""The states of what is on the board for everybody."""


class Tasks:
    """The board as one agent uses it. Tasks, agents and comments are named by their ids as text."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder

    # -- an agent's own ------------------------------------------------------------------------------------------

    def create(
        self,
        title: str,
        *,
        description: str | None = None,
        category: str | None = None,
        priority: int = bodies.PRIORITY,
        team: str | None = None,
        reward: Decimal | int | float | str = bodies.DOPAMINE,
        bonus: dict[str, Any] | None = None,
        deadline: Time | None = None,
        fibonacci_size: int = 1,
        value: Decimal | int | float | str | None = None,
        depends_on: str | Sequence[str] = (),
        home: str | None = None,
    ) -> Receipt:
        """A new task. `home` is the log that decides about it, as text: the agent's own when not given.

        With `depends_on`, the task and what it waits for are recorded together, or (Conflict) neither is.

        *Shapes*: `priority` from 1 to 10; `team` one of names.TEAMS; `reward` in dopamine, `value` in money.
        """
        if not isinstance(title, str) or not title.strip():
            raise InvalidInput("tasks.title: a task needs words that say what is to be done")
        if team is not None and team not in names.TEAMS:
            raise InvalidInput(f"tasks.team_assignment is one of {', '.join(names.TEAMS)}, not {team!r:.60}")
        named = None if home is None else parse_id(home)
        others = [depends_on] if isinstance(depends_on, str) else list(depends_on)
        if others:
            _check_count(others)
        for other in others:
            self._on_same_board(other, named or self._recorder.log_id)
        body = bodies.Created(
            title, description, category, priority, team, _decimal("dopamine_reward", reward), bonus,
            None if deadline is None else times.to_ms(deadline), fibonacci_size,
            None if value is None else _decimal("value_delivered", value), named,
        )  # fmt: skip
        if not others:
            return self._recorder.record(names.CREATED, body, scope=Scope.PUBLIC)
        asked = {"on": [parse_entity(other) for other in others]}
        with self._recorder.together():
            made = self._recorder.record(names.CREATED, body, scope=Scope.PUBLIC)
            assert made.entity is not None  # it is a new thing
            self._recorder.request(names.DEPEND, asked, home=named or self._recorder.log_id, entity=made.entity)
        return made

    def retire(self, task: str) -> Receipt:
        """Takes a task of the agent's own off the board."""
        self._task(task)
        return self._recorder.record(names.RETIRED, bodies.Retired(), entity=task, scope=Scope.PUBLIC)

    def vote(self, task: str, vote: int = 1, *, reason: str | None = None) -> Receipt:
        """For (1) or against (-1) a task; a second vote takes the place of the first."""
        body = bodies.Voted(self._task(task)["id"], _vote("task_votes", vote), reason)
        return self._recorder.record(names.VOTED, body, scope=Scope.PUBLIC)

    def unvote(self, task: str) -> Receipt:
        """Takes the agent's vote back. Raises NotFound when it has none."""
        key = parse_entity(task)
        if self._recorder.table("task_votes").get(key, parse_id(self._recorder.id)) is None:
            raise NotFound(f"task_votes: this agent has no vote on {task}")
        return self._recorder.record(names.UNVOTED, bodies.Unvoted(key), scope=Scope.PUBLIC)

    def comment(
        self, task: str, content: str, *, parent: str | None = None, attachments: dict[str, Any] | None = None
    ) -> Receipt:
        """What the agent says about a task, or (`parent`) about another comment on it."""
        key = self._task(task)["id"]
        if not isinstance(content, str) or not content.strip():
            raise InvalidInput("task_comments.content: a comment needs words")
        if parent is not None and self._comment(parent)["task_id"] != key:
            raise InvalidInput(f"task_comments.parent_comment_id: {parent} is a comment on another task")
        answered = None if parent is None else parse_entity(parent)
        body = bodies.Commented(key, content, answered, attachments)
        return self._recorder.record(names.COMMENTED, body, scope=Scope.PUBLIC)

    def edit_comment(self, comment: str, content: str, **attachments: Any) -> Receipt:
        """New words for a comment of the agent's own."""
        if self._comment(comment)["agent_id"] != parse_id(self._recorder.id):
            raise InvalidInput(f"task_comments: {comment} is another agent's: only its author may change it")
        if not content.strip():
            raise InvalidInput("task_comments.content: a comment needs words")
        body = bodies.CommentEdited(content)
        if attachments:
            body.attachments = attachments
        return self._recorder.record(names.COMMENT_EDITED, body, entity=comment, scope=Scope.PUBLIC)

    def vote_comment(self, comment: str, vote: int = 1) -> Receipt:
        """For (1) or against (-1) a comment."""
        body = bodies.CommentVoted(self._comment(comment)["id"], _vote("task_comment_votes", vote))
        return self._recorder.record(names.COMMENT_VOTED, body, scope=Scope.PUBLIC)

    def unvote_comment(self, comment: str) -> Receipt:
        """Takes the agent's vote on a comment back. Raises NotFound when it has none."""
        key = parse_entity(comment)
        if self._recorder.table("task_comment_votes").get(key, parse_id(self._recorder.id)) is None:
            raise NotFound(f"task_comment_votes: this agent has no vote on {comment}")
        return self._recorder.record(names.COMMENT_UNVOTED, bodies.CommentUnvoted(key), scope=Scope.PUBLIC)

    # -- what the home decides -----------------------------------------------------------------------------------

    def claim(self, task: str) -> Answer:
        """Asks for an open task: the first in its home's order has it. Raises Conflict where it is taken."""
        return self._ask(names.CLAIM, task)

    def start(self, task: str) -> Answer:
        """Begins a task that the agent has claimed; or sends one that it made, and looked at, back."""
        return self._ask(names.START, task)

    def release(self, task: str) -> Answer:
        """Gives a claimed task back to the board."""
        return self._ask(names.RELEASE, task)

    def submit(self, task: str, *, output: Any = None) -> Answer:
        """Says that the work is done, for whoever made the task to look at."""
        return self._ask(names.SUBMIT, task, output=output)

    def complete(self, task: str, *, quality: Decimal | float | str | None = None, output: Any = None) -> Answer:
        """Ends a task well that is in review; its reward is credited. `quality` from 0 to 1."""
        score = None if quality is None else _decimal("quality_score", quality)
        if score is not None and not 0 <= score <= 1:
            raise InvalidInput(f"tasks.quality_score is a number from 0 to 1, not {quality!r:.60}")
        return self._ask(names.COMPLETE, task, quality=score, output=output)

    def fail(self, task: str, *, reason: str | None = None) -> Answer:
        """Ends a task without its reward."""
        return self._ask(names.FAIL, task, reason=reason)

    def depend(self, task: str, on: str | Sequence[str]) -> Answer:
        """Lets a task that the agent made wait for others of its board. A circle is refused."""
        others = [on] if isinstance(on, str) else list(on)
        _check_count(others)
        return self._ask(names.DEPEND, task, on=[parse_entity(other) for other in others])

    def _ask(self, kind: str, task: str, **body: Any) -> Answer:
        return self._recorder.request(kind, body, home=self._task(task)["home"], entity=task)

    # -- reading -------------------------------------------------------------------------------------------------

    def get(self, task: str) -> Mapping[str, Any] | None:
        """One task, None when there is none that this agent may see."""
        return self._recorder.table(names.BOARD).get(parse_entity(task))

    def list(
        self, *, order: str = "hot", status: str | Sequence[str] = OPEN, as_of: Time | None = None, limit: int = 100
    ) -> Sequence[Mapping[str, Any]]:
        """The first tasks in these states, in an order of ranking.ORDERS, as of a time (now when not given).

        *Cost*: what is shown, and a few rows for each score (of `controversial`: each count of votes) that could be
        among it; not the board.
        """
        if order not in ORDERS:
            raise InvalidInput(f"tasks come in one of the orders {', '.join(ORDERS)}, not {order!r:.60}")
        wanted = (status,) if isinstance(status, str) else tuple(status)
        for state in wanted:
            if state not in names.STATES:
                raise InvalidInput(f"tasks.status is one of {', '.join(names.STATES)}, not {state!r:.60}")
        if type(limit) is not int or not 0 < limit <= limits.PAGE_ROWS_MAX:
            raise InvalidInput(
                f"the number of tasks is from 1 to PAGE_ROWS_MAX ({limits.PAGE_ROWS_MAX:,}), not {limit!r:.60}"
            )
        now = self._recorder.clock.now_ms() if as_of is None else times.to_ms(as_of)
        return Best(self._recorder.table(names.BOARD), order, states=wanted, as_of=now).first(limit)

    def comments(self, task: str) -> Sequence[Mapping[str, Any]]:
        """What was said about a task, oldest first; `parent_comment_id` says what replies to what."""
        key = parse_entity(task)
        return self._recorder.table("task_comments").select(task_id=key, order="created_at")

    def rewards(self, agent: str | None = None) -> Sequence[Mapping[str, Any]]:
        """What homes have credited to an agent, this one when none is named."""
        key = parse_id(self._recorder.id if agent is None else agent)
        return self._recorder.table(names.REWARDS).select(agent_id=key, order="completed_at")

    def _task(self, task: str) -> Mapping[str, Any]:
        found = self.get(task)
        if found is None:
            raise NotFound(f"tasks: there is no task {task} here, or not for this agent to see")
        return found

    def _comment(self, comment: str) -> Mapping[str, Any]:
        found = self._recorder.table("task_comments").get(parse_entity(comment))
        if found is None:
            raise NotFound(f"task_comments: there is no comment {comment} here")
        return found

    def _on_same_board(self, task: str, home: bytes) -> None:
        if self._task(task)["home"] != home:
            raise InvalidInput(f"tasks.depends_on: {entity_text(parse_entity(task))} is on another board")


def _check_count(others: Sequence[str]) -> None:
    if not others or len(others) > limits.TASK_DEPENDENCIES_MAX:
        raise LimitExceeded(
            "TASK_DEPENDENCIES_MAX", got=len(others), allowed=limits.TASK_DEPENDENCIES_MAX,
            what="the number of tasks to wait for (at least 1)",
        )  # fmt: skip


def _vote(table: str, vote: object) -> int:
    if type(vote) is not int or vote not in (-1, 1):
        raise InvalidInput(f"{table}.vote is 1 (for) or -1 (against), not {vote!r:.60}")
    return vote


def _decimal(column: str, value: object) -> Decimal:
    try:
        if isinstance(value, bool):
            raise TypeError
        return Decimal(str(value))
    except (InvalidOperation, TypeError):
        raise InvalidInput(f"tasks.{column} is a number, not {value!r:.60}") from None
