"""Rows of `scopes`, read together with the budgets that they refer to."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from penstock.payers import Payers
from penstock.persistence import Database, Row, Transaction
from penstock.scopes.models import LIMITS, ModelLimit, ReadScope, Scope
from penstock.tables import Table, marks, padded

_SPENDING = frozenset(
    {"spend", "total_spend", "last_active_at", "charged_at", "budget_window_start", "budget_reset_at", "revision"}
)
"""Written by settlement; a change of other fields must not carry old values of these back."""
_FROM_BUDGET = ", ".join(f"budgets.{column} AS budget_gives_{column}" for column in LIMITS)
_SELECT = (
    f"SELECT scopes.*, {_FROM_BUDGET}, COALESCE((SELECT charged_seq FROM ledger_progress WHERE incarnation = ?), 0)"
    " AS charged FROM scopes LEFT JOIN budgets ON budgets.budget_id = scopes.budget_id"
)
_model_limits = msgspec.json.Decoder(dict[str, ModelLimit])


class SharedBudget(msgspec.Struct, frozen=True):
    """What scopes need to know of a budget when they begin to refer to it."""

    budget_duration: str | None
    model_limits: dict[str, ModelLimit]


class ScopeStore:
    """Queries; the service decides. What is read has a budget's limits where the scope has none of its own."""

    def __init__(self, database: Database, incarnation: str = "") -> None:
        """`incarnation`: of the data plane that is told how far its records are charged."""
        self.database = database
        self.payers = Payers(database, "scopes")
        self._incarnation = incarnation
        self._rows = Table("scopes", Scope, ["name"])

    async def among(self, source: Database | Transaction, names: Iterable[str]) -> list[ReadScope]:
        """The scopes of these names that exist, with their budgets' limits."""
        found: list[ReadScope] = []
        for part in padded(names):
            rows = await source.fetch_all(f"{_SELECT} WHERE name IN ({marks(len(part))})", [self._incarnation, *part])
            found += [self._effective(row) for row in rows]
        return found

    async def below(self, source: Database | Transaction, parents: Iterable[str]) -> list[ReadScope]:
        """The scopes for one model of these scopes."""
        found: list[ReadScope] = []
        for part in padded(parents):
            rows = await source.fetch_all(
                f"{_SELECT} WHERE parent IN ({marks(len(part))}) ORDER BY name", [self._incarnation, *part]
            )
            found += [self._effective(row) for row in rows]
        return found

    async def own(self, tx: Transaction, name: str) -> Scope | None:
        """A scope with its own limits only, to be changed."""
        return await self._rows.get(tx, {"name": name})

    async def insert(self, tx: Transaction, scope: Scope) -> bool:
        """A new scope; False when there is one already, which is left as it is."""
        return await self._rows.insert(tx, scope, keep=True)

    async def change(self, tx: Transaction, scope: Scope) -> None:
        """Write every field that settlement does not write."""
        await self._rows.replace(tx, scope, _SPENDING)
        await tx.execute("UPDATE scopes SET revision = revision + 1 WHERE name = ?", (scope.name,))

    async def set_spend(self, tx: Transaction, name: str, spend: int, more: int) -> None:
        """Say what was spent in the current window; `more` is what that adds to what was spent ever."""
        sql = "UPDATE scopes SET spend = ?, total_spend = total_spend + ?, revision = revision + 1 WHERE name = ?"
        await tx.execute(sql, (spend, more, name))

    async def set_window(self, tx: Transaction, name: str, start: int | None, end: int | None) -> None:
        """Another budget window, with what is spent in it already."""
        await tx.execute(
            "UPDATE scopes SET budget_window_start = ?, budget_reset_at = ?, revision = revision + 1 WHERE name = ?",
            (start, end, name),
        )

    async def delete(self, tx: Transaction, name: str) -> list[str]:
        """Remove a scope and those for one model below it; returns the names of what there was."""
        sql = "DELETE FROM scopes WHERE name = ? OR parent = ? RETURNING name"
        return [str(row["name"]) for row in await tx.fetch_all(sql, (name, name))]

    async def rename(self, tx: Transaction, old: str, new: str, parent: str | None) -> None:
        """Give a scope another name; its spend stays with it."""
        await tx.execute(
            "UPDATE scopes SET name = ?, id = ?, parent = ?, revision = revision + 1 WHERE name = ?",
            (new, new.partition(":")[2], parent, old),
        )

    async def with_budget(self, source: Database | Transaction, budget_id: str) -> list[ReadScope]:
        """The scopes that refer to a budget."""
        rows = await source.fetch_all(
            f"{_SELECT} WHERE scopes.budget_id = ? ORDER BY name", (self._incarnation, budget_id)
        )
        return [self._effective(row) for row in rows]

    async def any_limited(self, kind: str) -> bool:
        """Whether a scope of this kind, or one for a single model below such a scope, exists that may refuse a call."""
        row = await self.database.fetch_one(
            "SELECT name FROM scopes WHERE (kind = ? AND (blocked = 1 OR budget_id IS NOT NULL OR rpm IS NOT NULL"
            " OR when_gone IS NOT NULL OR tpm IS NOT NULL OR max_parallel_requests IS NOT NULL OR max_budget IS NOT NULL"
            " OR models <> '[]')) OR (parent IS NOT NULL AND parent LIKE ?) LIMIT 1",
            (kind, f"{kind}:%"),
        )
        return row is not None

    async def budget(self, tx: Transaction, budget_id: str) -> SharedBudget | None:
        """A budget that scopes may refer to."""
        row = await tx.fetch_one("SELECT budget_duration, model_limits FROM budgets WHERE budget_id = ?", (budget_id,))
        if row is None:
            return None
        duration = row["budget_duration"]
        return SharedBudget(None if duration is None else str(duration), _model_limits.decode(str(row["model_limits"])))

    async def ended_windows(self, now: int, limit: int) -> list[ReadScope]:
        """Scopes whose budget window is over."""
        rows = await self.database.fetch_all(
            f"{_SELECT} WHERE budget_reset_at IS NOT NULL AND budget_reset_at <= ? ORDER BY name LIMIT ?",
            (self._incarnation, now, limit),
        )
        return [self._effective(row) for row in rows]

    def _effective(self, row: Row) -> ReadScope:
        columns = msgspec.structs.asdict(self._rows.decode(row))
        for column in LIMITS:
            if columns[column] is None:
                columns[column] = row[f"budget_gives_{column}"]
        return ReadScope(**columns, charged=int(row["charged"] or 0))
