"""Append to the trail inside the transaction that makes the change; read what other processes appended.

A row names fields, never their values: a value may be a secret.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

import msgspec

from penstock.clock import now_ms
from penstock.persistence import Database, Row, Transaction

_UNCERTAIN = 1_000


class Change(msgspec.Struct, frozen=True):
    """A row of the trail."""

    id: int
    object_type: str
    object_id: str
    action: str


class Entry(msgspec.Struct, frozen=True):
    """A row of the trail as it is shown: who did what to whom, and which fields were given; never their values."""

    id: int
    at: int
    """Unix milliseconds."""
    actor: str
    action: str
    object_type: str
    object_id: str
    fields: list[str]


class EntryFilter(msgspec.Struct, frozen=True):
    """What a list of entries is narrowed to; None: no matter."""

    actor: str | None = None
    action: str | None = None
    object_type: str | None = None
    object_id: str | None = None
    start: int | None = None
    end: int | None = None
    """Unix milliseconds, from `start` until before `end`."""


_COMPARED = {"start": "at >= ?", "end": "at < ?"}


class AuditTrail:
    """One per process; `origin` tells this process's rows from others'."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.origin = secrets.token_hex(8)
        self._seen = 0
        self._told = 0
        self.appended = asyncio.Event()
        """Set when a row was written; whether it was committed shows :meth:`own_changes`."""
        self._uncertain: list[Change] = []

    async def append(
        self, tx: Transaction, actor: str, action: str, object_type: str, object_id: str, fields: Iterable[str] = ()
    ) -> None:
        """One row, visible when the change is."""
        await tx.execute(
            "INSERT INTO audit (at, origin, actor, action, object_type, object_id, fields) VALUES (?, ?, ?, ?, ?, ?, ?)",
            (
                now_ms(),
                self.origin,
                actor,
                action,
                object_type,
                object_id,
                msgspec.json.encode(sorted(fields)).decode(),
            ),
        )
        self._uncertain.append(Change(0, object_type, object_id, action))
        del self._uncertain[:-_UNCERTAIN]
        self.appended.set()

    async def entry(self, id: int) -> Entry | None:
        """One row."""
        row = await self._database.fetch_one("SELECT * FROM audit WHERE id = ?", (id,))
        return _entry(row) if row else None

    async def page(self, where: EntryFilter, before: int | None, limit: int) -> list[Entry]:
        """Rows, latest first; ``before`` is the id of the last one of the page before."""
        given = {name: value for name in where.__struct_fields__ if (value := getattr(where, name)) is not None}
        conditions = ["id < ?" for _ in [before] if before is not None]
        conditions += [_COMPARED.get(name, f"{name} = ?") for name in given]
        values = [*([before] if before is not None else []), *given.values()]
        clause = " AND ".join(["1 = 1", *conditions])
        sql = f"SELECT * FROM audit WHERE {clause} ORDER BY id DESC LIMIT ?"  # noqa: S608 - names are the program's own
        return [_entry(row) for row in await self._database.fetch_all(sql, [*values, limit])]

    async def skip_to_end(self) -> None:
        """Regard everything so far as known: a process that starts has no memory that could be stale."""
        row = await self._database.fetch_one("SELECT COALESCE(MAX(id), 0) AS last FROM audit")
        self._seen = self._told = int(row["last"] or 0) if row else 0

    async def own_changes(self, limit: int = 1000) -> list[Change]:
        """What this process has committed since the last time, oldest first."""
        rows = await self._database.fetch_all(
            "SELECT id, object_type, object_id, action FROM audit WHERE id > ? AND origin = ? ORDER BY id LIMIT ?",
            (self._told, self.origin, limit),
        )
        if not rows:
            return []
        self._told = int(rows[-1]["id"] or 0)
        changes = [_change(row) for row in rows]
        committed = {(change.object_type, change.object_id, change.action) for change in changes}
        self._uncertain = [
            change
            for change in self._uncertain
            if (change.object_type, change.object_id, change.action) not in committed
        ]
        return changes

    def take_uncertain(self) -> list[Change]:
        """What was written and has not been seen committed, for when the database cannot be asked."""
        uncertain, self._uncertain = self._uncertain, []
        return uncertain

    @asynccontextmanager
    async def foreign_changes(self, limit: int = 1000) -> AsyncIterator[list[Change]]:
        """What other processes changed since the last time, oldest first; shown again when the block raises."""
        rows = await self._database.fetch_all(
            "SELECT id, origin, object_type, object_id, action FROM audit WHERE id > ? ORDER BY id LIMIT ?",
            (self._seen, limit),
        )
        yield [_change(row) for row in rows if row["origin"] != self.origin]
        if rows:
            self._seen = int(rows[-1]["id"] or 0)


def _entry(row: Row) -> Entry:
    return Entry(
        id=int(row["id"] or 0),
        at=int(row["at"] or 0),
        actor=str(row["actor"]),
        action=str(row["action"]),
        object_type=str(row["object_type"]),
        object_id=str(row["object_id"]),
        fields=msgspec.json.decode(str(row["fields"]), type=list[str]),
    )


def _change(row: Row) -> Change:
    return Change(int(row["id"] or 0), str(row["object_type"]), str(row["object_id"]), str(row["action"]))
