"""Append to the trail inside the transaction that makes the change; read what other processes appended.

A row names fields, never their values: a value may be a secret.

Rows are read once, by their ids, which rise. But a database that fails over without its last commits, or is restored, gives ids again
that it has given: so the rows that were read last are remembered, and those that were written here. When they are not there any
more, what they named is read again, and what has come in their places is heard.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections import deque
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import NamedTuple

import msgspec

from penstock.clock import now_ms
from penstock.persistence import Database, Row, Transaction

logger = logging.getLogger("penstock.audit")

_UNCERTAIN = 1_000
_REMEMBERED = 1_000
"""Rows: many more than are written in the time that a standby may be behind."""
_COMMITTED_S = 5.0
"""After so long most transactions are over, one way or the other; what is read again too early is told once more after the commit."""
_COLUMNS = "id, at, origin, object_type, object_id, action"


class Change(msgspec.Struct, frozen=True):
    """A row of the trail."""

    id: int
    object_type: str
    object_id: str
    action: str
    is_lost: bool = False
    """The database does not know of it any more: what it has of the object now may be older than what was told of it."""


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


class _Seen(NamedTuple):
    """A row that was read; no other has all of it."""

    at: int
    origin: str
    change: Change


class AuditTrail:
    """One per process; `origin` tells this process's rows from others'."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.origin = secrets.token_hex(8)
        self._seen: deque[_Seen] = deque(maxlen=_REMEMBERED)
        """Up to which row the trail was read, and some before that."""
        self._fails_over = database.dialect != "sqlite"
        self._written: dict[_Seen, float] = {}
        """What this process has written and not read yet, and when (monotonic)."""
        self._told = 0
        self.appended = asyncio.Event()
        """Set when a row was written; whether it was committed shows :meth:`own_changes`."""
        self._uncertain: list[Change] = []

    async def append(
        self, tx: Transaction, actor: str, action: str, object_type: str, object_id: str, fields: Iterable[str] = ()
    ) -> None:
        """One row, visible when the change is."""
        at, names = now_ms(), msgspec.json.encode(sorted(fields)).decode()
        row = await tx.fetch_one(
            "INSERT INTO audit (at, origin, actor, action, object_type, object_id, fields) VALUES (?, ?, ?, ?, ?, ?, ?)"
            " RETURNING id",
            (at, self.origin, actor, action, object_type, object_id, names),
        )
        change = Change(int(row["id"] or 0) if row else 0, object_type, object_id, action)
        if self._fails_over:
            self._written[_Seen(at, self.origin, change)] = time.monotonic()
            if len(self._written) > _REMEMBERED:
                del self._written[next(iter(self._written))]
        self._uncertain.append(change)
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
        self._seen = deque(await self._read_last(), _REMEMBERED)
        self._told = self._last

    async def own_changes(self, limit: int = 1000) -> list[Change]:
        """What this process has committed since the last time, oldest first."""
        told = self._told
        rows = await self._database.fetch_all(
            "SELECT id, object_type, object_id, action FROM audit WHERE id > ? AND origin = ? ORDER BY id LIMIT ?",
            (told, self.origin, limit),
        )
        if not rows:
            return []
        if self._told == told:
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
        """What other processes changed since the last time, oldest first, behind what anybody had changed that the database does
        not know any more; shown again when the block raises."""
        seen, vanished = self._seen, list[_Seen]()
        # The row that was read last is read once more: it is there, unless rows are lost.
        fresh = await self._read_from(self._last, limit + 1)
        is_page = len(fresh) > limit
        if seen and fresh and fresh[0] == seen[-1]:
            del fresh[0]
        elif seen:
            seen, vanished, fresh = await self._read_again(limit)
        written = dict(self._written)
        expected = [written.pop(one, None) is not None or not self._fails_over for one in fresh]
        missed = self._missed(written, fresh, is_page=is_page)
        yield [
            *(msgspec.structs.replace(one.change, is_lost=True) for one in (*vanished, *missed)),
            # Of this process's own those that were given up, and came back.
            *(one.change for one, own in zip(fresh, expected, strict=True) if one.origin != self.origin or not own),
        ]
        for one in (*fresh, *missed):
            self._written.pop(one, None)
        self._seen = seen
        self._seen += fresh
        if vanished:
            # Of what this process wrote, too, the others may have to hear anew.
            self._told = min(self._told, vanished[0].change.id - 1)
            self.appended.set()
            logger.critical(
                "the database has lost changes that it had confirmed; what they concern is read again",
                extra={"event": "audit.lost", "changes": len(vanished)},
            )

    async def _read_again(self, limit: int) -> tuple[deque[_Seen], list[_Seen], list[_Seen]]:
        """Of the rows that are remembered those that are there and those that are not; and those that are there instead."""
        rows = await self._read_from(self._seen[0].change.id, limit + _REMEMBERED)
        if not set(rows) & set(self._seen):
            # Restored to a time before all of them: what came since is at the end, whatever ids it has.
            rows = await self._read_last()
        there, known = set(rows), set(self._seen)
        return (
            deque((one for one in self._seen if one in there), _REMEMBERED),
            [one for one in self._seen if one not in there],
            [one for one in rows if one not in known],
        )

    def _missed(self, written: Iterable[_Seen], fresh: list[_Seen], *, is_page: bool) -> list[_Seen]:
        """What this process has written and what never came: rolled back, which is the same to whoever asks again, or lost before
        anybody read it. There is one such transaction at a time, so that with a later id the earlier ones are decided."""
        latest = fresh[-1].change.id if fresh else 0
        # Where there is another page, it may be on that.
        over = 0.0 if is_page else time.monotonic() - _COMMITTED_S
        return [one for one in written if one.change.id < latest or self._written[one] < over]

    @property
    def _last(self) -> int:
        return self._seen[-1].change.id if self._seen else 0

    async def _read_from(self, id: int, limit: int) -> list[_Seen]:
        rows = await self._database.fetch_all(
            f"SELECT {_COLUMNS} FROM audit WHERE id >= ? ORDER BY id LIMIT ?",  # noqa: S608 - names are the program's own
            (id, limit),
        )
        return [_seen(row) for row in rows]

    async def _read_last(self) -> list[_Seen]:
        rows = await self._database.fetch_all(
            f"SELECT {_COLUMNS} FROM audit ORDER BY id DESC LIMIT ?",  # noqa: S608 - names are the program's own
            (_REMEMBERED,),
        )
        return [_seen(row) for row in reversed(rows)]


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


def _seen(row: Row) -> _Seen:
    return _Seen(int(row["at"] or 0), str(row["origin"]), _change(row))


def _change(row: Row) -> Change:
    return Change(int(row["id"] or 0), str(row["object_type"]), str(row["object_id"]), str(row["action"]))
