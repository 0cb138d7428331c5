"""SQLite behind :class:`penstock.persistence.Database`: one connection that writes, others that read.

WAL lets readers see committed rows while the writer works. `synchronous=NORMAL` survives a crash of the
process without loss and of the machine without corruption.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, closing, contextmanager
from pathlib import Path
from typing import TypeVar

from penstock.persistence.database import Conflict, DatabaseUnavailable, Dialect, Row, Transaction, Value
from penstock.persistence.migrations import Applied, Migration, available, pending
from penstock.persistence.sqlite_connection import Connection, Readers, fetch, run
from penstock.persistence.worker import Worker, without_waiting
from penstock.uninterrupted import to_the_end

_RECORDS = """CREATE TABLE IF NOT EXISTS schema_migrations (
    number INTEGER PRIMARY KEY, name TEXT NOT NULL, checksum TEXT NOT NULL, applied_at INTEGER NOT NULL,
    contract INTEGER NOT NULL DEFAULT 0) STRICT"""
_ADD_CONTRACT = "ALTER TABLE schema_migrations ADD COLUMN contract INTEGER NOT NULL DEFAULT 0"
"""The first versions kept their records without it."""
_BURST_S = 0.0002
_REST_S = 0.0003
"""Longer than a burst, so that a core that is needed elsewhere is held for less than half of the time."""
_BEGIN = "BEGIN IMMEDIATE"
_T = TypeVar("_T")


class _OnThread:
    """A transaction for whoever is on the connection's thread already: it waits for nothing, and `gently` it rests."""

    def __init__(self, connection: sqlite3.Connection, *, gently: bool = False) -> None:
        self._connection = connection
        self._gently = gently
        self._rested = time.perf_counter()

    async def execute(self, sql: str, parameters: Sequence[Value] = ()) -> int:
        changed = self._connection.execute(sql, parameters).rowcount
        if self._gently:
            self._rest()
        return changed

    def _rest(self) -> None:
        if time.perf_counter() - self._rested > _BURST_S:
            time.sleep(_REST_S)  # noqa: TID251 - this is never the loop's thread
            self._rested = time.perf_counter()

    async def execute_many(self, sql: str, rows: Sequence[Sequence[Value]]) -> None:
        self._connection.executemany(sql, rows)

    async def fetch_all(self, sql: str, parameters: Sequence[Value] = ()) -> list[Row]:
        return fetch(self._connection, sql, parameters)

    async def fetch_one(self, sql: str, parameters: Sequence[Value] = ()) -> Row | None:
        rows = fetch(self._connection, sql, parameters)
        return rows[0] if rows else None


@contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except sqlite3.IntegrityError as error:
        raise Conflict(str(error)) from error
    except sqlite3.Error as error:
        raise DatabaseUnavailable(str(error)) from error


class _FromLoop:
    """A transaction for the event loop: every statement is a trip to the connection's thread and back."""

    def __init__(self, worker: Worker, connection: sqlite3.Connection) -> None:
        self._worker = worker
        self._direct = _OnThread(connection)

    async def execute(self, sql: str, parameters: Sequence[Value] = ()) -> int:
        return await self._do(lambda: self._direct.execute(sql, parameters))

    async def execute_many(self, sql: str, rows: Sequence[Sequence[Value]]) -> None:
        await self._do(lambda: self._direct.execute_many(sql, rows))

    async def fetch_all(self, sql: str, parameters: Sequence[Value] = ()) -> list[Row]:
        return await self._do(lambda: self._direct.fetch_all(sql, parameters))

    async def fetch_one(self, sql: str, parameters: Sequence[Value] = ()) -> Row | None:
        return await self._do(lambda: self._direct.fetch_one(sql, parameters))

    async def _do(self, statement: Callable[[], Awaitable[_T]]) -> _T:
        # Here already, for whoever makes a refusal of what stands in the way of one statement of several.
        with _explained():
            return await self._worker.run(lambda: without_waiting(statement()))


