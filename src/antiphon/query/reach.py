"""Room `query` (imports `knowledge` and below): one row, wherever it is: process, file, region's cache, region's store.

Writes go to the local file alone. A read looks in the nearest place first and goes on while a place knows nothing of
the row; what the file has had is never taken from elsewhere, and what a nearer place knows to be gone is not asked
for further away. A place that does not answer is left out for a while, so that with everything else down the file
alone still answers. Each row says where it is from and how old it may be.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import ceil
from typing import Any, Final, Protocol, runtime_checkable

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
TELL_EVERY_MS: Final = 10_000.0
"""How often a reader tells the place that counts what it has read."""
PROCESS: Final = "process"
FILE: Final = "file"


def refuse_unsealed(table: Table, place: str) -> None:
    """Raises InvalidInput for a table with personal data: a place is given what `sealing` makes of it."""
    if table.personal:
        raise InvalidInput(
            f"{table.name}: {table.personal[0]!r} is personal data, and this {place} would be asked for it unsealed: "
            "read it by `agent.reach`, which seals, or put SealedPlace or SealedSource around the engine",
            table=table.name,
        )


class Place(Protocol):
    """Somewhere that rows of other files may be read from. All methods raise Unavailable."""

    name: str

    def find(self, table: Table, key: bytes, reader: Reader) -> Found | Gone | None:
        """The row, if this agent may read it, or that there is none for it; None where the place knows nothing of it,
        or has no such table. Raises InvalidInput for personal data that would be read or kept unsealed.
        """
        ...

    def keep(self, table: Table, key: bytes, found: Found) -> None:
        """Takes a row that a further place had, for as long as it may be stale; places that keep none do nothing."""
        ...


class Found(msgspec.Struct, frozen=True):
    """A row in a shared place: its columns, the agent that it speaks for, and how old it may be by the place's own
    clock: how long ago all that the place's feeder knew was there; of a row that was kept from a further place, how
    long ago that was, and how old it was then.
    """

    values: dict[str, Any]
    author: bytes | None
    age_ms: int = 0


class Gone(msgspec.Struct, frozen=True):
    """What a place says of a row that was there and is deleted, or is another's: further ones can only be behind."""

    age_ms: int = 0


@runtime_checkable
class Counting(Protocol):
    """What a place has besides that keeps count of all readers' reads, for those who run it. Raises Unavailable."""

    def count(self, reads: Sequence[PlaceStats]) -> bool:
        """Adds what was read of each place since the last time; whether it counts at all."""
        ...


class PlaceStats(msgspec.Struct):
    """What one place did: rows it had (or knew to be gone), had not, had too old, and times that it did not answer.

    `hit_rate` is of what it was asked for, 0 where nothing was.
    """

    name: str
    hits: int = 0
    misses: int = 0
    failures: int = 0
    stale: int = 0

    @property
    def asked(self) -> int:
        """How often it was asked."""
        return self.hits + self.misses + self.failures + self.stale

    @property
    def hit_rate(self) -> float:
        return self.hits / self.asked if self.asked else 0.0

    def since(self, before: PlaceStats) -> PlaceStats:
        """What has come since then."""
        counts = (getattr(self, name) - getattr(before, name) for name in _COUNTS)
        return PlaceStats(self.name, *counts)


_COUNTS: Final = PlaceStats.__struct_fields__[1:]


