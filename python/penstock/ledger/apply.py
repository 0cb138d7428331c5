"""Applying records: the one transaction in which they become rows, sums and spending, and the watermark moves.

Whatever arrives here may have arrived before: from a stream that delivers again, from a journal that is replayed, from
a gateway that did not hear the acknowledgement. What is covered by the watermark, or has a row, changes nothing.

Charging may be postponed (:attr:`Ledger.postpones`): the records are written down with their rows, and sums and spending
get them a few seconds later, many at once. With one writer and traffic spread over many keys this is the difference
between touching a page per call and touching it once. Until then they count as applied and not as charged, and a figure
of spending names the watermark of what is charged; so nothing is counted twice, and nothing is lost with the process.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence

import msgspec

from penstock.engine.events import UsageRecord
from penstock.ledger import records as texts
from penstock.ledger.progress import Progress
from penstock.ledger.records import Batch
from penstock.ledger.rejected import Rejected
from penstock.ledger.rollups import rollups, totals
from penstock.ledger.store import LedgerStore, Pending
from penstock.persistence import DatabaseUnavailable, Transaction

logger = logging.getLogger("penstock.ledger")

_NAMED_IN_LOG = 10

Charge = Callable[[Transaction, list[UsageRecord]], Awaitable[None]]
"""Add the cost of records that are new to the ledger to whoever pays, in the transaction given and awaiting nothing else."""


class Applied(msgspec.Struct):
    """What a transaction did; true once it is committed."""

    fresh: list[UsageRecord]
    """Records that were not in the ledger before."""
    watermarks: dict[str, int]
    """By incarnation: every record up to this ordinal is in the ledger."""
    postponed: int | None = None
    """Under which id the fresh records wait to be charged."""


class Ledger:
    """Where records go, whoever brings them."""

    def __init__(self, store: LedgerStore, rejected: Rejected, *, postpones: bool) -> None:
        self.store = store
        self.rejected = rejected
        self.postpones = postpones
        """Charge many records at once, with :meth:`charge_postponed`; for a database with one writer."""
        self.keeps_rows = True
        """Whether each call has a row; without, calls are told apart by their ordinals alone."""
        self._charges: list[Charge] = []
        self._postponed: dict[int, list[UsageRecord]] = {}
        """What this process has postponed, so that it need not be read again."""

    def attach(self, *charges: Charge) -> None:
        """Name domains that spending concerns; they are charged in this order, which is the same in every process."""
        self._charges.extend(charges)

    async def apply(self, tx: Transaction, batches: Sequence[Batch]) -> Applied:
        """Write batches down.

        Raises:
            msgspec.DecodeError: a record is not one; nothing is written then.
        """
        decoded = [(batch, batch.records()) for batch in batches]
        progress: dict[str, tuple[Progress, Progress]] = {}
        for incarnation in sorted({batch.incarnation for batch in batches if batch.first}):
            held = await self.store.hold_progress(tx, incarnation)
            progress[incarnation] = (held, held)
        new: list[UsageRecord] = []
        for batch, records in decoded:
            if not batch.first:
                new += records
                continue
            before, now = progress[batch.incarnation]
            if not now.is_beside(batch.first, batch.last):
                records = [record for at, record in enumerate(records, batch.first) if not now.covers(at)]
            new += records
            progress[batch.incarnation] = (before, _with(now, batch))
        fresh = await self.store.insert(tx, new) if new and self.keeps_rows else new
        postponed = None
        if fresh and self.postpones:
            postponed = await self.store.postpone(
                tx, None if self.keeps_rows else msgspec.json.encode(fresh), len(fresh)
            )
        elif fresh:
            await self._charge(tx, fresh)
        for incarnation, (before, after) in progress.items():
            await self.store.advance(tx, incarnation, before, after, charged=not self.postpones)
        return Applied(fresh, {incarnation: after.seq for incarnation, (_, after) in progress.items()}, postponed)

    async def skip(self, tx: Transaction, batch: Batch) -> Applied:
        """Regard records that were put aside as applied."""
        if not batch.first:
            return Applied([], {})
        before = await self.store.hold_progress(tx, batch.incarnation)
        after = _with(before, batch)
        await self.store.advance(tx, batch.incarnation, before, after, charged=not self.postpones)
        return Applied([], {batch.incarnation: after.seq})

    async def commit(self, batches: Sequence[Batch], *, gently: bool = False) -> Applied:
        """:meth:`apply` in a transaction of its own.

        Raises:
            DatabaseUnavailable: nothing was written.
        """

        async def work(tx: Transaction) -> Applied:
            return await self.apply(tx, batches)

        applied = await self.store.database.run(work, gently=gently)
        if applied.postponed is not None:
            self._postponed[applied.postponed] = applied.fresh
        return applied

    async def commit_singly(self, batches: Sequence[Batch], done: Callable[[Applied], None]) -> int:
        """What :meth:`commit` could not do, a record at a time; what is refused is put aside, and told as critical.

        ``done`` is called after each commit. Returns how many records were put aside.

        Raises:
            DatabaseUnavailable: the rest is not done.
        """
        refused = _Refused()
        try:
            for batch in batches:
                for one in batch.singly():
                    try:
                        applied = await self.commit([one])
                    except DatabaseUnavailable:
                        raise
                    except Exception as error:  # noqa: BLE001 - put aside, whatever is wrong with it
                        refused.add(one.rows, error, await self.rejected.keep(texts.legible(one.rows), error))
                        applied = await self._commit_skip(one)
                    done(applied)
        finally:
            refused.tell("usage records were refused by the ledger and put aside: they are charged to no key")
        return refused.count

    async def _commit_skip(self, batch: Batch) -> Applied:
        async def work(tx: Transaction) -> Applied:
            return await self.skip(tx, batch)

        return await self.store.database.run(work)

    async def charge_postponed(self, *, gently: bool = False) -> int:
        """Charge what was postponed; returns how many records.

        Raises:
            DatabaseUnavailable: it still waits.
        """

        async def work(tx: Transaction) -> int:
            return await self._charge_pending(tx, None)

        try:
            total = await self.store.database.run(work, gently=gently)
        except DatabaseUnavailable:
            raise
        except Exception:  # noqa: BLE001 - which record it is about is found out one by one
            total = await self._charge_singly()
        self._postponed.clear()
        return total

    async def _charge_pending(self, tx: Transaction, id: int | None, *, spending: bool = True) -> int:
        waiting = await self.store.pending(tx, id)
        if not waiting:
            return 0
        records: list[UsageRecord] = []
        for one in waiting:
            records += self._postponed.get(one.id) or texts.decode(await self.store.rows_of(tx, one))
        await self._charge(tx, records, spending=spending)
        await self.store.forget_pending(tx, [one.id for one in waiting])
        return len(records)

    async def _charge_singly(self) -> int:
        """What could not be charged together: each record in a transaction of its own; who cannot pay is not charged."""

        async def apart(tx: Transaction) -> list[tuple[Pending, bytes]]:
            for one in await self.store.pending(tx):
                rows = [] if one.records is None else texts.split(one.records)
                if one.first_id < one.last_id or len(rows) > 1:
                    for row in rows:
                        await self.store.postpone(tx, b"[" + row + b"]")
                    for usage_id in range(one.first_id, one.last_id + 1) if one.records is None else ():
                        await self.store.postpone_row(tx, usage_id)
                    await self.store.forget_pending(tx, [one.id])
            return [(one, await self.store.rows_of(tx, one)) for one in await self.store.pending(tx)]

        refused, total = _Refused(), 0
        try:
            for one, row in await self.store.database.run(apart):
                try:
                    total += await self._charge_one(one.id, spending=True)
                except DatabaseUnavailable:
                    raise
                except Exception as error:  # noqa: BLE001 - put aside, whatever is wrong with it
                    refused.add(row, error, await self.rejected.keep(texts.legible(row), error))
                    total += await self._without_charge(one.id)
        finally:
            refused.tell("usage records are in the ledger but could not be charged: they were put aside")
        return total

    async def _charge_one(self, id: int, *, spending: bool) -> int:
        async def work(tx: Transaction) -> int:
            return await self._charge_pending(tx, id, spending=spending)

        return await self.store.database.run(work)

    async def _without_charge(self, id: int) -> int:
        """A record that nobody can pay for still counts in the sums, if they can hold it."""
        try:
            return await self._charge_one(id, spending=False)
        except DatabaseUnavailable:
            raise
        except Exception:  # noqa: BLE001 - it was put aside for the first failure

            async def forget(tx: Transaction) -> int:
                await self.store.forget_pending(tx, [id])
                return 0

            return await self.store.database.run(forget)

    async def _charge(self, tx: Transaction, fresh: list[UsageRecord], *, spending: bool = True) -> None:
        rows = rollups(fresh)
        await self.store.add_rollups(tx, rows)
        if spending:
            for charge in self._charges:
                await charge(tx, fresh)
        # Last, because every writer needs this row: it is held as briefly as can be.
        await self.store.add_totals(tx, totals(rows))


def _with(progress: Progress, batch: Batch) -> Progress:
    """What is covered with a batch. Nobody has the records that were confirmed any more, so that the watermark of a database
    that has forgotten them (a failover without its last commits, a row of :mod:`penstock.ledger.retention`) would never move.
    """
    if 0 < progress.seq < batch.base and not progress.gaps:
        logger.critical(
            "the database has lost records that it had confirmed",
            extra={"event": "usage.lost", "incarnation": batch.incarnation, "records": batch.base - progress.seq},
        )
    return progress.with_ranges([(1, batch.base), (batch.first, batch.last)])


class _Refused:
    """Records put aside in one go, for the log."""

    def __init__(self) -> None:
        self.count = 0
        self._call_ids: list[str | None] = []
        self._places: set[str] = set()
        self._reason = ""

    def add(self, row: bytes, error: Exception, place: str) -> None:
        self.count += 1
        self._places.add(place)
        self._reason = type(error).__name__
        if len(self._call_ids) < _NAMED_IN_LOG:
            self._call_ids.append(texts.call_id(row))

    def tell(self, message: str) -> None:
        if self.count:
            # The kind of the error alone: its text may hold what a client wrote. The record has the whole of it.
            logger.critical(
                message,
                extra={
                    "event": "usage.rejected",
                    "records": self.count,
                    "kept_in": sorted(self._places),
                    "reason": self._reason,
                    "call_ids": self._call_ids,
                },
            )
