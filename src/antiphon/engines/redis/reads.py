"""Room `engines` (imports all below it): how all readers' reads went, by hour and place, kept beside the rows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgspec
import redis
from redis.commands.core import Script

from antiphon.engines.redis.connection import asking, connected
from antiphon.model.errors import InvalidInput
from antiphon.model.places import HOUR_MS
from antiphon.query.reach import PlaceStats

HOURS_MAX: Final = 48
"""Hours of reads that are kept."""
_FIELDS: Final = ("hits", "misses", "failures", "stale")
_ADD: Final = """
local hour = math.floor(redis.call('TIME')[1] / 3600)
local key = KEYS[1] .. string.format('%d', hour)
for at = 2, #ARGV, 2 do redis.call('HINCRBY', key, ARGV[at], ARGV[at + 1]) end
redis.call('EXPIRE', key, ARGV[1])
return hour
"""


class ServerReads(msgspec.Struct, frozen=True):
    """What a server says of all that was asked of it since it began, by whomever."""

    keyspace_hits: int
    keyspace_misses: int
    evicted_keys: int
    expired_keys: int
    used_memory_bytes: int

    @property
    def hit_rate(self) -> float:
        asked = self.keyspace_hits + self.keyspace_misses
        return self.keyspace_hits / asked if asked else 0.0


class RedisReads:
    """Counts of reads, by the hours of the server's clock: a hash `antiphon:reads:HOUR` each, for HOURS_MAX hours."""

    def __init__(self, client: redis.Redis, url: str, *, prefix: str = "") -> None:
        self._client, self._url = client, url
        self._add: Script = client.register_script(_ADD)
        self._lead = f"{prefix}antiphon:reads:"

    @staticmethod
    def at(url: str, *, prefix: str = "") -> RedisReads:
        """Over a connection of its own."""
        return RedisReads(connected(url), url, prefix=prefix)

    def close(self) -> None:
        """Ends the connection."""
        self._client.close()

    def add(self, reads: Sequence[PlaceStats]) -> None:
        """Adds to this hour's counts. *Cost*: one round trip."""
        said = [str(part) for one in reads for name in _FIELDS if getattr(one, name)
                for part in (f"{one.name}:{name}", getattr(one, name))]  # fmt: skip
        if said:
            with asking(self._url):
                self._add(keys=[self._lead], args=[str(HOURS_MAX * 3_600), *said])

    def found(self, *, hours: int = 24) -> list[PlaceStats]:
        """What was read of each place in this hour and those before it, nearest place first. Raises InvalidInput."""
        if not 1 <= hours <= HOURS_MAX:
            raise InvalidInput(f"reads of 1 to {HOURS_MAX} hours are kept, not of {hours}")
        with asking(self._url):
            answer: Any = self._client.time()
            now = answer[0] * 1_000 // HOUR_MS
            pipe = self._client.pipeline(transaction=False)
            for hour in range(now - hours + 1, now + 1):
                pipe.hgetall(f"{self._lead}{hour}")
            return _summed(pipe.execute())

    def server(self) -> ServerReads:
        """What the server counts itself: of every client, and of writing scripts too."""
        with asking(self._url):
            stats: Any = self._client.info("stats")
            memory: Any = self._client.info("memory")
        counts = {name: int(stats[name]) for name in ServerReads.__struct_fields__[:-1]}
        return ServerReads(**counts, used_memory_bytes=int(memory["used_memory"]))


_NEAREST: Final = ("process", "file", "cache", "store")


def _summed(hours: Iterable[dict[bytes, bytes]]) -> list[PlaceStats]:
    found: dict[str, PlaceStats] = {}
    for hour in hours:
        for field, count in hour.items():
            name, _, what = field.decode().rpartition(":")
            stats = found.setdefault(name, PlaceStats(name))
            setattr(stats, what, getattr(stats, what) + int(count))
    return sorted(found.values(), key=lambda one: (*(one.name != name for name in _NEAREST), one.name))
