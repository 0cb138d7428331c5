"""What time it is for budget windows.

Apart from :mod:`penstock.clock` because a window that one process begins has begun for all of them: a machine whose clock is
fast must not begin everybody's. So a window is over when it is by this machine's clock and by the database's.
"""

from __future__ import annotations

import logging
import time

from penstock.clock import now_ms
from penstock.persistence import NOW_MS, Database, Transaction

logger = logging.getLogger("penstock.windows")

AHEAD_MS = 2_000
"""By so much a machine may be ahead of the database before the database's time counts instead of its own."""
_STRANGE_MS = 60_000
"""By so much clocks of machines do not differ: it is told."""
_FRESH_S = 1.0
"""What was read of the database's clock is carried on for so long by the monotonic one, which nobody sets."""


class WindowClock:
    """One per process and table that pays. SQLite's clock is this machine's, and is not asked."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._is_another = database.dialect != "sqlite"
        self._sql = f"SELECT {NOW_MS[database.dialect]} AS now"
        self._offset = 0
        """From the monotonic clock to the latest time that it can be, in milliseconds."""
        self._read_at: float | None = None
        self._is_strange = False

    async def read(self, asked: Transaction | None = None) -> int:
        """Unix milliseconds by the database's clock, in a transaction or by a question of its own.

        Raises:
            DatabaseUnavailable: it cannot be asked; what was read before is carried on.
        """
        sent = time.monotonic()
        row = await (asked or self._database).fetch_one(self._sql)
        theirs = int(row["now"] or 0) if row else 0
        if self._read_at is not None and self._read_at > sent:
            return theirs
        # From when it was asked: an answer that was long on its way must not hold a window up.
        self._read_at, self._offset = sent, theirs + AHEAD_MS - int(sent * 1000)
        self._tell(now_ms() - theirs)
        return theirs

    @property
    def latest(self) -> int | None:
        """The latest time that it can be now, in Unix milliseconds; `None`: this machine's clock is the only one."""
        if not self._is_another or self._read_at is None:
            return None
        return int(time.monotonic() * 1000) + self._offset

    async def now_ms(self, asked: Transaction | None = None) -> int:
        """Unix milliseconds.

        Raises:
            DatabaseUnavailable: it cannot be asked.
        """
        if self._is_another and (self._read_at is None or time.monotonic() - self._read_at > _FRESH_S):
            await self.read(asked)
        latest, ours = self.latest, now_ms()
        return ours if latest is None else min(ours, latest)

    def _tell(self, ahead_ms: int) -> None:
        """Once each time that it begins."""
        was, self._is_strange = self._is_strange, self._is_another and abs(ahead_ms) > _STRANGE_MS
        if self._is_strange and not was:
            logger.warning(
                "this machine's clock and the database's differ: budget windows begin when they are over by both",
                extra={"event": "windows.clocks_differ", "ahead_s": ahead_ms // 1000},
            )
