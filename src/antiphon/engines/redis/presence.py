"""Room `engines` (imports all below it): who is there: heartbeats with an expiry, in Redis alone and in no log."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from antiphon.engines.redis.connection import ANSWER_S_MAX, asking, connected
from antiphon.model.errors import InvalidInput
from antiphon.model.text import id_text, parse_id

ALIVE_MS: Final = 90_000
"""An agent that has not been heard of for so long is not there."""
AGENTS_MAX: Final = 10_000
_BEAT: Final = """
local now = redis.call('TIME')
local ms = now[1] * 1000 + math.floor(now[2] / 1000)
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
redis.call('ZADD', KEYS[2], ms, ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', ms - ARGV[3])
return ms
"""
_THERE: Final = """
local now = redis.call('TIME')
local ms = now[1] * 1000 + math.floor(now[2] / 1000)
return {ms, redis.call('ZRANGEBYSCORE', KEYS[1], ms - ARGV[1], '+inf', 'WITHSCORES', 'LIMIT', 0, ARGV[2])}
"""


class Present(msgspec.Struct, frozen=True):
    """An agent that is there, and how long ago it said so by the server's clock. *Units*: ms."""

    agent: bytes
    ago_ms: int


class RedisPresence:
    """Heartbeats. The server's clock alone counts, so agents whose clocks differ are seen alike.

    The key `agent:ID:active` is there while the agent is; the sorted set `agents:active` lists them by their last beat.
    """

    def __init__(
        self, url: str, *, prefix: str = "", alive_ms: int = ALIVE_MS, answer_s_max: float = ANSWER_S_MAX
    ) -> None:
        if alive_ms <= 0:
            raise InvalidInput("how long an agent counts as there must be more than 0 ms")
        self._url, self._prefix, self._alive_ms = url, prefix, alive_ms
        self._client = connected(url, answer_s_max=answer_s_max)
        self._beat, self._there = self._client.register_script(_BEAT), self._client.register_script(_THERE)
        self._all = f"{prefix}agents:active"

    def close(self) -> None:
        """Ends the connections."""
        self._client.close()

    def beat(self, agent: bytes, *, doing: str = "1") -> None:
        """Says that an agent is there. *Cost*: one round trip."""
        keys = [f"{self._prefix}agent:{id_text(agent)}:active", self._all]
        with asking(self._url):
            self._beat(keys=keys, args=[id_text(agent), doing, str(self._alive_ms)])

    def leave(self, agent: bytes) -> None:
        """Says that it is not there any more."""
        with asking(self._url):
            self._client.delete(f"{self._prefix}agent:{id_text(agent)}:active")
            self._client.zrem(self._all, id_text(agent))

    def there(self, *, limit: int = AGENTS_MAX) -> list[Present]:
        """Who is there, longest silent first; at most AGENTS_MAX."""
        with asking(self._url):
            now, found = self._there(keys=[self._all], args=[str(self._alive_ms), str(min(limit, AGENTS_MAX))])
        pairs: list[Any] = [*zip(found[::2], found[1::2], strict=True)]
        return [Present(parse_id(name.decode()), int(now) - int(float(at))) for name, at in pairs]

    def is_there(self, agent: bytes) -> bool:
        """Whether an agent was heard of lately."""
        with asking(self._url):
            return bool(self._client.exists(f"{self._prefix}agent:{id_text(agent)}:active"))
