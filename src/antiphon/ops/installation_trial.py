"""Room `ops` (imports `engines` and below): recording that is only tried: a dry run where nothing can be written."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

import msgspec

from antiphon.model import times
from antiphon.model.event import Scope
from antiphon.model.text import entity_text, parse_entity
from antiphon.model.times import Time
from antiphon.views.commands import Receipt, TableRows, convert, draft_of
from antiphon.views.domain import Registry
from antiphon.world.clock import Clock
from antiphon.world.entropy import Entropy


class Keeper(Protocol):
    """What taking an installation asks of whoever records: an `Agent`, or a `Trial` of one."""

    @property
    def id(self) -> str: ...

    @property
    def clock(self) -> Clock: ...

    def record(
        self, kind: str, body: Any, *, entity: str | None = None, occurred: Time | None = None,
        about: Sequence[str] = (), sources: Sequence[str] = (), scope: Scope = Scope.PRIVATE,
        circle: bytes | None = None,
    ) -> Receipt: ...  # fmt: skip

    def table(self, name: str) -> TableRows: ...

    def together(self) -> AbstractContextManager[None]: ...


class Tried(msgspec.Struct, frozen=True):
    """What would have been recorded; no such event is anywhere."""

    event: str
    entity: str | None
    recorded_ms: int


class Trial:
    """An agent whose events are made, checked against their kinds and limits, and dropped.

    What a row of the moment would refuse is not found out: nothing is folded.
    """

    def __init__(self, agent: Keeper, registry: Registry, entropy: Entropy) -> None:
        self._agent, self._registry, self._entropy = agent, registry, entropy

    @property
    def id(self) -> str:
        """The agent's id, as text."""
        return self._agent.id

    @property
    def clock(self) -> Clock:
        """What the agent goes by."""
        return self._agent.clock

    def record(
        self, kind: str, body: Any, *, entity: str | None = None, occurred: Time | None = None,
        about: Sequence[str] = (), sources: Sequence[str] = (), scope: Scope = Scope.PRIVATE,
        circle: bytes | None = None,
    ) -> Receipt:  # fmt: skip
        """Makes the event and drops it. Raises InvalidInput, LimitExceeded."""
        declared = self._registry.kind(kind)
        made = self._entropy.bytes(16) if entity is None else parse_entity(entity)
        when = None if occurred is None else times.to_ms(occurred)
        draft_of(declared, convert(declared, body), entity=made, occurred=when, scope=scope, circle=circle)
        return Tried("", entity_text(made), self.clock.now_ms())

    def table(self, name: str) -> TableRows:
        """The agent's rows, as they are."""
        return self._agent.table(name)

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """Nothing is recorded, together or not."""
        yield
