"""Rows of `keys`, `key_predecessors` and the audit trail of both."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Any, Literal

import msgspec

from penstock.keys.models import VirtualKey
from penstock.persistence import Database, Row, Transaction, Value
from penstock.tables import SIZES, by_column, marks, parts

_JSON = frozenset({"models", "aliases", "allowed_cidrs", "allowed_routes", "tags", "metadata", "extra"})
_COLUMNS = VirtualKey.__struct_fields__
_WINDOW = "budget_duration, budget_window_start, budget_reset_at"
_SPENDING = frozenset({"spend", "total_spend", "last_active_at", "budget_window_start", "budget_reset_at"})
"""Written by settlement; an update of other fields must not carry old values of these back."""

SortColumn = Literal["created_at", "updated_at", "spend", "max_budget", "key_alias", "expires_at"]


_ADD_SPEND_IN_BULK = (
    "UPDATE keys SET spend = spend + added.in_window, total_spend = total_spend + added.ever,"
    " last_active_at = added.last"
    " FROM unnest(CAST(? AS BIGINT[]), CAST(? AS BIGINT[]), CAST(? AS BIGINT[]), CAST(? AS TEXT[]))"
    " AS added (in_window, ever, last, token) WHERE keys.token = added.token"
)


class Seed(msgspec.Struct, frozen=True):
    """A key, and up to where the records of a data plane are in its spending: both of one moment."""

    key: VirtualKey
    charged: int
    """Ordinal of the last record of the incarnation asked about of which, and of all before, `key.spend` has the cost."""
    revision: int
    """Rises with every change of the key that is not a charge."""


class KeyFilter(msgspec.Struct, frozen=True):
    """What a list of keys is narrowed to; None: no matter."""

    user_id: str | None = None
    team_id: str | None = None
    org_id: str | None = None
    key_alias: str | None = None
    token: str | None = None


def _encode(key: VirtualKey, columns: Iterable[str]) -> list[Value]:
    values: list[Value] = []
    for column in columns:
        value: Any = getattr(key, column)
        if column in _JSON:
            value = msgspec.json.encode(value).decode()
        elif isinstance(value, bool):
            value = int(value)
        values.append(value)
    return values


def _decode(row: Row) -> VirtualKey:
    fields: dict[str, Any] = {column: row[column] for column in _COLUMNS}
    for column in _JSON:
        fields[column] = msgspec.json.decode(fields[column])
    fields["blocked"] = bool(fields["blocked"])
    return VirtualKey(**fields)


_SPEND_ROW = "(CAST(? AS BIGINT), CAST(? AS BIGINT), CAST(? AS BIGINT), CAST(? AS TEXT))"
_ADD_SPEND = {
    size: f"WITH added (in_window, ever, last, token) AS (VALUES {', '.join([_SPEND_ROW] * size)})"
    " UPDATE keys SET spend = spend + added.in_window, total_spend = total_spend + added.ever,"
    " last_active_at = added.last FROM added WHERE keys.token = added.token"
    for size in SIZES
}


class KeyStore:
    """Queries; the service decides."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self._in_bulk = database.dialect == "postgres"

    async def get(self, token: str) -> VirtualKey | None:
        """One key by its token."""
        row = await self.database.fetch_one("SELECT * FROM keys WHERE token = ?", (token,))
        return _decode(row) if row else None

    async def get_in(self, tx: Transaction, token: str) -> VirtualKey | None:
        """One key as the transaction sees it."""
        row = await tx.fetch_one("SELECT * FROM keys WHERE token = ?", (token,))
        return _decode(row) if row else None

    async def seeds(self, tokens: Sequence[str], incarnation: str) -> list[Seed]:
        """Keys with how far the incarnation's records are charged, in one snapshot."""
        rows = await self.database.fetch_all(
            "SELECT keys.*, COALESCE((SELECT charged_seq FROM ledger_progress WHERE incarnation = ?), 0) AS charged"
            f" FROM keys WHERE token IN ({marks(len(tokens))})",
            (incarnation, *tokens),
        )
        return [Seed(_decode(row), int(row["charged"] or 0), int(row["revision"] or 0)) for row in rows]

    async def by_aliases(self, aliases: Sequence[str]) -> list[VirtualKey]:
        """Keys that have one of these aliases."""
        sql = f"SELECT * FROM keys WHERE key_alias IN ({marks(len(aliases))})"
        return [_decode(row) for row in await self.database.fetch_all(sql, aliases)]

    async def aliases(self, limit: int, offset: int) -> tuple[list[str], int]:
        """A page of the aliases in use, in order, and how many there are in all."""
        count = await self.database.fetch_one("SELECT COUNT(key_alias) AS n FROM keys")
        rows = await self.database.fetch_all(
            "SELECT key_alias FROM keys WHERE key_alias IS NOT NULL ORDER BY key_alias LIMIT ? OFFSET ?",
            (limit, offset),
        )
        return [str(row["key_alias"]) for row in rows], int(count["n"] or 0) if count else 0

    async def page(
        self, where: KeyFilter, sort: SortColumn, descending: bool, limit: int, offset: int
    ) -> tuple[list[VirtualKey], int]:
        """A page of keys and how many there are in all."""
        conditions, values = ["1 = 1"], list[Value]()
        for column in where.__struct_fields__:
            value = getattr(where, column)
            if value is not None:
                conditions.append(f"{column} = ?")
                values.append(value)
        clause = " AND ".join(conditions)
        count = await self.database.fetch_one(f"SELECT COUNT(*) AS n FROM keys WHERE {clause}", values)
        direction = "DESC" if descending else "ASC"
        rows = await self.database.fetch_all(
            f"SELECT * FROM keys WHERE {clause} ORDER BY {sort} {direction}, token {direction} LIMIT ? OFFSET ?",
            [*values, limit, offset],
        )
        return [_decode(row) for row in rows], int(count["n"] or 0) if count else 0

    async def insert(self, tx: Transaction, key: VirtualKey) -> None:
        """A new key. Raises Conflict when the token or the alias is taken."""
        await tx.execute(
            f"INSERT INTO keys ({', '.join(_COLUMNS)}) VALUES ({marks(len(_COLUMNS))})", _encode(key, _COLUMNS)
        )

    async def replace(self, tx: Transaction, seen: Seed, key: VirtualKey, own: frozenset[str], more: int) -> bool:
        """Write every field but the token, if the key is as it was `seen`: False when somebody was faster.

        Of the fields that settlement writes only those of `own`, for a charge may come in between; `more` is added to what was
        spent ever.
        """
        columns = [name for name in _COLUMNS if name != "token" and (name in own or name not in _SPENDING)]
        assignments = ", ".join(f"{column} = ?" for column in columns)
        changed = await tx.execute(
            f"UPDATE keys SET {assignments}, total_spend = total_spend + ?, revision = revision + 1"
            " WHERE token = ? AND revision = ?",
            [*_encode(key, columns), more, key.token, seen.revision],
        )
        return changed > 0

    async def change_token(self, tx: Transaction, old: str, new: str, key_name: str, now: int) -> None:
        """Give a key a new token; the old one, and those before it, stay known as its predecessors."""
        await tx.execute(
            "UPDATE keys SET token = ?, key_name = ?, revision = revision + 1 WHERE token = ?", (new, key_name, old)
        )
        await tx.execute("UPDATE key_predecessors SET token = ? WHERE token = ?", (new, old))
        await tx.execute(
            "INSERT INTO key_predecessors (old_token, token, retired_at) VALUES (?, ?, ?)"
            " ON CONFLICT (old_token) DO UPDATE SET token = excluded.token, retired_at = excluded.retired_at",
            (old, new, now),
        )

    async def delete(self, tx: Transaction, token: str) -> bool:
        """Remove a key; its usage records stay."""
        await tx.execute("DELETE FROM key_predecessors WHERE token = ?", (token,))
        return await tx.execute("DELETE FROM keys WHERE token = ?", (token,)) > 0

    async def predecessors(self, token: str) -> list[str]:
        """Tokens that the key had before."""
        rows = await self.database.fetch_all("SELECT old_token FROM key_predecessors WHERE token = ?", (token,))
        return [str(row["old_token"]) for row in rows]

    async def windows(self, tx: Transaction, tokens: Sequence[str]) -> list[Row]:
        """`(asked, token, budget_duration, budget_window_start, budget_reset_at)` of the keys behind these tokens."""
        asked = "SELECT token AS asked, token, {window} FROM keys WHERE token {among}"
        found = await self._among(tx, asked, tokens)
        present = {row["asked"] for row in found}
        former = (
            "SELECT old_token AS asked, keys.token AS token, {window} FROM key_predecessors"
            " JOIN keys ON keys.token = key_predecessors.token WHERE old_token {among}"
        )
        found += await self._among(tx, former, [token for token in tokens if token not in present])
        return found

    async def _among(self, tx: Transaction, sql: str, tokens: Sequence[str]) -> list[Row]:
        if self._in_bulk:
            if not tokens:
                return []
            among = sql.format(window=_WINDOW, among="= ANY(CAST(? AS TEXT[]))")
            return await tx.fetch_all(among, by_column([(token,) for token in tokens], 1))
        found = list[Row]()
        for part in parts(tokens):
            found += await tx.fetch_all(sql.format(window=_WINDOW, among=f"IN ({marks(len(part))})"), part)
        return found

    async def roll_window(self, tx: Transaction, token: str, ended: int, start: int, end: int) -> bool:
        """Begin a new budget window, if nobody has since `ended` was read: the reset happens exactly once."""
        changed = await tx.execute(
            "UPDATE keys SET spend = 0, budget_window_start = ?, budget_reset_at = ?, revision = revision + 1"
            " WHERE token = ? AND budget_reset_at = ?",
            (start, end, token, ended),
        )
        return changed > 0

    async def add_spend(self, tx: Transaction, rows: Sequence[tuple[int, int, int, str]]) -> None:
        """`(in this window, ever, last activity, token)` per key."""
        if self._in_bulk:
            await tx.execute(_ADD_SPEND_IN_BULK, by_column(rows, 4))
            return
        for part in parts(rows):
            await tx.execute(_ADD_SPEND[len(part)], tuple(chain.from_iterable(part)))

    async def reset_spend(self, tx: Transaction) -> None:
        """Nothing spent in any budget window."""
        await tx.execute("UPDATE keys SET spend = 0, revision = revision + 1 WHERE spend <> 0")

    async def most_recent(self, limit: int) -> list[str]:
        """Tokens of the keys that were used last."""
        rows = await self.database.fetch_all(
            "SELECT token FROM keys WHERE last_active_at IS NOT NULL AND blocked = 0 ORDER BY last_active_at DESC LIMIT ?",
            (limit,),
        )
        return [str(row["token"]) for row in rows]

    async def windows_since(self, start: int) -> dict[str, int]:
        """When their present budget window began, of the keys for which that was lately."""
        rows = await self.database.fetch_all(
            "SELECT token, budget_window_start FROM keys WHERE budget_window_start >= ? AND budget_reset_at IS NOT NULL",
            (start,),
        )
        return {str(row["token"]): int(row["budget_window_start"] or 0) for row in rows}

    async def ended_windows(self, now: int, limit: int) -> list[str]:
        """Tokens of keys whose budget window is over."""
        rows = await self.database.fetch_all(
            "SELECT token FROM keys WHERE budget_reset_at IS NOT NULL AND budget_reset_at <= ? LIMIT ?", (now, limit)
        )
        return [str(row["token"]) for row in rows]
