"""Room `query` (imports `knowledge` and below): rows kept in the process between changes of the file."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from copy import deepcopy
from typing import Any, Final

import msgspec

ROWS_MAX: Final = 4_096
STALE_MS_MAX: Final = 50
"""How far behind other processes a kept row may be; behind this one it never is."""


class CacheStats(msgspec.Struct, frozen=True):
    """How a cache does. `hit_rate` is of all that was asked for, 0 where nothing was. *Units*: ms."""

    hits: int
    misses: int
    hit_rate: float
    rows: int
    rows_max: int = ROWS_MAX
    stale_ms_max: int = STALE_MS_MAX


class RowCache:
    """Answers by key, dropped together as soon as the file is known to have changed.

    `fresh` is a number that changes then: at once after a commit in this process, within STALE_MS_MAX after one in
    another. One cache belongs to one reader. Threads may share it. *Cost*: about 1 µs a hit.
    """

    def __init__(self, fresh: Callable[[], int], *, rows_max: int = ROWS_MAX) -> None:
        self._fresh = fresh
        self._rows_max = rows_max
        self._kept: tuple[int, dict[Hashable, tuple[dict[str, Any], tuple[str, ...]]]] = (-1, {})
        self.hits = 0
        self.misses = 0

    def get(self, key: Hashable, load: Callable[[], dict[str, Any] | None]) -> dict[str, Any] | None:
        """A copy of the answer to this key; `load` finds it when it is not kept. None is never kept."""
        return self.find(key, load)[0]

    def find(self, key: Hashable, load: Callable[[], dict[str, Any] | None]) -> tuple[dict[str, Any] | None, bool]:
        """As `get`, and whether it was kept."""
        fresh = self._fresh()
        stamp, rows = self._kept
        if stamp == fresh:
            kept = rows.get(key)
            if kept is not None:
                self.hits += 1
                return _copied(*kept), True
        else:
            rows = {}
            self._kept = (fresh, rows)
        self.misses += 1
        found = load()
        if found is not None and len(rows) < self._rows_max:
            kept = rows[key] = found, tuple(name for name, value in found.items() if isinstance(value, list | dict))
            return _copied(*kept), False
        return found, False

    def stats(self) -> CacheStats:
        """What was asked for so far, how much of it was kept, and how many rows are."""
        asked = self.hits + self.misses
        return CacheStats(
            self.hits, self.misses, self.hits / asked if asked else 0.0, len(self._kept[1]), self._rows_max
        )


def _copied(row: dict[str, Any], changeable: tuple[str, ...]) -> dict[str, Any]:
    """A row that the caller may change without changing what is kept."""
    found = row.copy()
    for name in changeable:
        found[name] = deepcopy(found[name])
    return found
