"""Room `engines` (imports all below it): who is there: heartbeats with an expiry, in Redis alone and in no log.

What they come to by the hour is counted beside them (`beats.py`), and recorded by whoever keeps presence.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from antiphon.engines.redis import beats
from antiphon.engines.redis.connection import ANSWER_S_MAX, asking, connected
from antiphon.engines.redis.entries import owner_of
from antiphon.model.errors import InvalidInput
from antiphon.model.text import id_text, parse_id

ALIVE_MS: Final = 90_000
"""An agent that has not been heard of for so long is not there."""
AGENTS_MAX: Final = 10_000
_BEAT: Final = (
    beats.COUNT
    + """
local now = redis.call('TIME')
local ms = now[1] * 1000 + math.floor(now[2] / 1000)
local more = tonumber(ARGV[7])
count_beat(KEYS[3], ARGV[1], ms, tonumber(ARGV[3]), tonumber(ARGV[4]), ARGV[5], tonumber(ARGV[6]), more)
if more == 0 then
  redis.call('DEL', KEYS[1], KEYS[4])
  redis.call('ZREM', KEYS[2], ARGV[1])
  return ms
end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
redis.call('DEL', KEYS[4])
redis.call('HSET', KEYS[4], 'row', '', 'rank', '')
redis.call('PEXPIRE', KEYS[4], ARGV[3])
redis.call('ZADD', KEYS[2], ms, ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', ms - ARGV[3])
return ms
"""
)
"""KEYS: flag, all, periods, the flag's owner (no row is). ARGV: agent, what it does, how long it counts as there, the
period, how long periods are kept, how many agents one counts, and 1 for a heartbeat, 0 for leaving.
"""
_THERE: Final = """
local now = redis.call('TIME')
local ms = now[1] * 1000 + math.floor(now[2] / 1000)
return {ms, redis.call('ZRANGEBYSCORE', KEYS[1], ms - ARGV[1], '+inf', 'WITHSCORES', 'LIMIT', 0, ARGV[2])}
"""
_IS_THERE: Final = """
local beat = redis.call('ZSCORE', KEYS[1], ARGV[1])
local now = redis.call('TIME')
return beat and now[1] * 1000 + math.floor(now[2] / 1000) - beat <= tonumber(ARGV[2]) and 1 or 0
"""


class Present(msgspec.Struct, frozen=True):
    """An agent that is there, and how long ago it said so by the server's clock. *Units*: ms."""

    agent: bytes
    ago_ms: int


class RedisPresence:
    """Heartbeats. The server's clock alone counts, so agents whose clocks differ are seen alike.

    The sorted set `agents:active` lists agents by their last beat, and says alone who is there. The key
    `agent:ID:active` is there for others to read; rows of `agent_registry` put it there too, for the log's heartbeats.
    """

    def __init__(
        self,
        url: str,
        *,
        prefix: str = "",
        alive_ms: int = ALIVE_MS,
        period_ms: int = beats.PERIOD_MS,
        answer_s_max: float = ANSWER_S_MAX,
    ) -> None:
        if alive_ms <= 0:
            raise InvalidInput("how long an agent counts as there must be more than 0 ms")
        self._counted = [str(beats.checked(period_ms, alive_ms)), str(beats.BEATS_KEPT_MS), str(beats.HEARD_MAX)]
        self._periods = beats.lead_of(prefix, period_ms)
        self._url, self._prefix, self._alive_ms = url, prefix, alive_ms
        self._client = connected(url, answer_s_max=answer_s_max)
        self._beat, self._there = self._client.register_script(_BEAT), self._client.register_script(_THERE)
        self._is_there = self._client.register_script(_IS_THERE)
        self._all = f"{prefix}agents:active"

    def close(self) -> None:
        """Ends the connections."""
        self._client.close()

    def beat(self, agent: bytes, *, doing: str = "1") -> None:
        """Says that an agent is there. *Cost*: one round trip."""
        self._said(agent, doing, "1")

    def leave(self, agent: bytes) -> None:
        """Says that it is not there any more."""
        self._said(agent, "", "0")

    def _said(self, agent: bytes, doing: str, more: str) -> None:
        flag = f"{self._prefix}agent:{id_text(agent)}:active"
        keys = [flag, self._all, self._periods, owner_of(self._prefix, flag.encode())]
        with asking(self._url):
            self._beat(keys=keys, args=[id_text(agent), doing, str(self._alive_ms), *self._counted, more])

    def there(self, *, limit: int = AGENTS_MAX) -> list[Present]:
        """Who is there, longest silent first; at most AGENTS_MAX."""
        with asking(self._url):
            now, found = self._there(keys=[self._all], args=[str(self._alive_ms), str(min(limit, AGENTS_MAX))])
        pairs: list[Any] = [*zip(found[::2], found[1::2], strict=True)]
        return [Present(parse_id(name.decode()), int(now) - int(float(at))) for name, at in pairs]

    def is_there(self, agent: bytes) -> bool:
        """Whether an agent was heard of lately."""
        with asking(self._url):
            return bool(self._is_there(keys=[self._all], args=[id_text(agent), str(self._alive_ms)]))
