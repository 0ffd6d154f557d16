"""Room `engines` (imports all below it): what runs inside the server, so that versions are compared where the rows are.

A row is one string: 16 hexadecimal digits of its version, then [image, author]; a tombstone is the digits alone.
*Effects* are what a row has in keys of the declared patterns: [slot, shape, key, ttl_ms, since, rank, value] each.

- Where the table's key says which key that is, the effect's slot is empty. Of rows that share such a key the one with
  the highest rank is told; the key's *owner*, beside the fence, says whose it is, and when that row goes, keeps its
  rank as a floor. Where it was evicted nobody knows, and whoever would leave the key takes it out.
- The others (members of sets, items of lists, keys by columns that change) have a slot, and are written down in the
  table's `held` under slot and row, behind their version, and in `until` by when they end. So they can be taken out
  though the row itself was evicted. Were `held` or `until` evicted themselves, a script says LOST before it does
  anything: the sink takes out all such keys of the table, and marks both anew.

Names under a follower's prefix are its own: what somebody else put under one of them, of another type, goes (`call`).
Names of owners are hashes, so that none outlives the words in the name of its key.

Lists of strings are strings too, each item behind its length: see `entries.joined`.
"""

from __future__ import annotations

from typing import Final

_SPLIT: Final = """
local function split(s)
  local found, at, one = {}, 1, nil
  while at <= #s do
    one, at = struct.unpack('>I4c0', s, at)
    found[#found + 1] = one
  end
  return found
end
"""
_FENCED: Final = """
local function fenced()
  local kept = redis.call('GET', KEYS[1])
  if not kept then return {'EMPTY', '0'} end
  local epoch, mark = string.match(kept, '^(%d+) ?(%x*)')
  local ours, least, most = string.match(ARGV[1], '^(%d+) ?(%x*) ?(%x*)')
  if epoch ~= ours or (least ~= '' and (mark < least or mark > most)) then return {'FENCED', kept} end
end

local function move()
  local epoch, mark = string.match(ARGV[1], '^(%d+) %x+ (%x+) moves$')
  if mark then redis.call('SETRANGE', KEYS[1], #epoch + 1, mark) end
end
"""
"""The fence and what is said to it: see `fence.py`. The mark is written over in place, as the pulse is below."""
_NOW: Final = """
local function now_ms()
  local now = redis.call('TIME')
  return now[1] * 1000 + math.floor(now[2] / 1000)
end
"""
_CALL: Final = """
local function call(command, key, ...)
  local said = redis.pcall(command, key, ...)
  if type(said) ~= 'table' or not said.err then return said end
  if string.find(said.err, 'WRONGTYPE', 1, true) then redis.call('DEL', key) end
  return redis.call(command, key, ...)
end
"""
OWNER: Final = """
local function owner_of(key)
  return string.match(KEYS[1], '^(.*:)') .. 'of:' .. redis.sha1hex(key)
end
"""
"""The name of what says whose a key is; KEYS[1] is the fence, or another key beside it."""
_UNDO: Final = (
    _CALL
    + OWNER
    + """
local function single_out(key, row, rank)
  if key == '' then return end
  local own = owner_of(key)
  local owner = call('HGET', own, 'row')
  if not owner then redis.call('DEL', key)
  elseif owner == row then
    redis.call('DEL', key)
    if rank == '' then redis.call('DEL', own) else redis.call('HSET', own, 'row', '') end
  end
end

local function backers(key, value)
  return owner_of(key), struct.pack('>I4c0', #value, value)
end

local function undo(row, effect)
  local shape, key, rank, value = effect[2], effect[3], effect[6], effect[7]
  if shape == 'list' then call('LREM', key, 1, value)
  elseif shape == 'set' then
    local of, lead = backers(key, value)
    call('ZREM', of, lead .. row)
    local other = call('ZRANGEBYLEX', of, '[' .. lead, '+', 'LIMIT', 0, 1)[1]
    if not other or string.sub(other, 1, #lead) ~= lead then call('SREM', key, value) end
  else single_out(key, row, rank) end
end

local function end_old(held, ending, now, most)
  for _, field in ipairs(call('ZRANGEBYSCORE', ending, '-inf', now, 'LIMIT', 0, most)) do
    local had = call('HGET', held, field)
    if had then undo(string.sub(field, 2), split(string.sub(had, 17))) end
    call('HDEL', held, field)
    call('ZREM', ending, field)
  end
end
"""
)
_LOOSE: Final = """
local held, ending = KEYS[4], KEYS[5]
local loose = ARGV[2] == '1'
if loose and not (call('HEXISTS', held, '') == 1 and call('ZSCORE', ending, '')) then
  return {'LOST', '0'}
end

local function drop_effects(member, effects, below)
  for _, one in ipairs(split(effects)) do
    local effect = split(one)
    if effect[1] == '' then single_out(effect[3], member, effect[6])
    else
      local field = effect[1] .. member
      local had = redis.call('HGET', held, field)
      if had and string.sub(had, 1, 16) < below then
        undo(member, split(string.sub(had, 17)))
        redis.call('HDEL', held, field)
        redis.call('ZREM', ending, field)
      end
    end
  end
end
"""

