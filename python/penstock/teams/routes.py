"""`/team/...` in LiteLLM's shapes."""

from __future__ import annotations

import math
from functools import partial
from typing import Annotated, Any

from litestar import Request, get, post
from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter
from msgspec import UNSET

from penstock.access import Access, Authority, authority_of, caller_of
from penstock.durations import iso
from penstock.engine.current import CurrentRuntime
from penstock.engine.runtime import Runtime
from penstock.errors import ApiError, bad_request
from penstock.keys.models import KeyFilter
from penstock.keys.routes import shown as shown_key
from penstock.money import dollars_or_none
from penstock.scopes import names
from penstock.scopes.shown import budget_table, limits, stamps, warnings
from penstock.teams.members import Added, check_members
from penstock.teams.models import (
    WITHOUT_EFFECT_YET,
    AddMembersRequest,
    BulkAddMembersRequest,
    DeleteMemberRequest,
    DeleteTeamsRequest,
    NewTeamRequest,
    Team,
    TeamIdentifier,
    TeamMember,
    TeamModelsRequest,
    UpdateMemberRequest,
    UpdateTeamRequest,
)

AnyRequest = Request[Any, Any, Any]

_MOST_KEYS = 1_000
_MOST_TEAMS = 10_000


async def shown_teams(request: AnyRequest, runtime: Runtime, teams: list[Team]) -> list[dict[str, Any]]:
    entities = runtime.entities
    wanted = [names.team(team.team_id) for team in teams]
    found, models = await entities.scopes.find_many(wanted), await entities.scopes.models_of(wanted)
    members = await entities.members.of_teams([team.team_id for team in teams])
    people = {member.user_id for team in teams for member in members[team.team_id]}
    key = caller_of(request).key
    # A key that is nobody's is in the hands of programs, which have no business with addresses.
    known = [] if key is not None and key.user_id is None else sorted(people)
    emails = {user.user_id: user.user_email for user in await entities.users.among(known)}
    found_teams = [
        {
            **dict.fromkeys(("router_settings", "object_permission", "tpd_limit", "team_member_permissions")),
            **team.extra,
            **limits(found.get(name), models.get(name)),
            "team_id": team.team_id,
            "team_alias": team.team_alias,
            "organization_id": team.organization_id,
            "models": found[name].models if name in found else [],
            "blocked": found[name].blocked if name in found else False,
            "metadata": {
                **team.metadata,
                **({"team_member_budget_id": team.member_budget_id} if team.member_budget_id is not None else {}),
            },
            "admins": [],
            "members": [],
            "members_with_roles": [
                {"user_id": member.user_id, "user_email": emails.get(member.user_id), "role": member.role}
                for member in members[team.team_id]
            ],
            "model_id": None,
            "litellm_model_table": {"model_aliases": team.model_aliases} if team.model_aliases else None,
            **stamps(team),
        }
        for team, name in zip(teams, wanted, strict=True)
    ]
    return authority_of(request, runtime).shown(found_teams)


async def _memberships_seen(request: AnyRequest, runtime: Runtime, members: list[TeamMember]) -> list[dict[str, Any]]:
    """Limits and spend of members: of all for whoever may look at the team's spend, and else of the caller's user."""
    authority, key = authority_of(request, runtime), caller_of(request).key
    user_id = key.user_id if key is not None else None
    seen = [
        one for one in members if one.user_id == user_id or await authority.may("/team/daily/activity", one.team_id)
    ]
    return await memberships_shown(runtime, seen)


async def _one(request: AnyRequest, runtime: Runtime, team: Team) -> dict[str, Any]:
    return (await shown_teams(request, runtime, [team]))[0]


async def memberships_shown(runtime: Runtime, members: list[TeamMember]) -> list[dict[str, Any]]:
    wanted = [names.member(member.team_id, member.user_id) for member in members]
    found = await runtime.entities.scopes.find_many(wanted)
    return [
        {
            "user_id": member.user_id,
            "team_id": member.team_id,
            "role": member.role,
            "budget_id": found[name].budget_id if name in found else None,
            "spend": limits(found.get(name))["spend"],
            "total_spend": limits(found.get(name))["total_spend"],
            "budget_reset_at": iso(found[name].budget_reset_at) if name in found else None,
            "litellm_budget_table": budget_table(found.get(name)),
        }
        for member, name in zip(members, wanted, strict=True)
    ]


