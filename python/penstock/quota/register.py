"""Who is in the register of gateways, for those that are not in it themselves.

Apart from the beats, which are a gateway's own.
"""

from __future__ import annotations

from collections.abc import Sequence

from penstock.quota.link import REGISTER_TAG
from penstock.shared.redis import STREAM_DEADLINE_S, SharedRedis


async def seen_lately(shared: SharedRedis, incarnations: Sequence[str], within_ms: int) -> set[str]:
    """Those of these gateways that were heard within so long.

    Raises:
        SharedUnavailable: Redis cannot be asked.
    """
    key = shared.key("live", tag=REGISTER_TAG)
    seconds, micros = await shared.run(shared.client.time(), STREAM_DEADLINE_S)
    rows = await shared.run(shared.client.hmget(key, list(incarnations)), STREAM_DEADLINE_S)
    since = seconds * 1_000 + micros // 1_000 - within_ms
    return {
        name
        for name, row in zip(incarnations, rows, strict=True)
        if row is not None and int(bytes(row).split()[0]) > since
    }
