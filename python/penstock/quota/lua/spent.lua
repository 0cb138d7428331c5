-- Sets what a budget's owner has spent as of a version of the ledger; older versions are ignored.
-- KEYS: the epoch, the figure 'amount version epoch'. Answer: {now, epoch, taken?}.

local now = clock()
local epoch = epoch_of(KEYS[1], now)
local raw = redis.call('GET', KEYS[2])
local version, of
if raw then
  version, of = string.match(raw, '^%S+ (%S+) (%S+)$')
end
local is_newer = of ~= epoch or tonumber(version) < request.version
if is_newer then
  redis.call('SET', KEYS[2], text(request.amount) .. ' ' .. text(request.version) .. ' ' .. epoch, 'PX', request.ttl)
end
return cmsgpack.pack({ now, epoch, is_newer })
