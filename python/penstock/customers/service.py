"""Customers: create, change, block, delete. The data plane asks for one when a request names it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from msgspec import UNSET

from penstock.audit import AuditTrail
from penstock.clock import now_ms
from penstock.customers.models import STORED_ONLY, Customer, CustomerFields
from penstock.customers.store import CustomerStore
from penstock.errors import ApiError, bad_request
from penstock.money import nanos_from_dollars
from penstock.persistence import Conflict, Transaction, managed
from penstock.scopes import names
from penstock.scopes.fields import as_refusal, changes, checked_depth, checked_id, given, model_changes, stored
from penstock.scopes.models import ModelLimit
from penstock.scopes.service import ScopeService


def _not_found(user_id: str, param: str) -> ApiError:
    return ApiError(404, f"End User Id={user_id} does not exist in db", param=param)


class CustomerService:
    """The customers domain's public face."""

    def __init__(
        self, store: CustomerStore, audit: AuditTrail, scopes: ScopeService, changed: Callable[[], Awaitable[None]]
    ) -> None:
        """`changed`: the data plane may have to begin (or may cease) to ask for customers."""
        self._store = store
        self._audit = audit
        self._scopes = scopes
        self._changed = changed

    async def get(self, user_id: str, param: str = "end_user_id") -> Customer:
        """A customer, or 404. One that only the configuration's default budget has made known has no more than a scope."""
        customer = await self._store.rows.get(self._store.database, {"user_id": user_id})
        if customer is None and await self._scopes.find(names.customer(user_id)) is not None:
            return Customer(user_id=user_id)
        if customer is None:
            raise _not_found(user_id, param)
        return customer

    async def all(self) -> list[Customer]:
        """Every customer, by id."""
        return await self._store.rows.find(self._store.database, {}, "user_id")

    async def create(self, request: CustomerFields, actor: str) -> Customer:
        """A new customer; 400 when there is one with this id."""
        checked_id(request.user_id, "user_id")
        now = now_ms()
        customer = Customer(user_id=request.user_id, created_at=now, created_by=actor)
        columns = self._apply(request, customer, actor, now)

        async def once(tx: Transaction) -> None:
            models = await self._models(request, tx)
            await self._store.rows.insert(tx, customer)
            await self._put(tx, request, columns, models, "customer.new", actor)

        try:
            await managed(self._store.database, once)
        except Conflict as error:
            raise bad_request(
                f"Customer already exists, passed user_id={request.user_id}. Please pass a new user_id.", "user_id"
            ) from error
        await self._tell([request.user_id])
        return customer

    async def update(self, request: CustomerFields, actor: str) -> Customer:
        """Change the given fields, with effect on the next call."""
        customer = await self.get(request.user_id, "user_id")
        now = now_ms()
        # What is refused is refused before anything is settled.
        columns = self._apply(request, customer, actor, now)
        if "spend" in columns:
            await self._scopes.settle()

        async def once(tx: Transaction) -> Customer:
            # Read again where nobody else writes: what another has changed meanwhile must not be undone.
            present = await self._store.rows.get(tx, {"user_id": request.user_id})
            if present is None and await self._scopes.own(tx, names.customer(request.user_id)) is None:
                raise _not_found(request.user_id, "user_id")
            customer = present or Customer(user_id=request.user_id, created_at=now, created_by=actor)
            columns = self._apply(request, customer, actor, now)
            models = await self._models(request, tx)
            await self._store.rows.insert(tx, customer, keep=True)
            await self._store.rows.replace(tx, customer)
            await self._put(tx, request, columns, models, "customer.update", actor)
            return customer

        customer = await managed(self._store.database, once)
        await self._tell([request.user_id])
        return customer

    async def set_blocked(self, ids: Sequence[str], blocked: bool, actor: str) -> list[Customer]:
        """Block or unblock; who is blocked need not have existed, who is unblocked must."""
        if not ids:
            raise bad_request("`user_ids` must name at least one customer", "user_ids")
        now = now_ms()
        action = "customer.block" if blocked else "customer.unblock"
        if not blocked:
            for user_id in ids:
                await self.get(user_id, "user_ids")

        async def once(tx: Transaction) -> None:
            for user_id in dict.fromkeys(ids):
                checked_id(user_id, "user_ids")
                if not blocked and await self._scopes.own(tx, names.customer(user_id)) is None:
                    raise _not_found(user_id, "user_ids")
                fresh = Customer(user_id=user_id, created_at=now, created_by=actor, updated_at=now, updated_by=actor)
                await self._store.rows.insert(tx, fresh, keep=True)
                await self._scopes.put(tx, names.customer(user_id), {"blocked": blocked})
                await self._audit.append(tx, actor, action, "customer", user_id, ["blocked"])

        await managed(self._store.database, once)
        await self._tell(list(ids))
        return await self._store.rows.among(self._store.database, "user_id", ids)

    async def delete(self, ids: Sequence[str], actor: str) -> int:
        """Remove customers; 404 when one does not exist, and then none is removed."""
        if not ids:
            raise bad_request("`user_ids` must name at least one customer", "user_ids")
        for user_id in ids:
            await self.get(user_id, "user_ids")

        async def once(tx: Transaction) -> None:
            for user_id in dict.fromkeys(ids):
                await self._store.rows.delete(tx, {"user_id": user_id})
                await self._scopes.remove(tx, names.customer(user_id))
                await self._audit.append(tx, actor, "customer.delete", "customer", user_id)

        await managed(self._store.database, once)
        await self._tell(list(ids))
        return len(set(ids))

    async def _models(self, request: CustomerFields, tx: Transaction) -> dict[str, ModelLimit] | None:
        name = names.customer(request.user_id)
        return model_changes(request, (await self._scopes.models_of([name], tx)).get(name, {}))

    async def _put(
        self,
        tx: Transaction,
        request: CustomerFields,
        columns: dict[str, Any],
        models: dict[str, ModelLimit] | None,
        action: str,
        actor: str,
    ) -> None:
        await self._scopes.put(tx, names.customer(request.user_id), columns, models)
        await self._audit.append(tx, actor, action, "customer", request.user_id, given(request))

    async def _tell(self, ids: list[str]) -> None:
        await self._scopes.publish([names.customer(user_id) for user_id in ids])
        await self._changed()

    @staticmethod
    def _apply(request: CustomerFields, customer: Customer, actor: str, now: int) -> dict[str, Any]:
        """Write the request into the row; returns what it says about the scope."""
        checked_depth(request)
        columns = changes(request)
        for field in ("alias", "allowed_model_region", "default_model"):
            value = getattr(request, field)
            if value is not UNSET:
                checked_id(value, field)
                setattr(customer, field, value)
        if request.models is not UNSET:
            columns["models"] = request.models or []
        if request.blocked is not UNSET:
            columns["blocked"] = bool(request.blocked)
        if request.spend is not UNSET:
            try:
                columns["spend"] = 0 if request.spend is None else nanos_from_dollars(request.spend, "spend")
            except ValueError as error:
                raise as_refusal(error) from error
        columns["alias"] = customer.alias
        customer.extra = stored(request, STORED_ONLY, customer.extra)
        customer.updated_at, customer.updated_by = now, actor
        return columns
