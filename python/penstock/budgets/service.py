"""Budgets: create, change, delete; whoever refers to one follows."""

from __future__ import annotations

import uuid
from collections.abc import Sequence

from msgspec import UNSET

from penstock.audit import AuditTrail
from penstock.budgets.models import Budget, NewBudgetRequest, UpdateBudgetRequest
from penstock.budgets.store import BudgetStore
from penstock.clock import now_ms
from penstock.errors import ApiError, bad_request
from penstock.persistence import Conflict, Transaction, managed
from penstock.scopes.fields import checked_depth, checked_id, given, limits, model_limits, stored
from penstock.scopes.models import BudgetFields
from penstock.scopes.service import ScopeService

_STORED = ("tpd_limit",)


class BudgetService:
    """The budgets domain's public face."""

    def __init__(self, store: BudgetStore, audit: AuditTrail, scopes: ScopeService) -> None:
        self._store = store
        self._audit = audit
        self._scopes = scopes

    async def find(self, budget_id: str) -> Budget | None:
        """A budget."""
        return await self._store.rows.get(self._store.database, {"budget_id": budget_id})

    async def get(self, budget_id: str, param: str = "budget_id") -> Budget:
        """A budget, or 404."""
        budget = await self.find(budget_id)
        if budget is None:
            raise ApiError(404, f"There is no budget `{budget_id}`.", param=param)
        return budget

    async def among(self, ids: Sequence[str]) -> list[Budget]:
        """Those of these budgets that exist."""
        return await self._store.rows.among(self._store.database, "budget_id", ids)

    async def all(self) -> list[Budget]:
        """Every budget, by id."""
        return await self._store.rows.find(self._store.database, {}, "budget_id")

    async def create(self, request: NewBudgetRequest, actor: str) -> Budget:
        """A new budget; 400 when the id is taken."""
        budget_id = request.budget_id if isinstance(request.budget_id, str) else str(uuid.uuid4())
        checked_id(budget_id, "budget_id")

        async def once(tx: Transaction) -> Budget:
            return await self.create_in(tx, budget_id, request, actor)

        try:
            return await managed(self._store.database, once)
        except Conflict as error:
            raise bad_request(f"Budget `{budget_id}` already exists.", "budget_id") from error

    async def create_in(self, tx: Transaction, budget_id: str, request: BudgetFields, actor: str) -> Budget:
        """A new budget within the transaction that also refers to it."""
        now = now_ms()
        budget = Budget(budget_id=budget_id, created_at=now, created_by=actor)
        _apply(request, budget, actor, now)
        await self._store.rows.insert(tx, budget)
        await self._audit.append(tx, actor, "budget.new", "budget", budget_id, given(request))
        return budget

    async def update(self, request: UpdateBudgetRequest, actor: str) -> Budget:
        """Change the given fields; every scope that refers to the budget is held to it from the next call on."""

        async def once(tx: Transaction) -> tuple[Budget, list[str]]:
            return await self.update_in(tx, request.budget_id, request, actor)

        budget, touched = await managed(self._store.database, once)
        await self._scopes.publish(touched, relist=touched if request.model_max_budget is not UNSET else ())
        return budget

    async def update_in(
        self, tx: Transaction, budget_id: str, request: BudgetFields, actor: str
    ) -> tuple[Budget, list[str]]:
        """:meth:`update` in a transaction; returns the scopes to be published after it."""
        budget = await self._store.rows.get(tx, {"budget_id": budget_id})
        if budget is None:
            raise ApiError(404, f"There is no budget `{budget_id}`.", param="budget_id")
        _apply(request, budget, actor, now_ms())
        await self._store.rows.replace(tx, budget)
        await self._audit.append(tx, actor, "budget.update", "budget", budget_id, given(request))
        return budget, await self._scopes.renew_windows(tx, budget_id)

    async def delete(self, budget_id: str, actor: str) -> Budget:
        """Remove a budget; 400 while a scope refers to it, which would lose its limits without notice."""
        budget = await self.get(budget_id, "id")

        async def once(tx: Transaction) -> None:
            # Within it: nobody may begin to refer to the budget in between.
            users = await self._scopes.referring(tx, budget_id)
            if users:
                raise bad_request(
                    f"Budget `{budget_id}` is in use by {len(users)} (first: {users[0].name}); give them another first.",
                    "id",
                )
            await self._store.rows.delete(tx, {"budget_id": budget_id})
            await self._audit.append(tx, actor, "budget.delete", "budget", budget_id)

        await managed(self._store.database, once)
        return budget


def _apply(request: BudgetFields, budget: Budget, actor: str, now: int) -> None:
    checked_depth(request)
    for column, value in limits(request).items():
        setattr(budget, column, value)
    if request.model_max_budget is not UNSET:
        budget.model_limits = model_limits(request.model_max_budget, None, None)
    budget.extra = stored(request, _STORED, budget.extra)
    budget.updated_at, budget.updated_by = now, actor
