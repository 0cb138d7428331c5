-- Asserts the absolute amount that one incarnation holds; an older assertion that comes late changes nothing.
-- KEYS: the epoch, the holds. Answer: {now, epoch}.

local now = clock()
local epoch = epoch_of(KEYS[1], now)
local raw = redis.call('HGET', KEYS[2], request.incarnation)
local ordinal = raw and tonumber(string.match(raw, '(%S+)$')) or 0
if ordinal < request.ordinal then
  -- Zero is kept too, for its ordinal: a draw that was sent earlier and comes later must find it.
  write_hold(KEYS[2], request.incarnation, request.amount, now + request.ttl, request.ordinal, now)
end
return cmsgpack.pack({ now, epoch })
