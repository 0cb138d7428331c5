"""The usage writer: from the data plane's queue to the ledger, exactly once, without ever holding up a call.

A record leaves the queue only after the transaction that contains it was committed. When the database fails, the
records stay where they are and are tried again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Protocol

import msgspec

from penstock.engine import background
from penstock.engine.call_log import tell
from penstock.engine.events import UsageRecord
from penstock.persistence import Database, DatabaseUnavailable, Transaction

logger = logging.getLogger("penstock.usage")

_BATCH = 512
_INTERVAL_S = 0.15
_FIRST_BACKOFF_S = 0.25
_LONGEST_BACKOFF_S = 10.0
_decoder = msgspec.json.Decoder(list[UsageRecord])


class UsageQueue(Protocol):
    """The part of `penstock._core.Engine` that holds settled records."""

    def take_usage(self, limit: int) -> bytes:
        """The oldest records, which stay queued."""

    def ack_usage(self, count: int) -> None:
        """Forget the oldest records."""


Append = Callable[[Transaction, list[UsageRecord]], Awaitable[list[UsageRecord]]]
"""Write records, return those that were not there yet."""
Charge = Callable[[Transaction, list[UsageRecord]], Awaitable[None]]
"""Add the cost of records to whoever pays."""


class UsageWriter:
    """One per process; its lock also orders changes of keys against settlement."""

    def __init__(self, queue: UsageQueue, database: Database) -> None:
        self._queue = queue
        self._database = database
        self._append: Append | None = None
        self._charge: Charge | None = None
        self._lock = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None
        self.last_seq = 0
        """Ordinal of the last record in the ledger."""
        self.written = 0
        self.failures = 0

    def attach(self, append: Append, charge: Charge) -> None:
        """Name the domains that a record concerns."""
        self._append, self._charge = append, charge

    def start(self) -> None:
        """Begin writing in the background."""
        self._task = background.start(self._run(), "usage-writer")

    async def stop(self) -> None:
        """Stop the background task; what is queued is left to :meth:`flush`."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    async def flush(self) -> int:
        """Write everything queued now; returns how many records.

        Raises:
            DatabaseUnavailable: the rest stays queued.
        """
        async with self._lock:
            return await self._write_all()

    @asynccontextmanager
    async def settled(self) -> AsyncIterator[int]:
        """Hold settlement still with nothing queued; yields the ordinal of the last record written.

        Raises:
            DatabaseUnavailable: the queue cannot be written out.
        """
        async with self._lock:
            await self._write_all()
            yield self.last_seq

    async def _write_all(self) -> int:
        total = 0
        while count := await self._write_batch():
            total += count
            if count < _BATCH:
                break
        return total

    async def _write_batch(self) -> int:
        records = _decoder.decode(self._queue.take_usage(_BATCH))
        if not records or self._append is None or self._charge is None:
            return 0
        try:
            async with self._database.transaction() as tx:
                fresh = await self._append(tx, records)
                if fresh:
                    await self._charge(tx, fresh)
        except DatabaseUnavailable:
            self.failures += 1
            raise
        # Acknowledged at once after the commit, with no await between: a record acknowledged is a record stored.
        self._queue.ack_usage(len(records))
        self.last_seq = max(self.last_seq, *(record.seq for record in records))
        self.written += len(fresh)
        tell(fresh)
        return len(records)

    async def _run(self) -> None:
        backoff = 0.0
        while True:
            await asyncio.sleep(backoff or _INTERVAL_S)
            try:
                # A cancelled transaction would roll back and be repeated, so shutdown lets the batch finish.
                await asyncio.shield(self.flush())
                backoff = 0.0
            except DatabaseUnavailable as error:
                backoff = min(_LONGEST_BACKOFF_S, backoff * 2 or _FIRST_BACKOFF_S)
                logger.warning(
                    "usage records wait for the database",
                    extra={"event": "usage.retry", "reason": str(error), "retry_in_s": backoff},
                )
