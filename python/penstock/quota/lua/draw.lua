-- Takes units for every ask, or for none of them.
-- KEYS: the epoch, then for each ask its window, or its holds and (budgets) what was spent.
-- Answer: {now, epoch, milliseconds until it has settled (0: it has), taken?, {granted, remaining, retry after or -1, lease, reason, end},
-- ...}, where the end is that of the budget window that was granted from (0: there is none).
-- Reasons: '' fine, 'full', 'stale' (an older command that came late), 'unseeded' (what was spent in the asker's budget window is
-- not known here).

local now = clock()
local epoch, age = epoch_of(KEYS[1], now)
local settling = math.max(0, request.settle - age)
local found = {}
local late = is_late(now)
local fits = settling == 0
local at = 2

for i, ask in ipairs(request.asks) do
  local state = { reason = '', key = KEYS[at], retry = -1, ends = 0 }
  at = at + 1
  if ask.kind == 'rate' then
    state.kept, state.total, state.moved = read_window(state.key, epoch, now, ask.window, ask.length)
    state.free = ask.limit - ask.reserve - state.total
    if state.free < ask.need then
      -- When enough of the oldest units no longer count.
      local missing = ask.need - state.free
      state.retry = ask.window
      for j = 3, #state.kept, 2 do
        missing = missing - state.kept[j + 1]
        if missing <= 0 then
          state.retry = (state.kept[j] + 1) * ask.length + ask.window - now
          break
        end
      end
    end
  else
    local sum, own, ordinal = read_holds(state.key, now, request.incarnation)
    -- What the caller knows to hold counts although this server forgot it.
    state.own = math.max(own, ask.have)
    local spent = 0
    if ask.kind == 'budget' then
      local known = read_spent(KEYS[at], epoch)
      if known and ask.version then
        -- The asker may have heard of a later figure, with which its limit came.
        local heard = { amount = ask.spent, version = ask.version, ends = ask['end'] }
        known = meet_spent(KEYS[at], epoch, known, heard, ask.spent_ttl)
      end
      at = at + 1
      if not known or (known.ends > 0 and known.ends <= (ask.ended or 0)) then
        state.reason = 'unseeded'
      else
        spent, state.ends = known.amount, known.ends
      end
    end
    if ordinal >= ask.ordinal then
      late = true
    end
    state.free = ask.limit - spent - (sum - own + state.own)
  end
  if late then
    state.reason = 'stale'
  end
  if state.reason == '' and state.free < ask.need then
    state.reason = 'full'
  end
  fits = fits and state.reason == ''
  found[i] = state
end

local answer = { now, epoch, settling, fits }
for i, ask in ipairs(request.asks) do
  local state = found[i]
  local granted, lease = 0, 0
  if fits then
    -- Headroom beyond the need leaves as much again to each of the others.
    granted = math.max(ask.need, math.min(ask.want, math.floor(state.free / ask.spread)))
    if ask.kind == 'rate' then
      lease = add_units(state.kept, now, granted, ask.length)
      write_window(state.key, state.kept, ask.window, ask.length)
    else
      write_hold(state.key, request.incarnation, state.own + granted, now + ask.ttl, ask.ordinal, now)
    end
  end
  if state.moved and not fits then
    write_window(state.key, state.kept, ask.window, ask.length)
  end
  answer[#answer + 1] = { granted, math.max(0, state.free - granted), state.retry, lease, state.reason, state.ends }
end
return cmsgpack.pack(answer)
