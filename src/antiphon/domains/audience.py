"""Room `domains` (imports `views` and below): for whom what is recorded of people is: the agent, a circle, everybody.

Shared tables fold no private events. What an agent keeps there for itself is for a circle of which it is the only
member: sync gives it to nobody else, and rows of it are read by that agent alone.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from antiphon.model.errors import InvalidInput
from antiphon.model.event import Event, Scope
from antiphon.model.table import Access, Column, Merge, Type, parties
from antiphon.model.text import natural_id

OWN: Final = "own"
CIRCLE: Final = "circle"
ALL: Final = "all"
CIRCLE_BYTES: Final = 16


class Audience(msgspec.Struct, frozen=True):
    """A scope, and the circle that goes with it."""

    scope: Scope
    circle: bytes | None = None

    @property
    def how(self) -> dict[str, Any]:
        """As `Recorder.record` and `Recorder.request` take it."""
        return {"scope": self.scope, "circle": self.circle}


EVERYBODY: Final = Audience(Scope.PUBLIC)


def own_circle(agent: bytes) -> bytes:
    """The circle of one agent alone."""
    return natural_id("circle/own", agent.hex())


def of_agent(agent: bytes) -> Audience:
    """For that agent alone."""
    return Audience(Scope.CIRCLE, own_circle(agent))


def of_circle(circle: bytes) -> Audience:
    """For a circle. Raises InvalidInput where that is none."""
    if type(circle) is not bytes or len(circle) != CIRCLE_BYTES:
        raise InvalidInput(f"a circle is named by {CIRCLE_BYTES} bytes, not {circle!r:.60}")
    return Audience(Scope.CIRCLE, circle)


def of_row(row: Any) -> Audience:
    """Those for whom a row is: what is said of it afterwards is for nobody else."""
    return EVERYBODY if row["circle"] is None else Audience(Scope.CIRCLE, row["circle"])


def columns() -> tuple[Column, Column]:
    """What a table of people has beside its fields."""
    return (
        Column("audience", Type.ENUM, nullable=False, default=ALL, values=(OWN, CIRCLE, ALL), merge=Merge.ONCE,
               doc="whose it is to read: its agent's alone, a circle's, everybody's"),
        Column("circle", Type.ID, merge=Merge.ONCE, doc="which circle"),
    )  # fmt: skip


ACCESS: Final[Access] = parties(besides=("audience", (CIRCLE, ALL)))
"""The agent whose it is, and everybody else where it is not for that agent alone."""


def said_by(event: Event) -> dict[str, Any]:
    """Those columns of the row that an event makes."""
    circle = event.header.circle
    if event.header.scope != Scope.CIRCLE or circle is None:
        return {"audience": ALL, "circle": None}
    return {"audience": OWN if circle == own_circle(event.author) else CIRCLE, "circle": circle}
