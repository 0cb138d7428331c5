-- KEYS[1]: the request. ARGV[1]: whose claim, or answer, is to be forgotten.
if redis.call('HGET', KEYS[1], 'owner') == ARGV[1] then
  return redis.call('DEL', KEYS[1])
end
return 0
