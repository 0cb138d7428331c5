"""Connections to PostgreSQL: a bounded number, each asked with a deadline, and none kept that is of no use any more.

Apart from the engine because it knows nothing of transactions, only of connections that are good, lent out or broken.
It is not the driver's own pool: that one asks the server at every return, waits for cancelled statements of a server that
hangs, and keeps connections to a node that has become read only.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import asyncpg
import msgspec

from penstock.config.database import DatabaseSettings, PostgresAddress
from penstock.persistence.database import DatabaseUnavailable, Row, Value
from penstock.persistence.postgres_errors import TOO_MANY_CONNECTIONS, ConnectionLost, ReadOnlyNode, explained
from penstock.persistence.translate import numbered

_T = TypeVar("_T")
_LIFETIME_S = 1_800.0
"""Connections are replaced after this time, so that a name which points elsewhere by now is followed."""
_UNUSED_S = 300.0
_FULL_PAUSE_S = 0.2
"""After the server had no connection to spare, before it is asked for one again."""
_CLIENT_MARGIN_S = 1.0
"""The server ends a statement at its deadline; a server that hangs is given up this much later."""
_CLOSE_S = 1.0
_STATEMENTS_KEPT = 256


class PoolSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds."""

    size: int = 10
    """Connections open at most, at least 2: whoever is in a transaction may read beside it."""
    wait_s: float = 5.0
    """How long a caller waits for a connection, be it for one to come back or to be opened."""
    statement_s: float = 10.0
    """How long a statement may take."""

    @classmethod
    def of(cls, settings: DatabaseSettings) -> PoolSettings:
        """As configured."""
        return cls(size=settings.pool_size, wait_s=settings.wait_ms / 1000, statement_s=settings.statement_ms / 1000)


class Connection:
    """One connection. Failures are raised as :mod:`penstock.persistence.postgres_errors` says."""

    def __init__(self, raw: Any, generation: int, statement_s: float) -> None:
        self.generation = generation
        self.opened_at = self.used_at = time.monotonic()
        self.is_broken = False
        """It must not be used again."""
        self.is_lost = False
        """And that because of the server, so that others to the same server may be no better."""
        self._raw = raw
        self._timeout_s = statement_s + _CLIENT_MARGIN_S

    @property
    def is_usable(self) -> bool:
        """It is open, and its server takes writes as far as it has told."""
        if self.is_broken or self._raw.is_closed():
            return False
        told = self._raw.get_settings()
        # Servers from version 14 on tell of a change by themselves.
        return "on" not in (
            getattr(told, "in_hot_standby", None),
            getattr(told, "default_transaction_read_only", None),
        )

    async def command(self, script: str) -> str:
        """Statements without parameters, in one trip; what the last one says of itself (`COMMIT`)."""
        return str(await self._ask(self._raw.execute(script, timeout=self._timeout_s)))

    async def execute(self, sql: str, parameters: Sequence[Value]) -> int:
        """Rows changed."""
        status = str(await self._ask(self._raw.execute(numbered(sql), *parameters, timeout=self._timeout_s)))
        count = status.rpartition(" ")[2]
        return int(count) if count.isdigit() else 0

    async def execute_many(self, sql: str, rows: Sequence[Sequence[Value]]) -> None:
        """One statement, many rows of parameters."""
        await self._ask(self._raw.executemany(numbered(sql), rows, timeout=self._timeout_s))

    async def fetch(self, sql: str, parameters: Sequence[Value]) -> list[Row]:
        """Rows."""
        return [
            dict(row) for row in await self._ask(self._raw.fetch(numbered(sql), *parameters, timeout=self._timeout_s))
        ]

    async def _ask(self, answer: Awaitable[_T]) -> _T:
        try:
            return await answer
        except Exception as error:
            failure = explained(error)
            # What a server that did not answer in time is still doing is not waited for.
            if isinstance(failure, ConnectionLost | ReadOnlyNode):
                self.is_broken = self.is_lost = True
            if failure is error:
                raise
            raise failure from error
        except BaseException:
            self.is_broken = True
            raise

    def terminate(self) -> None:
        """Drop it at once; the server rolls back whatever was open."""
        self.is_broken = True
        self._raw.terminate()

    async def close(self) -> None:
        """Say goodbye, briefly."""
        try:
            await self._raw.close(timeout=_CLOSE_S)
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            self._raw.terminate()


