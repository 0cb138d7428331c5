"""Rows of `alerts`."""

from __future__ import annotations

from penstock.alerts.models import Alert
from penstock.persistence import Database, Transaction, managed
from penstock.tables import Table


class AlertStore:
    """Queries; the service decides."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self._rows = Table("alerts", Alert, ["scope", "event", "threshold", "window_start"])

    async def note(self, tx: Transaction, alert: Alert) -> bool:
        """A new alert; False when this window has it already."""
        return await self._rows.insert(tx, alert, keep=True)

    async def due(self, now: int, limit: int) -> list[Alert]:
        """Alerts whose turn has come."""
        rows = await self.database.fetch_all(
            "SELECT * FROM alerts WHERE delivered_at IS NULL AND next_attempt_at <= ? ORDER BY next_attempt_at LIMIT ?",
            (now, limit),
        )
        return [self._rows.decode(row) for row in rows]

    async def claim(self, alert: Alert, until: int) -> bool:
        """Take an alert before another process does; it comes back at `until` when nothing is said about it."""
        sql = (
            "UPDATE alerts SET attempts = attempts + 1, next_attempt_at = ?"
            " WHERE scope = ? AND event = ? AND threshold = ? AND window_start = ? AND attempts = ?"
            " AND delivered_at IS NULL"
        )
        key = (alert.scope, alert.event, alert.threshold, alert.window_start)

        async def once(tx: Transaction) -> bool:
            return await tx.execute(sql, (until, *key, alert.attempts)) > 0

        return await managed(self.database, once)

    async def delivered(self, alert: Alert, at: int) -> None:
        """It need not be sent again."""
        sql = "UPDATE alerts SET delivered_at = ? WHERE scope = ? AND event = ? AND threshold = ? AND window_start = ?"

        async def once(tx: Transaction) -> None:
            await tx.execute(sql, (at, alert.scope, alert.event, alert.threshold, alert.window_start))

        await managed(self.database, once)
