#!lua flags=allow-oom
-- The sessions of a renamed host get its new name, and stand in its index.
-- KEYS  due(old) due(new) engine(old) hosts [record of each id]
-- ARGV  old new [id ...]
-- returns {MOVED} | {STOPPED} (renamed once more meanwhile); without ids: {MORE} | {DONE}
-- invariant: host and index of a session change in one step, so that it is always in the index of its own host.
local old, new = ARGV[1], ARGV[2]
if redis.call('HGET', KEYS[3], 'renamed') ~= new then
  return { 'STOPPED' }
end
if #ARGV == 2 then
  if redis.call('ZCARD', KEYS[1]) > 0 then
    return { 'MORE' }
  end
  redis.call('SREM', KEYS[4], old)
  return { 'DONE' }
end
local now = math.floor(clock() / 1000)
for index = 3, #ARGV do
  local id, key = ARGV[index], KEYS[index + 2]
  local kind, record, bad = redis.call('TYPE', key).ok, nil, nil
  if kind == 'hash' then
    record, bad = load(key)
  elseif kind ~= 'none' then
    bad = true
  end
  local ours = record and record.host == old and record.state ~= 'ended'
  if ours then
    redis.call('HSET', key, 'host', new)
    redis.call('SADD', KEYS[4], new)
  end
  if ours or bad then -- what cannot be read is at least looked at, and reported
    redis.call('ZADD', KEYS[2], redis.call('ZSCORE', KEYS[1], id) or text(now), id)
  end
  redis.call('ZREM', KEYS[1], id)
end
return { 'MOVED' }
