"""`/user/...` in LiteLLM's shapes."""

from __future__ import annotations

import math
from typing import Annotated, Any

from litestar import Request, get, post
from litestar.params import FromQuery, JSONBody, QueryParameter
from msgspec import UNSET

from penstock.access import Access, authority_of, caller_of
from penstock.access.rights import is_bound
from penstock.engine.current import CurrentRuntime
from penstock.engine.runtime import Runtime
from penstock.errors import ApiError, bad_request
from penstock.keys.models import GenerateKeyRequest, KeyFilter
from penstock.keys.routes import shown as shown_key
from penstock.scopes import names
from penstock.scopes.fields import given
from penstock.scopes.shown import limits, stamps, warnings
from penstock.spend.models import names_in
from penstock.users.models import (
    ROLES,
    STORED_ONLY,
    BulkUpdateUsersRequest,
    DeleteUserRequest,
    NewUserRequest,
    UpdateUserRequest,
    User,
    address,
)

AnyRequest = Request[Any, Any, Any]

_OF_BOUND_KEYS = frozenset({"user_id", "user_email", "user_alias", "user_role", "teams", "created_at"})
_MOST_KEYS = 1_000
_MOST_USERS = 500
"""Of one request that changes them."""


async def _shown(runtime: Runtime, users: list[User]) -> list[dict[str, Any]]:
    entities = runtime.entities
    wanted = [names.user(user.user_id) for user in users]
    found, models = await entities.scopes.find_many(wanted), await entities.scopes.models_of(wanted)
    teams = await entities.members.teams_of([user.user_id for user in users])
    return [
        {
            **user.extra,
            **limits(found.get(name), models.get(name)),
            "user_id": user.user_id,
            "user_email": user.user_email,
            "user_alias": user.user_alias,
            "user_role": user.user_role,
            "sso_user_id": user.sso_user_id,
            "models": found[name].models if name in found else [],
            "blocked": found[name].blocked if name in found else False,
            "metadata": user.metadata,
            "teams": teams[user.user_id],
            **stamps(user),
        }
        for user, name in zip(users, wanted, strict=True)
    ]


async def _one(runtime: Runtime, user: User) -> dict[str, Any]:
    return (await _shown(runtime, [user]))[0]


async def _visible(request: AnyRequest, user_id: str | None) -> str:
    """The id of the user that the caller asks about: a virtual key may only ask about its own."""
    caller = caller_of(request)
    if user_id is None and caller.key is not None:
        user_id = caller.key.user_id
    if user_id is None:
        raise bad_request("`user_id` must name a user, for the key that asks has none", "user_id")
    if not caller.sees_everything and (caller.key is None or caller.key.user_id != user_id):
        raise ApiError(403, "This key may only see its own user.", param="user_id")
    return user_id


async def _seen(request: AnyRequest, runtime: Runtime, user: User) -> dict[str, Any]:
    """A user as the caller may see it: a key within a team or an organization may have been made by others, so it shows nothing
    of what its user is and has elsewhere."""
    authority, key = authority_of(request, runtime), caller_of(request).key
    shown = authority.shown(await _one(runtime, user))
    if authority.sees_everything:
        return shown
    teams = await authority.visible_teams(await runtime.entities.teams.among(shown["teams"]))
    shown["teams"] = [team.team_id for team in teams]
    if key is not None and is_bound(key):
        return {name: value if name in _OF_BOUND_KEYS else _empty(value) for name, value in shown.items()}
    return shown


def _empty(value: Any) -> Any:
    return type(value)() if isinstance(value, dict | list) else None


@post("/user/new", access=Access.ADMIN, status_code=200)
async def new(request: AnyRequest, runtime: CurrentRuntime, data: JSONBody[NewUserRequest]) -> dict[str, Any]:
    """Create a user, with a key unless `auto_create_key` is false; `key` is shown this once."""
    actor = caller_of(request).actor
    wanted = GenerateKeyRequest(
        user_id=data.user_id if isinstance(data.user_id, str) else "new",
        key_alias=data.key_alias,
        duration=data.duration,
    )
    if data.auto_create_key:
        # It is given the configuration's bounds by this.
        await authority_of(request, runtime).new_key(wanted, "/key/generate")
    user, generated = await runtime.entities.create_user(data, actor, wanted if data.auto_create_key else None)
    shown = await _one(runtime, user)
    made: dict[str, Any] = {"key": None, "expires": None, "token": None}
    if generated is not None:
        secret, key = generated
        of_key = shown_key(key)
        made = {"key": secret, **{name: of_key[name] for name in ("expires", "token", "key_name", "key_alias")}}
    return {**shown, **made, **_warnings(data)}


