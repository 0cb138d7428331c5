"""Keeping the table of calls usable: months are made ahead, and what is older than its retention goes.

Apart from the other jobs because it is the only place where the two databases differ in more than dialect: PostgreSQL has
a partition per month, which is dropped whole; what remains goes in slices that nobody waits for long.
"""

# ruff: noqa: S608 - names of partitions are the program's own
from __future__ import annotations

import time
from datetime import UTC, datetime

from penstock.clock import now_ms
from penstock.ledger.leader import Fence, Left
from penstock.persistence import Database, DatabaseUnavailable, Transaction

_MONTHS_AHEAD = 3
_BRIEFLY = "SET LOCAL lock_timeout = '300ms'"
"""For locks of a whole table: who writes waits behind who waits for one, so it is rather had another time than waited for."""
_SLICE = 1_000
"""Rows of calls that go in one transaction."""
_LONGEST_S = 1.0
"""Of one go, for rows and for sums each; the rest follows soon. The other jobs of this process, some of which are due every
second, wait meanwhile, and the lease is not prolonged."""
_LAST_OF_SLICE = (
    "SELECT started_at, id FROM usage WHERE started_at >= ? AND started_at < ? ORDER BY started_at, id LIMIT 1 OFFSET ?"
)
_DELETE_SLICE = "DELETE FROM usage WHERE started_at >= ? AND started_at <= ? AND (started_at, id) <= (?, ?)"
"""By what the rows are ordered by in both databases. The bounds of the time alone are for PostgreSQL, which looks by them for the
partitions, and for SQLite's index."""
_DELETE_REST = "DELETE FROM usage WHERE started_at >= ? AND started_at < ?"
HOURS_KEPT_MS = 35 * 86_400_000
"""Sums by hour are kept for so long; those by day stay."""
_PROGRESS_KEPT_MS = 30 * 86_400_000
"""So long after its last record an incarnation's watermark is kept: no record of it comes any more."""


