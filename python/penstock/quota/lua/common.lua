-- Begins every script: the request, the clock, the epoch, the sliding window, the holds and what was spent.
-- ARGV[1] is the request, packed by msgpack; the answer is packed the same way.

local request = cmsgpack.unpack(ARGV[1])

-- Milliseconds of this server's clock; tests move it by `offset`.
local function clock()
  local time = redis.call('TIME')
  return tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000) + (request.offset or 0)
end

-- A command that lay in a hung server's queue until its sender gave it up must not take effect any more.
local function is_late(now)
  return request.not_after ~= nil and now > request.not_after
end

-- The epoch: as long as it lasts, this server has forgotten nothing. It ends when the key is gone (a flush), the server is
-- another one (a restart or a failover, which may have lost the last writes), or somebody saw that its clock was set forward
-- (`void`, the epoch's name then), which makes it forget what still counts. Returns its name and its age.
local function epoch_of(key, now)
  local run = string.match(redis.call('INFO', 'server'), 'run_id:(%x+)')
  local held = redis.call('GET', key)
  local name, since, server
  if held then
    name, since, server = string.match(held, '^(%S+) (%S+) (%S+)$')
  end
  if server ~= run or name == request.void then
    name, since = request.candidate, now
    held = name .. ' ' .. string.format('%.0f', now) .. ' ' .. run
    redis.call('SET', key, held)
  end
  if request.epoch_ttl then
    redis.call('PEXPIRE', key, request.epoch_ttl)
  end
  -- A clock that was set back must not make the epoch settle again.
  return name, math.abs(now - tonumber(since))
end

local function text(number)
  return string.format('%.0f', number)
end

-- A window is {epoch, time of the last look, segment, units, segment, units, ...}, oldest first. The units of a segment
-- count until `window` after its end. The third value read says that it must be written, because a clock was set back. What was kept in another epoch is void: its owners report it anew.
local function read_window(key, epoch, now, window, length)
  local raw = redis.call('GET', key)
  local kept = { epoch, now }
  local total, shift = 0, 0
  if raw then
    local old = cmsgpack.unpack(raw)
    if old[1] == epoch then
      -- A clock that was set back takes the segments with it, or they would count for longer than a window.
      if old[2] > now then
        shift = math.floor((old[2] - now) / length)
      end
      for i = 3, #old, 2 do
        local segment, units = old[i] - shift, old[i + 1]
        if units > 0 and (segment + 1) * length + window > now then
          kept[#kept + 1] = segment
          kept[#kept + 1] = units
          total = total + units
        end
      end
    end
  end
  return kept, total, shift > 0
end

local function write_window(key, kept, window, length)
  redis.call('SET', key, cmsgpack.pack(kept), 'PX', window + 2 * length)
end

-- Adds units to the segment of `at`, wherever in the order it belongs.
local function add_units(kept, at, units, length)
  local segment = math.floor(at / length)
  local i = #kept - 1
  while i >= 3 and kept[i] > segment do
    i = i - 2
  end
  if i >= 3 and kept[i] == segment then
    kept[i + 1] = kept[i + 1] + units
  else
    table.insert(kept, i + 2, units)
    table.insert(kept, i + 2, segment)
  end
  return segment
end

-- A hold is 'amount deadline ordinal' in a hash by incarnation. Returns the sum of the live ones and the caller's own.
local function read_holds(key, now, incarnation)
  local sum, own, ordinal = 0, 0, 0
  local all = redis.call('HGETALL', key)
  for i = 1, #all, 2 do
    local amount, deadline, number = string.match(all[i + 1], '^(%S+) (%S+) (%S+)$')
    amount = tonumber(amount)
    if tonumber(deadline) <= now then
      redis.call('HDEL', key, all[i])
      amount = 0
    end
    sum = sum + amount
    if all[i] == incarnation then
      own, ordinal = amount, tonumber(number)
    end
  end
  return sum, own, ordinal
end

local function write_hold(key, incarnation, amount, deadline, ordinal, now)
  redis.call('HSET', key, incarnation, text(amount) .. ' ' .. text(deadline) .. ' ' .. text(ordinal))
  if redis.call('PTTL', key) < deadline - now then
    redis.call('PEXPIRE', key, deadline - now)
  end
end

-- What the owner of a budget has spent is 'amount version epoch end', where the end is that of its window (0: there is none).
-- Nil: nobody has said it since the epoch began.
local function read_spent(key, epoch)
  local raw = redis.call('GET', key)
  local amount, version, of, ends = string.match(raw or '', '^(%S+) (%S+) (%S+) (%S+)$')
  if of == epoch then
    return { amount = tonumber(amount), version = tonumber(version), ends = tonumber(ends) }
  end
  return nil
end

-- Takes over a later figure than the known one; the same figure may have lost its window. Returns what holds, and whether it is new.
local function meet_spent(key, epoch, known, figure, ttl)
  local later = not known or figure.version > known.version
  if not later and figure.version == known.version then
    later = known.ends > 0 and figure.ends == 0
  end
  if not later then
    return known, false
  end
  redis.call('SET', key, text(figure.amount) .. ' ' .. text(figure.version) .. ' ' .. epoch .. ' ' .. text(figure.ends), 'PX', ttl)
  return figure, true
end
