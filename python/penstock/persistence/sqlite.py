"""SQLite behind :class:`penstock.persistence.Database`: one connection that writes, one that reads.

WAL lets the reader see committed rows while the writer works. `synchronous=NORMAL` survives a crash of the
process without loss and of the machine without corruption.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import aiosqlite

from penstock.persistence.database import Conflict, DatabaseUnavailable, Row, Value
from penstock.persistence.migrations import Migration, available, pending

_BUSY_TIMEOUT_MS = 5_000
_BUSY_PAUSE_S = 0.01
_PRAGMAS = (
    f"PRAGMA busy_timeout = {_BUSY_TIMEOUT_MS}",
    "PRAGMA synchronous = NORMAL",
    "PRAGMA foreign_keys = ON",
    "PRAGMA temp_store = MEMORY",
    "PRAGMA cache_size = -4096",
)
_RECORDS = """CREATE TABLE IF NOT EXISTS schema_migrations (
    number INTEGER PRIMARY KEY, name TEXT NOT NULL, checksum TEXT NOT NULL, applied_at INTEGER NOT NULL) STRICT"""


class _SqliteTransaction:
    def __init__(self, connection: aiosqlite.Connection) -> None:
        self._connection = connection

    async def execute(self, sql: str, parameters: Sequence[Value] = ()) -> int:
        async with self._connection.execute(sql, parameters) as cursor:
            return cursor.rowcount

    async def execute_many(self, sql: str, rows: Sequence[Sequence[Value]]) -> None:
        async with self._connection.executemany(sql, rows):
            return

    async def fetch_all(self, sql: str, parameters: Sequence[Value] = ()) -> list[Row]:
        return [dict(row) for row in await self._connection.execute_fetchall(sql, parameters)]

    async def fetch_one(self, sql: str, parameters: Sequence[Value] = ()) -> Row | None:
        rows = await self.fetch_all(sql, parameters)
        return rows[0] if rows else None


class SqliteDatabase:
    """An open SQLite file; see :class:`penstock.persistence.Database`."""

    def __init__(self, writer: aiosqlite.Connection, reader: aiosqlite.Connection, applied: list[str]) -> None:
        self.applied = applied
        """Names of the migrations that opening has applied."""
        self._writer = writer
        self._reader = reader
        self._lock = asyncio.Lock()
        self._closed = False

    @classmethod
    async def open(cls, path: Path) -> SqliteDatabase:
        """Open or create the file (mode 0600) and bring its schema up to date.

        Raises:
            DatabaseUnavailable: the file cannot be opened.
            MigrationError: the schema is not one this version can use.
        """
        try:
            os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
            writer = await _connect(path)
        except (sqlite3.Error, OSError) as error:
            raise DatabaseUnavailable(f"{path}: {error}") from error
        try:
            applied = [migration.name for migration in await migrate(writer)]
            reader = await _connect(path)
        except sqlite3.Error as error:
            await writer.close()
            raise DatabaseUnavailable(f"{path}: {error}") from error
        except BaseException:
            await writer.close()
            raise
        await reader.execute("PRAGMA query_only = ON")
        return cls(writer, reader, applied)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[_SqliteTransaction]:
        """`BEGIN IMMEDIATE`, then commit, or roll back when the block raises."""
        async with self._lock:
            try:
                await self._writer.execute("BEGIN IMMEDIATE")
                try:
                    yield _SqliteTransaction(self._writer)
                    await self._writer.commit()
                except BaseException:
                    await self._writer.rollback()
                    raise
            except sqlite3.IntegrityError as error:
                raise Conflict(str(error)) from error
            except sqlite3.Error as error:
                raise DatabaseUnavailable(str(error)) from error

    async def fetch_all(self, sql: str, parameters: Sequence[Value] = ()) -> list[Row]:
        """Read on the second connection, so that a write in progress is not waited for."""
        try:
            return [dict(row) for row in await self._reader.execute_fetchall(sql, parameters)]
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
            await self._reader.close()
            await self._writer.close()


async def _connect(path: Path) -> aiosqlite.Connection:
    connection = await aiosqlite.connect(path, isolation_level=None, cached_statements=64)
    connection.row_factory = aiosqlite.Row
    try:
        for pragma in _PRAGMAS:
            await connection.execute_fetchall(pragma)
        await _use_wal(connection)
    except BaseException:
        await connection.close()
        raise
    return connection


async def _use_wal(connection: aiosqlite.Connection) -> None:
    """Switch a new file over. SQLite does not wait for another process that does the same: it fails at once."""
    for _ in range(int(_BUSY_TIMEOUT_MS / 1000 / _BUSY_PAUSE_S)):
        try:
            await connection.execute_fetchall("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:
                raise
        await asyncio.sleep(_BUSY_PAUSE_S)
    await connection.execute_fetchall("PRAGMA journal_mode = WAL")


async def migrate(connection: aiosqlite.Connection) -> list[Migration]:
    """Apply what is pending in one transaction, so that two processes starting together do not apply it twice."""
    await connection.execute(_RECORDS)
    await connection.execute("BEGIN IMMEDIATE")
    try:
        rows = await connection.execute_fetchall("SELECT number, checksum FROM schema_migrations")
        steps = pending(available("sqlite"), {row[0]: row[1] for row in rows})
        for migration in steps:
            for statement in _statements(migration.sql):
                await connection.execute(statement)
            await connection.execute(
                "INSERT INTO schema_migrations VALUES (?, ?, ?, ?)",
                (migration.number, migration.name, migration.checksum, int(time.time() * 1000)),
            )
        await connection.commit()
    except BaseException:
        await connection.rollback()
        raise
    return steps


def _statements(sql: str) -> list[str]:
    """Split a file into statements; `executescript` would commit the transaction around them."""
    statements, current = [], ""
    for line in sql.splitlines(keepends=True):
        current += line
        if sqlite3.complete_statement(current):
            statements.append(current)
            current = ""
    return statements
