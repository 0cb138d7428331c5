-- KEYS[1]: the request. ARGV: what was asked, who ran it, `answered` or `not_kept`, how long that is kept (ms), the answer.
-- A claim that expired and is another's by now stays that one's.
local owner = redis.call('HGET', KEYS[1], 'owner')
if owner and owner ~= ARGV[2] then
  return 0
end
redis.call('HSET', KEYS[1], 'request', ARGV[1], 'owner', ARGV[2], 'state', ARGV[3], 'answer', ARGV[5])
redis.call('PEXPIRE', KEYS[1], ARGV[4])
return 1
