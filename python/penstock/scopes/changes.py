"""Scopes: write limits within the transaction of whoever changes a team, a user or another object.

Apart from the service because it reads and writes rows and nothing else: no data plane is told here, no money moves.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from penstock.audit import AuditTrail
from penstock.durations import parse_duration
from penstock.errors import bad_request
from penstock.persistence import Transaction
from penstock.scopes import names
from penstock.scopes.models import ModelLimit, ReadScope, Scope
from penstock.scopes.store import ScopeStore

_ACTOR = "scopes"
"""In the audit trail: who asked for it stands in the row of the team, user or other object that was changed."""


class ScopeChanges:
    """The half of :class:`penstock.scopes.service.ScopeService` that is called within transactions."""

    def __init__(self, store: ScopeStore, audit: AuditTrail) -> None:
        self._store = store
        self._audit = audit
        self._written: dict[str, float] = {}
        """What was written, or would have been had it been committed, and not published: since when, monotonic seconds."""

    def unpublished(self, for_s: float) -> list[str]:
        """Names of scopes that were written so long ago, or longer, and not published."""
        before = time.monotonic() - for_s
        return [name for name, since in self._written.items() if since <= before]

    def published(self, scopes: Iterable[str]) -> None:
        """The data plane knows these as they are."""
        for name in scopes:
            self._written.pop(name, None)

    async def own(self, tx: Transaction, name: str) -> Scope | None:
        """A scope as it is stored, without its budget's limits, as a transaction sees it: what a change begins from."""
        return await self._store.own(tx, name)

    async def put(
        self,
        tx: Transaction,
        name: str,
        columns: Mapping[str, Any],
        models: Mapping[str, ModelLimit] | None = None,
    ) -> bool:
        """Create a scope or change the given columns of one; True when it is new.

        `models`: all of its own limits per model; None: as they are. `spend` among the columns sets what was spent.

        Raises:
            ApiError: 400, `budget_id` is not one.
        """
        now = await self._store.payers.clock.now_ms(tx)
        kind, id = names.split(name)
        found = await self._store.own(tx, name)
        # Microseconds: one that is created again must not look older than its predecessor, however often that was changed.
        scope = found or Scope(name=name, kind=kind, id=id, revision=time.time_ns() // 1_000)
        before = scope.spend
        changed = {column for column, value in columns.items() if found is None or getattr(scope, column) != value}
        for column, value in columns.items():
            setattr(scope, column, value)
        scope.updated_at = now
        if changed & {"budget_id", "budget_duration"}:
            await self._begin_window(tx, scope, now)
        if found is None:
            scope.total_spend = scope.spend
            await self._store.insert(tx, scope)
        else:
            await self._store.change(tx, scope)
            if "spend" in changed:
                await self._store.set_spend(tx, name, scope.spend, max(0, scope.spend - before))
            if changed & {"budget_id", "budget_duration"}:
                await self._store.set_window(tx, name, scope.budget_window_start, scope.budget_reset_at)
        if models is not None:
            await self._put_models(tx, scope, models, from_budget=False)
        if "budget_id" in changed:
            await self.put_budget_models(tx, scope)
        await self._audit.append(tx, _ACTOR, "scope.put", "scope", name)
        if scope.parent is None:
            # Those below it are published with it.
            self._written[name] = time.monotonic()
        return found is None

    async def put_budget_models(self, tx: Transaction, scope: Scope) -> None:
        """Make the scopes for one model those of the budget that `scope` refers to."""
        budget = await self._store.budget(tx, scope.budget_id) if scope.budget_id is not None else None
        await self._put_models(tx, scope, budget.model_limits if budget is not None else {}, from_budget=True)

    async def renew_windows(self, tx: Transaction, budget_id: str) -> list[str]:
        """A budget has changed: every scope that refers to it follows; returns their names."""
        now = await self._store.payers.clock.now_ms(tx)
        touched: list[str] = []
        for name in [scope.name for scope in await self._store.with_budget(tx, budget_id)]:
            scope = await self._store.own(tx, name)
            if scope is None:
                continue
            if scope.budget_duration is None:
                await self._begin_window(tx, scope, now)
                await self._store.set_window(tx, name, scope.budget_window_start, scope.budget_reset_at)
            await self._store.change(tx, scope)
            await self.put_budget_models(tx, scope)
            await self._audit.append(tx, _ACTOR, "scope.put", "scope", name)
            touched.append(name)
        return touched

    async def referring(self, tx: Transaction, budget_id: str) -> list[ReadScope]:
        """The scopes that refer to a budget."""
        return await self._store.with_budget(tx, budget_id)

    async def remove(self, tx: Transaction, name: str) -> None:
        """Remove a scope and those for one model below it."""
        for gone in await self._store.delete(tx, name):
            await self._audit.append(tx, _ACTOR, "scope.delete", "scope", gone)
            self._written[name] = time.monotonic()

    async def rename_key(self, tx: Transaction, old: str, new: str) -> None:
        """A key has a new token: its scopes keep their limits and spend."""
        before, after = names.key(old), names.key(new)
        for scope in await self._store.below(tx, [before]):
            await self._store.rename(tx, scope.name, names.model(after, scope.only_model or ""), after)
        await self._store.rename(tx, before, after, None)

    async def _begin_window(self, tx: Transaction, scope: Scope, now: int) -> None:
        duration = scope.budget_duration
        if scope.budget_id is not None:
            budget = await self._store.budget(tx, scope.budget_id)
            if budget is None:
                raise bad_request(
                    f"`budget_id`: there is no budget `{scope.budget_id}`: create it with /budget/new", "budget_id"
                )
            duration = duration or budget.budget_duration
        if duration is None:
            scope.budget_window_start = scope.budget_reset_at = None
            return
        end = parse_duration(duration, "budget_duration").window_end(now)
        if scope.budget_reset_at is None or scope.budget_window_start is None:
            scope.budget_window_start = now
        scope.budget_reset_at = end

    async def _put_models(
        self, tx: Transaction, parent: Scope, models: Mapping[str, ModelLimit], *, from_budget: bool
    ) -> None:
        existing = {scope.only_model: scope for scope in await self._store.below(tx, [parent.name])}
        for model, scope in existing.items():
            if model not in models and scope.from_budget == from_budget:
                await self._store.delete(tx, scope.name)
        for model, limit in models.items():
            was = existing.get(model)
            if was is not None and was.from_budget != from_budget and from_budget:
                # What the scope says itself goes before what its budget says.
                continue
            columns = {**msgspec.structs.asdict(limit), "from_budget": from_budget, "alias": parent.alias}
            name = was.name if was is not None else names.model(parent.name, model)
            there = await self._store.own(tx, name) if was is None else None
            if there is not None and there.parent != parent.name:
                raise bad_request(
                    f"`model_max_budget`, `model_rpm_limit`, `model_tpm_limit`: `{model}` of {parent.name} has the same name"
                    f" as `{there.only_model}` of another; one of the two ids must be without `/`",
                    "model_max_budget",
                )
            await self.put(tx, name, {**columns, "parent": parent.name, "only_model": model})
