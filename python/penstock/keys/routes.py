"""`/key/...` in LiteLLM's shapes."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

from litestar import Request, get, post
from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter

from penstock.access import Access, Authority, authority_of, caller_of
from penstock.access.routes import uncovering
from penstock.access.sight import refused
from penstock.durations import iso
from penstock.engine.current import CurrentRuntime
from penstock.engine.runtime import Runtime
from penstock.errors import ApiError, bad_request
from penstock.keys.models import (
    ACTED_UPON,
    STORED_ONLY,
    DeleteKeysRequest,
    GenerateKeyRequest,
    KeyFields,
    KeyFilter,
    KeyIdentifier,
    KeysIdentifier,
    RegenerateKeyRequest,
    SortColumn,
    UpdateKeyRequest,
    VirtualKey,
)
from penstock.money import dollars, dollars_or_none
from penstock.scopes.shown import warnings as unheeded

AnyRequest = Request[Any, Any, Any]

_ABSENT_IN_EXTRA: dict[str, Any] = {
    "config": {},
    "permissions": {},
    "model_max_budget": {},
    "allowed_cache_controls": [],
    "soft_budget": None,
    "budget_id": None,
    "agent_id": None,
    "project_id": None,
}


def shown(key: VirtualKey) -> dict[str, Any]:
    """A key as LiteLLM shows it: dollars, RFC 3339, no secret."""
    return {
        **_ABSENT_IN_EXTRA,
        **key.extra,
        "token": key.token,
        "key_name": key.key_name,
        "key_alias": key.key_alias,
        "spend": dollars(key.spend),
        "total_spend": dollars(key.total_spend),
        "max_budget": dollars_or_none(key.max_budget),
        "budget_duration": key.budget_duration,
        "budget_reset_at": iso(key.budget_reset_at),
        "expires": iso(key.expires_at),
        "models": key.models,
        "aliases": key.aliases,
        "user_id": key.user_id,
        "team_id": key.team_id,
        "organization_id": key.org_id,
        "max_parallel_requests": key.max_parallel_requests,
        "tpm_limit": key.tpm_limit,
        "rpm_limit": key.rpm_limit,
        "when_gone": key.when_gone,
        "metadata": {**key.metadata, "tags": key.tags} if key.tags else key.metadata,
        "tags": key.tags,
        "allowed_routes": key.allowed_routes,
        "allowed_cidrs": key.allowed_cidrs,
        "blocked": key.blocked,
        "litellm_budget_table": None,
        "created_at": iso(key.created_at),
        "created_by": key.created_by,
        "updated_at": iso(key.updated_at),
        "updated_by": key.updated_by,
        "last_active": iso(key.last_active_at),
    }


def shown_to(request: AnyRequest, runtime: Runtime, key: VirtualKey) -> dict[str, Any]:
    """A key as the caller may see it."""
    return authority_of(request, runtime).shown(shown(key))


def _generated(request: AnyRequest, runtime: Runtime, secret: str, key: VirtualKey, asked: KeyFields) -> dict[str, Any]:
    return {**shown_to(request, runtime, key), "key": secret, "token_id": key.token, **warnings(asked)}


def warnings(request: KeyFields) -> dict[str, Any]:
    """What of the request has no effect."""
    routes = request.allowed_routes if isinstance(request.allowed_routes, list) else []
    words = [f"`allowed_routes`: `{entry}` covers no route: it is no group here" for entry in uncovering(routes)]
    return unheeded(request, [name for name in STORED_ONLY if name not in ACTED_UPON], *words)


@post("/key/generate", access=Access.MANAGER, status_code=200)
async def generate(
    request: AnyRequest, runtime: CurrentRuntime, data: JSONBody[GenerateKeyRequest | None] = None
) -> dict[str, Any]:
    """Create a virtual key; `key` is shown this once."""
    data = data or GenerateKeyRequest()
    check = await authority_of(request, runtime).sure(lambda caller: caller.new_key(data, "/key/generate"))
    secret, key = await runtime.keys.generate(data, caller_of(request).actor, check)
    return _generated(request, runtime, secret, key, data)


@post("/key/update", access=Access.MANAGER, status_code=200)
async def update(request: AnyRequest, runtime: CurrentRuntime, data: JSONBody[UpdateKeyRequest]) -> dict[str, Any]:
    """Change the given fields of a key, with effect on the next call."""
    authority = authority_of(request, runtime)
    check = await authority.sure(lambda caller: caller.change_of_key(data.key, data, "/key/update"))
    key = await runtime.keys.update(data, caller_of(request).actor, check)
    return {**shown_to(request, runtime, key), "key": data.key, **warnings(data)}


@post("/key/delete", access=Access.MANAGER, status_code=200)
async def delete(request: AnyRequest, runtime: CurrentRuntime, data: JSONBody[DeleteKeysRequest]) -> dict[str, Any]:
    """Delete keys by key, token or alias; 404 when one of them does not exist, and then none is deleted."""
    if not data.keys and not data.key_aliases:
        raise bad_request("`keys` or `key_aliases` must name at least one key", "keys")
    given, authority = data.keys or [], authority_of(request, runtime)
    aliases = data.key_aliases or []
    by_alias = await runtime.keys.aliases_to_tokens(aliases) if aliases else []

    async def may_delete(caller: Authority) -> None:
        if caller.is_administrator:
            return
        for identifier in given:
            await caller.key(identifier, "/key/delete", "keys")
        for token in by_alias:
            await caller.key(token, "/key/delete", "key_aliases")
        if len(by_alias) != len(set(aliases)):
            # Whether a foreign key has this alias is nobody's business.
            raise refused("This key is of no team or organization that you are in charge of.", "key_aliases")

    check = await authority.sure(may_delete)
    tokens = {identifier: runtime.keys.token_of(identifier) for identifier in given}
    missing = [identifier for identifier, token in tokens.items() if await runtime.keys.find(token) is None]
    if missing:
        raise ApiError(404, f"{len(missing)} of the keys do not exist; nothing was deleted.", param="keys")
    if len(by_alias) != len(set(aliases)):
        raise ApiError(404, "One of the aliases does not exist; nothing was deleted.", param="key_aliases")
    deleted = await runtime.keys.delete([*tokens.values(), *by_alias], caller_of(request).actor, check)
    return {"deleted_keys": [*given, *by_alias] if len(deleted) == len(given) + len(by_alias) else deleted}


@post("/key/block", access=Access.MANAGER, status_code=200)
async def block(request: AnyRequest, runtime: CurrentRuntime, data: JSONBody[KeyIdentifier]) -> dict[str, Any]:
    """Refuse every call with this key until it is unblocked."""
    check = await authority_of(request, runtime).sure(lambda caller: caller.key(data.key, "/key/block"))
    return shown_to(request, runtime, await runtime.keys.set_blocked(data.key, True, caller_of(request).actor, check))


@post("/key/unblock", access=Access.MANAGER, status_code=200)
async def unblock(request: AnyRequest, runtime: CurrentRuntime, data: JSONBody[KeyIdentifier]) -> dict[str, Any]:
    """Undo a block."""
    check = await authority_of(request, runtime).sure(lambda caller: caller.key(data.key, "/key/unblock"))
    return shown_to(request, runtime, await runtime.keys.set_blocked(data.key, False, caller_of(request).actor, check))


@post("/key/regenerate", access=Access.MANAGER, status_code=200)
async def regenerate(
    request: AnyRequest, runtime: CurrentRuntime, data: JSONBody[RegenerateKeyRequest]
) -> dict[str, Any]:
    """A new secret for a key; the old one stops at once."""
    if not isinstance(data.key, str):
        raise bad_request("`key` must name the key to regenerate", "key")
    return await _regenerated(request, runtime, data.key, data)


async def _regenerated(request: AnyRequest, runtime: Runtime, key: str, data: RegenerateKeyRequest) -> dict[str, Any]:
    authority = authority_of(request, runtime)
    check = await authority.sure(lambda caller: caller.change_of_key(key, data, "/key/regenerate"))
    secret, changed = await runtime.keys.regenerate(key, data, caller_of(request).actor, check)
    return _generated(request, runtime, secret, changed, data)


@post("/key/{key:str}/regenerate", access=Access.MANAGER, status_code=200)
async def regenerate_named(
    request: AnyRequest, runtime: CurrentRuntime, key: FromPath[str], data: JSONBody[RegenerateKeyRequest | None] = None
) -> dict[str, Any]:
    """A new secret for the key in the path; the old one stops at once."""
    data = data or RegenerateKeyRequest()
    if isinstance(data.key, str) and runtime.keys.token_of(data.key) != runtime.keys.token_of(key):
        raise bad_request("`key` is another key than the path names: leave it out", "key")
    return await _regenerated(request, runtime, key, data)


@get("/key/info", access=Access.KEY, group="info_routes")
async def info(
    request: AnyRequest,
    runtime: CurrentRuntime,
    identifier: Annotated[str | None, QueryParameter(name="key")] = None,
) -> dict[str, Any]:
    """One key; without `key` the caller's own. A virtual key also sees those of its user, and of what that is in charge of."""
    caller = caller_of(request)
    if identifier is None:
        if caller.key is None:
            raise bad_request("`key` must name a key, for the master key is none", "key")
        identifier = caller.key.token
    if not caller.sees_everything:
        wanted = await runtime.keys.find(identifier)
        if wanted is None or not await authority_of(request, runtime).sees_key(wanted):
            raise ApiError(403, "This is no key that you may see.", param="key")
    await runtime.usage.flush()
    return {"key": identifier, "info": shown_to(request, runtime, await runtime.keys.get(identifier))}


