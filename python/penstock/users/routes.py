"""`/user/...` in LiteLLM's shapes."""

from __future__ import annotations

import math
from typing import Annotated, Any

from litestar import Request, get, post
from litestar.params import FromQuery, JSONBody, QueryParameter
from msgspec import UNSET

from penstock.access import Access, Role, caller_of
from penstock.engine.current import CurrentRuntime
from penstock.engine.runtime import Runtime
from penstock.errors import ApiError, bad_request
from penstock.keys.models import GenerateKeyRequest, KeyFilter
from penstock.keys.routes import shown as shown_key
from penstock.scopes import names
from penstock.scopes.shown import limits, stamps
from penstock.users.models import ROLES, DeleteUserRequest, NewUserRequest, UpdateUserRequest, User

AnyRequest = Request[Any, Any, Any]

_MOST_KEYS = 1_000


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
    if caller.role is not Role.MASTER and (caller.key is None or caller.key.user_id != user_id):
        raise ApiError(403, "This key may only see its own user.", param="user_id")
    return user_id


@post("/user/new", access=Access.ADMIN, status_code=200)
async def new(request: AnyRequest, runtime: CurrentRuntime, data: JSONBody[NewUserRequest]) -> dict[str, Any]:
    """Create a user, with a key unless `auto_create_key` is false; `key` is shown this once."""
    actor = caller_of(request).actor
    user = await runtime.entities.create_user(data, actor)
    shown = await _one(runtime, user)
    made: dict[str, Any] = {"key": None, "expires": None, "token": None}
    if data.auto_create_key:
        wanted = GenerateKeyRequest(user_id=user.user_id, key_alias=data.key_alias, duration=data.duration)
        secret, key = await runtime.keys.generate(wanted, actor)
        of_key = shown_key(key)
        made = {"key": secret, **{name: of_key[name] for name in ("expires", "token", "key_name", "key_alias")}}
    return {**shown, **made}


@post("/user/update", access=Access.ADMIN, status_code=200)
async def update(request: AnyRequest, runtime: CurrentRuntime, data: JSONBody[UpdateUserRequest]) -> dict[str, Any]:
    """Change the given fields of a user, with effect on the next call of the user's keys."""
    if data.password not in (UNSET, None):
        raise bad_request("`password`: users sign in with their keys, there are no passwords", "password")
    user = await runtime.entities.users.update(data, caller_of(request).actor)
    return {"user_id": user.user_id, "data": await _one(runtime, user)}


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
    shown = await _one(runtime, user)
    teams = await runtime.entities.teams.among(shown["teams"])
    return {
        "user_id": wanted,
        "user_info": shown,
        "keys": [shown_key(key) for key in keys],
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
    return await _one(runtime, await runtime.entities.users.get(wanted))


@get("/user/list", access=Access.ADMIN)
async def list_users(
    runtime: CurrentRuntime,
    page: Annotated[int, QueryParameter(ge=1, le=10_000_000)] = 1,
    page_size: Annotated[int, QueryParameter(ge=1, le=100)] = 25,
    role: FromQuery[str | None] = None,
    user_ids: FromQuery[str | None] = None,
    user_email: FromQuery[str | None] = None,
    team: FromQuery[str | None] = None,
) -> dict[str, Any]:
    """A page of users, latest first; `user_ids` are separated by commas."""
    await runtime.entities.scopes.settle()
    users = runtime.entities.users
    if user_ids is not None or team is not None:
        ids = [part.strip() for part in (user_ids or "").split(",") if part.strip()]
        if team is not None:
            of_team = [member.user_id for member in (await runtime.entities.members.of_teams([team]))[team]]
            ids = [user_id for user_id in of_team if not ids or user_id in ids]
        found = [user for user in await users.among(ids) if role is None or user.user_role == role]
        found.sort(key=lambda user: (user.created_at, user.user_id), reverse=True)
        total, found = len(found), found[(page - 1) * page_size : page * page_size]
    else:
        found, total = await users.page(role, user_email.strip().lower() if user_email else None, page, page_size)
    shown = await _shown(runtime, found)
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


@get("/user/available_users", access=Access.ADMIN)
async def available_users(runtime: CurrentRuntime) -> dict[str, Any]:
    """LiteLLM counts licensed seats here; there is no limit."""
    _, total = await runtime.entities.users.page(None, None, 1, 1)
    return {"total_users": None, "total_users_used": total, "total_users_remaining": None}


HANDLERS = [new, update, delete, info, info_alone, list_users, available_roles, available_users]
