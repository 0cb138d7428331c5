"""Append to the trail inside the transaction that makes the change; read what other processes appended.

A row names fields, never their values: a value may be a secret.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

import msgspec

from penstock.persistence import Database, Transaction


class Change(msgspec.Struct, frozen=True):
    """A change that another process made."""

    id: int
    object_type: str
    object_id: str
    action: str


class AuditTrail:
    """One per process; `origin` tells this process's rows from others'."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.origin = secrets.token_hex(8)
        self._seen = 0

    async def append(
        self, tx: Transaction, actor: str, action: str, object_type: str, object_id: str, fields: Iterable[str] = ()
    ) -> None:
        """One row, visible when the change is."""
        await tx.execute(
            "INSERT INTO audit (at, origin, actor, action, object_type, object_id, fields) VALUES (?, ?, ?, ?, ?, ?, ?)",
            (
                int(time.time() * 1000),
                self.origin,
                actor,
                action,
                object_type,
                object_id,
                msgspec.json.encode(sorted(fields)).decode(),
            ),
        )

    async def skip_to_end(self) -> None:
        """Regard everything so far as known: a process that starts has no memory that could be stale."""
        row = await self._database.fetch_one("SELECT COALESCE(MAX(id), 0) AS last FROM audit")
        self._seen = int(row["last"] or 0) if row else 0

    @asynccontextmanager
    async def foreign_changes(self, limit: int = 1000) -> AsyncIterator[list[Change]]:
        """What other processes changed since the last time, oldest first; shown again when the block raises."""
        rows = await self._database.fetch_all(
            "SELECT id, origin, object_type, object_id, action FROM audit WHERE id > ? ORDER BY id LIMIT ?",
            (self._seen, limit),
        )
        yield [
            Change(int(row["id"] or 0), str(row["object_type"]), str(row["object_id"]), str(row["action"]))
            for row in rows
            if row["origin"] != self.origin
        ]
        if rows:
            self._seen = int(rows[-1]["id"] or 0)
