"""Room `domains` (imports `views` and below): the tables, kinds and folds of tasks, as data.

A task is made by an agent and decided by its home: a log that the task names. Who works on it, how far it is and what
it waits for change by decisions alone (`decide.py`); votes and comments are their authors' own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final

from msgspec import UNSET

from antiphon.domains.shapes import by_agent, hashed
from antiphon.domains.tasks import bodies, decide
from antiphon.domains.tasks.names import (
    BOARD,
    CLAIM,
    CLAIMED,
    COMMENT_EDITED,
    COMMENT_UNVOTED,
    COMMENT_VOTED,
    COMMENTED,
    COMPLETE,
    COMPLETED,
    CREATED,
    DEPEND,
    DEPENDED,
    FAIL,
    FAILED,
    RELEASE,
    RELEASED,
    RETIRED,
    REWARDS,
    START,
    STARTED,
    STATES,
    SUBMIT,
    SUBMITTED,
    TEAMS,
    UNVOTED,
    VOTED,
)  # fmt: skip
from antiphon.model.event import Event
from antiphon.model.places import DAY_MS, ENGLISH, HOUR_MS, Cache, Edge, Node, Search, Stream
from antiphon.model.table import READ_ALL, Check, Column, Derived, Index, Merge, Table, Type, parties
from antiphon.views.domain import AssertRow, DeleteRow, Domain, Fold, Kind, Op, UpdateRow, Write, time_of, write

TASKS_TABLE: Final = Table(
    BOARD,
    key="id",
    columns=(
        Column("id", Type.ID, nullable=False),
        Column("title", Type.TEXT, nullable=False),
        Column("description", Type.TEXT),
        Column("category", Type.TEXT, doc="data_mining, lead_gen, content, development, …"),
        Column("priority", Type.INTEGER, default=bodies.PRIORITY, check=Check(least=1, most=10)),
        Column("created_by", Type.AGENT, nullable=False, merge=Merge.ONCE),
        Column("assigned_to", Type.AGENT, merge=Merge.DECIDED),
        Column("team_assignment", Type.ENUM, values=TEAMS),
        Column("upvotes", Type.INTEGER, default=0,
               derived=Derived("count", "task_votes", match=("task_id",), where=(("vote", 1),))),
        Column("downvotes", Type.INTEGER, default=0,
               derived=Derived("count", "task_votes", match=("task_id",), where=(("vote", -1),))),
        Column("score", Type.INTEGER, default=0, doc="upvotes less downvotes",
               derived=Derived("sum", "task_votes", "vote", match=("task_id",))),
        Column("dopamine_reward", Type.DECIMAL, default=bodies.DOPAMINE, check=Check(least=0)),
        Column("completion_bonus", Type.JSON),
        Column("status", Type.ENUM, default="open", values=STATES, merge=Merge.DECIDED),
        Column("claimed_at", Type.TIMESTAMP, merge=Merge.DECIDED),
        Column("started_at", Type.TIMESTAMP, merge=Merge.DECIDED),
        Column("completed_at", Type.TIMESTAMP, merge=Merge.DECIDED),
        Column("depends_on", Type.LIST, of=Type.ID, default=[], merge=Merge.DECIDED, references="tasks.id"),
        Column("blocks", Type.LIST, of=Type.ID, default=[], merge=Merge.DECIDED, references="tasks.id"),
        Column("output", Type.JSON, merge=Merge.DECIDED),
        Column("quality_score", Type.DECIMAL, merge=Merge.DECIDED, check=Check(least=0, most=1)),
        Column("failure", Type.TEXT, merge=Merge.DECIDED, doc="why it failed"),
        Column("created_at", Type.TIMESTAMP, nullable=False, merge=Merge.ONCE),
        Column("deadline", Type.TIMESTAMP),
        Column("fibonacci_size", Type.INTEGER, default=1, check=Check(least=1)),
        Column("value_delivered", Type.DECIMAL, scale=2),
        Column("home", Type.LOG, nullable=False, merge=Merge.ONCE, doc="the log that decides"),
    ),
    indexes=(
        Index(("created_at",), descending=True, where=("status", ("open", "claimed")),
              include=("title", "assigned_to", "dopamine_reward")),
        Index(("status", "created_at", "id")),
        Index(("status", "score", "created_at", "id")),
        Index(("status", "downvotes", "upvotes", "created_at", "id")),
        Index(("assigned_to", "status")),
        Index(("home",)),
    ),
    shared=True,
    access=parties("created_by", "assigned_to", besides=("status", ("open", "claimed"))),
    home="home",
    acyclic=("depends_on",),
    places=hashed(
        "id",
        nodes=(Node("Task", ("title", "status", "priority")),),
        edges=(
            Edge("DEPENDS_ON", "id", "depends_on", "Task", "Task"),
            Edge("WORKING_ON", "assigned_to", "id", "Agent", "Task", ("started_at",),
                 where=("status", ("in_progress", "review")), names=(("started_at", "started"),)),
        ),
        search=Search(analyzers=(("title", ENGLISH), ("description", ENGLISH))),
        caches=(Cache("task:{id}:state", ("status", "assigned_to", "started_at"), HOUR_MS, "hash"),),
        streams=(
            Stream("task.created", 6, 7 * DAY_MS, kinds=(CREATED,)),
            Stream("task.completed", 6, 30 * DAY_MS, kinds=(COMPLETED,)),
        ),
    ),
    doc="The board: what is to be done, by whom, and how far it is.",
)  # fmt: skip

TASK_VOTES: Final = by_agent(
    "task_votes",
    "task_id",
    "tasks.id",
    Column("vote", Type.INTEGER, nullable=False, check=Check(among=(-1, 1))),
    Column("reason", Type.TEXT),
    indexes=(Index(("agent_id",)),),
    doc="One vote an agent and task.",
)

TASK_COMMENTS: Final = Table(
    "task_comments",
    key="id",
    columns=(
        Column("id", Type.ID, nullable=False),
        Column("task_id", Type.ID, nullable=False, references="tasks.id"),
        Column("agent_id", Type.AGENT, nullable=False, merge=Merge.ONCE),
        Column("parent_comment_id", Type.ID, references="task_comments.id"),
        Column("content", Type.TEXT, nullable=False),
        Column("attachments", Type.JSON),
        Column("upvotes", Type.INTEGER, default=0,
               derived=Derived("count", "task_comment_votes", match=("comment_id",), where=(("vote", 1),))),
        Column("downvotes", Type.INTEGER, default=0,
               derived=Derived("count", "task_comment_votes", match=("comment_id",), where=(("vote", -1),))),
        Column("created_at", Type.TIMESTAMP, nullable=False),
        Column("edited_at", Type.TIMESTAMP),
    ),
    indexes=(Index(("task_id", "created_at")), Index(("parent_comment_id",))),
    acyclic=("parent_comment_id",),
    shared=True,
    access=READ_ALL,
    places=hashed(
        "id", search=Search(analyzers=(("content", ENGLISH),))
    ),
    doc="What agents say about tasks, in threads.",
)  # fmt: skip

TASK_COMMENT_VOTES: Final = by_agent(
    "task_comment_votes",
    "comment_id",
    "task_comments.id",
    Column("vote", Type.INTEGER, nullable=False, check=Check(among=(-1, 1))),
    doc="One vote an agent and comment.",
)

TASK_REWARDS: Final = Table(
    REWARDS,
    key=("decided_by", "agent_id", "task_id"),
    columns=(
        Column("decided_by", Type.AGENT, nullable=False, doc="the home's agent: a board's word counts for its own"),
        Column("agent_id", Type.AGENT, nullable=False),
        Column("task_id", Type.ID, nullable=False, references="tasks.id"),
        Column("dopamine", Type.DECIMAL, nullable=False, merge=Merge.DECIDED),
        Column("bonus", Type.JSON, merge=Merge.DECIDED),
        Column("quality_score", Type.DECIMAL, merge=Merge.DECIDED),
        Column("completed_at", Type.TIMESTAMP, merge=Merge.DECIDED),
        Column("home", Type.LOG, nullable=False, merge=Merge.ONCE),
    ),
    indexes=(Index(("agent_id", "completed_at")),),
    shared=True,
    access=parties("decided_by", "agent_id"),
    home="home",
    shard=("agent_id",),
    places=hashed("agent_id"),
    doc="What homes have credited to agents for tasks that were completed.",
)


def _decides(status: str | None = None, /, *, at: str | None = None, **columns: Any) -> Fold:
    """The fold of a decision: a status, a column with the time, fields of the body (named by text), other values."""

    def fold(event: Event, body: Any) -> Iterable[Write]:
        if event.entity is None:
            return
        values: dict[str, Any] = {} if status is None else {"status": status}
        for name, source in columns.items():
            value = getattr(body, source) if source is not None else None
            if value is not UNSET:
                values[name] = value
        if at is not None:
            values[at] = time_of(event)
        yield Write(BOARD, event.entity, Op.UPDATE, values)

    return fold


def _created(event: Event, body: bodies.Created) -> Iterable[Write]:
    """The row of a task, decided by its author's log where the body names no other."""
    values = {name: getattr(body, name) for name in bodies.Created.__struct_fields__}
    values |= {"created_by": event.author, "created_at": time_of(event), "home": body.home or event.log}
    yield write(TASKS_TABLE, Op.ASSERT, {**values, "id": event.entity})


