"""Rows of `keys`, `key_predecessors` and the audit trail of both."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, cast

import msgspec

from penstock.keys.models import KeyFilter, SortColumn, VirtualKey
from penstock.payers import Payers
from penstock.persistence import Database, Row, Transaction, Value
from penstock.tables import marks, padded, parts

_JSON = frozenset({"models", "aliases", "allowed_cidrs", "allowed_routes", "tags", "metadata", "extra"})
_COLUMNS = VirtualKey.__struct_fields__
_WINDOW = "budget_duration, budget_window_start, budget_reset_at"
_SPENDING = frozenset({"spend", "total_spend", "last_active_at", "budget_window_start", "budget_reset_at"})
"""Written by settlement; an update of other fields must not carry old values of these back."""


class Seed(msgspec.Struct, frozen=True):
    """A key, and up to where the records of a data plane are in its spending: both of one moment."""

    key: VirtualKey
    charged: int
    """Ordinal of the last record of the incarnation asked about of which, and of all before, `key.spend` has the cost."""
    revision: int
    """Rises with every change of the key that is not a charge."""
    charged_at: int
    """Rises with every charge of a key that has a budget."""


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


class KeyStore:
    """Queries; the service decides."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.payers = Payers(database, "keys")
        self._in_bulk = database.dialect == "postgres"

    async def get(self, token: str) -> VirtualKey | None:
        """One key by its token."""
        row = await self.database.fetch_one("SELECT * FROM keys WHERE token = ?", (token,))
        return _decode(row) if row else None

    async def get_in(self, tx: Transaction, token: str) -> VirtualKey | None:
        """One key as the transaction sees it."""
        row = await tx.fetch_one("SELECT * FROM keys WHERE token = ?", (token,))
        return _decode(row) if row else None

    async def among(self, tokens: Iterable[str]) -> list[VirtualKey]:
        """The keys of these tokens that exist."""
        found: list[VirtualKey] = []
        for part in padded(tokens):
            rows = await self.database.fetch_all(f"SELECT * FROM keys WHERE token IN ({marks(len(part))})", part)
            found += [_decode(row) for row in rows]
        return found

    async def seeds(self, tokens: Iterable[str], incarnation: str) -> list[Seed]:
        """The keys of these tokens that exist, each with how far the incarnation's records were charged when it was read."""
        sql = "SELECT keys.*, COALESCE((SELECT charged_seq FROM ledger_progress WHERE incarnation = ?), 0) AS charged FROM keys"
        found: list[Seed] = []
        for part in padded(tokens):
            rows = await self.database.fetch_all(f"{sql} WHERE token IN ({marks(len(part))})", (incarnation, *part))
            found += [
                Seed(_decode(row), int(row["charged"] or 0), int(row["revision"] or 0), int(row["charged_at"] or 0))
                for row in rows
            ]
        return found

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

    async def count_of(self, user_id: str | None, team_id: str | None) -> int:
        """The number of a user's keys; without one, of those of a team that have no user."""
        owner, value = ("user_id = ?", user_id) if user_id is not None else ("team_id = ? AND user_id IS NULL", team_id)
        row = await self.database.fetch_one(f"SELECT COUNT(*) AS n FROM keys WHERE {owner}", (value,))
        return int(row["n"] or 0) if row else 0

    async def insert(self, tx: Transaction, key: VirtualKey) -> None:
        """A new key. Raises Conflict when the token or the alias is taken."""
        # One that comes back with a budget must not look older than its predecessor.
        charged_at = self.payers.now if key.max_budget is not None else "0"
        await tx.execute(
            f"INSERT INTO keys ({', '.join(_COLUMNS)}, charged_at) VALUES ({marks(len(_COLUMNS))}, {charged_at})",
            _encode(key, _COLUMNS),
        )

    async def replace(self, tx: Transaction, seen: Seed, key: VirtualKey, own: frozenset[str], more: int) -> bool:
        """Write every field but the token, if the key is as it was `seen`: False when somebody was faster.

        Of the fields that settlement writes only those of `own`, for a charge may come in between; `more` is added to what was
        spent ever.
        """
        columns = [name for name in _COLUMNS if name != "token" and (name in own or name not in _SPENDING)]
        assignments = ", ".join(f"{column} = ?" for column in columns)
        if key.max_budget is not None:
            # What was spent before there was a budget had no version of its own.
            assignments += f", charged_at = {self.payers.renewed}"
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
            # Of an array that is bound as one PostgreSQL makes a table to look in; of one that it reads from a text it tries each.
            among, wanted = sql.format(window=_WINDOW, among="= ANY(CAST(? AS TEXT[]))"), list[Any](tokens)
            return await tx.fetch_all(among, cast("Sequence[Value]", (wanted,)))
        found = list[Row]()
        for part in parts(tokens):
            found += await tx.fetch_all(sql.format(window=_WINDOW, among=f"IN ({marks(len(part))})"), part)
        return found

    async def most_recent(self, limit: int) -> list[str]:
        """Tokens of the keys that were used last."""
        rows = await self.database.fetch_all(
            "SELECT token FROM keys WHERE last_active_at IS NOT NULL AND blocked = 0 ORDER BY last_active_at DESC LIMIT ?",
            (limit,),
        )
        return [str(row["token"]) for row in rows]

    async def ended_windows(self, now: int, limit: int) -> list[str]:
        """Tokens of keys whose budget window is over."""
        rows = await self.database.fetch_all(
            "SELECT token FROM keys WHERE budget_reset_at IS NOT NULL AND budget_reset_at <= ? LIMIT ?", (now, limit)
        )
        return [str(row["token"]) for row in rows]