class SqliteDatabase:
    """An open SQLite file; see :class:`penstock.persistence.Database`."""

    dialect: Dialect = "sqlite"

    def __init__(self, path: Path, writer: Connection, readers: Readers, applied: list[str]) -> None:
        self.applied = applied
        """Names of the migrations that opening has applied."""
        self.place = str(path)
        self._writer = writer
        self._readers = readers
        self._lock = asyncio.Lock()
        self._closed = False

    @classmethod
    async def open(cls, path: Path, writer_start: Callable[[], None] | None = None) -> SqliteDatabase:
        """Open or create the file (mode 0600) and bring its schema up to date.

        ``writer_start`` is called on the thread that writes, before anything else.

        Raises:
            DatabaseUnavailable: the file cannot be opened.
            MigrationError: the schema is not one this version can use.
        """
        try:
            os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
            writer = await Connection.open(path, Worker("penstock-sqlite-write", writer_start))
        except (sqlite3.Error, OSError) as error:
            raise DatabaseUnavailable(f"{path}: {error}") from error
        try:
            applied = [migration.name for migration in await writer.worker.run(lambda: migrate(writer.raw))]
        except sqlite3.Error as error:
            await writer.close()
            raise DatabaseUnavailable(f"{path}: {error}") from error
        except BaseException:
            await writer.close()
            raise
        return cls(path, writer, Readers(path), applied)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Transaction]:
        """`BEGIN IMMEDIATE`, then commit, or roll back when the block raises."""
        worker, connection = self._writer.worker, self._writer.raw
        async with self._lock:
            with _explained():
                try:
                    await worker.run(lambda: run(connection, _BEGIN))
                    yield _FromLoop(worker, connection)
                    await worker.run(connection.commit)
                except BaseException:
                    # Not left out by a second cancellation: the file would stay locked.
                    await to_the_end(worker.run(connection.rollback))
                    raise

    async def run(self, work: Callable[[Transaction], Awaitable[_T]], *, gently: bool = False) -> _T:
        """One trip to the writer's thread for the whole of a transaction."""
        connection = self._writer.raw
        async with self._lock:
            with _explained():
                return await self._writer.worker.run(lambda: _transact(connection, work, gently=gently))

    async def fetch_all(self, sql: str, parameters: Sequence[Value] = ()) -> list[Row]:
        """Read beside the writer, so that a write in progress is not waited for."""
        try:
            return await self._readers.fetch(sql, parameters)
        except sqlite3.Error as error:
            raise DatabaseUnavailable(str(error)) from error

    async def fetch_one(self, sql: str, parameters: Sequence[Value] = ()) -> Row | None:
        """The first row, if any."""
        rows = await self.fetch_all(sql, parameters)
        return rows[0] if rows else None

    async def close(self) -> None:
        """Wait for the writer, then close both connections."""
        if self._closed:
            return
        self._closed = True
        async with self._lock:
            await self._readers.close()
            await self._writer.close()


def _transact(connection: sqlite3.Connection, work: Callable[[Transaction], Awaitable[_T]], *, gently: bool) -> _T:
    try:
        connection.execute(_BEGIN)
        result = without_waiting(work(_OnThread(connection, gently=gently)))
        connection.commit()
    except BaseException:
        connection.rollback()
        raise
    return result


def migrate(connection: sqlite3.Connection) -> list[Migration]:
    """Apply what is pending in one transaction, so that two processes starting together do not apply it twice."""
    connection.execute(_RECORDS)
    connection.execute(_BEGIN)
    try:
        if "contract" not in {row[1] for row in connection.execute("PRAGMA table_info(schema_migrations)")}:
            connection.execute(_ADD_CONTRACT)
        rows = connection.execute("SELECT number, checksum, contract FROM schema_migrations")
        steps = pending(available("sqlite"), [Applied(row[0], row[1], bool(row[2])) for row in rows])
        for migration in steps:
            for statement in _statements(migration.sql):
                connection.execute(statement)
            connection.execute(
                "INSERT INTO schema_migrations (number, name, checksum, applied_at, contract) VALUES (?, ?, ?, ?, ?)",
                (
                    migration.number,
                    migration.name,
                    migration.checksum,
                    int(time.time() * 1000),
                    int(migration.is_contract),
                ),
            )
        connection.commit()
    except BaseException:
        connection.rollback()
        raise
    return steps


def read_status(path: Path) -> tuple[list[Row], list[Migration]]:
    """The rows of `schema_migrations` in order, and what is still to be applied. Creates and changes nothing.

    Raises:
        DatabaseUnavailable: the file cannot be read.
        MigrationError: the schema is not one this version can use.
    """
    if not path.exists():
        return [], available("sqlite")
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as connection:
            has_contract = "contract" in {row[1] for row in connection.execute("PRAGMA table_info(schema_migrations)")}
            columns = f"number, name, checksum, applied_at, {'contract' if has_contract else '0 AS contract'}"
            rows = fetch(connection, f"SELECT {columns} FROM schema_migrations ORDER BY number", ())  # noqa: S608
    except sqlite3.Error as error:
        raise DatabaseUnavailable(f"{path}: {error}") from error
    applied = [Applied(int(row["number"] or 0), str(row["checksum"]), bool(row["contract"])) for row in rows]
    return rows, pending(available("sqlite"), applied)


def _statements(sql: str) -> list[str]:
    """Split a file into statements; `executescript` would commit the transaction around them."""
    statements, current = [], ""
    for line in sql.splitlines(keepends=True):
        current += line
        if sqlite3.complete_statement(current):
            statements.append(current)
            current = ""
    return statements
