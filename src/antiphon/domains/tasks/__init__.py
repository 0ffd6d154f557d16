"""Room `domains` (imports `views` and below): a board of tasks: votes, comments, claims, dependencies, rewards.

It plugs in by the same public way as anyone's domain: kinds, tables, folds and deciders in a `Domain`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from antiphon.domains.tasks.declare import (
    TASK_COMMENT_VOTES,
    TASK_COMMENTS,
    TASK_REWARDS,
    TASK_VOTES,
    TASKS,
    TASKS_TABLE,
)

if TYPE_CHECKING:
    from antiphon.domains.tasks.commands import Tasks

__all__ = ["TASKS", "TASKS_TABLE", "TASK_COMMENTS", "TASK_COMMENT_VOTES", "TASK_REWARDS", "TASK_VOTES", "Tasks"]


def __getattr__(name: str) -> Any:
    """Loads the commands when they are first used: every home needs the declarations, few the commands."""
    if name != "Tasks":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from antiphon.domains.tasks.commands import Tasks

    return Tasks
