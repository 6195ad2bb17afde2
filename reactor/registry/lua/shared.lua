-- What every script shares; put in front of each by scripts.py. Pure helpers, no keys of their own.
local SCHEMA = '1'
local STREAM_CAP = '10000'
local CLOCK_SLACK_MS = 2000
local LONGEST_WORD_MS = 60000
-- What a record holds only while its session lives.
local PASSING = { 'lease_until', 'hard_end', 'hard_grace', 'hard_graced', 'end_requested', 'graces', 'graces_at', 'graced',
  'graced_outage', 'grace_until', 'early_at' }

-- Lua prints numbers above 14 digits as 1.7638e+15; every number that leaves a script goes through here.
local function text(number)
  return string.format('%.0f', number)
end

-- What was read once and cannot change while a script runs, however many calls it answers.
local read = {}

-- Redis' clock in microseconds. It stands still inside a script, so one instant decides everything.
local function clock()
  if not read.clock then
    local t = redis.call('TIME')
    read.clock = tonumber(t[1]) * 1000000 + tonumber(t[2])
  end
  return read.clock
end

-- Answers the calls of one script, one after the other: ARGV[1] says how many, each has its share of keys and arguments. An
-- error of one among several is its answer; the others are not touched by it.
local function each(one, keys, args)
  local calls = tonumber(args[1])
  if calls == 1 then
    return one(keys, { unpack(args, 2) })
  end
  local answers, n, m = {}, #keys / calls, (#args - 1) / calls
  for at = 0, calls - 1 do
    local ok, answer = pcall(one, { unpack(keys, at * n + 1, (at + 1) * n) }, { unpack(args, at * m + 2, (at + 1) * m + 1) })
    if not ok and type(answer) ~= 'table' then
      answer = redis.error_reply('ERR ' .. tostring(answer))
    end
    answers[at + 1] = answer
  end
  return answers
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

-- What a host last saw of Redis: run id, database id, replication id, evictions. Only a witness writes them.
local function seen_of(seen_key)
  if not read[seen_key] then
    read[seen_key] = redis.call('HMGET', seen_key, 'run_id', 'db', 'replid', 'evicted')
  end
  return read[seen_key]
end

-- Whether Redis is not what the caller (known: run id and database id) and his host (seen) take it for: no verdict may
-- be given then.
local function unsure(seen_key, meta_key, known)
  local seen, db = seen_of(seen_key), read[meta_key]
  if db == nil then
    db = redis.call('HGET', meta_key, 'db')
    read[meta_key] = db
  end
  return not db or seen[2] ~= db or known ~= tostring(seen[1]) .. ' ' .. db, db
end

-- One value of what INFO says.
local function said(info, name)
  local _, before = string.find(info, '\n' .. name .. ':', 1, true)
  if not before then
    return ''
  end
  return string.match(info, '^[^\r\n,]*', before + 1)
end

-- Whether Redis' replication history, or (where asked) how many keys it has evicted, differs from what the host last
-- saw: data may be older than it was, or gone. Asked right before a verdict that a missing key or record would give.
local function stirred(seen_key, evictions)
  if not read.info then
    local info = redis.call('INFO', 'stats', 'replication')
    read.info = { said(info, 'master_replid'), said(info, 'evicted_keys') }
  end
  local seen = seen_of(seen_key)
  return seen[3] ~= read.info[1] or (evictions and seen[4] ~= read.info[2])
end

-- Whether Redis' clock is not where the caller expects it (0: he does not know): it was set, or the call was long under
-- way. Either is for a witness to find out.
local function out_of_step(now_ms, expected_ms, honest_ms, slack_ms)
  local expected = tonumber(expected_ms)
  return expected > 0 and math.abs(now_ms - expected) > slack_ms + tonumber(honest_ms)
end

-- Whether the record of a spawn may have been evicted: Redis was found to have evicted keys since then.
local function evicted_since(seen_key, generation)
  local at = redis.call('HGET', seen_key, 'evicted_at')
  return at and tonumber(generation) / 1000 <= tonumber(at)
end

-- How long a reactor's word holds yet that it runs, or watches its engine (ms; 0: no more). None gives it for so long as a
-- minute: such a one is from before the clock was set back.
local function word_left(until_ms, now_ms)
  local left = tonumber(until_ms or '0') - now_ms
  if left < 0 or left > LONGEST_WORD_MS then
    return 0
  end
  return left
end

-- How many commands Redis refused because it could not work: a replica, a failed snapshot, loading, too few replicas.
local function refusals(info)
  local count = 0
  for _, name in ipairs({ 'MISCONF', 'NOREPLICAS', 'READONLY', 'MASTERDOWN', 'LOADING', 'BUSY' }) do
    local value = string.match(said(info, 'errorstat_' .. name), '%d+')
    count = count + tonumber(value or '0')
  end
  return text(count)
end

-- One audit entry; fields is a flat list of name, value.
local function log(events_key, event, id, fields)
  redis.call('XADD', events_key, 'MAXLEN', '~', STREAM_CAP, '*', 'event', event, 'session_id', id, unpack(fields))
end

-- When a running session ends whatever its client does (0: never); later where a clock that was set forward came to that
-- too early, as long as it stays there.
local function hard_end_of(record, now_ms)
  local planned, grace = tonumber(record.hard_end or '0'), tonumber(record.hard_grace or '0')
  if planned > 0 and now_ms > planned and grace > planned then
    return grace
  end
  return planned
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
