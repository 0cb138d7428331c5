"""Which keys stand under a team, a user, an organization or a tag.

Apart from the store of single keys because its questions come from the domains above: whose change concerns which keys.
"""

# ruff: noqa: S608 - names of tables and columns are the program's own; values are bound
from __future__ import annotations

from collections.abc import Sequence

import msgspec

from penstock.persistence import Database, Transaction
from penstock.scopes import names
from penstock.tables import marks, parts

_LEVELS = {"team": "team_id", "user": "user_id", "org": "org_id"}


def _pattern(tag: str) -> str:
    text = msgspec.json.encode(tag).decode()
    return "%" + text.replace("!", "!!").replace("%", "!%").replace("_", "!_") + "%"


class KeysUnder:
    """Queries over `keys` by owner."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def tokens(self, scope: str) -> list[str]:
        """Tokens of the keys under the scope `kind:id` (`team`, `user`, `org`, `member`, `tag` or `key`)."""
        kind, _, id = scope.partition(":")
        if kind == "key":
            return [id]
        if kind == "tag":
            # What is found this way may be part of another tag; a key too many does no harm.
            return await self._tokens("tags LIKE ? ESCAPE '!'", _pattern(id))
        if kind == "member":
            # Ids may hold slashes, so every way to split is tried.
            team_id, _, user_id = id.partition("/")
            ways = names.splits(team_id, user_id)
            found = [await self._tokens("team_id = ? AND user_id = ?", *way) for way in ways]
            return [token for tokens in found for token in tokens]
        return await self._tokens(f"{_LEVELS[kind]} = ?", id) if kind in _LEVELS else []

    async def tokens_of_organization(self, tx: Transaction, organization_id: str) -> list[str]:
        """Tokens of the keys of an organization, as the transaction sees them."""
        return await self._tokens("org_id = ?", organization_id, tx=tx)

    async def tokens_of_team(self, tx: Transaction, team_id: str) -> list[str]:
        """Tokens of the keys of a team, as the transaction sees them."""
        return await self._tokens("team_id = ?", team_id, tx=tx)

    async def tokens_of_user(self, tx: Transaction, user_id: str) -> list[str]:
        """Tokens of a user's keys, as the transaction sees them."""
        return await self._tokens("user_id = ?", user_id, tx=tx)

    async def tokens_of_member(self, tx: Transaction, team_id: str, user_id: str) -> list[str]:
        """Tokens of the keys that a user has in a team, as the transaction sees them."""
        return await self._tokens("team_id = ? AND user_id = ?", team_id, user_id, tx=tx)

    async def tokens_in_organization(self, tx: Transaction, organization_id: str, user_id: str) -> list[str]:
        """Tokens of the keys that a user has in an organization and none of its teams, as the transaction sees them."""
        return await self._tokens("org_id = ? AND team_id IS NULL AND user_id = ?", organization_id, user_id, tx=tx)

    async def predecessors(self, tx: Transaction, tokens: Sequence[str]) -> dict[str, str]:
        """The present tokens of keys, by a token that they had before they were regenerated."""
        found: dict[str, str] = {}
        for part in parts(tokens):
            sql = f"SELECT old_token, token FROM key_predecessors WHERE old_token IN ({marks(len(part))})"
            found.update({str(row["old_token"]): str(row["token"]) for row in await tx.fetch_all(sql, part)})
        return found

    async def move_to_organization(self, tx: Transaction, team_id: str, organization_id: str | None) -> list[str]:
        """The keys of a team belong to its organization; returns their tokens."""
        moved = await tx.fetch_all(
            "UPDATE keys SET org_id = ?, revision = revision + 1 WHERE team_id = ? RETURNING token",
            (organization_id, team_id),
        )
        return [str(row["token"]) for row in moved]

    async def _tokens(self, condition: str, *values: str, tx: Transaction | None = None) -> list[str]:
        rows = await (tx or self._database).fetch_all(f"SELECT token FROM keys WHERE {condition}", values)
        return [str(row["token"]) for row in rows]
