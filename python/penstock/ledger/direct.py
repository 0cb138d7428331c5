"""From the data plane's queue straight into the database: without Redis, and whenever Redis cannot help.

A record leaves the queue only after the transaction that contains it was committed. When the database fails, the
records stay where they are and are tried again. When it works and refuses a batch all the same, the batch is written
record by record, and what is still refused is put aside: one record must not stop the accounting of all others.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable

from penstock.engine import background
from penstock.engine.call_log import tell
from penstock.engine.readiness import STORE_PATIENCE_S, StoreHealth
from penstock.ledger.apply import Applied, Ledger
from penstock.ledger.queue import EngineQueue
from penstock.ledger.records import Batch
from penstock.persistence import DatabaseUnavailable
from penstock.uninterrupted import to_the_end

logger = logging.getLogger("penstock.usage")

BATCH = 512
"""Records of one transaction: enough that its fixed cost does not count, few enough that it is over in milliseconds."""
_GENTLY = 4 * BATCH
"""Records written in one go before the writer stops leaving the core to calls between its statements."""
_SHORTEST_INTERVAL_S = 0.02
_FIRST_BACKOFF_S = 0.25
_LONGEST_BACKOFF_S = 10.0
_CHARGE_INTERVAL_S = 5.0
"""How long a postponed charge waits: much less than the data plane remembers what it has settled itself."""
_CHARGE_RECORDS = 4_096
"""Records that may wait to be charged: they are kept in memory so long, each of more than a kilobyte."""


class UsageWriter:
    """One per process: brings the queue of its data plane into the ledger."""

    name = "usage-writer"
    longest_interval_s = 0.25

    def __init__(self, queue: EngineQueue, ledger: Ledger, health: StoreHealth) -> None:
        self.queue = queue
        self.ledger = ledger
        self._health = health
        self._lock = asyncio.Lock()
        self._task: background.Kept | None = None
        self._uncharged: set[str] = set()
        """Tokens whose records were postponed; what another run of the process left is charged at start."""
        self._postponed = 1
        self._charged_at = time.monotonic()
        self._asked: set[str] = set()
        self._catching_up: asyncio.Future[None] | None = None
        self.written = 0
        self.failures = 0

    @property
    def incarnation(self) -> str:
        """Of the data plane whose queue this is."""
        return self.queue.incarnation

    def version_of(self, watermark: int) -> int:
        """What the data plane calls the record with this ordinal."""
        return self.queue.version_of(watermark)

    def start(self) -> None:
        """Begin writing in the background."""
        self._task = background.Kept(self._run, self.name, tolerated=0)

    def trouble(self) -> str | None:
        """Why calls could not be accounted for; None: they can. A writer that has ended is trouble until it has written."""
        if self._task is not None and (ended := self._task.trouble()) is not None:
            return ended
        if (failing_s := self._health.failing_s()) > STORE_PATIENCE_S:
            return f"the database has been failing for {failing_s:.0f} s"
        return None

    async def stop(self) -> None:
        """Stop the background task; what is queued is left to :meth:`flush`."""
        if self._task is not None:
            await self._task.stop()
            self._task = None

    async def flush(self) -> int:
        """Write and charge everything queued now; returns how many records.

        Raises:
            DatabaseUnavailable: the rest stays queued.
        """
        async with self._lock:
            total = await self._write_all()
            await self._charge()
            return total

    async def catch_up(self, tokens: Iterable[str]) -> None:
        """Make the ledger's figures contain what the data plane has settled of keys, before they are read.

        Whoever asks while one of these is under way shares the next one: a start under load is thousands of lookups.

        Raises:
            DatabaseUnavailable: the queue cannot be written out.
        """
        self._asked.update(tokens)
        if self._catching_up is None:
            self._catching_up = asyncio.ensure_future(self._catch_up())
            # Looked at, so that a failure that nobody waits for any more is not reported as forgotten.
            self._catching_up.add_done_callback(lambda task: task.cancelled() or task.exception())
        await asyncio.shield(self._catching_up)

    async def _catch_up(self) -> None:
        async with self._lock:
            self._catching_up, asked, self._asked = None, self._asked, set()
            await self._write_all()
            if not asked.isdisjoint(self._uncharged):
                await self._charge()

    async def _write_all(self) -> int:
        total = 0
        try:
            while count := await self._write_batch(gently=total < _GENTLY):
                total += count
                # Here, because calls that come faster than they are written leave this loop without an end.
                if self._postponed >= _CHARGE_RECORDS:
                    await self._charge(gently=total <= _GENTLY)
                if count < BATCH:
                    break
        except DatabaseUnavailable:
            self.failures += 1
            self._health.failed(self.name)
            raise
        self._health.worked(self.name)
        return total

    async def _write_batch(self, *, gently: bool) -> int:
        batch = self.queue.take(BATCH)
        if batch is None:
            return 0
        try:
            # A caller that is cancelled between the commit and its acknowledgement would have the batch written again.
            await to_the_end(self._commit_and_settle(batch, gently=gently))
        except DatabaseUnavailable:
            raise
        except Exception:  # noqa: BLE001 - which record it is about is found out one by one
            await to_the_end(self.ledger.commit_singly([batch], self._settle))
        return batch.count

    async def _commit_and_settle(self, batch: Batch, *, gently: bool) -> None:
        self._settle(await self.ledger.commit([batch], gently=gently))

    def _settle(self, applied: Applied) -> None:
        """Called at once after the commit, with no await between: a record acknowledged is a record stored."""
        if (watermark := applied.watermarks.get(self.queue.incarnation)) is not None:
            self.queue.acknowledge(watermark)
        if self.ledger.postpones:
            self._postponed += len(applied.fresh)
            self._uncharged.update(record.token for record in applied.fresh)
        self.written += len(applied.fresh)
        tell(applied.fresh)

    async def _charge(self, *, gently: bool = False) -> None:
        if self._postponed:
            await to_the_end(self.ledger.charge_postponed(gently=gently))
            self._postponed = 0
            self._uncharged.clear()
        self._charged_at = time.monotonic()

    async def _work(self) -> int:
        """What the background task does each time."""
        async with self._lock:
            total = await self._write_all()
            if time.monotonic() - self._charged_at >= _CHARGE_INTERVAL_S:
                await self._charge(gently=True)
            return total

    async def _run(self) -> None:
        pause, backoff, begun = self.longest_interval_s, 0.0, time.monotonic()
        while True:
            await asyncio.sleep(backoff or pause)
            try:
                # A cancelled transaction would be repeated, so shutdown lets the batch finish.
                written = await asyncio.shield(self._work())
                backoff = 0.0
                if self._task is not None:
                    self._task.worked()
            except DatabaseUnavailable as error:
                backoff = min(_LONGEST_BACKOFF_S, backoff * 2 or _FIRST_BACKOFF_S)
                logger.warning(
                    "usage records wait for the database",
                    extra={"event": "usage.retry", "reason": str(error), "retry_in_s": backoff},
                )
            else:
                now = time.monotonic()
                pause, begun = _pause(written, now - begun, self.longest_interval_s), now


def _pause(written: int, within_s: float, longest_s: float) -> float:
    """Seconds until about a batch will have come together, when so many records came ``within_s``."""
    until_batch = within_s * BATCH / written if written else longest_s
    return min(longest_s, max(_SHORTEST_INTERVAL_S, until_batch))
