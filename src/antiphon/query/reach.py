"""Room `query` (imports `knowledge` and below): one row, wherever it is: process, file, region's cache, region's store.

Writes go to the local file alone. A read looks in the nearest place first and goes on while a place has no such row; a
place that does not answer is left out for a while, so that with everything else down the file alone still answers. Each
row says where it is from and how old it may be.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol

import msgspec

from antiphon.model.errors import InvalidInput, Unavailable
from antiphon.model.table import Table
from antiphon.model.values import key_of
from antiphon.query.access import Reader
from antiphon.query.plan import key_of_parts
from antiphon.query.rows import Row, Rows
from antiphon.world.clock import Clock

STALE_MS_MAX: Final = 60_000
"""How far behind its feeders a shared place may be before its rows are left out."""
PAUSE_MS: Final = 1_000.0
PAUSE_MS_MAX: Final = 30_000.0


class Place(Protocol):
    """Somewhere that rows of other files may be read from. All methods raise Unavailable."""

    name: str

    def find(self, table: Table, key: bytes, reader: Reader) -> Found | None:
        """The row, if it is there and this agent may read it, and how old it may be by the place's own clock."""
        ...

    def keep(self, table: Table, key: bytes, found: Found) -> None:
        """Takes a row that a further place had, for as long as it may be stale; places that keep none do nothing."""
        ...


class Found(msgspec.Struct, frozen=True):
    """A row in a shared place: its columns, the agent that it speaks for, and how long ago all that the place's feeder
    knew was there.
    """

    values: dict[str, Any]
    author: bytes | None
    age_ms: int = 0


class PlaceStats(msgspec.Struct):
    """What one place did. `hit_rate` is of what it was asked for."""

    name: str
    hits: int = 0
    misses: int = 0
    failures: int = 0
    stale: int = 0

    @property
    def hit_rate(self) -> float:
        asked = self.hits + self.misses
        return self.hits / asked if asked else 0.0


class Reach:
    """Rows of the local file first, then of shared places, nearest first."""

    def __init__(
        self,
        local: Callable[[str], Rows],
        places: Sequence[Place],
        reader: Callable[[], Reader],
        clock: Clock,
        *,
        stale_ms_max: int = STALE_MS_MAX,
    ) -> None:
        if stale_ms_max <= 0:
            raise InvalidInput("how stale a row may be must be more than 0 ms")
        self._local, self._places, self._reader, self._clock = local, list(places), reader, clock
        self._stale_ms_max = stale_ms_max
        self._resting: dict[str, tuple[float, float]] = {}
        self.stats = {place.name: PlaceStats(place.name) for place in places}

    def get(self, table: str, /, *key: Any, **named: Any) -> Row | None:
        """The row of a key; None where no place that answers has it, or it is not for us.

        `row.source` says where it was found and `row.stale_ms_max` how old it may be. *Cost*: of a row in the process
        or in the file, that of `Rows.get`; of others a round trip a place.
        """
        rows = self._local(table)
        found = rows.get(*key, **named)
        if found is not None:
            return found
        declared = rows.table
        raw = key_of(declared, key_of_parts(declared, key, named))
        reader = self._reader()
        for at, place in enumerate(self._places):
            answer = self._ask(place, declared, raw, reader)
            if answer is None:
                continue
            for nearer in self._places[:at]:
                self._kept(nearer, declared, raw, answer)
            return Row(answer.values, n=0, log=-1, seq=-1, stale_ms_max=answer.age_ms, source=place.name)
        return None

    def _ask(self, place: Place, table: Table, key: bytes, reader: Reader) -> Found | None:
        stats = self.stats[place.name]
        if self._clock.monotonic_ms() < self._resting.get(place.name, (0.0, 0.0))[0]:
            return None
        try:
            found = place.find(table, key, reader)
        except Unavailable:
            stats.failures += 1
            self._rest(place)
            return None
        self._resting.pop(place.name, None)
        if found is None:
            stats.misses += 1
            return None
        if found.age_ms > self._stale_ms_max:
            stats.stale += 1
            return None
        stats.hits += 1
        return found

    def _kept(self, place: Place, table: Table, key: bytes, found: Found) -> None:
        if place.name in self._resting:
            return
        try:
            place.keep(table, key, found)
        except Unavailable:
            self._rest(place)

    def _rest(self, place: Place) -> None:
        """Leaves a place out, longer each time."""
        _, pause = self._resting.get(place.name, (0.0, PAUSE_MS / 2))
        pause = min(2 * pause, PAUSE_MS_MAX)
        self._resting[place.name] = self._clock.monotonic_ms() + pause, pause
