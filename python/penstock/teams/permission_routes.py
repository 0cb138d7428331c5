"""What a team lets its members do, and a member's own place in it, in LiteLLM's shapes."""

from __future__ import annotations

from typing import Any

from litestar import Request, get, patch, post
from litestar.params import FromPath, FromQuery, JSONBody

from penstock.access import Access, authority_of, caller_of
from penstock.engine.current import CurrentRuntime
from penstock.errors import ApiError, bad_request
from penstock.scopes.fields import given
from penstock.teams.models import (
    PERMISSIONS,
    AddPermissionsRequest,
    ChangeTeamRequest,
    PermissionsRequest,
    Team,
    UpdateTeamRequest,
)
from penstock.teams.routes import change_team, memberships_shown

AnyRequest = Request[Any, Any, Any]

_MOST_TEAMS = 100_000


def _shown(team: Team) -> dict[str, Any]:
    return {
        "team_id": team.team_id,
        "team_member_permissions": team.member_permissions,
        "all_available_permissions": list(PERMISSIONS),
    }


@get("/team/permissions_list", access=Access.KEY, group="info_routes")
async def permissions_list(request: AnyRequest, runtime: CurrentRuntime, team_id: FromQuery[str]) -> dict[str, Any]:
    """What members may do with their team's keys, and what they could be allowed; for whoever sees the team."""
    authority = authority_of(request, runtime)
    team = await runtime.entities.teams.find(team_id)
    if not authority.sees_everything and not (team and await authority.visible_teams([team])):
        raise ApiError(403, "This key may only see its own team.", param="team_id")
    return _shown(await runtime.entities.teams.get(team_id))


@post("/team/permissions_update", access=Access.MANAGER, status_code=200)
async def permissions_update(
    request: AnyRequest, runtime: CurrentRuntime, data: JSONBody[PermissionsRequest]
) -> dict[str, Any]:
    """All that members may do with their team's keys from now on."""
    check = await authority_of(request, runtime).sure(lambda caller: caller.team(data.team_id))
    await runtime.entities.teams.set_permissions(
        [data.team_id], data.team_member_permissions, caller_of(request).actor, add=False, check=check
    )
    return _shown(await runtime.entities.teams.get(data.team_id))


@post("/team/permissions_bulk_update", access=Access.ADMIN, status_code=200)
async def permissions_bulk_update(
    request: AnyRequest, runtime: CurrentRuntime, data: JSONBody[AddPermissionsRequest]
) -> dict[str, Any]:
    """Let the members of several teams do more, all of the teams or none."""
    if bool(data.team_ids) == data.apply_to_all_teams:
        raise bad_request("Give either `team_ids` or `apply_to_all_teams: true`", "team_ids")
    if not data.permissions:
        raise bad_request("`permissions` must name at least one permission", "permissions")
    ids = list(dict.fromkeys(data.team_ids or []))
    if data.apply_to_all_teams:
        ids = [team.team_id for team in (await runtime.entities.teams.page(None, None, 1, _MOST_TEAMS))[0]]
    actor = caller_of(request).actor
    changed = await runtime.entities.teams.set_permissions(ids, data.permissions, actor, add=True)
    return {
        "message": f"{changed} of {len(ids)} teams have changed",
        "teams_updated": changed,
        "permissions_appended": data.permissions,
    }


@patch("/team/{team_id:str}", access=Access.MANAGER)
async def update_named(
    request: AnyRequest, runtime: CurrentRuntime, team_id: FromPath[str], data: JSONBody[ChangeTeamRequest]
) -> dict[str, Any]:
    """Change the given fields of the team in the path, with effect on the next call of its keys."""
    changes = {field: getattr(data, field) for field in given(data)}
    return await change_team(request, runtime, UpdateTeamRequest(team_id=team_id, **changes))


@get("/team/{team_id:str}/members/me", access=Access.KEY, group="info_routes")
async def my_membership(request: AnyRequest, runtime: CurrentRuntime, team_id: FromPath[str]) -> dict[str, Any]:
    """The place of the caller's user in a team: role, limits and spend."""
    key = caller_of(request).key
    if key is None or key.user_id is None:
        raise bad_request("This key has no user who could be a member", "user_id")
    mine = [one for one in (await runtime.entities.members.of_teams([team_id]))[team_id] if one.user_id == key.user_id]
    if not mine or (key.team_id is not None and key.team_id != team_id):
        raise ApiError(403, f"You are no member of team {team_id}.", type="auth_error", param="team_id")
    await runtime.entities.scopes.settle()
    team, user = await runtime.entities.teams.get(team_id), await runtime.entities.users.find(key.user_id)
    shown = (await memberships_shown(runtime, mine))[0]
    return {
        **shown,
        "team_alias": team.team_alias,
        "user_email": user.user_email if user is not None else None,
        "max_budget_in_team": shown["litellm_budget_table"]["max_budget"] if shown["litellm_budget_table"] else None,
        "team_member_permissions": team.member_permissions,
    }


@get("/team/available", access=Access.KEY, group="info_routes")
async def available() -> list[dict[str, Any]]:
    """Teams that a user could join without being taken in by an admin: there are none."""
    return []


HANDLERS = [permissions_list, permissions_update, permissions_bulk_update, update_named, my_membership, available]
