"""Connections to a SQLite file, each with the one thread that uses it.

Apart from the transactions because of one rule that is about connections alone: a report that reads for seconds must not
keep waiting who looks up a key, so reads have several.
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Sequence
from pathlib import Path

from penstock.persistence.database import Row, Value
from penstock.persistence.worker import Worker

_MOST_READERS = 4
_BUSY_TIMEOUT_MS = 5_000
_BUSY_PAUSE_S = 0.01
_STATEMENTS_KEPT = 64
_PRAGMAS = (
    f"PRAGMA busy_timeout = {_BUSY_TIMEOUT_MS}",
    "PRAGMA synchronous = NORMAL",
    "PRAGMA foreign_keys = ON",
    "PRAGMA temp_store = MEMORY",
    "PRAGMA cache_size = -4096",
    # Pages. A checkpoint is one stretch of work, which for the default of 1,000 is 4 ms of a core.
    "PRAGMA wal_autocheckpoint = 250",
)
_WAL = "PRAGMA journal_mode = WAL"


def run(connection: sqlite3.Connection, sql: str) -> None:
    """A statement whose cursor does not leave the thread."""
    connection.execute(sql)


def fetch(connection: sqlite3.Connection, sql: str, parameters: Sequence[Value]) -> list[Row]:
    """The rows of a statement, by name of column."""
    cursor = connection.execute(sql, parameters)
    names = [column[0] for column in cursor.description or ()]
    return [dict(zip(names, row, strict=True)) for row in cursor]


def connect(path: Path) -> sqlite3.Connection:
    """A connection for the thread that calls this."""
    connection = sqlite3.connect(path, isolation_level=None, cached_statements=_STATEMENTS_KEPT)
    try:
        for pragma in _PRAGMAS:
            connection.execute(pragma)
    except BaseException:
        connection.close()
        raise
    return connection


class Connection:
    """A connection and the one thread that uses it."""

    def __init__(self, worker: Worker, raw: sqlite3.Connection) -> None:
        self.worker = worker
        self.raw = raw

    @classmethod
    async def open(cls, path: Path, worker: Worker) -> Connection:
        """Open or create the file and have it keep a WAL.

        Raises:
            sqlite3.Error: that failed; the worker has ended.
        """
        try:
            connection = cls(worker, await worker.run(lambda: connect(path)))
        except BaseException:
            worker.close()
            raise
        try:
            await connection._use_wal()
        except BaseException:
            await connection.close()
            raise
        return connection

    async def _use_wal(self) -> None:
        """Switch a new file over. SQLite does not wait for another process that does the same: it fails at once."""
        for _ in range(int(_BUSY_TIMEOUT_MS / 1000 / _BUSY_PAUSE_S)):
            try:
                await self.worker.run(lambda: run(self.raw, _WAL))
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:
                    raise
            else:
                return
            await asyncio.sleep(_BUSY_PAUSE_S)
        await self.worker.run(lambda: run(self.raw, _WAL))

    async def close(self) -> None:
        """Wait for what is being done, then end the thread too."""
        await self.worker.run(self.raw.close)
        self.worker.close()


class _Reader:
    """A connection that is opened with its first question."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._worker = Worker("penstock-sqlite-read")
        self._raw: sqlite3.Connection | None = None
        self._lock = threading.Lock()
        self.waiting = 0
        """Questions that it has not answered, whether or not anybody still waits for that."""

    async def fetch(self, sql: str, parameters: Sequence[Value]) -> list[Row]:
        self._count(1)
        # Counted until it is over, for a caller that is cancelled does not stop what has begun.
        return await self._worker.run(lambda: fetch(self._connection(), sql, parameters), lambda: self._count(-1))

    def _count(self, more: int) -> None:
        with self._lock:
            self.waiting += more

    def _connection(self) -> sqlite3.Connection:
        if self._raw is None:
            raw = connect(self._path)
            run(raw, "PRAGMA query_only = ON")
            self._raw = raw
        return self._raw

    async def close(self) -> None:
        await self._worker.run(self._end)
        self._worker.close()

    def _end(self) -> None:
        if self._raw is not None:
            self._raw.close()


class Readers:
    """Some connections that read. The first that is idle answers; one is opened when all that are open are busy."""

    def __init__(self, path: Path) -> None:
        self._readers = [_Reader(path) for _ in range(_MOST_READERS)]

    async def fetch(self, sql: str, parameters: Sequence[Value]) -> list[Row]:
        """The rows of a query, as they are committed.

        Raises:
            sqlite3.Error: the file cannot be read, or the statement is wrong.
        """
        return await min(self._readers, key=lambda reader: reader.waiting).fetch(sql, parameters)

    async def close(self) -> None:
        """Wait for what is being read, then close all."""
        for reader in self._readers:
            await reader.close()