APPLY: Final = (
    _SPLIT
    + _FENCED
    + _NOW
    + _UNDO
    + """
local refused = fenced()
if refused then return refused end
"""
    + _LOOSE
    + """
local prefix, warm, list_max, set_max = ARGV[3], ARGV[4], tonumber(ARGV[5]), tonumber(ARGV[6])
local now = now_ms()

local function put_single(row, effect, ttl)
  local shape, key, rank, value = effect[2], effect[3], effect[6], effect[7]
  local own = owner_of(key)
  local had = call('HMGET', own, 'row', 'rank')
  if had[1] and had[2] > rank then
    if had[1] == row then single_out(key, row, rank) end
    return
  end
  if shape == 'flag' and had[1] ~= row and redis.call('PTTL', key) >= ttl then return end
  redis.call('DEL', key)
  if shape == 'hash' then redis.call('HSET', key, unpack(split(value))) else redis.call('SET', key, value) end
  redis.call('PEXPIRE', key, ttl)
  redis.call('HSET', own, 'row', row, 'rank', rank)
  redis.call('PEXPIRE', own, ttl)
end

local function lasts(key, ttl)
  if redis.call('PTTL', key) < ttl then redis.call('PEXPIRE', key, ttl) end
end

local function put_many(row, effect, ttl, is_same)
  local shape, key, value = effect[2], effect[3], effect[7]
  if shape == 'list' then
    if not is_same or redis.call('EXISTS', key) == 0 then
      if call('LPUSH', key, value) > list_max then redis.call('LTRIM', key, 0, list_max - 1) end
    end
  else
    local members = call('SCARD', key)
    if members >= set_max and redis.call('SISMEMBER', key, value) == 0 then return end
    local of, lead = backers(key, value)
    if members == 0 then redis.call('DEL', of) end
    call('ZADD', of, 0, lead .. row)
    redis.call('SADD', key, value)
    lasts(of, ttl)
  end
  lasts(key, ttl)
end

local function left(effect)
  local ttl = tonumber(effect[4])
  if effect[7] == '' then return 0 end
  if effect[5] == '' then return ttl end
  return math.min(ttl, ttl - (now - tonumber(effect[5])))
end

local function turn(row, version, effect, had, raw)
  local ttl, many = left(effect), effect[2] == 'list' or effect[2] == 'set'
  if effect[1] == '' then
    if ttl > 0 then put_single(row, effect, ttl) else single_out(effect[3], row, effect[6]) end
    return
  end
  local field = effect[1] .. row
  local is_same = had and string.sub(had, 17) == raw
  if had and not is_same then undo(row, split(string.sub(had, 17))) end
  if ttl > 0 then
    if many then put_many(row, effect, ttl, is_same) else put_single(row, effect, ttl) end
    redis.call('HSET', held, field, version .. raw)
    redis.call('ZADD', ending, now + ttl, field)
  elseif had then
    if is_same then undo(row, effect) end
    redis.call('HDEL', held, field)
    redis.call('ZREM', ending, field)
  end
end

if loose then end_old(held, ending, now, 512) end
local taken = 0
for _, one in ipairs(split(ARGV[7])) do
  local member, version, packed, effects = unpack(split(one))
  local row = prefix .. member
  local kept = call('GET', row)
  local is_newer = not kept or string.sub(kept, 1, 16) < version
  local raw = split(effects)
  local had = {}
  if is_newer and loose then
    for at, each in ipairs(raw) do
      local slot = string.sub(each, 5, 4 + struct.unpack('>I4', each))
      had[at] = slot ~= '' and redis.call('HGET', held, slot .. member)
      if had[at] and string.sub(had[at], 1, 16) > version then is_newer = false end
    end
  end
  if is_newer then
    for at, each in ipairs(raw) do turn(member, version, split(each), had[at], each) end
    if packed == '' then
      redis.call('SET', row, version)
      call('ZREM', KEYS[2], member)
      call('HSET', KEYS[3], member, version)
    else
      redis.call('SET', row, version .. packed, 'PX', warm)
      call('ZADD', KEYS[2], 0, member)
      if kept and #kept == 16 then call('HDEL', KEYS[3], member) end
    end
    taken = taken + 1
  end
end
move()
return {'TAKEN', tostring(taken)}
"""
)
"""KEYS: fence, rows, gone, held, until. ARGV: epoch, whether effects have slots, how rows' names begin, their time to
live, the length of lists, the members of sets, the rows packed. One round trip a chunk of rows.
"""

DROP: Final = (
    _SPLIT
    + _FENCED
    + _UNDO
    + """
local refused = fenced()
if refused then return refused end
"""
    + _LOOSE
    + """
local prefix, below = ARGV[3], ARGV[4]
local dropped = 0
for _, one in ipairs(split(ARGV[5])) do
  local member, effects = unpack(split(one))
  local kept = call('GET', prefix .. member)
  if not kept or string.sub(kept, 1, 16) < below then
    drop_effects(member, effects, below)
    redis.call('DEL', prefix .. member)
    call('ZREM', KEYS[2], member)
    call('HDEL', KEYS[3], member)
    if kept then dropped = dropped + 1 end
  elseif #kept > 16 then call('HDEL', KEYS[3], member) end
end
move()
return {'TAKEN', tostring(dropped)}
"""
)
"""KEYS: as APPLY. ARGV: epoch, whether effects have slots, how rows' names begin, the version below which they go, the
rows packed.
"""

