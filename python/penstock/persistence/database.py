"""The seam between the domains' stores and a database engine.

Apart from any engine so that a store never learns which one it runs on.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Final, Literal, Protocol, TypeVar

Value = str | int | float | bytes | None
Row = Mapping[str, Value]
"""Columns by name."""
Dialect = Literal["sqlite", "postgres"]
_T = TypeVar("_T")
_TRIES = 8
_FIRST_PAUSE_MS = 5


NOW_MS: Final = {
    "postgres": "CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000 AS BIGINT)",
    "sqlite": "CAST(ROUND((julianday('now') - 2440587.5) * 86400000) AS INTEGER)",
}
"""SQL for Unix milliseconds by the database's clock, of which there is one while those of processes differ; by dialect."""


class DatabaseUnavailable(Exception):
    """The database cannot be reached or refused the work for a reason that may pass (locked, full, gone)."""


class TryAgain(DatabaseUnavailable):
    """Nothing was done, for the sake of another transaction; the same work may succeed at once."""


async def managed(database: Database, work: Callable[[Transaction], Awaitable[_T]]) -> _T:
    """What ``work`` returns, once it is committed as the one management transaction at a time, and as the whole of it.

    ``work`` is called again when it was rolled back for the sake of another (deadlock, serialization failure), as charges take
    the rows of keys and scopes beside it. So it begins from what it reads, or from copies of what it was given, and does
    nothing that the rollback does not undo; unlike the work of :meth:`Database.run` it may await what it likes.

    Raises:
        DatabaseUnavailable: that, too, after so many tries.
    """
    for attempt in range(1, _TRIES):
        try:
            return await _once(database, work)
        except TryAgain:
            await asyncio.sleep(pause_s(attempt))
    return await _once(database, work)


async def _once(database: Database, work: Callable[[Transaction], Awaitable[_T]]) -> _T:
    async with database.transaction() as tx:
        return await work(tx)


def pause_s(attempt: int) -> float:
    """Seconds before the next try: growing, and never the same for two that stand in each other's way."""
    longest = _FIRST_PAUSE_MS << attempt
    return (longest / 2 + secrets.randbelow(longest)) / 1000


class Conflict(Exception):
    """A row with this unique value exists already, or the row breaks another rule of its table."""


class ValueRefused(Exception):
    """A value does not fit its column (a number out of range, a text that is none): the same would be refused again."""


class Transaction(Protocol):
    """Work that becomes visible all at once, or not at all when the block raises.

    After a statement has failed nothing but raising is possible: PostgreSQL refuses whatever else is asked.
    """

    async def execute(self, sql: str, parameters: Sequence[Value] = ()) -> int:
        """Run one statement; returns the number of rows it changed."""

    async def execute_many(self, sql: str, rows: Sequence[Sequence[Value]]) -> None:
        """Run one statement once per row of parameters."""

    async def fetch_all(self, sql: str, parameters: Sequence[Value] = ()) -> list[Row]:
        """The rows of a query or of a `RETURNING` clause."""

    async def fetch_one(self, sql: str, parameters: Sequence[Value] = ()) -> Row | None:
        """The first row, if any."""


class Database(Protocol):
    """A database that is open. Any number of processes may have it open when it is a server.

    Every method raises :class:`DatabaseUnavailable` when the engine fails for an outside reason (gone, hung, full, a node
    that takes no writes), within the configured deadlines and without a restart being needed afterwards; and a transaction
    :class:`Conflict` when it would break a uniqueness rule. When the connection is lost while a transaction commits,
    nobody knows whether it did: that is :class:`DatabaseUnavailable` too, so what is tried again must be idempotent.

    Two kinds of writers share it:

    * :meth:`transaction` is for management, by way of :func:`managed`: there is one at a time, over all processes, so that it
      may read a row, decide and write. It takes a lock of its own for that.
    * :meth:`run` is for the ledger: any number at a time, of every process, and beside a :meth:`transaction`. What both write
      is therefore changed by expressions (`spend = spend + ?`) or conditions (`WHERE budget_reset_at = ?`), never by a value
      that was read before.
    """

    applied: list[str]
    """Names of the migrations that opening has applied."""
    place: str
    """Which database it is, for messages: a path or an address without its user and password."""
    dialect: Dialect

    def transaction(self) -> AbstractAsyncContextManager[Transaction]:
        """The one management transaction at a time; others wait. A block cannot be begun again, so that it may fail for the
        sake of another transaction: what an administrator waits for is made with :func:`managed`."""

    async def run(self, work: Callable[[Transaction], Awaitable[_T]], *, gently: bool = False) -> _T:
        """A transaction with everything that is done in it known beforehand: ``work``, which is committed when it returns.

        ``work`` may await its transaction and nothing else, and must not touch what belongs to the event loop: an
        engine that blocks runs it as a whole on its own thread. It is called again when it was rolled back for the sake of
        another (deadlock, serialization failure) or its connection was lost before the commit. When the caller is cancelled
        it may be committed nevertheless, before any later transaction of the same caller begins. ``gently``: it is long and
        not urgent, so it shall leave the core now and then to who is waiting for it.
        """

    async def fetch_all(self, sql: str, parameters: Sequence[Value] = ()) -> list[Row]:
        """Read committed rows."""

    async def fetch_one(self, sql: str, parameters: Sequence[Value] = ()) -> Row | None:
        """Read the first committed row."""

    async def close(self) -> None:
        """Release everything. Idempotent."""
