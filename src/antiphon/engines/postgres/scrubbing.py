"""Room `engines` (imports all below it): what deleted rows leave in a server's files, taken out sooner than by itself.

A deleted row's bytes stay on its page until that is vacuumed, and in the write-ahead log until that is used again: of
the first the feeder takes care here, of the second nobody can from outside. Words stay in a GIN index until that is
made again, which is too dear to do by itself. Personal data is ciphertext in all of them.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterable
from typing import Final

import psycopg

from antiphon.engines.postgres.connection import CONNECT_S_MAX, Server
from antiphon.engines.postgres.ddl import quoted
from antiphon.world.clock import Clock, SystemClock

SCRUB_EVERY_MS: Final = 600_000
"""How often tables are vacuumed that rows were deleted from; the first time at once."""
SCRUB_S_MAX: Final = 20.0
"""What all of that may take; what is left over is done the next time, or by the server itself."""


class Scrubbing:
    """Vacuums the tables of one schema from which rows were deleted. Nothing here ever stops a feeder."""

    def __init__(self, server: Server, schema: str, *, clock: Clock | None = None) -> None:
        self._server, self._schema = server, schema
        self._clock = clock or SystemClock()
        self._touched: set[str] = set()
        self._next_ms = 0.0

    def deleted(self, tables: Iterable[str]) -> None:
        """Rows of these were deleted."""
        self._touched.update(tables)

    def run(self) -> list[str]:
        """Vacuums what is due, over a connection of its own; which tables. *Cost*: pages with deleted rows are read
        and written again.
        """
        began = self._clock.monotonic_ms()
        if not self._touched or began < self._next_ms:
            return []
        self._next_ms = began + SCRUB_EVERY_MS
        done: list[str] = []
        with (
            contextlib.suppress(psycopg.Error),
            psycopg.connect(  # refused, cut, too long: some day the server does it
                self._server.url, autocommit=True, prepare_threshold=None, connect_timeout=CONNECT_S_MAX
            ) as session,
        ):
            ending = threading.Timer(SCRUB_S_MAX, session.cancel)
            ending.daemon = True
            ending.start()
            try:
                for name in sorted(self._touched):
                    session.execute(f"VACUUM (SKIP_LOCKED) {quoted(self._schema)}.{quoted(name)}")
                    done.append(name)
            finally:
                ending.cancel()
        self._touched.difference_update(done)
        return done
