"""The gateway's ledger, read from the file it is kept in: the proof that each call of a load was recorded.

Apart from the gateway's own answers on purpose, which could show what is not stored.
"""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing
from pathlib import Path

PATIENCE_SECONDS = 30.0
LOOK_SECONDS = 0.02


class Ledger:
    """The table of usage records in a gateway's data directory."""

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

    def _number(self, sql: str) -> int:
        with closing(sqlite3.connect(f"{self._path.as_uri()}?mode=ro", uri=True, timeout=5)) as connection:
            return int(connection.execute(sql).fetchone()[0])
