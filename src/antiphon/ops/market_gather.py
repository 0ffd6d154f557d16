"""Room `ops` (imports `engines` and below): the events of many records appended at once.

One signature and one entry of the feed are then for all of them; each for itself costs several times as much.

What is gathered is in no row yet. So a record that may be about something of it has it recorded first
(`Gathering.meet`), and what would be written twice nevertheless ends the gathering (`Stale`): it is done one by one.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager
from typing import Any, Final, Protocol, cast

import msgspec

from antiphon.domains.market import keys, names
from antiphon.model.errors import Conflict
from antiphon.ops.market_rows import Record
from antiphon.views.commands import Answer, Receipt, Recorder, TableRows
from antiphon.world.clock import Clock

_MAKING: Final = (names.PERSONA_RECORDED, names.CREATED)
"""Kinds whose events make an id that is needed at once."""


class Batching(Recorder, Protocol):
    """A recorder that appends many events at once: an `Agent`."""

    def batch(self) -> AbstractContextManager[Any]:
        """Collects what is recorded within, and appends it at the end."""
        ...


class Later(msgspec.Struct, frozen=True):
    """The receipt of an event that is not recorded yet: it has no place."""

    entity: str | None
    event: str = ""
    recorded_ms: int = 0


class Stale(Conflict):
    """Something was to be written that is gathered already, by who has not seen that."""


class Gathering:
    """A recorder that keeps events back until `flush`. Use it within `together` of the recorder behind it."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._kept: list[tuple[str, Any, dict[str, Any]]] = []
        self._entities: set[str] = set()
        self._here: set[str] = set()
        self._keys: set[tuple[str, ...]] = set()

    @property
    def id(self) -> str:
        """As the recorder behind it, and so are all that follow."""
        return self._recorder.id

    @property
    def log_id(self) -> bytes:
        """The log that it writes."""
        return self._recorder.log_id

    @property
    def clock(self) -> Clock:
        """What it goes by."""
        return self._recorder.clock

    def table(self, name: str) -> TableRows:
        """The rows of one table, without what is kept back."""
        return self._recorder.table(name)

    def together(self) -> AbstractContextManager[None]:
        """All or nothing."""
        return self._recorder.together()

    def request(self, kind: str, body: Any, *, entity: str, **how: Any) -> Answer:
        """Asks a home to decide, which sees all that was recorded of that."""
        if entity in self._entities | self._here:
            self.flush()
        return self._recorder.request(kind, body, entity=entity, **how)

    def record(self, kind: str, body: Any, *, entity: str | None = None, **how: Any) -> Receipt:
        """Keeps an event back, but for one that makes an id. Raises Stale."""
        if entity is None and kind in _MAKING:
            return self._recorder.record(kind, body, **how)
        if entity is not None:
            self.check(entity)
            self._here.add(entity)
        self._kept.append((kind, body, {"entity": entity, **how}))
        return cast(Receipt, Later(entity))

    def meet(self, sort: str, record: Record) -> None:
        """A record comes: what it may be about is in the rows then."""
        self._entities |= self._here
        self._here = set()
        about = set(_all_keys(sort, record))
        if not about.isdisjoint(self._keys):
            self.flush()
        self._keys |= about

    def check(self, entity: str) -> None:
        """Raises Stale where an earlier record was about this: its row says what it was before that."""
        if entity in self._entities:
            raise Stale(f"{entity} stands twice in what is recorded at once")

    def flush(self) -> None:
        """Records what was kept back."""
        kept, self._kept = self._kept, []
        self._entities, self._here, self._keys = set(), set(), set()
        if kept:
            with cast(Batching, self._recorder).batch() as batch:
                for kind, body, how in kept:
                    batch.record(kind, body, **how)


def gathering_of(recorder: Recorder) -> Gathering | None:
    """A gathering of what a recorder would record, None where it appends one by one."""
    return Gathering(recorder) if hasattr(recorder, "batch") else None


def _all_keys(sort: str, record: Record) -> Iterable[tuple[str, ...]]:
    """Everything by which a record may be found."""
    said = record.fields
    for called in (record.id, *record.others):
        if called is not None:
            yield "id", called
    if said.get("website") and sort == "companies":
        yield "site", keys.site_key(said["website"])
    if said.get("email"):
        yield "email", said["email"]
    if said.get("name"):
        yield "name", keys.company_key(said["name"])