@post("/team/new", access=Access.MANAGER, status_code=200)
async def new(request: AnyRequest, runtime: CurrentRuntime, data: JSONBody[NewTeamRequest]) -> dict[str, Any]:
    """Create a team, with members if some are named."""
    check_members(data.everybody())
    check = await authority_of(request, runtime).sure(lambda caller: caller.new_team(data))
    team = await runtime.entities.create_team(data, caller_of(request).actor, check)
    return {**await _one(request, runtime, team), **warnings(data, WITHOUT_EFFECT_YET)}


@post("/team/update", access=Access.MANAGER, status_code=200)
async def update(request: AnyRequest, runtime: CurrentRuntime, data: JSONBody[UpdateTeamRequest]) -> dict[str, Any]:
    """Change the given fields of a team, with effect on the next call of its keys."""
    return await change_team(request, runtime, data)


async def change_team(request: AnyRequest, runtime: Runtime, data: UpdateTeamRequest) -> dict[str, Any]:
    """What `/team/update` does, for its other spelling too."""
    check = await authority_of(request, runtime).sure(lambda caller: caller.change_of_team(data))
    team = await runtime.entities.teams.update(data, caller_of(request).actor, check)
    return {"team_id": team.team_id, "data": await _one(request, runtime, team), **warnings(data, WITHOUT_EFFECT_YET)}


@post("/team/delete", access=Access.MANAGER, status_code=200)
async def delete(request: AnyRequest, runtime: CurrentRuntime, data: JSONBody[DeleteTeamsRequest]) -> dict[str, Any]:
    """Remove teams and their keys; what they spent stays in the ledger."""
    authority = authority_of(request, runtime)
    checks = {}
    for team_id in data.team_ids:
        checks[team_id] = await authority.sure(partial(Authority.limits_of_team, team_id=team_id))
    return {"deleted_teams": await runtime.entities.teams.delete(data.team_ids, caller_of(request).actor, checks)}


@post("/team/block", access=Access.MANAGER, status_code=200)
async def block(request: AnyRequest, runtime: CurrentRuntime, data: JSONBody[TeamIdentifier]) -> dict[str, Any]:
    """Refuse every call with a key of this team until it is unblocked."""
    check = await authority_of(request, runtime).sure(lambda caller: caller.limits_of_team(data.team_id))
    actor = caller_of(request).actor
    return await _one(request, runtime, await runtime.entities.teams.set_blocked(data.team_id, True, actor, check))


@post("/team/unblock", access=Access.MANAGER, status_code=200)
async def unblock(request: AnyRequest, runtime: CurrentRuntime, data: JSONBody[TeamIdentifier]) -> dict[str, Any]:
    """Undo a block."""
    check = await authority_of(request, runtime).sure(lambda caller: caller.limits_of_team(data.team_id))
    actor = caller_of(request).actor
    return await _one(request, runtime, await runtime.entities.teams.set_blocked(data.team_id, False, actor, check))


@get("/team/info", access=Access.KEY, group="info_routes")
async def info(request: AnyRequest, runtime: CurrentRuntime, team_id: FromQuery[str | None] = None) -> dict[str, Any]:
    """One team with its keys and members; a virtual key may see its own team and those its user belongs to.

    Of the keys it is shown those that it may look at: all, if it is in charge of the team or the team lets its members.
    """
    caller, authority = caller_of(request), authority_of(request, runtime)
    if team_id is None and caller.key is not None:
        team_id = caller.key.team_id
    if team_id is None:
        raise bad_request("`team_id` must name a team", "team_id")
    found = await runtime.entities.teams.find(team_id)
    if not authority.sees_everything and not (found and await authority.visible_teams([found])):
        raise ApiError(403, "This key may only see its own team.", param="team_id")
    team = await runtime.entities.teams.get(team_id)
    await runtime.entities.scopes.settle()
    members = (await runtime.entities.members.of_teams([team_id]))[team_id]
    keys, _ = await runtime.keys.page(KeyFilter(team_id=team_id), "created_at", True, 1, _MOST_KEYS)
    if not await authority.may("/key/list", team_id):
        keys = [key for key in keys if await authority.sees_key(key)]
    return {
        "team_id": team_id,
        "team_info": await _one(request, runtime, team),
        "keys": [authority.shown(shown_key(key)) for key in keys],
        "team_memberships": await _memberships_seen(request, runtime, members),
    }


