"""Room `engines` (imports all below it): rows out of Redis, as a place within reach of a read."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Final

from redis.commands.core import Script

from antiphon.engines.redis import scripts
from antiphon.engines.redis.connection import ANSWER_S_MAX, asking, connected
from antiphon.engines.redis.entries import DIGITS, kept, kept_since, unpacked
from antiphon.engines.redis.reads import RedisReads
from antiphon.model.errors import Unavailable
from antiphon.model.table import Table
from antiphon.query.access import Reader, seen_by
from antiphon.query.reach import Found, Gone, PlaceStats, refuse_unsealed

KEPT_MS: Final = 60_000
"""How long a row stays that was read from a further place: no feeder may ever write it again."""


class RedisRows:
    """Single rows, under the reader's row access; see `query.reach.Place`. *Cost*: one round trip a row."""

    name: Final = "cache"

    def __init__(
        self, url: str, declared: Mapping[str, Table], *, prefix: str = "", answer_s_max: float = ANSWER_S_MAX
    ) -> None:
        self._url, self._prefix, self._declared = url, prefix, declared
        self._client = connected(url, answer_s_max=answer_s_max)
        self._read: Script = self._client.register_script(scripts.READ)
        self._reads = RedisReads(self._client, url, prefix=prefix)
        self._asked = threading.local()

    def close(self) -> None:
        """Ends the connections."""
        self._client.close()

    def _key(self, table: Table, key: bytes) -> bytes:
        return f"{self._prefix}row:{table.name}:".encode() + key

    def find(self, table: Table, key: bytes, reader: Reader) -> Found | Gone | None:
        refuse_unsealed(table, self.name)
        with asking(self._url):
            raw, age, now = self._read(keys=[self._key(table, key), f"{self._prefix}antiphon:pulse"])
        self._asked.ms = int(now)
        if raw is None:
            return None
        if int(age) < 0:
            raise Unavailable("nobody has fed this Redis to the end yet")
        if len(raw) <= DIGITS:
            return Gone(int(age))
        since = kept_since(raw[DIGITS:])
        age = int(age) if since is None else max(0, int(now) - since)
        values, author = unpacked(table, raw[DIGITS:])
        seen = seen_by(reader, table, self._declared)
        own = not seen.all and author == reader.agent and table.rollup_of is None
        if not own and not seen.holds(reader.agent, -1, values):
            return Gone(age)
        return Found(values, author, age)

    def keep(self, table: Table, key: bytes, found: Found) -> None:
        """Keeps a row of a further place for a minute, unless a feeder has written it, or that it is gone.

        Under version 0: whatever a feeder writes is newer. It is as old as it was in its place when this thread last
        looked here, before it asked there: however long it is on the way, it does not become younger.
        """
        refuse_unsealed(table, self.name)
        with asking(self._url):
            asked = getattr(self._asked, "ms", None) or self._now_ms()
            image = kept(table, found.values, found.author, asked - found.age_ms)
            self._client.set(self._key(table, key), b"0" * DIGITS + image, px=KEPT_MS, nx=True)

    def _now_ms(self) -> int:
        seconds, micros = self._client.time()
        return seconds * 1_000 + micros // 1_000

    def count(self, reads: Sequence[PlaceStats]) -> bool:
        """See `query.reach.Counting`; `antiphon engines reads` shows it."""
        self._reads.add(reads)
        return True
