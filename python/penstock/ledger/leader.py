"""Work that only one process may do at a time, under a lease with a fence.

Whoever holds the lease does the jobs. A lease can be lost without its holder noticing (a long pause, a flushed Redis), so
each turn has a number, the fence, which the database counts: a job's transaction begins by showing its number, and one
that is no longer the latest changes nothing.
"""

# ruff: noqa: S608 - the names are the program's own; values are bound
from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Awaitable, Callable, Sequence
from enum import Enum
from typing import Literal, Protocol

import msgspec

from penstock.engine import background
from penstock.persistence import NOW_MS, Database, DatabaseUnavailable, Transaction
from penstock.shared.redis import STREAM_DEADLINE_S, SharedRedis, SharedUnavailable

logger = logging.getLogger("penstock.leader")

LEASE_MS = 15_000
_INTERVAL_S = 0.5
_RENEW_S = 5.0
_AGAIN_S = 30.0
"""Before a job that failed is tried again, at most."""
_NAME = "jobs"


class Fenced(Exception):
    """Another process has taken over."""


class Fence:
    """The number of a turn, for the transactions of its jobs."""

    def __init__(self, number: int) -> None:
        self.number = number

    async def check(self, tx: Transaction) -> None:
        """Hold the turn until the transaction is over.

        Raises:
            Fenced: it is another's.
        """
        held = await tx.execute(
            "UPDATE ledger_leases SET fence = fence WHERE name = ? AND fence = ?", (_NAME, self.number)
        )
        if not held:
            raise Fenced


Taken = Literal["no", "kept", "new"]
"""Somebody else has the lease; it was this process's and still is; it is now, and was another's or nobody's."""


class Lease(Protocol):
    """Who may begin a turn, and go on with it."""

    async def take(self) -> Taken:
        """Get or prolong it.

        Raises:
            SharedUnavailable, DatabaseUnavailable: it cannot be asked; then nobody holds it for longer than it lasts.
        """

    async def release(self) -> None:
        """Leave it to the next one."""


class DatabaseLease:
    """A row of the database, by its clock: for databases with Redis nowhere. A holder whose own clock was ahead and that died
    would keep everybody out for so long."""

    def __init__(self, database: Database, holder: str, lease_ms: int = LEASE_MS) -> None:
        self._database = database
        self._holder = holder
        self._lease_ms = lease_ms
        now = NOW_MS[database.dialect]
        self._keep = f"UPDATE ledger_leases SET expires_at = {now} + ? WHERE name = ? AND holder = ?"
        # One that ends far beyond the length of a lease was written before the database's own clock was set back.
        self._take = (
            f"INSERT INTO ledger_leases (name, holder, fence, expires_at) VALUES (?, ?, 0, {now} + ?)"
            " ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, expires_at = excluded.expires_at"
            f" WHERE ledger_leases.expires_at < {now} OR ledger_leases.expires_at > {now} + ? RETURNING holder"
        )

    async def take(self) -> Taken:
        """Get or prolong it."""

        async def work(tx: Transaction) -> Taken:
            name = f"{_NAME}.lease"
            if await tx.execute(self._keep, (self._lease_ms, name, self._holder)):
                return "kept"
            row = await tx.fetch_one(self._take, (name, self._holder, self._lease_ms, 2 * self._lease_ms))
            return "no" if row is None else "new"

        return await self._database.run(work)

    async def release(self) -> None:
        """Let it run out now."""

        async def work(tx: Transaction) -> None:
            await tx.execute(
                "UPDATE ledger_leases SET expires_at = 0 WHERE name = ? AND holder = ?",
                (f"{_NAME}.lease", self._holder),
            )

        await self._database.run(work)


_PROLONG = """
local holder = redis.call('GET', KEYS[1])
if holder == ARGV[1] then
  redis.call('PEXPIRE', KEYS[1], ARGV[2])
  return 1
elseif holder then
  return 0
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 2
"""
_ANSWERS: tuple[Taken, ...] = ("no", "kept", "new")
_RELEASE = """
if redis.call('GET', KEYS[1]) == ARGV[1] then
  redis.call('DEL', KEYS[1])
end
return 1
"""