class Retention:
    """Jobs for :class:`penstock.ledger.leader.Leader`."""

    def __init__(self, database: Database, kept_ms: int | None, *, partitioned: bool) -> None:
        """``kept_ms``: age at which rows of calls go; None: never."""
        self._database = database
        self._kept_ms = kept_ms
        self._partitioned = partitioned
        self._removed_until = 0
        """Where the go under way is to be continued, Unix milliseconds; 0: at the beginning."""

    async def make_months(self, fence: Fence) -> None:
        """Have partitions for this month and the next ones."""
        if not self._partitioned:
            return
        month = _month(now_ms())
        for _ in range(_MONTHS_AHEAD + 1):
            await self._make_month(fence, month)
            month = _next(month)

    async def _make_month(self, fence: Fence, month: datetime) -> None:
        name, start, end = f"usage_{month:%Y_%m}", _ms(month), _ms(_next(month))

        async def work(tx: Transaction) -> None:
            await fence.check(tx)
            if await tx.fetch_one("SELECT to_regclass(?) AS found WHERE to_regclass(?) IS NOT NULL", (name, name)):
                return
            # Rows that came before their month was there are in the default partition, and keep the month from it. Nobody
            # may add to them between the statements that move them: those would be deleted without having been copied.
            await tx.execute(_BRIEFLY)
            await tx.execute("LOCK TABLE usage, usage_default IN ACCESS EXCLUSIVE MODE")
            await tx.execute(f"CREATE TABLE {name} (LIKE usage INCLUDING DEFAULTS)")
            await tx.execute(
                f"INSERT INTO {name} SELECT * FROM usage_default WHERE started_at >= {start} AND started_at < {end}"
            )
            await tx.execute(f"DELETE FROM usage_default WHERE started_at >= {start} AND started_at < {end}")
            await tx.execute(f"ALTER TABLE usage ATTACH PARTITION {name} FOR VALUES FROM ({start}) TO ({end})")

        await self._database.run(work)

    async def expire(self, fence: Fence) -> Left:
        """Remove rows of calls that are old enough, and what else nobody asks for, for a while; returns whether some is left.

        Raises:
            Fenced: the rest is another's.
            DatabaseUnavailable: some of it could not be removed; all else was.
        """
        now, left = now_ms(), Left.NOTHING
        failure: DatabaseUnavailable | None = None
        for part in (self._expire_months, self._expire_calls, self._expire_hours, self._expire_progress):
            if failure is not None and part == self._expire_calls:
                # A month that is to go whole is there still.
                continue
            try:
                if await part(fence, now) is Left.SOMETHING:
                    left = Left.SOMETHING
            except DatabaseUnavailable as error:
                # What takes too long each time, or may not be done, keeps nothing else from being done.
                failure = failure or error
        if failure is not None:
            raise failure
        return left

    async def _expire_months(self, fence: Fence, now: int) -> Left:
        if self._kept_ms is not None and self._partitioned:
            await self._drop_months(fence, now - self._kept_ms)
        return Left.NOTHING

    async def _expire_calls(self, fence: Fence, now: int) -> Left:
        if self._kept_ms is None:
            return Left.NOTHING
        # Not from the beginning again: PostgreSQL reads what was removed until it is vacuumed. Rows that are added before this place
        # meanwhile go with the next go that begins there.
        since, self._removed_until = self._removed_until, 0
        until = time.monotonic() + _LONGEST_S
        while (last := await self._expire_slice(fence, since, now - self._kept_ms)) is not None:
            since = last
            if time.monotonic() >= until:
                self._removed_until = since
                return Left.SOMETHING
        return Left.NOTHING

    async def _expire_slice(self, fence: Fence, since: int, before: int) -> int | None:
        """Remove the oldest rows of calls that began from one time until before another; returns when the last of them began,
        None: there are no more."""

        async def work(tx: Transaction) -> int | None:
            await fence.check(tx)
            row = await tx.fetch_one(_LAST_OF_SLICE, (since, before, _SLICE - 1))
            if row is None:
                await tx.execute(_DELETE_REST, (since, before))
                return None
            last = int(row["started_at"] or 0)
            await tx.execute(_DELETE_SLICE, (since, last, last, row["id"]))
            return last

        return await self._database.run(work, gently=True)

    async def _expire_hours(self, fence: Fence, now: int) -> Left:
        oldest = (
            "DELETE FROM usage_rollups WHERE period = 'hour' AND start_at < ? AND start_at ="
            " (SELECT MIN(start_at) FROM usage_rollups WHERE period = 'hour')"
        )
        until = time.monotonic() + _LONGEST_S
        while await self._once(fence, oldest, (now - HOURS_KEPT_MS,)):
            if time.monotonic() >= until:
                return Left.SOMETHING
        return Left.NOTHING

    async def _expire_progress(self, fence: Fence, now: int) -> Left:
        forgotten = now - _PROGRESS_KEPT_MS
        await self._once(
            fence,
            "DELETE FROM ledger_gaps WHERE incarnation IN"
            " (SELECT incarnation FROM ledger_progress WHERE updated_at < ?)",
            (forgotten,),
        )
        await self._once(fence, "DELETE FROM ledger_progress WHERE updated_at < ?", (forgotten,))
        return Left.NOTHING

    async def _drop_months(self, fence: Fence, before: int) -> None:
        """Partitions all of whose rows are older."""
        rows = await self._database.fetch_all(
            "SELECT relname FROM pg_class JOIN pg_inherits ON inhrelid = pg_class.oid"
            " WHERE inhparent = to_regclass('usage') AND relname LIKE 'usage_____\\___' ORDER BY relname"
        )
        for name in [str(row["relname"]) for row in rows]:
            month = datetime(int(name[6:10]), int(name[11:13]), 1, tzinfo=UTC)
            if _ms(_next(month)) > before:
                return

            async def work(tx: Transaction, name: str = name) -> None:
                await fence.check(tx)
                await tx.execute(_BRIEFLY)
                await tx.execute(f"DROP TABLE {name}")

            await self._database.run(work)

    async def _once(self, fence: Fence, sql: str, values: tuple[int, ...]) -> int:
        async def work(tx: Transaction) -> int:
            await fence.check(tx)
            return await tx.execute(sql, values)

        return await self._database.run(work, gently=True)


def _month(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)


def _next(month: datetime) -> datetime:
    return month.replace(year=month.year + month.month // 12, month=month.month % 12 + 1)


def _ms(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)
