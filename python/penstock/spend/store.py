"""Rows of `usage` and `spend_totals`."""

from __future__ import annotations

from itertools import chain

from msgspec.structs import astuple

from penstock.engine.events import UsageRecord
from penstock.persistence import Database, Row, Transaction, Value
from penstock.spend.models import Cursor, LogFilter, Totals

_COLUMNS = UsageRecord.__struct_fields__
_ABSENT = {
    **dict.fromkeys(("key_alias", "user_id", "team_id", "org_id", "end_user", "error_code"), "''"),
    "ttft_us": "-1",
}
"""What stands for NULL in a record."""
_ROW = f"({', '.join(f'NULLIF(?, {_ABSENT[column]})' if column in _ABSENT else '?' for column in _COLUMNS)})"
# Few statement shapes, whatever the size of a batch: a connection keeps every shape it prepared, and one of thousands
# of parameters weighs megabytes.
_INSERTS = {
    size: f"INSERT INTO usage ({', '.join(_COLUMNS)}) VALUES {', '.join([_ROW] * size)} ON CONFLICT (event_id) DO NOTHING"
    for size in (64, 8, 1)
}
_IDS_PER_QUERY = 64


class SpendStore:
    """Queries; the service decides."""

    def __init__(self, database: Database) -> None:
        self.database = database

    async def append(self, tx: Transaction, records: list[UsageRecord]) -> list[UsageRecord]:
        """Write records; returns those that were not in the ledger before."""
        await tx.execute("SAVEPOINT append_usage")
        fresh = records
        if await self._insert(tx, records) < len(records):
            await tx.execute("ROLLBACK TO SAVEPOINT append_usage")
            known = await self._known(tx, [record.event_id for record in records])
            unknown = {record.event_id: record for record in records if record.event_id not in known}
            fresh = list(unknown.values())
            await self._insert(tx, fresh)
        await tx.execute("RELEASE SAVEPOINT append_usage")
        return fresh

    @staticmethod
    async def _insert(tx: Transaction, records: list[UsageRecord]) -> int:
        """Write what is not there; returns how many were written."""
        written = start = 0
        while start < len(records):
            size = next(size for size in _INSERTS if size <= len(records) - start)
            part = records[start : start + size]
            written += await tx.execute(_INSERTS[size], tuple(chain.from_iterable(map(astuple, part))))
            start += size
        return written

    @staticmethod
    async def _known(tx: Transaction, event_ids: list[str]) -> set[str]:
        found: set[str] = set()
        for start in range(0, len(event_ids), _IDS_PER_QUERY):
            part = event_ids[start : start + _IDS_PER_QUERY]
            marks = ", ".join("?" * len(part))
            rows = await tx.fetch_all(f"SELECT event_id FROM usage WHERE event_id IN ({marks})", part)
            found.update(str(row["event_id"]) for row in rows)
        return found

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
            ("started_at", ">=", where.start),
            ("started_at", "<", where.end),
        ):
            if value is not None:
                conditions.append(f"{column} {operator} ?")
                values.append(value)
        if where.call_id is not None:
            # `call id:attempt` is what has an index; `;` is the character after `:`.
            conditions.append("event_id > ? AND event_id < ?")
            values.extend((f"{where.call_id}:", f"{where.call_id};"))
        if after is not None:
            conditions.append("(started_at < ? OR (started_at = ? AND id < ?))")
            values.extend((after.started_at, after.started_at, after.id))
        return await self.database.fetch_all(
            f"SELECT * FROM usage WHERE {' AND '.join(conditions)} ORDER BY started_at DESC, id DESC LIMIT ?",
            [*values, limit],
        )