class RedisLease:
    """A key of Redis that expires."""

    def __init__(self, redis: SharedRedis, holder: str, lease_ms: int = LEASE_MS) -> None:
        self._redis = redis
        self._holder = holder
        self._lease_ms = lease_ms
        self._key = redis.key("lease", _NAME)

    async def take(self) -> Taken:
        """Get or prolong it."""
        asked = self._redis.client.eval(_PROLONG, 1, self._key, self._holder, self._lease_ms)
        return _ANSWERS[int(await self._redis.run(asked, STREAM_DEADLINE_S / 5))]

    async def release(self) -> None:
        """Delete it, if it is this process's."""
        await self._redis.run(self._redis.client.eval(_RELEASE, 1, self._key, self._holder), STREAM_DEADLINE_S / 5)


class SoleLease:
    """For a store that only one process serves from."""

    async def take(self) -> Taken:
        """Always."""
        return "kept"

    async def release(self) -> None:
        """Nobody waits."""


class Left(Enum):
    """What a job that does a part of its work at a time has left."""

    NOTHING = "nothing"
    SOMETHING = "something"


class Job(msgspec.Struct):
    """Something that is done again and again."""

    name: str
    every_s: float
    work: Callable[[Fence], Awaitable[object]]
    """While it runs no other job does, nor is the lease prolonged. When it returns :attr:`Left.SOMETHING` it is due again after
    the others."""
    due_at: float = 0.0


class Leader:
    """One per process; most of them only wait."""

    def __init__(self, lease: Lease, database: Database, jobs: Sequence[Job]) -> None:
        self._lease = lease
        self._database = database
        self._jobs = list(jobs)
        self._task: background.Kept | None = None
        self._fence: Fence | None = None
        self._held_until = 0.0
        self._renew_at = 0.0

    @property
    def is_leading(self) -> bool:
        """This process does the jobs."""
        return self._fence is not None and time.monotonic() < self._held_until

    def add(self, *jobs: Job) -> None:
        """Name further jobs."""
        self._jobs.extend(jobs)

    def start(self) -> None:
        """Begin in the background."""
        self._task = background.Kept(self._run, "leader")

    def trouble(self) -> str | None:
        """That its task ends again and again."""
        return None if self._task is None else self._task.trouble()

    async def stop(self) -> None:
        """Give the lease back."""
        if self._task is None:
            return
        await self._task.stop()
        self._task = None
        if self.is_leading:
            try:
                await self._lease.release()
            except (SharedUnavailable, DatabaseUnavailable) as error:
                logger.info("the lease runs out", extra={"event": "leader.left", "reason": str(error)})

    async def step(self) -> None:
        """Try to get or keep the lease, and do what is due.

        Raises:
            SharedUnavailable, DatabaseUnavailable: what has not been done is due again soon.
        """
        if not await self._leads():
            return
        failure: SharedUnavailable | DatabaseUnavailable | None = None
        for job in self._jobs:
            if (now := time.monotonic()) < job.due_at or self._fence is None or not await self._leads():
                continue
            try:
                left = await job.work(self._fence)
            except Fenced:
                logger.warning("another process has taken over", extra={"event": "leader.fenced", "job": job.name})
                self._fence = None
                return
            except (SharedUnavailable, DatabaseUnavailable) as error:
                # It may be this job's alone, such as one that may not change tables: the others do not wait for it.
                failure, job.due_at = error, now + min(job.every_s, _AGAIN_S)
            else:
                job.due_at = now if left is Left.SOMETHING else now + job.every_s
        if failure is not None:
            raise failure

    async def _leads(self) -> bool:
        now = time.monotonic()
        if self._fence is not None and now < self._renew_at:
            return True
        taken = await self._lease.take()
        if taken == "no":
            self._fence = None
            return False
        if self._fence is None or taken == "new":
            self._fence = Fence(await self._next_turn())
        # From before the lease was asked for: it may have begun at once.
        self._renew_at, self._held_until = now + _RENEW_S, now + LEASE_MS / 1000
        return True

    async def _next_turn(self) -> int:
        async def work(tx: Transaction) -> int:
            row = await tx.fetch_one(
                "INSERT INTO ledger_leases (name, holder, fence, expires_at) VALUES (?, '', 1, 0)"
                " ON CONFLICT (name) DO UPDATE SET fence = ledger_leases.fence + 1 RETURNING fence",
                (_NAME,),
            )
            return int(row["fence"] or 0) if row else 0

        return await self._database.run(work)

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(_INTERVAL_S)
            try:
                await self.step()
            except (SharedUnavailable, DatabaseUnavailable) as error:
                logger.warning("jobs wait", extra={"event": "leader.retry", "reason": str(error)})


def holder_name() -> str:
    """A name that no other process has."""
    return secrets.token_hex(8)
