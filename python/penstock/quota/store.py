"""The database's side of limits: rows of `quota_absences`."""

from __future__ import annotations

from collections.abc import Sequence

from penstock.persistence import NOW_MS, Database, Row, Transaction
from penstock.quota.link import now_ms
from penstock.tables import marks

_FORGOTTEN_MS = 7 * 86_400_000
"""Long after Redis has forgotten whoever is silent."""


class AbsenceStore:
    """What is true of a gateway that Redis hears nothing of: it counts limits alone, or it has ended. Whichever of the two is entered
    first stays true until the gateway is heard again. Every method raises `DatabaseUnavailable`.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._now = NOW_MS[database.dialect]

    async def enter(self, incarnation: str, heard_at: int) -> bool:
        """It counts alone from now on; False: it was taken for ended since Redis heard it last, at ``heard_at`` (monotonic
        milliseconds). Idempotent."""

        async def work(tx: Transaction) -> Row | None:
            now = await tx.fetch_one(f"SELECT {self._now} AS now")
            # By the database's clock, and no later than it was, however long its answer took.
            heard = int(now["now"] or 0) - (now_ms() - heard_at) if now is not None else 0
            return await tx.fetch_one(
                f"INSERT INTO quota_absences (incarnation, is_ended, since) VALUES (?, 0, {self._now})"
                " ON CONFLICT (incarnation) DO UPDATE SET"
                # A verdict stays as old as it is: whoever is heard after it is free of it.
                " since = CASE WHEN quota_absences.since < ? THEN excluded.since ELSE quota_absences.since END,"
                " is_ended = CASE WHEN quota_absences.since < ? THEN 0 ELSE quota_absences.is_ended END RETURNING is_ended",
                (incarnation, heard, heard),
            )

        row = await self._database.run(work)
        return row is not None and row["is_ended"] == 0

    async def judge(self, incarnation: str) -> bool:
        """It has ended; False: it counts alone. Idempotent."""

        async def work(tx: Transaction) -> Row | None:
            await tx.execute(f"DELETE FROM quota_absences WHERE since < {self._now} - {_FORGOTTEN_MS}")
            return await tx.fetch_one(
                f"INSERT INTO quota_absences (incarnation, is_ended, since) VALUES (?, 1, {self._now})"
                " ON CONFLICT (incarnation) DO UPDATE SET since = excluded.since RETURNING is_ended",
                (incarnation,),
            )

        row = await self._database.run(work)
        return row is not None and row["is_ended"] == 1

    async def leave(self, incarnation: str) -> None:
        """It does not count alone any more. Idempotent."""

        async def work(tx: Transaction) -> None:
            await tx.execute("DELETE FROM quota_absences WHERE incarnation = ? AND is_ended = 0", (incarnation,))

        await self._database.run(work)

    async def alone(self, incarnations: Sequence[str]) -> set[str]:
        """Those of these that count alone."""

        async def work(tx: Transaction) -> list[Row]:
            named = marks(len(incarnations))
            sql = f"SELECT incarnation FROM quota_absences WHERE is_ended = 0 AND incarnation IN ({named})"
            return await tx.fetch_all(sql, list(incarnations))

        # As a writer, because a node that only reads may not have the last rows.
        return {str(row["incarnation"]) for row in await self._database.run(work)}


def absence_store(database: Database) -> AbsenceStore | None:
    """Of the database that all gateways share; None: each has one of its own."""
    return AbsenceStore(database) if database.dialect == "postgres" else None
