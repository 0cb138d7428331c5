"""`/customer/...`, and the same as `/end_user/...`, in LiteLLM's shapes."""

from __future__ import annotations

from typing import Any

from litestar import Request, get, post
from litestar.params import FromQuery, JSONBody
from msgspec import UNSET

from penstock.access import Access, caller_of
from penstock.customers.models import Customer, CustomerFields, CustomersIdentifier
from penstock.engine.current import CurrentRuntime
from penstock.engine.runtime import Runtime
from penstock.scopes import names
from penstock.scopes.shown import budget_table, limits, stamps, warnings

AnyRequest = Request[Any, Any, Any]


async def _shown(runtime: Runtime, customers: list[Customer]) -> list[dict[str, Any]]:
    scopes = runtime.entities.scopes
    wanted = [names.customer(customer.user_id) for customer in customers]
    found, models = await scopes.find_many(wanted), await scopes.models_of(wanted)
    shown = []
    for customer, name in zip(customers, wanted, strict=True):
        scope = found.get(name)
        shown.append(
            {
                **customer.extra,
                **limits(scope, models.get(name)),
                "user_id": customer.user_id,
                "alias": customer.alias,
                "blocked": scope.blocked if scope is not None else False,
                "models": scope.models if scope is not None else [],
                "allowed_model_region": customer.allowed_model_region,
                "default_model": customer.default_model,
                "litellm_budget_table": budget_table(scope),
                **stamps(customer),
            }
        )
    return shown


def _warnings(request: CustomerFields) -> dict[str, Any]:
    fields = ("model_max_budget", "model_rpm_limit", "model_tpm_limit")
    given = [field for field in fields if getattr(request, field) not in (UNSET, None, {})]
    words = [f"`{field}` of a customer is counted but refuses no call in this version" for field in given]
    return warnings(request, ("tpd_limit", "object_permission", "allowed_model_region", "default_model"), *words)


@post(["/customer/new", "/end_user/new"], access=Access.ADMIN, status_code=200)
async def new(request: AnyRequest, runtime: CurrentRuntime, data: JSONBody[CustomerFields]) -> dict[str, Any]:
    """Give a customer limits; the id is what requests name as their `user`."""
    customer = await runtime.entities.customers.create(data, caller_of(request).actor)
    return {**(await _shown(runtime, [customer]))[0], **_warnings(data)}


@post(["/customer/update", "/end_user/update"], access=Access.ADMIN, status_code=200)
async def update(request: AnyRequest, runtime: CurrentRuntime, data: JSONBody[CustomerFields]) -> dict[str, Any]:
    """Change the given fields of a customer, with effect on the next call."""
    customer = await runtime.entities.customers.update(data, caller_of(request).actor)
    return {**(await _shown(runtime, [customer]))[0], **_warnings(data)}


@get(["/customer/info", "/end_user/info"], access=Access.VIEWER)
async def info(runtime: CurrentRuntime, end_user_id: FromQuery[str]) -> dict[str, Any]:
    """One customer."""
    await runtime.entities.scopes.settle()
    return (await _shown(runtime, [await runtime.entities.customers.get(end_user_id)]))[0]


@get(["/customer/list", "/end_user/list"], access=Access.VIEWER)
async def list_customers(runtime: CurrentRuntime) -> list[dict[str, Any]]:
    """Every customer that was created."""
    await runtime.entities.scopes.settle()
    return await _shown(runtime, await runtime.entities.customers.all())


@post(["/customer/block", "/end_user/block"], access=Access.ADMIN, status_code=200)
async def block(request: AnyRequest, runtime: CurrentRuntime, data: JSONBody[CustomersIdentifier]) -> dict[str, Any]:
    """Refuse every call for these customers; one that does not exist yet is created."""
    blocked = await runtime.entities.customers.set_blocked(data.user_ids, True, caller_of(request).actor)
    return {"blocked_users": await _shown(runtime, blocked)}


@post(["/customer/unblock", "/end_user/unblock"], access=Access.ADMIN, status_code=200)
async def unblock(request: AnyRequest, runtime: CurrentRuntime, data: JSONBody[CustomersIdentifier]) -> dict[str, Any]:
    """Undo a block; `blocked_users` are those of the named that still are, which is none."""
    unblocked = await runtime.entities.customers.set_blocked(data.user_ids, False, caller_of(request).actor)
    shown = await _shown(runtime, unblocked)
    return {"blocked_users": [one["user_id"] for one in shown if one["blocked"]]}


@post(["/customer/delete", "/end_user/delete"], access=Access.ADMIN, status_code=200)
async def delete(request: AnyRequest, runtime: CurrentRuntime, data: JSONBody[CustomersIdentifier]) -> dict[str, Any]:
    """Remove customers; what they spent stays in the ledger."""
    count = await runtime.entities.customers.delete(data.user_ids, caller_of(request).actor)
    return {"deleted_customers": count, "message": f"Successfully deleted customers with ids: {data.user_ids}"}


HANDLERS = [new, update, info, list_customers, block, unblock, delete]
