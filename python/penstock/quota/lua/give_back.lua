-- Counts unused units off the segment that they were drawn in.
-- KEYS: the epoch, the window. `of` is the epoch in which they were drawn: in another one the same segment is others'.
-- Answer: {now, epoch, units counted off}.

local now = clock()
local epoch = epoch_of(KEYS[1], now)
local kept = read_window(KEYS[2], epoch, now, request.window, request.length)
local back = 0
for i = 3, #kept, 2 do
  if kept[i] == request.lease and (request.of or epoch) == epoch then
    back = math.min(kept[i + 1], request.units)
    kept[i + 1] = kept[i + 1] - back
  end
end
if back > 0 then
  write_window(KEYS[2], kept, request.window, request.length)
end
return cmsgpack.pack({ now, epoch, back })
