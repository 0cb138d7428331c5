"""From the data plane's queue into the Redis stream, from which coworkers write it down.

A gateway that does this needs no connection to the database to account for a call, and many gateways are written down
in few, large transactions. The stream is a way, not a place: records stay in the data plane's queue and journal until
the ledger has them, so a Redis that is flushed, full, slow or gone loses nothing. What does not get through in time is
written straight to the database; records that are then in the stream, too, change nothing when they arrive.
"""

from __future__ import annotations

import logging
import time

from penstock.engine.readiness import StoreHealth
from penstock.ledger import wire
from penstock.ledger.apply import Ledger
from penstock.ledger.direct import BATCH, UsageWriter
from penstock.ledger.queue import EngineQueue
from penstock.shared.redis import SharedRedis, SharedUnavailable

logger = logging.getLogger("penstock.usage")

_STUCK_S = 10.0
"""So long what was shipped may not move before it is taken for lost on the way."""
_BREAK_S = 1.0
"""After a failure Redis is left alone for so long."""


class StreamWriter(UsageWriter):
    """One per process; what it inherits is the way past Redis."""

    longest_interval_s = 0.05

    def __init__(
        self,
        queue: EngineQueue,
        ledger: Ledger,
        health: StoreHealth,
        redis: SharedRedis,
        longest_stream: int = wire.LONGEST_STREAM,
    ) -> None:
        super().__init__(queue, ledger, health)
        self._redis = redis
        self._longest = longest_stream
        self._shipped = 0
        self._moved_at = time.monotonic()
        self._not_before = 0.0
        self.spilled = 0
        """Times that the database was written to instead of the stream."""

    async def _work(self) -> int:
        async with self._lock:
            if time.monotonic() < self._not_before:
                return await self._spill()
            try:
                await self._learn()
                if self._is_stuck():
                    return await self._spill("what was shipped is not applied")
                return await self._ship()
            except SharedUnavailable as error:
                self._not_before = time.monotonic() + _BREAK_S
                return await self._spill(str(error))

    async def _learn(self) -> None:
        """Acknowledge what coworkers have applied."""
        before = self.queue.acknowledged
        if self._shipped > before:
            self.queue.acknowledge(min(self._shipped, await wire.progress_of(self._redis, self.queue.incarnation)))
        if self.queue.acknowledged > before or self._shipped <= self.queue.acknowledged:
            self._moved_at = time.monotonic()
            self._health.worked(self.name)

    def _is_stuck(self) -> bool:
        return self._shipped > self.queue.acknowledged and time.monotonic() - self._moved_at > _STUCK_S

    async def _ship(self) -> int:
        total = 0
        self._shipped = max(self._shipped, self.queue.acknowledged)
        while (batch := self.queue.take(BATCH, self._shipped)) is not None:
            if not await wire.add(self._redis, batch, self._longest):
                return total + await self._spill("the stream is full")
            self._shipped = batch.last
            total += batch.count
        return total

    async def _spill(self, reason: str | None = None) -> int:
        """Write everything that is not acknowledged to the database."""
        if reason is not None:
            logger.warning(
                "usage records go straight to the database", extra={"event": "usage.spill", "reason": reason}
            )
        self.spilled += 1
        total = await self._write_all()
        self._moved_at = time.monotonic()
        return total
