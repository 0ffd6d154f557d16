"""Room `serve` (imports `engines` and below): what the servers need of an agent, as `antiphon.Agent` has it."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

from antiphon.model.event import Event
from antiphon.query.rows import Rows


class Receipt(Protocol):
    """What was recorded."""

    @property
    def event(self) -> str: ...
    @property
    def entity(self) -> str | None: ...
    @property
    def recorded_ms(self) -> int: ...


class Found(Protocol):
    """One answer of recall."""

    @property
    def event(self) -> str: ...
    @property
    def entity(self) -> str: ...
    @property
    def table(self) -> str: ...
    @property
    def type(self) -> str: ...
    @property
    def author(self) -> str: ...
    @property
    def time(self) -> str: ...
    @property
    def text(self) -> str: ...
    @property
    def namespace(self) -> str: ...
    @property
    def score(self) -> float: ...
    @property
    def superseded_by(self) -> str | None: ...


class Rememberer(Protocol):
    """An agent that remembers, recalls and proves. Threads may share it."""

    @property
    def name(self) -> str: ...
    @property
    def principal(self) -> str: ...

    def remember(
        self,
        text: str,
        *,
        type: str,
        significance: float,
        namespace: str,
        user: str | None,
        tags: Sequence[str] | None,
        occurred: str | None,
        supersedes: str | None,
    ) -> Receipt:
        """A memory, on disk when this returns."""
        ...

    def recall(
        self,
        query: str,
        *,
        limit: int,
        since: str | None,
        until: str | None,
        namespace: str | None,
        user: str | None,
    ) -> Sequence[Found]:
        """What answers a question, best first."""
        ...

    def event(self, event: str) -> Event:
        """One event by its id."""
        ...

    def history(self, entity: str) -> Sequence[Event]:
        """Everything recorded about an entity, in order."""
        ...

    def prove(self, event: str) -> bytes:
        """A proof file."""
        ...

    def request_forget(self, event: str) -> Receipt:
        """Asks the owner to forget an event; nothing is erased by that."""
        ...

    def forget_requests(self) -> Sequence[dict[str, str]]:
        """The requests that nobody has answered yet."""
        ...


class Recording(Protocol):
    """A block of commands that are committed together."""

    def record(self, kind: str, body: Any, *, entity: str | None) -> None:
        """An event of a declared kind about an entity."""
        ...


class Keeper(Protocol):
    """An agent that keeps items. Threads may share it."""

    @property
    def id(self) -> str: ...

    def batch(self) -> AbstractContextManager[Recording]:
        """Collects commands, commits them when the block ends."""
        ...

    def table(self, name: str) -> Rows:
        """The rows of a declared table."""
        ...

    def recall(self, query: str, *, limit: int, kind: str, below: str | None) -> Sequence[Found]:
        """What answers a question, best first."""
        ...
