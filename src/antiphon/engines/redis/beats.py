"""Room `engines` (imports all below it): what heartbeats came to, by agent and period, until somebody records it.

Counted where they are heard, by the server's clock: a hash a period, `antiphon:beats:PERIOD:N`, of agents to
`beats:first:last:up`; a sorted set lists the periods. One recorder at a time takes what has ended, page by page.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec
import redis
from redis.commands.core import Script

from antiphon.engines.redis.connection import address_of, asking, connected
from antiphon.model.errors import Conflict, InvalidInput
from antiphon.model.places import DAY_MS, HOUR_MS
from antiphon.model.text import id_text, parse_id

PERIOD_MS: Final = HOUR_MS
PERIOD_MS_MIN: Final = 100
BEATS_KEPT_MS: Final = 7 * DAY_MS
"""How long what was heard waits for a recorder."""
HEARD_MAX: Final = 1_000_000
"""Agents counted in one period; further ones are there, and not counted."""
CLAIM_MS: Final = 60_000
"""How long a recorder that says nothing more keeps others out."""

COUNT: Final = """
local function count_beat(lead, agent, ms, alive, period, kept, most, more)
  local function parsed(said)
    local beats, first, last, up = string.match(said, '(%d+):(%d+):(%d+):(%d+)')
    return tonumber(beats), tonumber(first), tonumber(last), tonumber(up)
  end
  local function put(key, beats, first, last, up)
    redis.call('HSET', key, agent, string.format('%d:%d:%d:%d', beats, first, last, up))
  end
  local n = math.floor(ms / period)
  local key, before = lead .. ':' .. string.format('%d', n), lead .. ':' .. string.format('%d', n - 1)
  local had = redis.call('HGET', key, agent)
  if had then
    local beats, first, last, up = parsed(had)
    local gap = math.max(ms - last, 0)
    if gap > alive then gap = 0 end
    put(key, beats + more, first, math.max(ms, last), up + gap)
    return
  end
  if more == 0 or redis.call('HLEN', key) >= most then return end
  local up, prior = 0, redis.call('HGET', before, agent)
  if prior then
    local beats, first, last, was = parsed(prior)
    if ms - last <= alive then
      put(before, beats, first, last, was + n * period - last)
      up = ms - n * period
    end
  end
  put(key, 1, ms, ms, up)
  redis.call('PEXPIRE', key, kept)
  redis.call('ZADD', lead, n, string.format('%d', n))
end
"""
"""Time between two heartbeats counts as up where it is no longer than `alive`, in the period that it lies in."""

_ENDED: Final = """
if redis.call('GET', KEYS[2]) ~= ARGV[1] then return {-1, {}} end
redis.call('PEXPIRE', KEYS[2], ARGV[5])
local now = redis.call('TIME')
local last = math.floor((now[1] * 1000 + now[2] / 1000 - ARGV[3]) / ARGV[2]) - 1
for _, n in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', last)) do
  local found = redis.call('HSCAN', KEYS[1] .. ':' .. n, 0, 'COUNT', ARGV[4])[2]
  if #found > 0 then return {tonumber(n), found} end
  redis.call('ZREM', KEYS[1], n)
end
return {-2, {}}
"""
"""KEYS: periods, claim. ARGV: who, the period, how long an agent counts as there, how many agents, the claim's time."""
_TAKEN: Final = """
if redis.call('GET', KEYS[2]) ~= ARGV[1] then return -1 end
local key = KEYS[1] .. ':' .. ARGV[2]
for at = 3, #ARGV do redis.call('HDEL', key, ARGV[at]) end
if redis.call('EXISTS', key) == 0 then redis.call('ZREM', KEYS[1], ARGV[2]) end
return 0
"""
_CLAIM: Final = """
local owner = redis.call('GET', KEYS[1])
if owner and owner ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
"""
_RELEASE: Final = """
if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end
"""


class Heard(msgspec.Struct, frozen=True):
    """How present an agent was in a period. *Units*: ms; times since 1970 UTC by the server's clock."""

    agent: bytes
    since_ms: int
    period_ms: int
    beats: int
    first_ms: int
    last_ms: int
    up_ms: int


class RedisBeats:
    """What `RedisPresence` has counted. Hours are kept for BEATS_KEPT_MS, unless the server is emptied before."""

    def __init__(self, url: str, *, prefix: str = "", period_ms: int = PERIOD_MS, alive_ms: int) -> None:
        self._url, self._period_ms, self._alive_ms = url, checked(period_ms, alive_ms), alive_ms
        self._client: redis.Redis = connected(url)
        self._lead = lead_of(prefix, period_ms)
        self._claim_key = f"{self._lead}:claim"
        script = self._client.register_script
        self._ended: Script = script(_ENDED)
        self._taken: Script = script(_TAKEN)
        self._claim: Script = script(_CLAIM)
        self._release: Script = script(_RELEASE)

    def close(self) -> None:
        """Ends the connection."""
        self._client.close()

    def claim(self, who: bytes) -> bool:
        """Whether this recorder may take what has ended: no other has asked within CLAIM_MS."""
        with asking(self._url):
            return bool(self._claim(keys=[self._claim_key], args=[id_text(who), str(CLAIM_MS)]))

    def release(self, who: bytes) -> None:
        """Lets others take over at once."""
        with asking(self._url):
            self._release(keys=[self._claim_key], args=[id_text(who)])

    def ended(self, who: bytes, *, limit: int) -> list[Heard]:
        """Some of what was heard in the oldest period that has ended, about `limit` agents; none where none has.

        A period has ended when no heartbeat can make it longer. Raises Conflict where another recorder has taken over.
        """
        args = [id_text(who), str(self._period_ms), str(self._alive_ms), str(limit), str(CLAIM_MS)]
        with asking(self._url):
            answer: Any = self._ended(keys=[self._lead, self._claim_key], args=args)
        number, found = int(answer[0]), answer[1]
        if number == -1:
            raise _lost(self._url)
        since = number * self._period_ms
        pairs = zip(found[::2], found[1::2], strict=True)
        return [
            Heard(parse_id(agent.decode()), since, self._period_ms, *map(int, said.split(b":")))
            for agent, said in pairs
        ]

    def taken(self, who: bytes, heard: list[Heard]) -> None:
        """Drops what is recorded, all of one period. Raises Conflict where another recorder has taken over."""
        if not heard:
            return
        number = heard[0].since_ms // self._period_ms
        agents = [id_text(one.agent) for one in heard]
        with asking(self._url):
            said: Any = self._taken(keys=[self._lead, self._claim_key], args=[id_text(who), str(number), *agents])
        if int(said) == -1:
            raise _lost(self._url)


def lead_of(prefix: str, period_ms: int) -> str:
    """What the keys of periods of this length begin with."""
    return f"{prefix}antiphon:beats:{period_ms}"


def checked(period_ms: int, alive_ms: int) -> int:
    """The length of a period. Raises InvalidInput."""
    if period_ms < max(PERIOD_MS_MIN, alive_ms):
        raise InvalidInput(
            f"heartbeats are counted by periods of {PERIOD_MS_MIN} ms or more, and no shorter than an agent counts as "
            f"there for ({alive_ms} ms), not of {period_ms}"
        )
    return period_ms


def _lost(url: str) -> Conflict:
    return Conflict(f"another recorder at {address_of(url)} has taken over: it records what has ended from now on")
