-- What every script shares; put in front of each by scripts.py. Pure helpers, no keys of their own.
local SCHEMA = '1'
local STREAM_CAP = '10000'

-- Lua prints numbers above 14 digits as 1.7638e+15; every number that leaves a script goes through here.
local function text(number)
  return string.format('%.0f', number)
end

-- Redis' clock in microseconds. It stands still inside a script, so one instant decides everything.
local function clock()
  local t = redis.call('TIME')
  return tonumber(t[1]) * 1000000 + tonumber(t[2])
end

-- The hash as a table, or nil where there is none; second: an error reply where it is not ours to touch.
local function load(key)
  local flat = redis.call('HGETALL', key)
  if #flat == 0 then
    return nil, nil
  end
  local record = {}
  for i = 1, #flat, 2 do
    record[flat[i]] = flat[i + 1]
  end
  if record.schema ~= SCHEMA then
    return nil, redis.error_reply('SCHEMA record has schema ' .. tostring(record.schema) .. ', this version knows ' .. SCHEMA)
  end
  return record, nil
end

-- Whether what the host last saw of Redis (seen) does not fit what it is now: no verdict may be given then.
local function unsure(seen_key, meta_key, run_id)
  local seen = redis.call('HMGET', seen_key, 'run_id', 'db')
  local db = redis.call('HGET', meta_key, 'db')
  return not db or seen[1] ~= run_id or seen[2] ~= db, db
end

-- One audit entry; fields is a flat list of name, value.
local function log(events_key, event, id, fields)
  redis.call('XADD', events_key, 'MAXLEN', '~', STREAM_CAP, '*', 'event', event, 'session_id', id, unpack(fields))
end

-- The due score of a running session: one ms after the sooner of deadline and hard end (a key is dead only when
-- now > deadline), never further ahead than this host looks when it hears no notifications.
local function score_of(deadline, hard_end, now_ms, ahead_ms)
  local score = deadline
  if hard_end > 0 and hard_end < score then
    score = hard_end
  end
  score = score + 1
  if ahead_ms > 0 and score > now_ms + ahead_ms then
    score = now_ms + ahead_ms
  end
  return score
end