@post("/v2/key/info", access=Access.KEY, group="info_routes", status_code=200)
async def info_many(request: AnyRequest, runtime: CurrentRuntime, data: JSONBody[KeysIdentifier]) -> dict[str, Any]:
    """Several keys; unknown ones, and those that the caller may not see, are left out."""
    if not data.keys:
        raise bad_request("`keys` must name at least one key", "keys")
    await runtime.usage.flush()
    authority = authority_of(request, runtime)
    found = [await runtime.keys.find(identifier) for identifier in data.keys]
    seen = [key for key in found if key is not None and await authority.sees_key(key)]
    return {"key": data.keys, "info": [authority.shown(shown(key)) for key in seen]}


@get("/key/list", access=Access.KEY, group="info_routes")
async def list_keys(
    request: AnyRequest,
    runtime: CurrentRuntime,
    page: Annotated[int, QueryParameter(ge=1, le=10_000_000)] = 1,
    size: Annotated[int, QueryParameter(ge=1, le=100)] = 10,
    user_id: FromQuery[str | None] = None,
    team_id: FromQuery[str | None] = None,
    organization_id: FromQuery[str | None] = None,
    key_alias: FromQuery[str | None] = None,
    key_hash: FromQuery[str | None] = None,
    return_full_object: FromQuery[bool] = False,
    sort_by: FromQuery[SortColumn] = "created_at",
    sort_order: FromQuery[Literal["asc", "desc"]] = "desc",
) -> dict[str, Any]:
    """A page of tokens, or of whole keys with `return_full_object`.

    A virtual key lists those of its user; with `team_id` or `organization_id` those of what its user is in charge of.
    """
    where = KeyFilter(user_id=user_id, team_id=team_id, org_id=organization_id, key_alias=key_alias, token=key_hash)
    authority = authority_of(request, runtime)
    where = await authority.listed_keys(where)
    keys, total = await runtime.keys.page(where, sort_by, sort_order == "desc", page, size)
    return {
        "keys": [authority.shown(shown(key)) if return_full_object else key.token for key in keys],
        "total_count": total,
        "current_page": page,
        "total_pages": math.ceil(total / size),
    }


@get("/key/aliases", access=Access.VIEWER)
async def aliases(
    runtime: CurrentRuntime,
    page: Annotated[int, QueryParameter(ge=1, le=10_000_000)] = 1,
    size: Annotated[int, QueryParameter(ge=1, le=1000)] = 100,
) -> dict[str, Any]:
    """The aliases in use."""
    names, total = await runtime.keys.aliases(page, size)
    return {
        "aliases": names,
        "total_count": total,
        "current_page": page,
        "total_pages": math.ceil(total / size),
        "size": size,
    }


@post("/key/health", access=Access.KEY, group="info_routes", status_code=200)
async def health() -> dict[str, Any]:
    """LiteLLM checks the key's own logging callbacks here; Penstock's keys have none, so a valid key is healthy."""
    return {"key": "healthy", "logging_callbacks": None}


HANDLERS = [
    generate,
    update,
    delete,
    block,
    unblock,
    regenerate,
    regenerate_named,
    info,
    info_many,
    list_keys,
    aliases,
    health,
]