def _check_update(data: UpdateUserRequest) -> None:
    if data.password not in (UNSET, None):
        raise bad_request("`password`: users sign in with their keys, there are no passwords", "password")
    for field in ("organization_id", "organizations"):
        if getattr(data, field) is not UNSET:
            raise bad_request(
                f"`{field}`: users are taken in with /organization/member_add and removed with "
                "/organization/member_delete",
                field,
            )


def _warnings(request: NewUserRequest | UpdateUserRequest) -> dict[str, Any]:
    words = []
    if request.user_role == "org_admin":
        words.append(
            "`user_role`: a user is admin of the organizations that /organization/member_add makes it admin of"
        )
    if request.send_invite_email is True:
        words.append("`send_invite_email` has no effect: no mail is sent")
    if isinstance(request, NewUserRequest) and not request.auto_create_key:
        unheeded = [field for field in ("key_alias", "duration") if getattr(request, field) not in (UNSET, None)]
        words += [f"`{field}` has no effect without `auto_create_key`" for field in unheeded]
    return warnings(request, STORED_ONLY, *words)


@post("/user/update", access=Access.ADMIN, status_code=200)
async def update(request: AnyRequest, runtime: CurrentRuntime, data: JSONBody[UpdateUserRequest]) -> dict[str, Any]:
    """Change the given fields of a user, with effect on the next call of the user's keys."""
    _check_update(data)
    user = await runtime.entities.users.update(data, caller_of(request).actor)
    return {"user_id": user.user_id, "data": await _one(runtime, user), **_warnings(data)}


@post("/user/bulk_update", access=Access.ADMIN, status_code=200)
async def bulk_update(
    request: AnyRequest, runtime: CurrentRuntime, data: JSONBody[BulkUpdateUsersRequest]
) -> dict[str, Any]:
    """Change many users; the answer tells of each whether it was changed."""
    if bool(data.users) == data.all_users:
        raise bad_request("Give either `users` or `all_users: true` with `user_updates`", "users")
    wanted = list(data.users or [])
    if data.all_users:
        if data.user_updates is None:
            raise bad_request("`user_updates` must say what to change of all users", "user_updates")
        changes = {field: getattr(data.user_updates, field) for field in given(data.user_updates)}
        for field in ("user_id", "user_email", "sso_user_id"):
            if field in changes:
                raise bad_request(f"`{field}` cannot be the same for all users", f"user_updates.{field}")
        _, total = await runtime.entities.users.page(None, None, 1, 1)
        if total > _MOST_USERS:
            raise bad_request(f"`all_users`: there are {total}, and one request changes {_MOST_USERS}", "all_users")
        everybody, _ = await runtime.entities.users.page(None, None, 1, _MOST_USERS)
        wanted = [UpdateUserRequest(**{**changes, "user_id": user.user_id}) for user in everybody]
    elif len(wanted) > _MOST_USERS:
        raise bad_request(f"`users` must name at most {_MOST_USERS} users, not {len(wanted)}", "users")
    results = []
    for asked in wanted:
        named = {name: value for name in ("user_id", "user_email") if isinstance(value := getattr(asked, name), str)}
        result: dict[str, Any] = {"user_id": None, "user_email": None, **named}
        try:
            _check_update(asked)
            user = await runtime.entities.users.update(asked, caller_of(request).actor)
            result |= {
                "success": True,
                "error": None,
                "user_id": user.user_id,
                "updated_user": await _one(runtime, user),
                **_warnings(asked),
            }
        except ApiError as error:
            result |= {"success": False, "error": error.message, "updated_user": None}
        results.append(result)
    done = sum(result["success"] for result in results)
    return {
        "results": results,
        "total_requested": len(results),
        "successful_updates": done,
        "failed_updates": len(results) - done,
    }


@post("/user/delete", access=Access.ADMIN, status_code=200)
async def delete(request: AnyRequest, runtime: CurrentRuntime, data: JSONBody[DeleteUserRequest]) -> int:
    """Remove users with their keys and memberships; 404 when one does not exist, and then none is removed."""
    if not data.user_ids:
        raise bad_request("`user_ids` must name at least one user", "user_ids")
    return await runtime.entities.delete_users(data.user_ids, caller_of(request).actor)


