"""Everything of the ledger that one gateway runs: the way of its own records, and its share of the work for all.

Apart from the runtime because its order is its own: what a former run left is applied before anything new, the writer is
stopped after the data plane, and the last records go straight to the database, whoever else could have written them.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec

from penstock.engine import background
from penstock.engine.call_log import tell
from penstock.engine.readiness import StoreHealth
from penstock.ledger.apply import Charge, Ledger
from penstock.ledger.coworker import Coworker
from penstock.ledger.direct import UsageWriter
from penstock.ledger.leader import DatabaseLease, Fence, Job, Leader, Lease, RedisLease, SoleLease, holder_name
from penstock.ledger.queue import EngineQueue, batches_of
from penstock.ledger.rejected import Rejected
from penstock.ledger.retention import Retention
from penstock.ledger.settings import LedgerOptions
from penstock.ledger.store import LedgerStore
from penstock.ledger.stream import StreamWriter
from penstock.ledger.tidy import Tidy
from penstock.persistence import Database, DatabaseUnavailable
from penstock.shared.redis import SharedRedis
from penstock.uninterrupted import to_the_end

logger = logging.getLogger("penstock.ledger")

_LAST_PATIENCE_S = 10.0
"""So long the end of a process waits for its database in all: much less than whoever stops processes lets them have."""
_FLUSH_PAUSE_S = 0.25
_HOURLY_S = 3_600.0


def make_ledger(database: Database, data_dir: Path) -> Ledger:
    """The ledger in a database, with nobody charged yet. ``data_dir`` takes what no table can."""
    store = LedgerStore(database)
    return Ledger(store, Rejected(store.put_aside, data_dir), postpones=database.dialect == "sqlite")


class Accounting:
    """One per gateway."""

    def __init__(
        self,
        ledger: Ledger,
        queue: EngineQueue,
        health: StoreHealth,
        redis: SharedRedis | None,
        options: LedgerOptions,
    ) -> None:
        """``redis`` is used with a database that several processes share, and only then."""
        self.ledger = ledger
        self.usage: UsageWriter
        self._database = database = ledger.store.database
        self._queue = queue
        holder, is_shared = holder_name(), database.dialect != "sqlite"
        lease: Lease = DatabaseLease(database, holder) if is_shared else SoleLease()
        self.ended: set[str] = set()
        """Incarnations that :meth:`replay` found to have ended without a word."""
        self._coworker: Coworker | None = None
        if redis is not None and is_shared:
            self.usage = StreamWriter(queue, ledger, health, redis, options.longest_stream)
            lease = RedisLease(redis, holder)
            if options.runs_coworker:
                self._coworker = Coworker(redis, ledger)
        else:
            self.usage = UsageWriter(queue, ledger, health)
        retention = Retention(database, options.kept_ms, partitioned=database.dialect == "postgres")
        self.leader = Leader(
            lease,
            database,
            [
                Job("months", _HOURLY_S, retention.make_months),
                Job("retention", _HOURLY_S, retention.expire),
            ],
        )
        if redis is not None and is_shared:
            self.leader.add(Job("tidy", _HOURLY_S, Tidy(redis, database).work))
        self._working: background.Kept | None = None
        self._patient_until: float | None = None
        self._told_of_left = False

    def attach(self, *charges: Charge) -> None:
        """Name domains that spending concerns."""
        self.ledger.attach(*charges)

    def every(self, name: str, seconds: float, *works: Callable[[], Awaitable[object]]) -> None:
        """Have something done that only one process does."""

        async def work(_: Fence) -> None:
            for one in works:
                await one()

        self.leader.add(Job(name, seconds, work))

    async def replay(self) -> int:
        """Bring what former runs on this machine could not into the ledger; returns how many records.

        Raises:
            DatabaseUnavailable: it stays where it is.
        """
        total = 0
        damaged = self._queue.damaged
        if damaged:
            logger.critical(
                "what a former run left behind is damaged: calls may be missing from the ledger",
                extra={"event": "usage.damaged", "places": damaged},
            )
        try:
            for piece in self._queue.recovered():
                total += await self._replay(piece)
        except OSError as error:
            logger.critical(
                "what a former run left behind cannot be read; it stays where it is",
                extra={"event": "usage.recovery", "reason": str(error)},
            )
        else:
            self._forget_recovered()
        if total:
            logger.warning(
                "records that a former run left behind are in the ledger now",
                extra={"event": "usage.recovered", "records": total},
            )
        if self.ledger.postpones:
            await self.ledger.charge_postponed()
        return total

    def _forget_recovered(self) -> None:
        try:
            self._queue.forget_recovered()
        except OSError as error:
            # They are in the ledger, where the next start finds them again.
            logger.critical(
                "what a former run left behind cannot be removed",
                extra={"event": "usage.recovery", "reason": str(error)},
            )

    async def _replay(self, piece: bytes) -> int:
        try:
            batches = batches_of(piece)
        except (msgspec.DecodeError, ValueError) as error:
            # What nobody can read must not keep the gateway from starting.
            place = await self.ledger.rejected.keep(piece, error)
            logger.critical(
                "what a former run left behind is no list of records; it was put aside and is charged to no key",
                extra={"event": "usage.rejected", "kept_in": [place], "reason": type(error).__name__},
            )
            return 0
        for batch in batches:
            self.ended.add(batch.incarnation)
            try:
                applied = await self.ledger.commit([batch])
            except DatabaseUnavailable:
                raise
            except Exception:  # noqa: BLE001 - which record it is about is found out one by one
                await self.ledger.commit_singly([batch], lambda applied: tell(applied.fresh))
            else:
                tell(applied.fresh)
        return sum(batch.count for batch in batches)

    def start(self) -> None:
        """Begin in the background."""
        self.usage.start()
        self.leader.start()
        if self._coworker is not None:
            self._working = background.Kept(self._coworker.run, "coworker")

    def trouble(self) -> str | None:
        """Why calls could not be accounted for; None: they can."""
        return (
            self.usage.trouble()
            or self.leader.trouble()
            or (self._working.trouble() if self._working is not None else None)
        )

    async def flush(self, waiting: Callable[[], int]) -> None:
        """Write out what the data plane has settled, at the end of the process. A database that does not answer is waited for
        a while, once for all calls of this: what is not written then stays in the journal, for the next start.

        ``waiting`` says how many records there are.
        """
        if self._patient_until is None:
            self._patient_until = time.monotonic() + _LAST_PATIENCE_S
        reason = "it did not answer in time"
        while True:
            # At least a moment: most often nothing is left to write, which must not be said to have failed.
            remaining = max(_FLUSH_PAUSE_S, self._patient_until - time.monotonic())
            try:
                async with asyncio.timeout(remaining):
                    await self.usage.flush()
                    return
            except DatabaseUnavailable as error:
                reason = str(error)
            except TimeoutError:
                pass
            if time.monotonic() + _FLUSH_PAUSE_S >= self._patient_until:
                break
            await asyncio.sleep(_FLUSH_PAUSE_S)
        if (left := waiting()) and not self._told_of_left:
            self._told_of_left = True
            logger.critical(
                "the database does not answer: usage records are left to the journal, from which the next start takes them",
                extra={"event": "usage.left", "records": left, "reason": reason},
            )

    async def stop(self) -> None:
        """End the background work; what is queued is left to :meth:`flush`."""
        await self.leader.stop()
        if self._coworker is not None and self._working is not None:
            self._coworker.stop()
            await to_the_end(self._working.finish())
            self._working = None
        await self.usage.stop()