@get("/team/list", access=Access.KEY, group="info_routes")
async def list_teams(
    request: AnyRequest,
    runtime: CurrentRuntime,
    user_id: FromQuery[str | None] = None,
    organization_id: FromQuery[str | None] = None,
    team_alias: FromQuery[str | None] = None,
) -> list[dict[str, Any]]:
    """Every team, or those of a user or an organization; at most 10,000. A virtual key sees its own, those of its user and
    those that the user is in charge of."""
    await runtime.entities.scopes.settle()
    teams, _ = await runtime.entities.teams.page(organization_id, team_alias, 1, _MOST_TEAMS)
    if user_id is not None:
        mine = set((await runtime.entities.members.teams_of([user_id]))[user_id])
        teams = [team for team in teams if team.team_id in mine]
    teams = await authority_of(request, runtime).visible_teams(teams)
    members = await runtime.entities.members.of_teams([team.team_id for team in teams])
    return [
        {**shown, "team_memberships": await _memberships_seen(request, runtime, members[shown["team_id"]]), "keys": []}
        for shown in await shown_teams(request, runtime, teams)
    ]


@get("/v2/team/list", access=Access.KEY, group="info_routes")
async def page_of_teams(
    request: AnyRequest,
    runtime: CurrentRuntime,
    page: Annotated[int, QueryParameter(ge=1, le=10_000_000)] = 1,
    page_size: Annotated[int, QueryParameter(ge=1, le=100)] = 10,
    organization_id: FromQuery[str | None] = None,
    team_alias: FromQuery[str | None] = None,
) -> dict[str, Any]:
    """A page of teams, latest first; of those that the caller sees."""
    await runtime.entities.scopes.settle()
    authority = authority_of(request, runtime)
    if authority.sees_everything:
        teams, total = await runtime.entities.teams.page(organization_id, team_alias, page, page_size)
    else:
        found, _ = await runtime.entities.teams.page(organization_id, team_alias, 1, _MOST_TEAMS)
        mine = await authority.visible_teams(found)
        teams, total = mine[(page - 1) * page_size : page * page_size], len(mine)
    return {
        "teams": await shown_teams(request, runtime, teams),
        "total": total,
        "page": page,
        "page_size": page_size,
        "total_pages": math.ceil(total / page_size),
    }


async def _add(request: AnyRequest, runtime: Runtime, data: AddMembersRequest) -> list[Added]:
    check = await authority_of(request, runtime).sure(lambda caller: caller.new_members(data))
    return await runtime.entities.members.add(data, caller_of(request).actor, check)


@post("/team/member_add", access=Access.MANAGER, status_code=200)
async def member_add(request: AnyRequest, runtime: CurrentRuntime, data: JSONBody[AddMembersRequest]) -> dict[str, Any]:
    """Take users into a team; those that do not exist are created."""
    added = await _add(request, runtime, data)
    users = await runtime.entities.users.among([one.member.user_id for one in added])
    return {
        **await _one(request, runtime, await runtime.entities.teams.get(data.team_id)),
        "updated_users": [
            {"user_id": user.user_id, "user_email": user.user_email, "user_role": user.user_role} for user in users
        ],
        "updated_team_memberships": await memberships_shown(runtime, [one.member for one in added]),
    }


@post("/team/bulk_member_add", access=Access.MANAGER, status_code=200)
async def bulk_member_add(
    request: AnyRequest, runtime: CurrentRuntime, data: JSONBody[BulkAddMembersRequest]
) -> dict[str, Any]:
    """Take many users into a team, all of them or none."""
    authority = authority_of(request, runtime)
    await authority.team(data.team_id)
    if data.all_users and not authority.is_administrator:
        raise ApiError(403, "`all_users` is for the proxy's administrators.", type="auth_error", param="all_users")
    if data.all_users and data.members:
        raise bad_request("Give either `members` or `all_users: true`", "members")
    members = await runtime.entities.members.everybody() if data.all_users else data.members or []
    if not members:
        raise bad_request("`members` must name at least one user, or `all_users` be true", "members")
    wanted = AddMembersRequest(team_id=data.team_id, member=members, max_budget_in_team=data.max_budget_in_team)
    added = await _add(request, runtime, wanted)
    return {
        "team_id": data.team_id,
        "results": [
            {"user_id": one.member.user_id, "user_email": asked.user_email, "success": True, "error": None}
            for asked, one in zip(members, added, strict=True)
        ],
        "total_requested": len(members),
        "successful_additions": len(added),
        "failed_additions": 0,
        "updated_team": await _one(request, runtime, await runtime.entities.teams.get(data.team_id)),
    }


