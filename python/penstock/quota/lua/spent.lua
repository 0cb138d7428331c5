-- Sets what a budget's owner has spent as of a version of the ledger; older versions are ignored. In the same moment the caller
-- holds less, which is what it spent and the figure has.
-- KEYS: the epoch, the figure, the holds if there is a `hold` {amount, ordinal, ttl}. Answer: {now, epoch, taken?}.

local now = clock()
local epoch = epoch_of(KEYS[1], now)
local figure = { amount = request.amount, version = request.version, ends = request['end'] or 0 }
local _, is_newer = meet_spent(KEYS[2], epoch, read_spent(KEYS[2], epoch), figure, request.ttl)
local hold = request.hold
if hold then
  local raw = redis.call('HGET', KEYS[3], request.incarnation)
  local ordinal = raw and tonumber(string.match(raw, '(%S+)$')) or 0
  if ordinal < hold.ordinal then
    write_hold(KEYS[3], request.incarnation, hold.amount, now + hold.ttl, hold.ordinal, now)
  end
end
return cmsgpack.pack({ now, epoch, is_newer })
