-- The register of gateways: who is there, who was until lately and may be using its share without us, and who is slow to hear
-- from us and uses a little ahead.
-- KEYS: the epoch, the register (incarnation -> 'time number before, number told'), those that are slow to hear. With `is_quiet`
-- nothing is entered, with `is_leaving` the caller is taken out: it uses nothing any more.
-- Answer: {now, epoch, milliseconds until it has settled, gateways that share, gateways that answer, {number known to each
-- missing one, ...}, late?, {number known to each slow one, the caller too, ...}}.

local now = clock()
local epoch, age = epoch_of(KEYS[1], now)
local all = redis.call('HGETALL', KEYS[2])
local present, missing, before = 1, {}, nil
local slow, said = {}, {}
for _, name in ipairs(redis.call('HKEYS', KEYS[3])) do
  said[name] = true
end
for i = 1, #all, 2 do
  local seen, older, told = string.match(all[i + 1], '^(%S+) (%S+) (%S+)$')
  local silence = now - tonumber(seen)
  if all[i] == request.incarnation then
    before = told
  elseif silence > request.forget_after then
    redis.call('HDEL', KEYS[2], all[i])
    redis.call('HDEL', KEYS[3], all[i])
  elseif silence > request.missing_after then
    -- It may not have got the last answer, so the larger of the two shares is kept for it.
    missing[#missing + 1] = math.min(tonumber(older), tonumber(told))
  else
    present = present + 1
    if said[all[i]] then
      slow[#slow + 1] = math.min(tonumber(older), tonumber(told))
    end
  end
end
local sharing = present + #missing
local late = is_late(now)
if request.is_leaving then
  redis.call('HDEL', KEYS[2], request.incarnation)
  redis.call('HDEL', KEYS[3], request.incarnation)
elseif not (request.is_quiet or late) then
  if request.is_slow then
    redis.call('HSET', KEYS[3], request.incarnation, 1)
    slow[#slow + 1] = sharing
  elseif said[request.incarnation] then
    redis.call('HDEL', KEYS[3], request.incarnation)
  end
  redis.call('HSET', KEYS[2], request.incarnation, text(now) .. ' ' .. (before or text(sharing)) .. ' ' .. text(sharing))
end
return cmsgpack.pack({ now, epoch, math.max(0, request.settle - age), sharing, present, missing, late, slow })
