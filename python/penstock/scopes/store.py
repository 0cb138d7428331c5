"""Rows of `scopes`, read together with the budgets that they refer to."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

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


class Charged(msgspec.Struct, frozen=True):
    """A scope that somebody added to."""

    name: str
    revision: int
    charged_at: int
    """Unix milliseconds."""


class Addition(msgspec.Struct):
    """What a batch of usage records adds to a scope."""

    name: str
    window_start: int
    """As it was read."""
    ended: int | None = None
    """The end of the window that was read, when it is over."""
    next_window: tuple[int, int] | None = None
    """Set with `ended`: beginning and end of the window that follows."""
    window: int = 0
    """Spent since `window_start`, or since the beginning of the next window."""
    late: int = 0
    """The part of it that counts when somebody else has begun the next window meanwhile."""
    ever: int = 0
    last: int = 0
    """When the latest call began."""


class ScopeStore:
    """Queries; the service decides. What is read has a budget's limits where the scope has none of its own."""

    def __init__(self, database: Database, incarnation: str = "") -> None:
        """`incarnation`: of the data plane that is told how far its records are charged."""
        self.database = database
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
        """Whether a scope of this kind exists that may refuse a call."""
        row = await self.database.fetch_one(
            "SELECT name FROM scopes WHERE kind = ? AND (blocked = 1 OR budget_id IS NOT NULL OR rpm IS NOT NULL"
            " OR tpm IS NOT NULL OR max_parallel_requests IS NOT NULL OR max_budget IS NOT NULL OR models <> '[]')"
            " LIMIT 1",
            (kind,),
        )
        return row is not None

    async def budget(self, tx: Transaction, budget_id: str) -> SharedBudget | None:
        """A budget that scopes may refer to."""
        row = await tx.fetch_one("SELECT budget_duration, model_limits FROM budgets WHERE budget_id = ?", (budget_id,))
        if row is None:
            return None
        duration = row["budget_duration"]
        return SharedBudget(None if duration is None else str(duration), _model_limits.decode(str(row["model_limits"])))

    async def roll(self, tx: Transaction, name: str, ended: int, window: tuple[int, int], now: int) -> bool:
        """Begin a new budget window, if nobody has since `ended` was read: the reset happens exactly once."""
        changed = await tx.execute(
            "UPDATE scopes SET spend = 0, budget_window_start = ?, budget_reset_at = ?, charged_at = ?,"
            " revision = revision + 1 WHERE name = ? AND budget_reset_at = ?",
            (*window, now, name, ended),
        )
        return changed > 0

    async def add(self, tx: Transaction, additions: Sequence[Addition], now: int) -> None:
        """Add to the spend of scopes, in the order of their names, so that two who do this wait and never deadlock."""
        ordered = sorted(additions, key=lambda one: one.name)
        # A row of a window that is over is locked by its reset first, so the order holds only one after the other.
        groups = [ordered] if all(one.next_window is None for one in ordered) else [[one] for one in ordered]
        for group in groups:
            first = group[0] if group else None
            if first is None:
                continue
            if first.next_window is not None and await self.roll(
                tx, first.name, first.ended or 0, first.next_window, now
            ):
                first.window_start = first.next_window[0]
            await tx.execute_many(
                "UPDATE scopes SET spend = spend +"
                " CASE WHEN COALESCE(budget_window_start, 0) = ? THEN CAST(? AS BIGINT) ELSE CAST(? AS BIGINT) END,"
                " total_spend = total_spend + ?, last_active_at = ?, charged_at = ?, revision = revision + 1"
                " WHERE name = ?",
                [(one.window_start, one.window, one.late, one.ever, one.last, now, one.name) for one in group],
            )

    async def reset_spend(self, tx: Transaction, now: int) -> None:
        """Set every scope's spend in its budget window to nothing."""
        await tx.execute(
            "UPDATE scopes SET spend = 0, charged_at = ?, revision = revision + 1 WHERE spend <> 0", (now,)
        )

    async def ended_windows(self, now: int, limit: int) -> list[ReadScope]:
        """Scopes whose budget window is over."""
        rows = await self.database.fetch_all(
            f"{_SELECT} WHERE budget_reset_at IS NOT NULL AND budget_reset_at <= ? ORDER BY name LIMIT ?",
            (self._incarnation, now, limit),
        )
        return [self._effective(row) for row in rows]

    async def charged_after(self, place: tuple[int, str], limit: int) -> list[Charged]:
        """Scopes that somebody added to, in the order of when and of their names, after a place in it."""
        rows = await self.database.fetch_all(
            "SELECT name, revision, charged_at FROM scopes WHERE charged_at > 0 AND (charged_at, name) > (?, ?)"
            " ORDER BY charged_at, name LIMIT ?",
            (*place, limit),
        )
        return [Charged(str(row["name"]), int(row["revision"] or 0), int(row["charged_at"] or 0)) for row in rows]

    def _effective(self, row: Row) -> ReadScope:
        columns = msgspec.structs.asdict(self._rows.decode(row))
        for column in LIMITS:
            if columns[column] is None:
                columns[column] = row[f"budget_gives_{column}"]
        return ReadScope(**columns, charged=int(row["charged"] or 0))
