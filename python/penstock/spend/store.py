"""Rows of `usage` and `spend_totals`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from penstock.engine.events import UsageRecord
from penstock.persistence import Database, Row, Transaction, Value
from penstock.spend.models import Cursor, LogFilter, Totals

_COLUMNS = UsageRecord.__struct_fields__
# Few statement shapes, whatever the size of a batch: drivers keep every shape they prepared, and one of
# thousands of parameters weighs megabytes. SQLite allows 32,766 parameters in a statement.
_ROWS_PER_STATEMENT = (256, 32, 4, 1)


def _encode(record: UsageRecord) -> list[Value]:
    values: list[Value] = []
    for column in _COLUMNS:
        value: Any = getattr(record, column)
        if isinstance(value, list):
            value = msgspec.json.encode(value).decode()
        elif isinstance(value, bool):
            value = int(value)
        values.append(value)
    return values


class SpendStore:
    """Queries; the service decides."""

    def __init__(self, database: Database) -> None:
        self.database = database

    async def append(self, tx: Transaction, records: Sequence[UsageRecord]) -> set[str]:
        """Write records; returns the event ids that were not in the ledger before."""
        row = f"({', '.join('?' * len(_COLUMNS))})"
        fresh: set[str] = set()
        start = 0
        while start < len(records):
            size = next(size for size in _ROWS_PER_STATEMENT if size <= len(records) - start)
            part = records[start : start + size]
            start += size
            inserted = await tx.fetch_all(
                f"INSERT INTO usage ({', '.join(_COLUMNS)}) VALUES {', '.join([row] * len(part))}"
                " ON CONFLICT (event_id) DO NOTHING RETURNING event_id",
                [value for record in part for value in _encode(record)],
            )
            fresh.update(str(found["event_id"]) for found in inserted)
        return fresh

    async def put_aside(self, tx: Transaction, digest: str, at: int, reason: str, record: str) -> None:
        """Keep a record that is not fit for the ledger, once."""
        await tx.execute(
            "INSERT INTO usage_rejected (digest, at, reason, record) VALUES (?, ?, ?, ?) ON CONFLICT (digest) DO NOTHING",
            (digest, at, reason, record),
        )

    async def add_totals(self, tx: Transaction, totals: Totals) -> None:
        """Add to the sums over the whole ledger."""
        await tx.execute(
            "INSERT INTO spend_totals (scope, cost, calls, prompt_tokens, completion_tokens) VALUES ('all', ?, ?, ?, ?)"
            " ON CONFLICT (scope) DO UPDATE SET cost = spend_totals.cost + excluded.cost,"
            " calls = spend_totals.calls + excluded.calls,"
            " prompt_tokens = spend_totals.prompt_tokens + excluded.prompt_tokens,"
            " completion_tokens = spend_totals.completion_tokens + excluded.completion_tokens",
            (totals.cost, totals.calls, totals.prompt_tokens, totals.completion_tokens),
        )

    async def totals(self) -> Totals:
        """The sums over the whole ledger."""
        row = await self.database.fetch_one(
            "SELECT cost, calls, prompt_tokens, completion_tokens FROM spend_totals WHERE scope = 'all'"
        )
        return Totals(**{name: int(value or 0) for name, value in row.items()}) if row else Totals()

    async def logs(self, where: LogFilter, after: Cursor | None, limit: int) -> list[Row]:
        """Calls, latest first, beginning after the cursor's row."""
        conditions, values = ["1 = 1"], list[Value]()
        if where.tokens is not None:
            conditions.append(f"token IN ({', '.join('?' * len(where.tokens))})")
            values.extend(where.tokens)
        for column, operator, value in (
            ("user_id", "=", where.user_id),
            ("call_id", "=", where.call_id),
            ("started_at", ">=", where.start),
            ("started_at", "<", where.end),
        ):
            if value is not None:
                conditions.append(f"{column} {operator} ?")
                values.append(value)
        if after is not None:
            conditions.append("(started_at < ? OR (started_at = ? AND id < ?))")
            values.extend((after.started_at, after.started_at, after.id))
        return await self.database.fetch_all(
            f"SELECT * FROM usage WHERE {' AND '.join(conditions)} ORDER BY started_at DESC, id DESC LIMIT ?",
            [*values, limit],
        )
