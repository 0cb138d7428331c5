"""The Redis stream of usage: its keys, its entries, and the two questions that both of its ends ask.

Apart from both ends because it is what they agree on, over versions too: a field may be added, none may change.
"""

from __future__ import annotations

from collections.abc import Mapping

from penstock.ledger.records import Batch
from penstock.shared.redis import STREAM_DEADLINE_S, SharedRedis

_TAG = "usage"
STREAM = SharedRedis.key("stream", tag=_TAG)
PROGRESS = SharedRedis.key("progress", tag=_TAG)
"""Hash: up to which ordinal the records of an incarnation are in the ledger."""
APPLIED = SharedRedis.key("applied")
"""Channel on which an incarnation is named whose progress moved."""
GROUP = "ledger"
LONGEST_STREAM = 4_096
"""Entries, of up to a batch each, that may wait before gateways write to the database themselves."""
LARGEST_STREAM = 256 * 1024 * 1024
"""Bytes of Redis' memory that they may take: a batch of 512 calls is about 0.4 MB, one of a single call less than a kilobyte."""

_ADD = """
if redis.call('XLEN', KEYS[1]) >= tonumber(ARGV[1]) then
  return 0
end
local size = redis.pcall('MEMORY', 'USAGE', KEYS[1], 'SAMPLES', '20')
if type(size) == 'number' and size + #ARGV[6] > tonumber(ARGV[2]) then
  return 0
end
redis.call('XADD', KEYS[1], '*', 'i', ARGV[3], 'f', ARGV[4], 'l', ARGV[5], 'r', ARGV[6])
return 1
"""
"""Where MEMORY is not allowed, only entries are counted."""

_RAISE = """
for i = 1, #ARGV, 2 do
  if tonumber(ARGV[i + 1]) > tonumber(redis.call('HGET', KEYS[1], ARGV[i]) or 0) then
    redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1])
  end
end
return 1
"""


async def add(redis: SharedRedis, batch: Batch, longest: int, largest: int = LARGEST_STREAM) -> bool:
    """Put a batch into the stream; False when the stream has as many entries or bytes as it may have.

    Raises:
        SharedUnavailable: Redis cannot be asked; the batch may be in the stream all the same.
    """
    arguments = (longest, largest, batch.incarnation, batch.first, batch.last, batch.rows)
    return bool(await redis.run(redis.client.eval(_ADD, 1, STREAM, *arguments), STREAM_DEADLINE_S / 5))


async def tell_progress(redis: SharedRedis, watermarks: Mapping[str, int]) -> None:
    """Say up to which ordinals the records of incarnations are in the ledger, and wake who waits for it. A coworker that is
    slower to say so takes nothing back of what another has said.

    Raises:
        SharedUnavailable: Redis cannot be asked.
    """
    arguments = [value for mark in watermarks.items() for value in mark]
    await redis.run(redis.client.eval(_RAISE, 1, PROGRESS, *arguments), STREAM_DEADLINE_S)
    for incarnation in watermarks:
        await redis.run(redis.client.publish(APPLIED, incarnation), STREAM_DEADLINE_S)


async def progress_of(redis: SharedRedis, incarnation: str) -> int:
    """Up to which ordinal every record of an incarnation is in the ledger, as far as Redis knows.

    Raises:
        SharedUnavailable: Redis cannot be asked.
    """
    found = await redis.run(redis.client.hget(PROGRESS, incarnation), STREAM_DEADLINE_S / 5)
    return int(found) if found is not None else 0


def parse(fields: Mapping[bytes, bytes]) -> Batch:
    """The batch of an entry.

    Raises:
        ValueError: it is not one.
    """
    try:
        first, last = int(fields[b"f"]), int(fields[b"l"])
        if not 0 < first <= last:
            raise ValueError("the ordinals of an entry are not a range")
        return Batch(fields[b"i"].decode(), first, fields[b"r"], last - first + 1)
    except KeyError as error:
        raise ValueError(f"an entry has no field {error}") from error
