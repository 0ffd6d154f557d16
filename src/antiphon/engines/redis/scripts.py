"""Room `engines` (imports all below it): what runs inside the server, so that versions are compared where the rows are.

A row is one string: 16 hexadecimal digits of its version, then [image, author, effects]; a tombstone is the digits
alone. *Effects* are what the row put into keys of the declared patterns, so that it can be taken out again: [shape,
key, ttl_ms, rank, value] each. Lists of strings are strings too, each item behind its length: see `entries.joined`.
"""

from __future__ import annotations

from typing import Final

_COMMON: Final = """
local function split(s)
  local found, at, one = {}, 1, nil
  while at <= #s do
    one, at = struct.unpack('>I4c0', s, at)
    found[#found + 1] = one
  end
  return found
end

local function fenced()
  local epoch = redis.call('GET', KEYS[1])
  if not epoch then return {'EMPTY', '0'} end
  if epoch ~= ARGV[1] then return {'FENCED', epoch} end
end

local function undo(row, effects)
  for _, one in ipairs(split(effects)) do
    local effect = split(one)
    local shape, key = effect[1], effect[2]
    if shape == 'list' then redis.call('LREM', key, 1, effect[5])
    elseif shape == 'set' then redis.call('SREM', key, effect[5])
    elseif redis.call('HGET', key .. ':of', 'row') == row then redis.call('DEL', key, key .. ':of') end
  end
end

local function clear(row, kept)
  if #kept > 16 then undo(row, split(string.sub(kept, 17))[3]) end
end
"""

APPLY: Final = (
    _COMMON
    + """
local refused = fenced()
if refused then return refused end
local list_max = tonumber(ARGV[3])

local function put(row, effects)
  for _, one in ipairs(split(effects)) do
    local shape, key, ttl, rank, value = unpack(split(one))
    if shape == 'list' then
      if redis.call('LPUSH', key, value) > list_max then redis.call('LTRIM', key, 0, list_max - 1) end
      redis.call('PEXPIRE', key, ttl)
    elseif shape == 'set' then
      redis.call('SADD', key, value)
      redis.call('PEXPIRE', key, ttl)
    else
      local own = key .. ':of'
      local had = redis.call('HMGET', own, 'row', 'rank')
      if not had[1] or had[1] == row or had[2] <= rank then
        redis.call('DEL', key)
        if shape == 'hash' then redis.call('HSET', key, unpack(split(value))) else redis.call('SET', key, value) end
        redis.call('PEXPIRE', key, ttl)
        redis.call('HSET', own, 'row', row, 'rank', rank)
        redis.call('PEXPIRE', own, ttl)
      end
    end
  end
end

local taken = 0
for _, one in ipairs(split(ARGV[2])) do
  local row, index, gone, member, version, packed, ttl, effects = unpack(split(one))
  local kept = redis.call('GET', row)
  if not kept or string.sub(kept, 1, 16) < version then
    if kept then clear(row, kept) end
    if packed == '' then
      redis.call('SET', row, version)
      redis.call('ZREM', index, member)
      redis.call('HSET', gone, member, version)
    else
      redis.call('SET', row, version .. packed, 'PX', ttl)
      redis.call('ZADD', index, 0, member)
      if kept and #kept == 16 then redis.call('HDEL', gone, member) end
      put(row, effects)
    end
    taken = taken + 1
  end
end
return {'TAKEN', tostring(taken)}
"""
)
"""KEYS: fence. ARGV: epoch, the rows packed, the length of lists. One round trip a chunk of rows."""

DROP: Final = (
    _COMMON
    + """
local refused = fenced()
if refused then return refused end
local dropped = 0
for _, one in ipairs(split(ARGV[2])) do
  local row, index, gone, member = unpack(split(one))
  local kept = redis.call('GET', row)
  if not kept then
    redis.call('ZREM', index, member)
    redis.call('HDEL', gone, member)
  elseif string.sub(kept, 1, 16) < ARGV[3] then
    clear(row, kept)
    redis.call('DEL', row)
    redis.call('ZREM', index, member)
    redis.call('HDEL', gone, member)
    dropped = dropped + 1
  end
end
return {'TAKEN', tostring(dropped)}
"""
)
"""KEYS: fence. ARGV: epoch, the rows packed, the version below which they go."""

FENCE: Final = """
local epoch = redis.call('GET', KEYS[1]) or '0'
if epoch ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2])
return 1
"""

DELIVER: Final = """
local epoch = redis.call('GET', KEYS[1])
if not epoch then return {'EMPTY', '0'} end
if epoch ~= ARGV[1] then return {'FENCED', epoch} end
for at = 3, #ARGV, 4 do
  local stream, id, told, head = ARGV[at], ARGV[at + 1], ARGV[at + 2], ARGV[at + 3]
  redis.call('XADD', stream, 'MAXLEN', '~', ARGV[2], '*', 'id', id, 'event', head)
  redis.call('PUBLISH', stream, head)
  redis.call('PEXPIRE', stream, told)
end
return {'TAKEN', tostring((#ARGV - 2) / 4)}
"""
"""KEYS: fence. ARGV: epoch, the length of streams, then stream, id, time to live and event, again and again."""

PULSE: Final = """
local epoch = redis.call('GET', KEYS[1])
if not epoch then return {'EMPTY', '0'} end
if epoch ~= ARGV[1] then return {'FENCED', epoch} end
local now = redis.call('TIME')
redis.call('SET', KEYS[2], now[1] * 1000 + math.floor(now[2] / 1000))
return {'TAKEN', '1'}
"""
"""KEYS: fence, pulse. ARGV: epoch."""

READ: Final = """
local pulse = redis.call('GET', KEYS[2])
local age = -1
if pulse then
  local now = redis.call('TIME')
  age = now[1] * 1000 + math.floor(now[2] / 1000) - pulse
end
return {redis.call('GET', KEYS[1]), age}
"""
"""KEYS: row, pulse. The row, and how many ms ago the pulse was; -1 where it never was."""
