"""PostgreSQL behind :class:`penstock.persistence.Database`.

Transactions are READ COMMITTED. What several processes must not do at the same time is behind an advisory lock, which the
server gives up by itself with the transaction, however that ends.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Final, TypeVar

from penstock.config.database import PostgresAddress
from penstock.persistence import postgres_schema
from penstock.persistence.database import DatabaseUnavailable, Dialect, Row, Transaction, TryAgain, Value, pause_s
from penstock.persistence.postgres_errors import ConnectionLost, NulInText, ReadOnlyNode, SchemaChanged
from penstock.persistence.postgres_pool import Connection, Pool, PoolSettings
from penstock.persistence.translate import without_nul
from penstock.persistence.worker import WaitingFor
from penstock.uninterrupted import to_the_end

MANAGEMENT_LOCK: Final = int.from_bytes(b"penstock", "big") + 1
"""Advisory lock of :meth:`PostgresDatabase.transaction`; the number before it is that of migrations. It is taken before the
first statement and given up after the commit, so rows that only such transactions add (`audit`) have ascending ids in the
order in which others see them."""
_AGAIN_LOCK: Final = MANAGEMENT_LOCK + 1
"""Advisory lock of transactions that were rolled back for the sake of another: from then on they stand in line, so that the
same ones do not block each other again."""
_ATTEMPTS = 8
_T = TypeVar("_T")


class _PostgresTransaction:
    """A transaction on a connection. ``is_clean``: texts are freed of what PostgreSQL does not hold beforehand."""

    def __init__(self, connection: Connection, *, is_clean: bool) -> None:
        self._connection = connection
        self._is_clean = is_clean
        self._asked = 0

    def is_asked(self) -> bool:
        """A statement is under way."""
        return self._asked > 0

    async def execute(self, sql: str, parameters: Sequence[Value] = ()) -> int:
        return await self._ask(self._connection.execute(sql, self._fit(parameters)))

    async def execute_many(self, sql: str, rows: Sequence[Sequence[Value]]) -> None:
        await self._ask(self._connection.execute_many(sql, [self._fit(row) for row in rows]))

    async def fetch_all(self, sql: str, parameters: Sequence[Value] = ()) -> list[Row]:
        return await self._ask(self._connection.fetch(sql, self._fit(parameters)))

    async def fetch_one(self, sql: str, parameters: Sequence[Value] = ()) -> Row | None:
        rows = await self.fetch_all(sql, parameters)
        return rows[0] if rows else None

    def _fit(self, parameters: Sequence[Value]) -> Sequence[Value]:
        return without_nul(parameters) if self._is_clean else parameters

    async def _ask(self, answer: Awaitable[_T]) -> _T:
        self._asked += 1
        try:
            return await answer
        finally:
            self._asked -= 1


class PostgresDatabase:
    """An open pool; see :class:`penstock.persistence.Database`."""

    dialect: Dialect = "postgres"

    def __init__(self, address: PostgresAddress, settings: PoolSettings, applied: list[str]) -> None:
        self.applied = applied
        """Names of the migrations that opening has applied."""
        self.place = address.shown
        self._pool = Pool(address, settings)
        # Those of this process queue here, so that only one of them has a connection while it waits for the others'.
        self._turn = asyncio.Lock()
        self._again = asyncio.Lock()
        # A pooler has no settings of the session, so the transaction carries its deadline.
        deadline = f"; SET LOCAL statement_timeout = {int(settings.statement_s * 1000)}" if address.is_pooled else ""
        self._begin = f"BEGIN{deadline}"

    @classmethod
    async def open(cls, address: PostgresAddress, settings: PoolSettings) -> PostgresDatabase:
        """Bring the schema up to date and open the pool.

        Raises:
            DatabaseUnavailable: the server cannot be reached, or takes no writes.
            MigrationError: the schema is not one this version can use.
        """
        applied = await postgres_schema.migrate(address, settings)
        return cls(address, settings, [migration.name for migration in applied])

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Transaction]:
        """Under the management lock, then commit, or roll back when the block raises."""
        async with self._turn, AsyncExitStack() as held:
            begin = f"{self._begin}; SELECT pg_advisory_xact_lock({MANAGEMENT_LOCK})"
            try:
                connection = await self._begun(held, begin)
            except ConnectionLost:
                # It may have been lost while nobody used it, and nothing has been done yet.
                connection = await self._begun(held, begin)
            async with _rolled_back(connection):
                yield _PostgresTransaction(connection, is_clean=True)
            await to_the_end(_commit(connection))

    async def run(self, work: Callable[[Transaction], Awaitable[_T]], *, gently: bool = False) -> _T:
        """Every statement is a trip to the server, so the loop is left often enough whether ``gently`` or not."""
        try:
            return await self._run_once(work, self._begin)
        except (NulInText, _NothingCommitted):
            # U+0000 is rare enough that looking for it in every record beforehand would cost more.
            return await self._run_last(work)
        except TryAgain:
            async with self._again:
                return await self._run_again(work)

    async def _run_again(self, work: Callable[[Transaction], Awaitable[_T]]) -> _T:
        attempt = 1
        while True:
            attempt += 1
            try:
                return await self._run_last(work, f"; SELECT pg_advisory_xact_lock({_AGAIN_LOCK})")
            except TryAgain:
                if attempt >= _ATTEMPTS:
                    raise
            await asyncio.sleep(pause_s(attempt))

    async def _run_last(self, work: Callable[[Transaction], Awaitable[_T]], lock: str = "") -> _T:
        """Whatever stands in the way of it but another transaction is the caller's to know."""
        try:
            return await self._run_once(work, self._begin + lock, is_clean=True)
        except _NothingCommitted as error:
            raise error.reason from error

    async def _run_once(
        self, work: Callable[[Transaction], Awaitable[_T]], begin: str, *, is_clean: bool = False
    ) -> _T:
        async with self._lend() as connection:
            try:
                async with _rolled_back(connection):
                    await connection.command(begin)
                    tx = _PostgresTransaction(connection, is_clean=is_clean)
                    result = await WaitingFor(work(tx), tx.is_asked)
            except ConnectionLost as error:
                raise _NothingCommitted(error) from error
            await to_the_end(_commit(connection))
            return result

    async def fetch_all(self, sql: str, parameters: Sequence[Value] = ()) -> list[Row]:
        """Read on any connection; once more when it breaks, for it may have been lost while nobody used it."""
        parameters = without_nul(parameters)
        try:
            return await self._fetch(sql, parameters)
        except (ConnectionLost, TryAgain):
            return await self._fetch(sql, parameters)

    async def fetch_one(self, sql: str, parameters: Sequence[Value] = ()) -> Row | None:
        """The first row, if any."""
        rows = await self.fetch_all(sql, parameters)
        return rows[0] if rows else None

    async def close(self) -> None:
        """Wait for what is under way, then end every connection."""
        await self._pool.close()

    async def _fetch(self, sql: str, parameters: Sequence[Value]) -> list[Row]:
        async with self._lend() as connection:
            return await connection.fetch(sql, parameters)

    async def _begun(self, held: AsyncExitStack, begin: str) -> Connection:
        """A connection on which a transaction has begun; ``held`` gives it back."""
        async with AsyncExitStack() as own:
            connection = await own.enter_async_context(self._lend())
            async with _rolled_back(connection):
                await connection.command(begin)
            held.push_async_exit(own.pop_all())
            return connection

    @asynccontextmanager
    async def _lend(self) -> AsyncIterator[Connection]:
        async with self._pool.lend() as connection:
            try:
                yield connection
            except (ReadOnlyNode, SchemaChanged):
                # It is so for every connection.
                self._pool.drop_all()
                raise


class _NothingCommitted(Exception):
    """The connection was lost before the commit was asked for."""

    def __init__(self, reason: ConnectionLost) -> None:
        super().__init__(str(reason))
        self.reason = reason


@asynccontextmanager
async def _rolled_back(connection: Connection) -> AsyncIterator[None]:
    """When the block raises."""
    try:
        yield
    except Exception:
        if not connection.is_broken:
            # What cannot be rolled back is ended, which comes to the same.
            with suppress(DatabaseUnavailable):
                await to_the_end(connection.command("ROLLBACK"))
        raise
    except BaseException:
        connection.is_broken = True
        raise


async def _commit(connection: Connection) -> None:
    """Commit, and be sure of it: PostgreSQL answers the commit of a failed transaction with a rollback, not an error.

    Raises:
        RuntimeError: a statement failed and the block went on.
    """
    status = await connection.command("COMMIT")
    if status != "COMMIT":
        raise RuntimeError("a statement of this transaction failed, so nothing of it was kept")
