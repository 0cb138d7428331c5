"""What gateways and coworkers that are gone have left in Redis: progress that nobody asks for, consumers without work."""

from __future__ import annotations

from penstock.clock import now_ms
from penstock.ledger import wire
from penstock.ledger.leader import Fence
from penstock.persistence import Database
from penstock.shared.redis import STREAM_DEADLINE_S, SharedRedis

_SILENT_MS = 86_400_000
"""An incarnation of which no record came for so long is over, or is told by its next record."""
_IDLE_MS = 3_600_000


class Tidy:
    """A job for :class:`penstock.ledger.leader.Leader`."""

    def __init__(self, redis: SharedRedis, database: Database) -> None:
        self._redis = redis
        self._database = database

    async def work(self, _: Fence) -> None:
        """Remove it.

        Raises:
            SharedUnavailable, DatabaseUnavailable: another time.
        """
        from redis.exceptions import ResponseError

        client, since = self._redis.client, now_ms() - _SILENT_MS
        rows = await self._database.fetch_all("SELECT incarnation FROM ledger_progress WHERE updated_at >= ?", (since,))
        alive = {str(row["incarnation"]) for row in rows}
        told = await self._redis.run(client.hkeys(wire.PROGRESS), STREAM_DEADLINE_S)
        if gone := [name for name in told if name.decode() not in alive]:
            await self._redis.run(client.hdel(wire.PROGRESS, *gone), STREAM_DEADLINE_S)
        try:
            consumers = await self._redis.run(client.xinfo_consumers(wire.STREAM, wire.GROUP), STREAM_DEADLINE_S)
        except ResponseError as error:
            if not str(error).startswith(("NOGROUP", "no such key")):
                raise
            return
        for one in consumers:
            # With entries of its own it stays until another coworker has claimed them.
            if not one["pending"] and one["idle"] > _IDLE_MS:
                leave = client.xgroup_delconsumer(wire.STREAM, wire.GROUP, one["name"])
                await self._redis.run(leave, STREAM_DEADLINE_S)
