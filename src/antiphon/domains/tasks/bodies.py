"""Room `domains` (imports `views` and below): the bodies of the events of tasks.

Requests are in the imperative and name the home that they ask; decisions are in the past tense, of the home's log.
The task is the event's entity, but where a field names it. *Units*: times are ms since 1970.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any, Final

import msgspec
from msgspec import UNSET, UnsetType

DOPAMINE: Final = Decimal(1)
PRIORITY: Final = 5


class Created(msgspec.Struct, omit_defaults=True):
    """A task for whoever claims it. `home` is the log that decides about it, the author's own when absent."""

    title: str
    description: str | None = None
    category: str | None = None
    priority: int = PRIORITY
    team_assignment: str | None = None
    dopamine_reward: Decimal = DOPAMINE
    completion_bonus: dict[str, Any] | None = None
    deadline: int | None = None
    fibonacci_size: int = 1
    value_delivered: Decimal | None = None
    home: bytes | None = None


class Retired(msgspec.Struct):
    """The task is taken off the board by the agent that made it."""


class Voted(msgspec.Struct, omit_defaults=True):
    """For (1) or against (-1) a task; in place of the same agent's vote before."""

    task: bytes
    vote: int
    reason: str | None = None


class Unvoted(msgspec.Struct):
    """The agent has no vote on the task any more."""

    task: bytes


class Commented(msgspec.Struct, omit_defaults=True):
    """What an agent says about a task, in reply to another comment where `parent` names one."""

    task: bytes
    content: str
    parent: bytes | None = None
    attachments: dict[str, Any] | None = None


class CommentEdited(msgspec.Struct, omit_defaults=True):
    """New words for the comment that is the event's entity."""

    content: str | UnsetType = UNSET
    attachments: dict[str, Any] | UnsetType | None = UNSET


class CommentVoted(msgspec.Struct):
    """For (1) or against (-1) a comment."""

    comment: bytes
    vote: int


class CommentUnvoted(msgspec.Struct):
    """The agent has no vote on the comment any more."""

    comment: bytes


# -- requests ----------------------------------------------------------------------------------------------------------


class Ask(msgspec.Struct):
    """To claim, start or release a task."""

    home: bytes


class Submit(msgspec.Struct, omit_defaults=True):
    """To have what was done looked at."""

    home: bytes
    output: Any = None


class Complete(msgspec.Struct, omit_defaults=True):
    """To end a task well, with its reward. `quality` is in [0, 1]."""

    home: bytes
    quality: Decimal | None = None
    output: Any = None


class Fail(msgspec.Struct, omit_defaults=True):
    """To end a task without its reward."""

    home: bytes
    reason: str | None = None


class Depend(msgspec.Struct):
    """To let a task wait for others, beyond those that it waits for already."""

    home: bytes
    on: list[bytes]


# -- decisions ---------------------------------------------------------------------------------------------------------


class Claimed(msgspec.Struct):
    """The task is this agent's."""

    agent: bytes


class Moved(msgspec.Struct):
    """The task was started, or released."""


class Submitted(msgspec.Struct, omit_defaults=True):
    """The task waits for whoever made it to look at it."""

    output: Any = None


class Completed(msgspec.Struct, omit_defaults=True):
    """The task is done, and the agent has its reward."""

    agent: bytes
    dopamine: Decimal
    bonus: dict[str, Any] | None = None
    quality: Decimal | None = None
    output: Any | UnsetType = UNSET


class Failed(msgspec.Struct, omit_defaults=True):
    """The task has come to nothing."""

    reason: str | None = None


class Depended(msgspec.Struct):
    """What the task waits for now, and for each of those all that waits for it now."""

    depends_on: list[bytes]
    blocks: dict[bytes, list[bytes]]
