-- The register of gateways: who is there, who was until lately and may be using its share without us, and who is slow to hear
-- from us and uses a little ahead.
-- KEYS: the epoch, the register (incarnation -> 'time number number', the numbers by which it divides limits if it did not get its
-- last answer, and if it did), those that are slow to hear. `divides_by` is the first of them. With `is_quiet` nothing is entered, with `is_leaving`
-- the caller is taken out: it uses nothing any more (`judged`: if that is still its entry; `is_ended`: it was killed, and others say so).
-- Answer: {now, epoch, milliseconds until it has settled, gateways that share, gateways that answer, {number of each missing one, ...},
-- late?, {number of each slow one, the caller too, ...}, the least number of one that answers, {{incarnation, entry, silence} of one that
-- was silent for longer than `ended_after`, ...}, what became of the caller's entry ('removed', 'kept', 'gone', 'changed', or '')}.

local now = clock()
local epoch, age = epoch_of(KEYS[1], now)
local all = redis.call('HGETALL', KEYS[2])
local present, missing, least, silent = 1, {}, nil, {}
local own, outcome
local slow, said = {}, {}
for _, name in ipairs(redis.call('HKEYS', KEYS[3])) do
  said[name] = true
end
for i = 1, #all, 2 do
  local seen, first, second = string.match(all[i + 1], '^(%S+) (%S+) (%S+)$')
  local silence = now - tonumber(seen)
  -- Of the two shares the larger one.
  local number = math.min(tonumber(first), tonumber(second))
  if all[i] == request.incarnation then
    own = all[i + 1]
  elseif silence > request.forget_after then
    redis.call('HDEL', KEYS[2], all[i])
    redis.call('HDEL', KEYS[3], all[i])
  elseif silence > request.missing_after then
    missing[#missing + 1] = number
    -- Not who used units ahead that this server may not have been told of, nor who had no time to report what it forgot.
    if silence > request.ended_after and not said[all[i]] and silence + request.settle <= age then
      silent[#silent + 1] = { all[i], all[i + 1], silence }
    end
  else
    present = present + 1
    least = math.min(least or number, number)
    if said[all[i]] then
      slow[#slow + 1] = number
    end
  end
end
local sharing = present + #missing
local late = is_late(now)
if request.is_leaving then
  if request.judged and own ~= request.judged then
    outcome = own and 'changed' or 'gone'
  elseif request.is_ended and own and said[request.incarnation] then
    outcome = 'kept'
  else
    redis.call('HDEL', KEYS[2], request.incarnation)
    redis.call('HDEL', KEYS[3], request.incarnation)
    outcome = 'removed'
  end
elseif not (request.is_quiet or late) then
  if request.is_slow then
    redis.call('HSET', KEYS[3], request.incarnation, 1)
    slow[#slow + 1] = sharing
  elseif said[request.incarnation] then
    redis.call('HDEL', KEYS[3], request.incarnation)
  end
  redis.call('HSET', KEYS[2], request.incarnation, text(now) .. ' ' .. text(request.divides_by) .. ' ' .. text(sharing))
end
return cmsgpack.pack({
  now, epoch, math.max(0, request.settle - age), sharing, present, missing, late, slow, least or sharing, silent,
  outcome or '',
})
