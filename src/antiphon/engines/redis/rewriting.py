"""Room `engines` (imports all below it): what deleted rows leave in a server's append-only file, taken out sooner than
by itself: the server is asked to write it anew. Personal data is ciphertext there.
"""

from __future__ import annotations

import contextlib
from typing import Any, Final

import redis

from antiphon.world.clock import Clock, SystemClock

REWRITE_EVERY_MS: Final = 600_000
"""How often the file is written anew after rows were deleted; the first time at once."""


class Rewriting:
    """Asks one server for it. One that has no such file, or forbids it, is left alone; nothing here stops a feeder."""

    def __init__(self, client: redis.Redis, *, clock: Clock | None = None) -> None:
        self._client, self._clock = client, clock or SystemClock()
        self._is_due = False
        self._next_ms = 0.0

    def deleted(self) -> None:
        """Rows were deleted."""
        self._is_due = True

    def run(self) -> bool:
        """Asks the server where rows were deleted since the last time; whether it does it. It goes on meanwhile."""
        now = self._clock.monotonic_ms()
        if not self._is_due or now < self._next_ms:
            return False
        self._next_ms = now + REWRITE_EVERY_MS
        with contextlib.suppress(redis.RedisError):
            info: Any = self._client.info("persistence")
            if int(info.get("aof_enabled", 0)):
                self._client.bgrewriteaof()
                self._is_due = False
                return True
            self._is_due = False
        return False
