"""The seam between the domains' stores and a database engine.

Apart from any engine so that a store never learns which one it runs on.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol, TypeVar

Value = str | int | float | bytes | None
Row = Mapping[str, Value]
"""Columns by name."""
_T = TypeVar("_T")


class DatabaseUnavailable(Exception):
    """The database cannot be reached or refused the work for a reason that may pass (locked, full, gone)."""


class Conflict(Exception):
    """A row with this unique value exists already."""


class Transaction(Protocol):
    """Work that becomes visible all at once, or not at all when the block raises."""

    async def execute(self, sql: str, parameters: Sequence[Value] = ()) -> int:
        """Run one statement; returns the number of rows it changed."""

    async def execute_many(self, sql: str, rows: Sequence[Sequence[Value]]) -> None:
        """Run one statement once per row of parameters."""

    async def fetch_all(self, sql: str, parameters: Sequence[Value] = ()) -> list[Row]:
        """The rows of a query or of a `RETURNING` clause."""

    async def fetch_one(self, sql: str, parameters: Sequence[Value] = ()) -> Row | None:
        """The first row, if any."""


class Database(Protocol):
    """A database that is open. Reads may run beside the one write transaction.

    Every method raises :class:`DatabaseUnavailable` when the engine fails for an outside reason, and a transaction
    :class:`Conflict` when it would break a uniqueness rule.
    """

    def transaction(self) -> AbstractAsyncContextManager[Transaction]:
        """The one write transaction at a time; others wait."""

    async def run(self, work: Callable[[Transaction], Awaitable[_T]], *, gently: bool = False) -> _T:
        """The same with everything that is done in it known beforehand: ``work``, which is committed when it returns.

        ``work`` may await its transaction and nothing else, and must not touch what belongs to the event loop: an
        engine that blocks runs it as a whole on its own thread. When the caller is cancelled it may be committed
        nevertheless, before any later transaction begins. ``gently``: it is long and not urgent, so it shall leave the
        core now and then to who is waiting for it.
        """

    async def fetch_all(self, sql: str, parameters: Sequence[Value] = ()) -> list[Row]:
        """Read committed rows."""

    async def fetch_one(self, sql: str, parameters: Sequence[Value] = ()) -> Row | None:
        """Read the first committed row."""

    async def close(self) -> None:
        """Release everything. Idempotent."""
