"""`/key/...` for many keys at once, for service accounts and for what a key has spent, in LiteLLM's shapes.

Apart from the routes for one key because these answer with what became of each.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from litestar import Request, post
from litestar.params import FromPath, JSONBody
from msgspec import UNSET

from penstock.access import Access, Authority, authority_of, caller_of
from penstock.durations import iso
from penstock.engine.current import CurrentRuntime
from penstock.errors import ApiError, bad_request
from penstock.keys.models import (
    BulkUpdateKeysRequest,
    BulkUpdateTeamKeysRequest,
    GenerateKeyRequest,
    KeyFilter,
    ResetKeySpendRequest,
    UpdateKeyRequest,
    VirtualKey,
)
from penstock.keys.routes import shown, warnings
from penstock.money import dollars, dollars_or_none, nanos_from_dollars
from penstock.scopes.fields import as_refusal, given

AnyRequest = Request[Any, Any, Any]

_MOST = 500
"""Keys of one request."""


async def _each(
    authority: Authority,
    keys: Iterable[UpdateKeyRequest],
    change: Callable[[UpdateKeyRequest], Awaitable[VirtualKey]],
) -> Any:
    """Change one key after the other; a refusal is told of that key and does not stop the others."""
    done: list[dict[str, Any]] = []
    failed: list[dict[str, Any]] = []
    for asked in keys:
        try:
            shown_key = authority.shown(shown(await change(asked)))
            done.append({"key": asked.key, "key_info": shown_key, **warnings(asked)})
        except ApiError as error:
            failed.append({"key": asked.key, "key_info": None, "failed_reason": error.message})
    return {"total_requested": len(done) + len(failed), "successful_updates": done, "failed_updates": failed}


def _check_count(count: int, field: str) -> None:
    if not 0 < count <= _MOST:
        raise bad_request(f"`{field}` must name 1 to {_MOST} keys, not {count}", field)


@post("/key/bulk_update", access=Access.MANAGER, status_code=200)
async def bulk_update(
    request: AnyRequest, runtime: CurrentRuntime, data: JSONBody[BulkUpdateKeysRequest]
) -> dict[str, Any]:
    """Change up to 500 keys, each in its own way; the answer tells of each whether it was."""
    _check_count(len(data.keys), "keys")
    authority, actor = authority_of(request, runtime), caller_of(request).actor

    async def change(asked: UpdateKeyRequest) -> VirtualKey:
        check = await authority.sure(lambda caller: caller.change_of_key(asked.key, asked, "/key/bulk_update"))
        return await runtime.keys.update(asked, actor, check)

    found: dict[str, Any] = await _each(authority, data.keys, change)
    return found


@post("/team/key/bulk_update", access=Access.MANAGER, status_code=200)
async def bulk_update_of_team(
    request: AnyRequest, runtime: CurrentRuntime, data: JSONBody[BulkUpdateTeamKeysRequest]
) -> dict[str, Any]:
    """Change some keys of a team, or all, in the same way; the answer tells of each whether it was."""
    authority, actor = authority_of(request, runtime), caller_of(request).actor
    await authority.team(data.team_id)
    changes = {field: getattr(data.update_fields, field) for field in given(data.update_fields)}
    for field in ("key_alias", "team_id"):
        if field in changes:
            raise bad_request(
                f"`{field}` cannot be the same change for many keys: use /key/update", f"update_fields.{field}"
            )
    if not changes:
        raise bad_request("`update_fields` must have at least one field", "update_fields")
    if bool(data.key_ids) == data.all_keys_in_team:
        raise bad_request("Give either `key_ids` or `all_keys_in_team: true`", "key_ids")
    if data.all_keys_in_team:
        keys, total = await runtime.keys.page(KeyFilter(team_id=data.team_id), "created_at", True, 1, _MOST)
        _check_count(total, "all_keys_in_team")
        wanted = [key.token for key in keys]
    else:
        wanted = data.key_ids or []
        _check_count(len(wanted), "key_ids")

    async def change(asked: UpdateKeyRequest) -> VirtualKey:
        async def may_change(caller: Authority) -> None:
            key = await caller.change_of_key(asked.key, asked, "/key/bulk_update")
            if key.team_id != data.team_id:
                raise ApiError(404, f"This is no key of team {data.team_id}.", param="key_ids")

        return await runtime.keys.update(asked, actor, await authority.sure(may_change))

    found: dict[str, Any] = await _each(authority, (UpdateKeyRequest(key=key, **changes) for key in wanted), change)
    return {"team_id": data.team_id, **found}


@post("/key/service-account/generate", access=Access.MANAGER, status_code=200)
async def service_account(
    request: AnyRequest, runtime: CurrentRuntime, data: JSONBody[GenerateKeyRequest]
) -> dict[str, Any]:
    """Create a key of a team that is nobody's: it stays when its maker goes. `key` is shown this once."""
    if not isinstance(data.team_id, str):
        raise bad_request("`team_id` must name the team that the key is for", "team_id")
    if isinstance(data.user_id, str):
        raise bad_request("`user_id`: a service account belongs to nobody; use /key/generate", "user_id")
    data.user_id = UNSET
    authority = authority_of(request, runtime)
    check = await authority.sure(lambda caller: caller.new_key(data, "/key/service-account/generate"))
    secret, key = await runtime.keys.generate(data, caller_of(request).actor, check)
    return {**authority.shown(shown(key)), "key": secret, "token_id": key.token, **warnings(data)}


@post("/key/{key:str}/reset_spend", access=Access.MANAGER, status_code=200)
async def reset_spend(
    request: AnyRequest, runtime: CurrentRuntime, key: FromPath[str], data: JSONBody[ResetKeySpendRequest | None] = None
) -> dict[str, Any]:
    """Set what a key has spent in its budget window to less than it has; what it spent ever stays."""
    await runtime.usage.flush()
    permission, authority = "/key/{key_id}/reset_spend", authority_of(request, runtime)
    before = await authority.key(key, permission)
    asked = (data or ResetKeySpendRequest()).reset_to
    try:
        wanted = nanos_from_dollars(asked, "reset_to")
    except ValueError as error:
        raise as_refusal(error) from error
    if wanted > before.spend:
        raise bad_request(f"`reset_to` {asked} is more than was spent, which is {dollars(before.spend)}", "reset_to")
    change = UpdateKeyRequest(key=before.token, spend=asked)
    check = await authority.sure(lambda caller: caller.change_of_key(key, change, permission))
    after = await runtime.keys.update(change, caller_of(request).actor, check)
    return {
        "key_hash": after.token,
        "spend": dollars(after.spend),
        "previous_spend": dollars(before.spend),
        "max_budget": dollars_or_none(after.max_budget),
        "budget_reset_at": iso(after.budget_reset_at),
    }


HANDLERS = [bulk_update, bulk_update_of_team, service_account, reset_spend]
