"""Room `world` (imports `model`): time, as a port and in its real form. Nothing else reads the system's clock."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """What the time is."""

    def now_ms(self) -> int:
        """Milliseconds since 1970 UTC by the wall clock; may jump."""
        ...

    def monotonic_ms(self) -> float:
        """Milliseconds since some fixed moment; never goes back."""
        ...


class SystemClock:
    """The machine's own clocks."""

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def monotonic_ms(self) -> float:
        return time.monotonic_ns() / 1e6


class ManualClock:
    """A clock that a test or a simulation moves by hand."""

    def __init__(self, now_ms: int = 1_700_000_000_000) -> None:
        self._now_ms = now_ms
        self._monotonic_ms = 0.0

    def now_ms(self) -> int:
        return self._now_ms

    def monotonic_ms(self) -> float:
        return self._monotonic_ms

    def pass_ms(self, ms: int) -> None:
        """Lets time pass: both clocks move."""
        self._now_ms += ms
        self._monotonic_ms += ms

    def set_wall(self, now_ms: int) -> None:
        """Sets the wall clock alone, as an operator or a broken battery does."""
        self._now_ms = now_ms


def sleep_ms(ms: float) -> None:
    """Waits."""
    time.sleep(ms / 1000)
