"""The database's side of limits: rows of `quota_absences`."""

from __future__ import annotations

from collections.abc import Sequence

from penstock.persistence import NOW_MS, Database, Row, Transaction
from penstock.tables import marks

_FORGOTTEN_MS = 7 * 86_400_000
"""Long after Redis has forgotten whoever is silent."""


class AbsenceStore:
    """What is true of a gateway that Redis hears nothing of: it counts limits alone, or it has ended. Whichever of the two is entered
    first stays true until the gateway leaves. Every method raises `DatabaseUnavailable`.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._now = NOW_MS[database.dialect]

    async def enter(self, incarnation: str) -> bool:
        """It counts alone from now on; False: the others have taken it for ended. Idempotent."""
        return await self._first(incarnation, is_ended=0) == 0

    async def judge(self, incarnation: str) -> bool:
        """It has ended; False: it counts alone. Idempotent."""
        return await self._first(incarnation, is_ended=1) == 1

    async def acquit(self, incarnation: str) -> None:
        """It was taken for ended and was heard again. Idempotent."""
        await self._remove(incarnation, " AND is_ended = 1")

    async def leave(self, incarnation: str) -> None:
        """It has Redis again, or has ended in order. Idempotent."""
        await self._remove(incarnation, "")

    async def alone(self, incarnations: Sequence[str]) -> set[str]:
        """Those of these that count alone."""

        async def work(tx: Transaction) -> list[Row]:
            named = marks(len(incarnations))
            sql = f"SELECT incarnation FROM quota_absences WHERE is_ended = 0 AND incarnation IN ({named})"
            return await tx.fetch_all(sql, list(incarnations))

        # As a writer, because a node that only reads may not have the last rows.
        return {str(row["incarnation"]) for row in await self._database.run(work)}

    async def _first(self, incarnation: str, is_ended: int) -> int:
        async def work(tx: Transaction) -> Row | None:
            await tx.execute(f"DELETE FROM quota_absences WHERE since < {self._now} - {_FORGOTTEN_MS}")
            return await tx.fetch_one(
                f"INSERT INTO quota_absences (incarnation, is_ended, since) VALUES (?, ?, {self._now})"
                " ON CONFLICT (incarnation) DO UPDATE SET since = excluded.since RETURNING is_ended",
                (incarnation, is_ended),
            )

        row = await self._database.run(work)
        return int(row["is_ended"] or 0) if row is not None else is_ended

    async def _remove(self, incarnation: str, condition: str) -> None:
        async def work(tx: Transaction) -> None:
            await tx.execute(f"DELETE FROM quota_absences WHERE incarnation = ?{condition}", (incarnation,))

        await self._database.run(work)
