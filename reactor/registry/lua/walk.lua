#!lua flags=no-writes
-- One step of a walk over all sessions: which of them are as they should be, and which are to be looked at one by one.
-- KEYS  due
-- ARGV  host cursor pattern count head (what stands in front of an id in the name of its record)
-- returns {cursor, row, row, ...}; a row is a word and the name of a record's key:
--         "= generation token container_id KEY"  runs on this host, nothing about it is in doubt, and it will be looked at
--         "~ KEY"  of another host, or a tombstone that will go
--         "? KEY"  anything else
--         "! KEY"  has only a heartbeat key
-- invariant: what is said of a session holds in one instant; no key is touched.
local host, head = ARGV[1], #ARGV[5]
local FIELDS = { 'schema', 'state', 'host', 'generation', 'token', 'container_id', 'ttl_ms', 'end_requested', 'grace_until' }

local function read(key)
  return redis.call('HMGET', key, unpack(FIELDS))
end

local function row(key)
  local ok, found = pcall(read, key)
  if not ok or found[1] ~= SCHEMA or not found[3] then
    return '? ' .. key
  end
  local state, left = found[2], redis.call('PTTL', key)
  if found[3] ~= host or (state == 'ended' and left >= 0) then
    return '~ ' .. key
  end
  local generation, token, container, ttl = found[4], found[5], found[6], tonumber(found[7] or '')
  local whole = generation and token and container and ttl and string.find(generation, '^%d+$')
    and string.find(token, '^%S+$') and string.find(container, '^%S+$')
  if state ~= 'running' or left ~= -1 or not whole or found[8] then
    return '? ' .. key
  end
  local beat = redis.call('PTTL', key .. ':heartbeat')
  if beat < 0 or (beat > ttl and not found[9]) or not redis.call('ZSCORE', KEYS[1], string.sub(key, head + 1)) then
    return '? ' .. key
  end
  return '= ' .. generation .. ' ' .. token .. ' ' .. container .. ' ' .. key
end

local step = redis.call('SCAN', ARGV[2], 'MATCH', ARGV[3], 'COUNT', ARGV[4])
local told = { step[1] }
for _, key in ipairs(step[2]) do
  local record = string.match(key, '^(.*):heartbeat$')
  if not record then
    told[#told + 1] = row(key)
  elseif redis.call('EXISTS', record) == 0 then
    told[#told + 1] = '! ' .. record
  end
end
return told
