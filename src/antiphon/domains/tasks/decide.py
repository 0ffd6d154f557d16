"""Room `domains` (imports `views` and below): how a home answers what is asked about its tasks. Pure but for reading.

      claim         start               submit          complete
open ───────▶ claimed ───────▶ in_progress ───────▶ review ───────▶ complete
 ▲              │   │               │  ▲              │  │
 └── release ───┴───│───────────────┘  └─── start ────┘  │            (start from review: sent back by the creator)
                    └──── fail ────────────────────────▶ failed
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from antiphon.domains.deciders import Refused, decider
from antiphon.domains.tasks import bodies, names
from antiphon.model import limits
from antiphon.model.event import Event
from antiphon.model.text import entity_text
from antiphon.views.domain import Decision, Rows

Task = Mapping[str, Any]
_CREATOR: Final = "created_by"
_ASSIGNEE: Final = "assigned_to"
_WORDS: Final = {_CREATOR: "the agent that made it", _ASSIGNEE: "the agent it is assigned to"}

_MAY: Final[dict[str, dict[str, tuple[str, ...]]]] = {
    names.START: {"claimed": (_ASSIGNEE,), "review": (_CREATOR,)},
    names.RELEASE: {"claimed": (_ASSIGNEE, _CREATOR), "in_progress": (_ASSIGNEE, _CREATOR)},
    names.SUBMIT: {"in_progress": (_ASSIGNEE,)},
    names.COMPLETE: {"review": (_CREATOR,)},
    names.FAIL: {"open": (_CREATOR,), "claimed": (_ASSIGNEE, _CREATOR), "in_progress": (_ASSIGNEE, _CREATOR),
                 "review": (_ASSIGNEE, _CREATOR)},
}  # fmt: skip
"""By request and state: whose request moves the task on."""


def _task(rows: Rows, event: Event, home: bytes) -> Task:
    """The task that a request is about. Raises Refused when it is not there, or decided elsewhere."""
    task = None if event.entity is None else rows.row(names.BOARD, event.entity)
    if task is None:
        said = "nothing" if event.entity is None else entity_text(event.entity)
        raise Refused(f"{event.kind}: there is no task {said} on this board")
    if task["home"] != home:
        raise Refused(f"{event.kind}: the task {entity_text(task['id'])} names another home")
    return task


def _move(rows: Rows, event: Event, home: bytes) -> Task:
    """The task, where this request may move it on. Raises Refused."""
    task = _task(rows, event, home)
    allowed, name, state = _MAY[event.kind], entity_text(task["id"]), task["status"]
    if state not in allowed:
        verb = event.kind.rpartition(".")[2]
        raise Refused(
            f"the task {name} is {_spoken(state)}: only one that is {_listed(allowed)} can be asked to {verb}"
        )
    if all(task[who] != event.author for who in allowed[state]):
        raise Refused(
            f"the task {name} is {_spoken(state)}: that is for {' or '.join(_WORDS[w] for w in allowed[state])}"
        )
    return task


def _spoken(state: str) -> str:
    return {"in_progress": "in progress", "review": "in review"}.get(state, state)


def _listed(states: Mapping[str, Any]) -> str:
    return " or ".join(map(_spoken, states))


@decider()
def claim(rows: Rows, event: Event, body: bodies.Ask) -> Decision:
    """The first in the home's order has the task."""
    task = _task(rows, event, body.home)
    if task["status"] != "open":
        raise Refused(
            f"the task {entity_text(task['id'])} is {_spoken(task['status'])} already: only an open one can be "
            "claimed; choose another, or wait until it is released"
        )
    return Decision(names.CLAIMED, bodies.Claimed(event.author))


@decider()
def start(rows: Rows, event: Event, body: bodies.Ask) -> Decision:
    """Whoever has it begins, once all that it waits for is complete."""
    task = _move(rows, event, body.home)
    for other in task["depends_on"]:
        found = rows.row(names.BOARD, other)
        if found is not None and found["status"] != "complete":  # one that was retired holds nobody up
            raise Refused(
                f"the task {entity_text(task['id'])} waits for {entity_text(other)}, "
                f"which is {_spoken(found['status'])}"
            )
    return Decision(names.STARTED, bodies.Moved())


@decider()
def release(rows: Rows, event: Event, body: bodies.Ask) -> Decision:
    """It is open again."""
    _move(rows, event, body.home)
    return Decision(names.RELEASED, bodies.Moved())


@decider()
def submit(rows: Rows, event: Event, body: bodies.Submit) -> Decision:
    """It waits for its creator."""
    _move(rows, event, body.home)
    return Decision(names.SUBMITTED, bodies.Submitted(body.output), derived=body.output is not None)


@decider()
def complete(rows: Rows, event: Event, body: bodies.Complete) -> Decision:
    """It is done, and its reward is the assignee's."""
    task = _move(rows, event, body.home)
    done = bodies.Completed(task[_ASSIGNEE], task["dopamine_reward"], task["completion_bonus"], body.quality)
    if body.output is not None:
        done.output = body.output
    return Decision(names.COMPLETED, done, derived=body.output is not None)


@decider()
def fail(rows: Rows, event: Event, body: bodies.Fail) -> Decision:
    """It has come to nothing."""
    _move(rows, event, body.home)
    return Decision(names.FAILED, bodies.Failed(body.reason), derived=body.reason is not None)


@decider()
def depend(rows: Rows, event: Event, body: bodies.Depend) -> Decision:
    """Dependencies among tasks of one home, never in a circle: its decisions have one order, so none slips in."""
    task = _task(rows, event, body.home)
    if task[_CREATOR] != event.author:
        raise Refused(f"what the task {entity_text(task['id'])} waits for is for {_WORDS[_CREATOR]} to say")
    wanted = sorted({*task["depends_on"], *body.on})
    if len(wanted) > limits.TASK_DEPENDENCIES_MAX:
        most = limits.TASK_DEPENDENCIES_MAX
        raise Refused(f"{len(wanted)} dependencies, over TASK_DEPENDENCIES_MAX ({most}): give it a task that has them")
    blocks = {}
    for other in sorted({*body.on} - {*task["depends_on"]}):
        found = rows.row(names.BOARD, other)
        if found is None or found["home"] != body.home:
            raise Refused(f"depends_on: there is no task {entity_text(other)} on this board")
        blocks[other] = sorted({*found["blocks"], task["id"]})
    _check_circle(rows, task["id"], [*blocks])
    return Decision(names.DEPENDED, bodies.Depended(wanted, blocks))


def _check_circle(rows: Rows, task: bytes, on: list[bytes]) -> None:
    """Raises Refused, naming the way round, when one of these tasks waits for this one."""
    came_from: dict[bytes, bytes] = dict.fromkeys(on, task)
    waiting = list(on)
    while waiting:
        at = waiting.pop()
        if at == task:
            way = [at]
            while (before := came_from[way[-1]]) != task:
                way.append(before)
            shown = " ← ".join(entity_text(one) for one in (*way, task))
            raise Refused(f"depends_on: that would be a circle, each waiting for the next: {shown}")
        if len(came_from) > limits.DEPENDENCY_WALK_MAX:
            most = limits.DEPENDENCY_WALK_MAX
            raise Refused(f"depends_on: more than DEPENDENCY_WALK_MAX ({most:,}) tasks hang together; split the board")
        found = rows.row(names.BOARD, at)
        for following in found["depends_on"] if found is not None else ():
            if following not in came_from:
                came_from[following] = at
                waiting.append(following)
