-- Reports units that this server does not know of: used without it, or before it forgot. They count even above the limit.
-- KEYS: the epoch, the window. `used` is {age in milliseconds, units, ...}. Answer: {now, epoch, counted?, units that count now,
-- {segment of each, ...}}.

local now = clock()
local epoch = epoch_of(KEYS[1], now)
local kept, total = read_window(KEYS[2], epoch, now, request.window, request.length)
local late = is_late(now)
local segments = {}
if not late then
  for i = 1, #request.used, 2 do
    segments[#segments + 1] = add_units(kept, now - request.used[i], request.used[i + 1], request.length)
    total = total + request.used[i + 1]
  end
  write_window(KEYS[2], kept, request.window, request.length)
end
return cmsgpack.pack({ now, epoch, not late, total, segments })
