"""The gateway's ledger, read from where it is kept: the proof that each call of a load was recorded.

Apart from the gateway's own answers on purpose, which could show what is not stored.
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import Protocol

import asyncpg

PATIENCE_SECONDS = 30.0
LOOK_SECONDS = 0.02


class Ledger(Protocol):
    """The table of usage records."""

    def rows(self) -> int:
        """How many calls were answered well and recorded."""

    def wait_for(self, calls: int, seconds: float = PATIENCE_SECONDS) -> bool:
        """Waits until so many records are written; False: they were not after so many seconds."""

    def close(self) -> None:
        """Ask no more."""


class FileLedger:
    """In a gateway's data directory."""

    def __init__(self, data_dir: Path) -> None:
        self._path = data_dir / "penstock.db"

    def rows(self) -> int:
        """How many calls were answered well and recorded."""
        return self._number("SELECT COUNT(*) FROM usage WHERE status = 200")

    def wait_for(self, calls: int, seconds: float = PATIENCE_SECONDS) -> bool:
        """Waits until so many records are written; False: they were not after so many seconds."""
        deadline = time.perf_counter() + seconds
        # Cheaper than counting, and never more than there are: only the end is counted.
        while self._number("SELECT COALESCE(MAX(id), 0) FROM usage") < calls:
            if time.perf_counter() > deadline:
                return False
            time.sleep(LOOK_SECONDS)
        return True

    def close(self) -> None:
        """Nothing is open."""

    def _number(self, sql: str) -> int:
        with closing(sqlite3.connect(f"{self._path.as_uri()}?mode=ro", uri=True, timeout=5)) as connection:
            return int(connection.execute(sql).fetchone()[0])


class PostgresLedger:
    """In a database that the gateway shares. One connection, on a loop of its own."""

    def __init__(self, url: str) -> None:
        self._loop = asyncio.new_event_loop()
        self._connection = self._loop.run_until_complete(asyncpg.connect(url))

    def rows(self) -> int:
        """How many calls were answered well and recorded."""
        return self.number("SELECT COUNT(*) FROM usage WHERE status = 200")

    def wait_for(self, calls: int, seconds: float = PATIENCE_SECONDS) -> bool:
        """Waits until so many records are written; False: they were not after so many seconds."""
        deadline = time.perf_counter() + seconds
        # Written in the same transaction, and read at once however many there are. Ids have gaps here.
        while self.number("SELECT COALESCE(SUM(calls), 0) FROM spend_totals WHERE scope = 'all'") < calls:
            if time.perf_counter() > deadline:
                return False
            time.sleep(LOOK_SECONDS)
        return True

    def number(self, sql: str) -> int:
        """What a question has as its answer."""
        return int(self._loop.run_until_complete(self._connection.fetchval(sql)))

    def column(self, sql: str) -> list[str]:
        """What a question has as its answers, texts."""
        rows = self._loop.run_until_complete(self._connection.fetch(sql))
        return [str(row[0]) for row in rows]

    def execute(self, sql: str) -> None:
        """Do something to it."""
        self._loop.run_until_complete(self._connection.execute(sql))

    def close(self) -> None:
        """Close the connection."""
        self._loop.run_until_complete(self._connection.close())
        self._loop.close()