@post("/team/member_update", access=Access.MANAGER, status_code=200)
async def member_update(
    request: AnyRequest, runtime: CurrentRuntime, data: JSONBody[UpdateMemberRequest]
) -> dict[str, Any]:
    """Change a member's role or limits, with effect on the next call."""
    authority = authority_of(request, runtime)
    await authority.team(data.team_id)
    user_id = await runtime.entities.users.id_of(data.user_id, data.user_email, create=False)
    limits_asked = (data.max_budget_in_team, data.budget_duration, data.tpm_limit, data.rpm_limit)
    is_limited = any(limit is not UNSET for limit in limits_asked)
    check = await authority.sure(lambda caller: caller.member(data.team_id, user_id, is_limited=is_limited))
    data.user_id = user_id
    member = await runtime.entities.members.update(data, caller_of(request).actor, check)
    name = names.member(member.team_id, member.user_id)
    scope = await runtime.entities.scopes.find(name)
    users = await runtime.entities.users.among([member.user_id])
    return {
        "team_id": member.team_id,
        "user_id": member.user_id,
        "user_email": users[0].user_email if users else None,
        "role": member.role,
        "max_budget_in_team": dollars_or_none(scope.max_budget) if scope is not None else None,
        "budget_duration": scope.budget_duration if scope is not None else None,
        "tpm_limit": scope.tpm if scope is not None else None,
        "rpm_limit": scope.rpm if scope is not None else None,
    }


@post("/team/member_delete", access=Access.MANAGER, status_code=200)
async def member_delete(
    request: AnyRequest, runtime: CurrentRuntime, data: JSONBody[DeleteMemberRequest]
) -> dict[str, Any]:
    """Remove a member, and the keys that the user has within the team."""
    authority, actor = authority_of(request, runtime), caller_of(request).actor
    await authority.team(data.team_id)
    user_id = await runtime.entities.users.id_of(data.user_id, data.user_email, create=False)
    check = await authority.sure(lambda caller: caller.member(data.team_id, user_id))
    await runtime.entities.members.delete(data.team_id, user_id, None, actor, check)
    return await _one(request, runtime, await runtime.entities.teams.get(data.team_id))


@post("/team/{team_id:str}/member/{user_id:str}/reset_spend", access=Access.MANAGER, status_code=200)
async def member_reset_spend(
    request: AnyRequest, runtime: CurrentRuntime, team_id: FromPath[str], user_id: FromPath[str]
) -> dict[str, Any]:
    """Regard a member as having spent nothing in the present budget window."""
    check = await authority_of(request, runtime).sure(lambda caller: caller.member(team_id, user_id, is_limited=True))
    member = await runtime.entities.members.reset_spend(team_id, user_id, caller_of(request).actor, check)
    return (await memberships_shown(runtime, [member]))[0]


@post("/team/model/add", access=Access.MANAGER, status_code=200)
async def model_add(request: AnyRequest, runtime: CurrentRuntime, data: JSONBody[TeamModelsRequest]) -> dict[str, Any]:
    """Let a team call more models; a team without any in its list may call all, until the first is added."""
    check = await authority_of(request, runtime).sure(lambda caller: caller.limits_of_team(data.team_id))
    team = await runtime.entities.teams.change_models(data.team_id, data.models, [], caller_of(request).actor, check)
    return await _one(request, runtime, team)


@post("/team/model/delete", access=Access.MANAGER, status_code=200)
async def model_delete(
    request: AnyRequest, runtime: CurrentRuntime, data: JSONBody[TeamModelsRequest]
) -> dict[str, Any]:
    """Take models from a team; when none is left it may call none."""
    check = await authority_of(request, runtime).sure(lambda caller: caller.limits_of_team(data.team_id))
    team = await runtime.entities.teams.change_models(data.team_id, [], data.models, caller_of(request).actor, check)
    return await _one(request, runtime, team)


HANDLERS = [
    new,
    update,
    delete,
    block,
    unblock,
    info,
    list_teams,
    page_of_teams,
    member_add,
    bulk_member_add,
    member_update,
    member_delete,
    member_reset_spend,
    model_add,
    model_delete,
]