class Reach:
    """Rows of the local file first, then of shared places, nearest first."""

    def __init__(
        self,
        local: Callable[[str], Rows],
        places: Sequence[Place],
        reader: Callable[[], Reader],
        clock: Clock,
        *,
        knows: Callable[[Table, bytes], bool] = lambda table, key: False,
        stale_ms_max: int = STALE_MS_MAX,
    ) -> None:
        if stale_ms_max <= 0:
            raise InvalidInput("how stale a row may be must be more than 0 ms")
        self._local, self._places, self._reader, self._clock = local, list(places), reader, clock
        self._knows, self._stale_ms_max = knows, stale_ms_max
        self._resting: dict[tuple[str, str], tuple[float, float]] = {}
        names = (PROCESS, FILE, *(place.name for place in places))
        self.stats = {name: PlaceStats(name) for name in names}
        """By place, the process's own memory and the file before the shared ones."""
        self._told = {name: PlaceStats(name) for name in names}
        self._told_ms = clock.monotonic_ms()

    def get(self, table: str, /, *key: Any, **named: Any) -> Row | None:
        """The row of a key; None where no place that answers has it, or it is not for us, or was in this file and is
        gone.

        `row.source` says where it was found and `row.stale_ms_max` how old it may be. *Cost*: of a row in the process
        or in the file, that of `Rows.get`; of others a round trip a place.
        """
        rows = self._local(table)
        found = rows.get(*key, **named)
        self._count_local(found)
        if found is not None:
            return found
        if self._clock.monotonic_ms() - self._told_ms >= TELL_EVERY_MS:
            self.tell()
        declared = rows.table
        raw = key_of(declared, key_of_parts(declared, key, named))
        if self._knows(declared, raw):
            return None
        answer, at = self._asked(declared, raw)
        if self._knows(declared, raw):  # it has come, or gone, while we asked
            return rows.get(*key, **named)
        if not isinstance(answer, Found):
            return None
        for nearer in self._places[:at]:
            self._kept(nearer, declared, raw, answer)
        name = self._places[at].name
        return Row(answer.values, n=0, log=-1, seq=-1, stale_ms_max=answer.age_ms, source=name)

    def _asked(self, table: Table, key: bytes) -> tuple[Found | Gone | None, int]:
        """What the nearest place that knows of the row says, and which one that is."""
        reader = self._reader()
        for at, place in enumerate(self._places):
            answer = self._ask(place, table, key, reader)
            if answer is not None:
                return answer, at
        return None, -1

    def tell(self) -> None:
        """Tells the nearest place that counts what was read since the last time; done now and then without asking.

        What it does not answer to is told another time.
        """
        self._told_ms = self._clock.monotonic_ms()
        new = [self.stats[name].since(told) for name, told in self._told.items()]
        asked = [one for one in new if one.asked]
        for place in self._places:
            act = place.name, "count"
            if asked and isinstance(place, Counting) and not self._rests(act):
                try:
                    if not place.count(asked):
                        continue
                except Unavailable:
                    self._rest(act)
                    continue
                self._resting.pop(act, None)
                self._told = {name: msgspec.structs.replace(stats) for name, stats in self.stats.items()}
                return

    def _count_local(self, found: Row | None) -> None:
        """The process keeps rows for a moment, the file for good: what neither has is a miss of both."""
        kept = found is not None and found.stale_ms_max > 0
        self.stats[PROCESS].hits += kept
        self.stats[PROCESS].misses += not kept
        if not kept:
            self.stats[FILE].hits += found is not None
            self.stats[FILE].misses += found is None

    def _ask(self, place: Place, table: Table, key: bytes, reader: Reader) -> Found | Gone | None:
        stats = self.stats[place.name]
        act = place.name, "find"
        if self._rests(act):
            return None
        began = self._clock.monotonic_ms()
        try:
            found = place.find(table, key, reader)
        except Unavailable:
            stats.failures += 1
            self._rest(act)
            return None
        self._resting.pop(act, None)
        if found is None:
            stats.misses += 1
            return None
        if found.age_ms > self._stale_ms_max:
            stats.stale += 1
            return None
        stats.hits += 1
        spent = ceil(self._clock.monotonic_ms() - began)  # it was as old as it says while it was on its way
        return msgspec.structs.replace(found, age_ms=found.age_ms + spent)

    def _kept(self, place: Place, table: Table, key: bytes, found: Found) -> None:
        """What a full place does not take, it may still be asked for."""
        act = place.name, "keep"
        if (place.name, "find") in self._resting or self._rests(act):
            return
        try:
            place.keep(table, key, found)
        except Unavailable:
            self._rest(act)
        else:
            self._resting.pop(act, None)

    def _rests(self, act: tuple[str, str]) -> bool:
        return self._clock.monotonic_ms() < self._resting.get(act, (0.0, 0.0))[0]

    def _rest(self, act: tuple[str, str]) -> None:
        """Leaves a place out, longer each time."""
        _, pause = self._resting.get(act, (0.0, PAUSE_MS / 2))
        pause = min(2 * pause, PAUSE_MS_MAX)
        self._resting[act] = self._clock.monotonic_ms() + pause, pause