COLD: Final = (
    _CALL
    + """
local found = call('ZRANGEBYLEX', KEYS[1], ARGV[1], '+', 'LIMIT', 0, ARGV[3])
local cold = {}
for _, member in ipairs(found) do
  if redis.call('EXISTS', ARGV[2] .. member) == 0 then cold[#cold + 1] = member end
end
return {#found, found[#found] or '', cold}
"""
)
"""KEYS: rows. ARGV: where to begin, how rows' names begin, how many. How many there were, the last, and those of them
whose rows are gone: cold, or evicted.
"""

UNLIST: Final = (
    _SPLIT
    + _FENCED
    + _CALL
    + OWNER
    + """
local refused = fenced()
if refused then return refused end

local function is_told(member, effects)
  for _, one in ipairs(split(effects)) do
    local key = split(one)[3]
    if key ~= '' and redis.call('EXISTS', key) == 1 then
      local owner = call('HGET', owner_of(key), 'row')
      if owner == member then return true end
      if not owner then redis.call('DEL', key) end
    end
  end
end

local unlisted = 0
for _, one in ipairs(split(ARGV[3])) do
  local member, effects = unpack(split(one))
  if redis.call('EXISTS', ARGV[2] .. member) == 0 and not is_told(member, effects) then
    unlisted = unlisted + call('ZREM', KEYS[2], member)
  end
end
return {'TAKEN', tostring(unlisted)}
"""
)
"""KEYS: fence, rows. ARGV: epoch, how rows' names begin, the rows packed. What is cold leaves the list of rows, unless
a key of its own still tells it: then it is found by the list alone.
"""

RENEW: Final = (
    _FENCED
    + OWNER
    + """
local refused = fenced()
if refused then return refused end
for at = 2, #ARGV do redis.call('DEL', ARGV[at], owner_of(ARGV[at])) end
return {'TAKEN', tostring(#ARGV - 1)}
"""
)
"""KEYS: fence. ARGV: epoch, and keys to take out."""

MARK: Final = (
    _FENCED
    + """
local refused = fenced()
if refused then return refused end
redis.call('DEL', KEYS[2], KEYS[3])
redis.call('HSET', KEYS[2], '', ARGV[2])
redis.call('ZADD', KEYS[3], '+inf', '')
return {'TAKEN', '1'}
"""
)
"""KEYS: fence, held, until. ARGV: epoch, and the last one under which members may have been lost, 0 where none."""

MENDED: Final = (
    _FENCED
    + _CALL
    + """
local refused = fenced()
if refused then return refused end
local lost = call('HGET', KEYS[2], '')
if lost and tonumber(lost) < tonumber(ARGV[2]) then redis.call('HSET', KEYS[2], '', '0') end
move()
return {'TAKEN', '1'}
"""
)
"""KEYS: fence, held. ARGV: epoch, and the one since when all rows have come again: what was lost before is there."""

FENCE: Final = """
local kept = redis.call('GET', KEYS[1]) or '0'
if string.match(kept, '^%d+') ~= ARGV[1] then return false end
redis.call('SET', KEYS[1], ARGV[2])
return kept
"""
"""KEYS: fence. ARGV: the epoch that is known, the new fence. The fence before; none where it was another."""

DELIVER: Final = (
    _FENCED
    + _CALL
    + """
local refused = fenced()
if refused then return refused end
for at = 3, #ARGV, 4 do
  local stream, id, told, head = ARGV[at], ARGV[at + 1], ARGV[at + 2], ARGV[at + 3]
  call('XADD', stream, 'MAXLEN', '~', ARGV[2], '*', 'id', id, 'event', head)
  redis.call('PUBLISH', stream, head)
  redis.call('PEXPIRE', stream, told)
end
move()
return {'TAKEN', tostring((#ARGV - 2) / 4)}
"""
)
"""KEYS: fence. ARGV: epoch, the length of streams, then stream, id, time to live and event, again and again."""

PULSE: Final = (
    _SPLIT
    + _FENCED
    + _NOW
    + _UNDO
    + """
local refused = fenced()
if refused then return refused end
local now = now_ms()
call('SETRANGE', KEYS[2], 0, string.format('%d', now))
for at = 3, #KEYS, 2 do end_old(KEYS[at], KEYS[at + 1], now, 512) end
return {'TAKEN', '1'}
"""
)
"""KEYS: fence, pulse, then held and until of each table that has them. ARGV: epoch. What has ended goes, bit by bit.

The pulse is written over in place: a new value would be new to the server's eviction too, and go first.
"""

READ: Final = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local pulse = redis.call('GET', KEYS[2])
return {redis.call('GET', KEYS[1]), pulse and now - pulse or -1, now}
"""
"""KEYS: row, pulse. The row, how many ms ago the pulse was (-1 where it never was), and what time it is here."""
