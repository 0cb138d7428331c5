"""The usage writer: from the data plane's queue to the ledger, exactly once, without ever holding up a call.

A record leaves the queue only after the transaction that contains it was committed. When the database fails, the
records stay where they are and are tried again. When it works and refuses a batch all the same, the batch is written
record by record, and what is still refused is put aside: one record must not stop the accounting of all others.

Records live in memory until they are written, which is at most `_LONGEST_INTERVAL_S` and the length of a transaction
while the database works: that much is lost when the process is killed outright. A stop that is asked for loses nothing.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Protocol

import msgspec

from penstock.engine import background
from penstock.engine.call_log import tell
from penstock.engine.events import UsageRecord
from penstock.engine.readiness import STORE_PATIENCE_S, StoreHealth
from penstock.engine.rejected import Rejected
from penstock.persistence import Database, DatabaseUnavailable, Transaction
from penstock.uninterrupted import to_the_end

logger = logging.getLogger("penstock.usage")

_BATCH = 512
"""Records of one transaction: enough that its fixed cost does not count, few enough that it is over in milliseconds."""
_GENTLY = 4 * _BATCH
"""Records written in one go before the writer stops leaving the core to calls between its statements."""
_LONGEST_INTERVAL_S = 0.25
_SHORTEST_INTERVAL_S = 0.02
_FIRST_BACKOFF_S = 0.25
_LONGEST_BACKOFF_S = 10.0
_NAMED_IN_LOG = 10
_NAME = "usage-writer"
_NOTHING = b"[]"
_CALL_ID = UsageRecord.__struct_fields__.index("call_id")
_SEQ = UsageRecord.__struct_fields__.index("seq")
_decoder = msgspec.json.Decoder(list[UsageRecord])


class UsageQueue(Protocol):
    """The part of `penstock._core.Engine` that holds settled records."""

    def take_usage(self, limit: int) -> bytes:
        """The oldest records, which stay queued."""

    def ack_usage(self, seq: int) -> None:
        """Forget the records up to this ordinal."""


Append = Callable[[Transaction, list[UsageRecord]], Awaitable[list[UsageRecord]]]
"""Write records, return those that were not there yet."""
Charge = Callable[[Transaction, list[UsageRecord]], Awaitable[None]]
"""Add the cost of records to whoever pays."""


class UsageWriter:
    """One per process; its lock also orders changes of keys against settlement."""

    def __init__(self, queue: UsageQueue, database: Database, rejected: Rejected, health: StoreHealth) -> None:
        self._queue = queue
        self._database = database
        self._rejected = rejected
        self._health = health
        self._append: Append | None = None
        self._charge: Charge | None = None
        self._lock = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None
        self._has_ended = False
        self.last_seq = 0
        """Ordinal of the last record in the ledger."""
        self.written = 0
        self.failures = 0

    def attach(self, append: Append, charge: Charge) -> None:
        """Name the domains that a record concerns."""
        self._append, self._charge = append, charge

    def start(self) -> None:
        """Begin writing in the background."""
        self._task = background.start(self._run(), _NAME)

    def trouble(self) -> str | None:
        """Why calls could not be accounted for; None: they can. A task that has ended is begun again.

        It still counts as trouble then, until it has written: a defect that ends it every time must not look well.
        """
        if self._task is not None and self._task.done() and not self._task.cancelled():
            self._has_ended = True
            self.start()
        if self._has_ended:
            return "the usage writer has ended"
        if (failing_s := self._health.failing_s()) > STORE_PATIENCE_S:
            return f"the database has been failing for {failing_s:.0f} s"
        return None

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
        try:
            while count := await self._write_batch(gently=total < _GENTLY):
                total += count
                if count < _BATCH:
                    break
        except DatabaseUnavailable:
            self.failures += 1
            self._health.failed(_NAME)
            raise
        self._health.worked(_NAME)
        return total

    async def _write_batch(self, *, gently: bool) -> int:
        taken = self._queue.take_usage(_BATCH)
        if taken == _NOTHING:
            return 0
        try:
            # A caller that is cancelled between the commit and its acknowledgement would have the batch written again.
            return await to_the_end(self._commit_and_settle(taken, gently=gently))
        except DatabaseUnavailable:
            raise
        except Exception as error:  # noqa: BLE001 - which record it is about is found out one by one
            return await self._write_singly(error)

    async def _write_singly(self, error: Exception) -> int:
        """What :meth:`_write_batch` could not do because of ``error``, a record at a time."""
        named: list[str | None] = []
        places: set[str] = set()
        done = aside = 0
        try:
            while done < _BATCH:
                taken = self._queue.take_usage(1)
                if taken == _NOTHING:
                    break
                try:
                    await to_the_end(self._commit_and_settle(taken))
                except DatabaseUnavailable:
                    raise
                except Exception as failure:  # noqa: BLE001 - put aside, whatever is wrong with it
                    error = failure
                    places.add(await self._rejected.keep(_legible(taken), failure))
                    self._queue.ack_usage(_seq(taken))
                    aside += 1
                    if len(named) < _NAMED_IN_LOG:
                        named.append(_call_id(taken))
                done += 1
        finally:
            if aside:
                # The kind of the error alone: its text may hold what a client wrote. The record has the whole of it.
                logger.critical(
                    "usage records were refused by the ledger and put aside: they are charged to no key",
                    extra={
                        "event": "usage.rejected",
                        "records": aside,
                        "kept_in": sorted(places),
                        "reason": type(error).__name__,
                        "call_ids": named,
                    },
                )
        return done

    async def _commit_and_settle(self, taken: bytes, *, gently: bool = False) -> int:
        records, fresh = await self._commit(taken, gently=gently)
        self._settle(records, fresh)
        return len(records)

    async def _commit(self, taken: bytes, *, gently: bool = False) -> tuple[list[UsageRecord], list[UsageRecord]]:
        """Write what was taken from the queue in one transaction: all records, and those that were not there yet."""
        append, charge = self._append, self._charge
        if append is None or charge is None:
            return [], []

        async def work(tx: Transaction) -> tuple[list[UsageRecord], list[UsageRecord]]:
            records = _decoder.decode(taken)
            fresh = await append(tx, records)
            if fresh:
                await charge(tx, fresh)
            return records, fresh

        return await self._database.run(work, gently=gently)

    def _settle(self, records: list[UsageRecord], fresh: list[UsageRecord]) -> None:
        """Called at once after the commit, with no await between: a record acknowledged is a record stored."""
        if not records:
            return
        self._queue.ack_usage(records[-1].seq)
        self.last_seq = max(self.last_seq, records[-1].seq)
        self.written += len(fresh)
        tell(fresh)

    async def _run(self) -> None:
        pause, backoff, begun = _LONGEST_INTERVAL_S, 0.0, time.monotonic()
        while True:
            await asyncio.sleep(backoff or pause)
            try:
                # A cancelled transaction would be repeated, so shutdown lets the batch finish.
                written = await asyncio.shield(self.flush())
                backoff = 0.0
                self._has_ended = False
            except DatabaseUnavailable as error:
                backoff = min(_LONGEST_BACKOFF_S, backoff * 2 or _FIRST_BACKOFF_S)
                logger.warning(
                    "usage records wait for the database",
                    extra={"event": "usage.retry", "reason": str(error), "retry_in_s": backoff},
                )
            else:
                now = time.monotonic()
                pause, begun = _pause(written, now - begun), now


def _pause(written: int, within_s: float) -> float:
    """Seconds until about a batch will have come together, when so many records came ``within_s``."""
    until_batch = within_s * _BATCH / written if written else _LONGEST_INTERVAL_S
    return min(_LONGEST_INTERVAL_S, max(_SHORTEST_INTERVAL_S, until_batch))


def _legible(taken: bytes) -> bytes:
    """A single record with the names of its values, for the person who will read it; unchanged if that cannot be."""
    try:
        # Unlike msgspec this takes texts that are not Unicode, which is one of the things that may be wrong.
        (values,) = json.loads(taken)
        return json.dumps([dict(zip(UsageRecord.__struct_fields__, values, strict=True))]).encode()
    except (TypeError, ValueError):
        return taken


def _seq(taken: bytes) -> int:
    """The ordinal of a single record, whatever else is wrong with it."""
    return int(json.loads(taken)[0][_SEQ])


def _call_id(taken: bytes) -> str | None:
    """The call that a single record is about, as far as it can be read."""
    try:
        found = json.loads(taken)[0][_CALL_ID]
    except (LookupError, TypeError, ValueError):
        return None
    return found if isinstance(found, str) else None
