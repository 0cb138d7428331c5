-- KEYS[1]: the request. ARGV: what is asked, who asks, how long a claim lasts (ms), bytes of an answer that is sent at once.
-- Asked again by the same owner, it renews the claim; where the claim was lost, it makes it anew.
local kept = redis.call('HMGET', KEYS[1], 'request', 'owner', 'state')
local request, owner, state = kept[1], kept[2], kept[3]
if not request then
  redis.call('HSET', KEYS[1], 'request', ARGV[1], 'owner', ARGV[2], 'state', 'running')
elseif request ~= ARGV[1] then
  return {'other_request'}
elseif state == 'answered' then
  local length = redis.call('HSTRLEN', KEYS[1], 'answer')
  if length > tonumber(ARGV[4]) then
    return {'answered', length}
  end
  return {'answered', length, redis.call('HGET', KEYS[1], 'answer')}
elseif state == 'not_kept' then
  return {'not_kept'}
elseif owner ~= ARGV[2] then
  return {'running'}
end
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return {'run'}