@get("/user/info", access=Access.KEY, group="info_routes")
async def info(request: AnyRequest, runtime: CurrentRuntime, user_id: FromQuery[str | None] = None) -> dict[str, Any]:
    """A user with keys and teams; without `user_id` the caller's own, which is all that a virtual key may see."""
    wanted = await _visible(request, user_id)
    user = await runtime.entities.users.get(wanted)
    await runtime.entities.scopes.settle()
    keys, _ = await runtime.keys.page(KeyFilter(user_id=wanted), "created_at", True, 1, _MOST_KEYS)
    shown = await _seen(request, runtime, user)
    authority = authority_of(request, runtime)
    keys = [key for key in keys if await authority.sees_key(key)]
    teams = await authority.visible_teams(await runtime.entities.teams.among(shown["teams"]))
    return {
        "user_id": wanted,
        "user_info": shown,
        "keys": [authority.shown(shown_key(key)) for key in keys],
        "teams": [
            {"team_id": team.team_id, "team_alias": team.team_alias, "organization_id": team.organization_id}
            for team in teams
        ],
    }


@get("/v2/user/info", access=Access.KEY, group="info_routes")
async def info_alone(
    request: AnyRequest, runtime: CurrentRuntime, user_id: FromQuery[str | None] = None
) -> dict[str, Any]:
    """A user without keys; without `user_id` the caller's own, which is all that a virtual key may see."""
    wanted = await _visible(request, user_id)
    await runtime.entities.scopes.settle()
    return await _seen(request, runtime, await runtime.entities.users.get(wanted))


@get("/user/list", access=Access.VIEWER)
async def list_users(
    request: AnyRequest,
    runtime: CurrentRuntime,
    page: Annotated[int, QueryParameter(ge=1, le=10_000_000)] = 1,
    page_size: Annotated[int, QueryParameter(ge=1, le=100)] = 25,
    role: FromQuery[str | None] = None,
    user_ids: FromQuery[str | None] = None,
    user_email: FromQuery[str | None] = None,
    team: FromQuery[str | None] = None,
) -> dict[str, Any]:
    """A page of users, latest first; `user_ids` are separated by commas."""
    if role is not None and role not in ROLES:
        raise bad_request(f"`role` must be one of {', '.join(ROLES)}", "role")
    await runtime.entities.scopes.settle()
    users, email = runtime.entities.users, address(user_email) if user_email else None
    if user_ids is not None or team is not None:
        ids = names_in(user_ids, "user_ids") or []
        if team is not None:
            of_team = [member.user_id for member in (await runtime.entities.members.of_teams([team]))[team]]
            ids = [user_id for user_id in of_team if not ids or user_id in ids]
        found = [
            user
            for user in await users.among(ids)
            if role in (None, user.user_role) and email in (None, user.user_email)
        ]
        found.sort(key=lambda user: (user.created_at, user.user_id), reverse=True)
        total, found = len(found), found[(page - 1) * page_size : page * page_size]
    else:
        found, total = await users.page(role, email, page, page_size)
    shown = authority_of(request, runtime).shown(await _shown(runtime, found))
    for one in shown:
        _, one["key_count"] = await runtime.keys.page(KeyFilter(user_id=one["user_id"]), "created_at", True, 1, 1)
    return {
        "users": shown,
        "total": total,
        "page": page,
        "page_size": page_size,
        "total_pages": math.ceil(total / page_size),
    }


@get("/user/available_roles", access=Access.KEY, group="info_routes")
async def available_roles() -> dict[str, dict[str, str]]:
    """What `user_role` may be."""
    return {role: {"description": words, "ui_label": role.replace("_", " ")} for role, words in ROLES.items()}


@get("/user/available_users", access=Access.VIEWER)
async def available_users(runtime: CurrentRuntime) -> dict[str, Any]:
    """LiteLLM counts licensed seats here; there is no limit."""
    _, total = await runtime.entities.users.page(None, None, 1, 1)
    return {"total_users": None, "total_users_used": total, "total_users_remaining": None}


HANDLERS = [new, update, bulk_update, delete, info, info_alone, list_users, available_roles, available_users]