def _depended(event: Event, body: bodies.Depended) -> Iterable[Write]:
    """Both ends of every dependency."""
    if event.entity is not None:
        yield Write(BOARD, event.entity, Op.UPDATE, {"depends_on": body.depends_on})
        for other, blocked in body.blocks.items():
            yield Write(BOARD, other, Op.UPDATE, {"blocks": blocked})


def _rewarded(event: Event, body: bodies.Completed) -> Iterable[Write]:
    values = {
        "decided_by": event.author, "agent_id": body.agent, "task_id": event.entity, "dopamine": body.dopamine,
        "bonus": body.bonus, "quality_score": body.quality, "completed_at": time_of(event), "home": event.log,
    }  # fmt: skip
    yield write(TASK_REWARDS, Op.ASSERT, values)


_FOLDS: Final[dict[str, tuple[type, tuple[Callable[..., Any], ...]]]] = {
    CREATED: (bodies.Created, (_created,)),
    RETIRED: (bodies.Retired, (DeleteRow(TASKS_TABLE),)),
    VOTED: (bodies.Voted, (AssertRow(TASK_VOTES, task_id="task", agent_id="@author", vote="vote", reason="reason",
                                     timestamp="@time"),)),
    UNVOTED: (bodies.Unvoted, (DeleteRow(TASK_VOTES, {"task_id": "task", "agent_id": "@author"}),)),
    COMMENTED: (bodies.Commented, (AssertRow(TASK_COMMENTS, task_id="task", agent_id="@author", content="content",
                                             parent_comment_id="parent", attachments="attachments",
                                             created_at="@time"),)),
    COMMENT_EDITED: (bodies.CommentEdited, (UpdateRow(TASK_COMMENTS, content="content", attachments="attachments",
                                                      edited_at="@time"),)),
    COMMENT_VOTED: (bodies.CommentVoted, (AssertRow(TASK_COMMENT_VOTES, comment_id="comment", agent_id="@author",
                                                    vote="vote", timestamp="@time"),)),
    COMMENT_UNVOTED: (bodies.CommentUnvoted, (DeleteRow(TASK_COMMENT_VOTES, {"comment_id": "comment",
                                                                             "agent_id": "@author"}),)),
    CLAIM: (bodies.Ask, ()), START: (bodies.Ask, ()), RELEASE: (bodies.Ask, ()), SUBMIT: (bodies.Submit, ()),
    COMPLETE: (bodies.Complete, ()), FAIL: (bodies.Fail, ()), DEPEND: (bodies.Depend, ()),
    CLAIMED: (bodies.Claimed, (_decides("claimed", at="claimed_at", assigned_to="agent"),)),
    STARTED: (bodies.Moved, (_decides("in_progress", at="started_at"),)),
    RELEASED: (bodies.Moved, (_decides("open", assigned_to=None, claimed_at=None, started_at=None),)),
    SUBMITTED: (bodies.Submitted, (_decides("review", output="output"),)),
    COMPLETED: (bodies.Completed, (_decides("complete", at="completed_at", quality_score="quality", output="output"),
                                   _rewarded)),
    FAILED: (bodies.Failed, (_decides("failed", failure="reason"),)),
    DEPENDED: (bodies.Depended, (_depended,)),
}  # fmt: skip

TASKS: Final = Domain(
    "tasks",
    kinds=tuple(Kind(name, body) for name, (body, _) in _FOLDS.items()),
    tables=(TASKS_TABLE, TASK_VOTES, TASK_COMMENTS, TASK_COMMENT_VOTES, TASK_REWARDS),
    folds={name: folds for name, (_, folds) in _FOLDS.items()},
    deciders={
        CLAIM: decide.claim, START: decide.start, RELEASE: decide.release, SUBMIT: decide.submit,
        COMPLETE: decide.complete, FAIL: decide.fail, DEPEND: decide.depend,
    },
)  # fmt: skip