class Pool:
    """See the module. Callers are served in the order in which they came."""

    def __init__(self, address: PostgresAddress, settings: PoolSettings) -> None:
        self._address = address
        self._settings = settings
        self._idle: deque[Connection] = deque()
        self._waiting: deque[asyncio.Future[Connection | None]] = deque()
        self._open = 0
        self._generation = 0
        self._full_until = 0.0
        self._is_closed = False
        self._all_back = asyncio.Event()

    @property
    def open(self) -> int:
        """Connections that exist or are being made."""
        return self._open

    @asynccontextmanager
    async def lend(self) -> AsyncIterator[Connection]:
        """A connection that nobody else uses meanwhile.

        Raises:
            DatabaseUnavailable: there is none within the time for it.
        """
        connection = await self._get()
        try:
            yield connection
        finally:
            self._give_back(connection)

    def drop_all(self) -> None:
        """Use none of the present connections again: the node behind them is not what it was."""
        self._generation += 1
        while self._idle:
            self._end(self._idle.popleft())

    async def close(self) -> None:
        """Wait a moment for what is lent out, then end every connection. Idempotent."""
        if self._is_closed:
            return
        self._is_closed = True
        idle = list(self._idle)
        self._idle.clear()
        self._open -= len(idle)
        await asyncio.gather(*(connection.close() for connection in idle))
        if self._open:
            try:
                async with asyncio.timeout(self._settings.statement_s):
                    await self._all_back.wait()
            except TimeoutError:
                # Each is ended by whoever has it when it comes back.
                return

    async def _get(self) -> Connection:
        began = time.monotonic()
        try:
            async with asyncio.timeout(self._settings.wait_s):
                while True:
                    if (connection := await self._next()) is not None:
                        return connection
        except TimeoutError as error:
            waited = time.monotonic() - began
            raise DatabaseUnavailable(
                f"no connection to {self._address.shown} within {waited:.1f} s ({self._open} in use)"
            ) from error

    async def _next(self) -> Connection | None:
        """One that is free, or a new one, or the first that comes back; None: look again."""
        if self._is_closed:
            raise DatabaseUnavailable("the database is closed")
        while self._idle:
            connection = self._idle.pop()
            if self._is_good(connection):
                return connection
            self._end(connection)
        may_open = time.monotonic() >= self._full_until or not self._open
        if self._open < self._settings.size and may_open:
            return await self._connect()
        return await self._wait()

    async def _connect(self) -> Connection | None:
        self._open += 1
        generation = self._generation
        try:
            return await connect(self._address, self._settings, generation)
        except BaseException as error:
            self._one_less()
            self._wake()
            if isinstance(error, _ServerIsFull) and self._open:
                # Those that there are have to do.
                self._full_until = time.monotonic() + _FULL_PAUSE_S
                return None
            if isinstance(error, ReadOnlyNode):
                self.drop_all()
            raise

    async def _wait(self) -> Connection | None:
        turn: asyncio.Future[Connection | None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            return await turn
        except BaseException:
            if turn.done() and not turn.cancelled():
                # It came at the very moment that it was given up.
                if (connection := turn.result()) is not None:
                    self._give_back(connection)
                else:
                    self._wake()
            elif turn in self._waiting:
                self._waiting.remove(turn)
            raise

    def _give_back(self, connection: Connection) -> None:
        if not self._is_good(connection):
            self._end(connection)
            if connection.is_lost and connection.generation == self._generation:
                self.drop_all()
            self._wake()
            return
        connection.used_at = time.monotonic()
        if self._hand(connection):
            return
        self._idle.append(connection)
        while connection.used_at - self._idle[0].used_at > _UNUSED_S:
            self._end(self._idle.popleft())

    def _is_good(self, connection: Connection) -> bool:
        return (
            not self._is_closed
            and connection.generation == self._generation
            and connection.is_usable
            and time.monotonic() - connection.opened_at < _LIFETIME_S
        )

    def _end(self, connection: Connection) -> None:
        connection.terminate()
        self._one_less()

    def _one_less(self) -> None:
        self._open -= 1
        if self._is_closed and not self._open:
            self._all_back.set()

    def _hand(self, connection: Connection | None) -> bool:
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(connection)
                return True
        return False

    def _wake(self) -> None:
        """There is room for one more: whoever waits longest may open it."""
        self._hand(None)


class _ServerIsFull(DatabaseUnavailable):
    """It has no connection to spare."""


async def connect(address: PostgresAddress, settings: PoolSettings, generation: int = 0) -> Connection:
    """Open a connection to a node that takes writes.

    Raises:
        DatabaseUnavailable: there is none, with the reason.
    """
    server = {"application_name": "penstock"}
    if not address.is_pooled:
        # A pooler would refuse these, or leave them to the next client of the same connection.
        milliseconds = int(settings.statement_s * 1000)
        server |= {
            "statement_timeout": str(milliseconds),
            # Whoever holds a transaction may have to wait for another connection and a statement on that.
            "idle_in_transaction_session_timeout": str(2 * milliseconds),
            "jit": "off",
        }
        if address.schema is not None:
            server["search_path"] = address.schema
    raw = None
    try:
        raw = await asyncpg.connect(
            address.dsn.reveal(),
            timeout=settings.wait_s,
            server_settings=server,
            statement_cache_size=0 if address.is_pooled else _STATEMENTS_KEPT,
        )
        # Sums of integers are NUMERIC. The names of the type are the catalogue's own.
        await raw.set_type_codec("numeric", schema="pg_catalog", encoder=str, decoder=_number, format="text")
    except Exception as error:
        if raw is not None:
            raw.terminate()
        if isinstance(error, asyncpg.PostgresError) and error.sqlstate == TOO_MANY_CONNECTIONS:
            raise _ServerIsFull(f"{address.shown}: {error.args[0]}") from error
        failure = explained(error)
        if failure is error:
            raise
        kind = type(failure) if isinstance(failure, ReadOnlyNode) else DatabaseUnavailable
        raise kind(f"{address.shown}: {failure}") from error
    except BaseException:
        if raw is not None:
            raw.terminate()
        raise
    return Connection(raw, generation, settings.statement_s)


def _number(text: str) -> int | float:
    return float(text) if "." in text or text in {"NaN", "Infinity", "-Infinity"} else int(text)
