"""Keeping the table of calls usable: months are made ahead, and what is older than its retention goes.

Apart from the other jobs because it is the only place where the two databases differ in more than dialect: PostgreSQL has
a partition per month, which is dropped whole; what remains goes in slices that nobody waits for long.
"""

# ruff: noqa: S608 - names of partitions are the program's own
from __future__ import annotations

from datetime import UTC, datetime

from penstock.clock import now_ms
from penstock.ledger.leader import Fence
from penstock.persistence import Database, Transaction

_MONTHS_AHEAD = 3
_BRIEFLY = "SET LOCAL lock_timeout = '300ms'"
"""For locks of a whole table: who writes waits behind who waits for one, so it is rather had another time than waited for."""
_SLICE = 1_000
_SLICES = 50
"""In one go; the rest follows the next time."""
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

    async def expire(self, fence: Fence) -> int:
        """Remove rows of calls that are old enough, and what else nobody asks for; returns how many rows of calls."""
        now, removed = now_ms(), 0
        if self._kept_ms is not None:
            before = now - self._kept_ms
            if self._partitioned:
                await self._drop_months(fence, before)
            rows = (
                "DELETE FROM usage WHERE started_at < ? AND id IN"
                " (SELECT id FROM usage WHERE started_at < ? ORDER BY started_at LIMIT ?)"
            )
            removed += await self._slices(fence, rows, (before, before, _SLICE))
        hours = (
            "DELETE FROM usage_rollups WHERE period = 'hour' AND start_at < ? AND start_at ="
            " (SELECT MIN(start_at) FROM usage_rollups WHERE period = 'hour')"
        )
        await self._slices(fence, hours, (now - HOURS_KEPT_MS,), at_least=1)
        forgotten = now - _PROGRESS_KEPT_MS
        await self._once(
            fence,
            "DELETE FROM ledger_gaps WHERE incarnation IN"
            " (SELECT incarnation FROM ledger_progress WHERE updated_at < ?)",
            (forgotten,),
        )
        await self._once(fence, "DELETE FROM ledger_progress WHERE updated_at < ?", (forgotten,))
        return removed

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

    async def _slices(self, fence: Fence, sql: str, values: tuple[int, ...], at_least: int = _SLICE) -> int:
        """Again and again, as long as a slice has so many rows."""
        total = 0
        for _ in range(_SLICES):
            removed = await self._once(fence, sql, values)
            total += removed
            if removed < at_least:
                break
        return total

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
