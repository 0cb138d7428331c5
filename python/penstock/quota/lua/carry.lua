-- Reports units that this server does not know of: used without it, or before it forgot. They count even above the limit.
-- KEYS: the epoch, the window. `used` is {age in milliseconds, units, ...}. Answer: {now, epoch, counted?}.

local now = clock()
local epoch = epoch_of(KEYS[1], now)
local kept = read_window(KEYS[2], epoch, now, request.window, request.length)
local late = is_late(now)
if not late then
  for i = 1, #request.used, 2 do
    add_units(kept, now - request.used[i], request.used[i + 1], request.length)
  end
  write_window(KEYS[2], kept, request.window, request.length)
end
return cmsgpack.pack({ now, epoch, not late })
