"""Room `domains` (imports `views` and below): how a decider says no."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from antiphon.model.event import Event
from antiphon.views.domain import Decider, Decision, Rows


class Refused(Exception):
    """Why a request is refused, in words for whoever asked."""


def decider(*refusing: type[Exception]) -> Callable[[Callable[[Rows, Event, Any], Decision]], Decider]:
    """Makes a decider of a function: where it raises Refused, or an error of these types, that is the refusal."""

    refusals: tuple[type[Exception], ...] = (Refused, *refusing)

    def made(function: Callable[[Rows, Event, Any], Decision]) -> Decider:
        @wraps(function)
        def decide(rows: Rows, event: Event, body: Any) -> Decision:
            try:
                return function(rows, event, body)
            except refusals as why:
                return Decision(refused=str(why))

        return decide

    return made
