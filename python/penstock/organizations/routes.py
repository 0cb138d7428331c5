"""`/organization/...` in LiteLLM's shapes."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from litestar import Request, delete, get, patch, post
from litestar.params import FromPath, FromQuery, JSONBody

from penstock.access import Access, Authority, authority_of, caller_of
from penstock.checks import Check
from penstock.durations import iso
from penstock.engine.current import CurrentRuntime
from penstock.engine.runtime import Runtime
from penstock.errors import bad_request
from penstock.organizations.models import (
    STORED_ONLY,
    AddOrganizationMembersRequest,
    ChangeOrganizationRequest,
    DeleteOrganizationMemberRequest,
    DeleteOrganizationsRequest,
    NewOrganizationRequest,
    Organization,
    OrganizationMember,
    OrganizationsIdentifier,
    UpdateOrganizationMemberRequest,
    UpdateOrganizationRequest,
)
from penstock.scopes import names
from penstock.scopes.fields import given
from penstock.scopes.shown import budget_table, limits, stamps, warnings

AnyRequest = Request[Any, Any, Any]


def _warnings(max_budget: Decimal | None) -> dict[str, Any]:
    words = "`max_budget_in_organization` has no effect in this version: give the user or the team member a budget"
    return {"warnings": [words]} if max_budget is not None else {}


def _check_visible(request: AnyRequest, runtime: Runtime, wanted: list[str]) -> None:
    if not caller_of(request).sees_everything:
        authority = authority_of(request, runtime)
        for organization_id in wanted:
            authority.organization(organization_id)


def _membership(member: OrganizationMember) -> dict[str, Any]:
    return {
        "user_id": member.user_id,
        "organization_id": member.organization_id,
        "user_role": member.user_role,
        "created_at": iso(member.created_at),
        "updated_at": iso(member.updated_at),
    }


async def _shown(request: AnyRequest, runtime: Runtime, organizations: list[Organization]) -> list[dict[str, Any]]:
    entities = runtime.entities
    ids = [organization.organization_id for organization in organizations]
    wanted = [names.organization(organization_id) for organization_id in ids]
    found, models = await entities.scopes.find_many(wanted), await entities.scopes.models_of(wanted)
    members = await entities.organizations.members(ids)
    shown = [
        {
            **organization.extra,
            **limits(found.get(name), models.get(name)),
            "organization_id": organization.organization_id,
            "organization_alias": organization.organization_alias,
            "metadata": organization.metadata,
            "models": found[name].models if name in found else [],
            "blocked": found[name].blocked if name in found else False,
            "litellm_budget_table": budget_table(found.get(name)),
            "members": [_membership(member) for member in members[organization.organization_id]],
            **stamps(organization),
        }
        for organization, name in zip(organizations, wanted, strict=True)
    ]
    return authority_of(request, runtime).shown(shown)


async def _one(request: AnyRequest, runtime: Runtime, organization: Organization) -> dict[str, Any]:
    teams = await runtime.entities.teams.of_organization(organization.organization_id)
    shown = (await _shown(request, runtime, [organization]))[0]
    return {**shown, "teams": [{"team_id": team.team_id, "team_alias": team.team_alias} for team in teams]}


@post("/organization/new", access=Access.ADMIN, status_code=200)
async def new(request: AnyRequest, runtime: CurrentRuntime, data: JSONBody[NewOrganizationRequest]) -> dict[str, Any]:
    """Create an organization; its limits bound those of its teams."""
    made = await runtime.entities.organizations.create(data, caller_of(request).actor)
    return {**await _one(request, runtime, made), **warnings(data, STORED_ONLY)}


@patch("/organization/update", access=Access.MANAGER)
async def update(
    request: AnyRequest, runtime: CurrentRuntime, data: JSONBody[UpdateOrganizationRequest]
) -> dict[str, Any]:
    """Change the given fields of an organization, with effect on the next call; its own admins change what it is called."""
    return await _update(request, runtime, data)


async def _update(request: AnyRequest, runtime: Runtime, data: UpdateOrganizationRequest) -> dict[str, Any]:
    check = await authority_of(request, runtime).sure(lambda caller: caller.change_of_organization(data))
    changed = await runtime.entities.organizations.update(data, caller_of(request).actor, check)
    return {**await _one(request, runtime, changed), **warnings(data, STORED_ONLY)}


async def _in_charge(request: AnyRequest, runtime: Runtime, organization_id: str) -> Check:
    async def is_in_charge(caller: Authority) -> None:
        caller.organization(organization_id)

    return await authority_of(request, runtime).sure(is_in_charge)


@patch("/v2/organization/{organization_id:str}", access=Access.MANAGER)
async def update_named(
    request: AnyRequest,
    runtime: CurrentRuntime,
    organization_id: FromPath[str],
    data: JSONBody[ChangeOrganizationRequest],
) -> dict[str, Any]:
    """The same for the organization in the path."""
    changes = {field: getattr(data, field) for field in given(data)}
    return await _update(request, runtime, UpdateOrganizationRequest(organization_id=organization_id, **changes))


@get("/organization/info", access=Access.KEY, group="info_routes")
async def info(request: AnyRequest, runtime: CurrentRuntime, organization_id: FromQuery[str]) -> dict[str, Any]:
    """One organization with its members and teams, for the proxy's administrators and its own."""
    _check_visible(request, runtime, [organization_id])
    await runtime.entities.scopes.settle()
    return await _one(request, runtime, await runtime.entities.organizations.get(organization_id))


@post("/organization/info", access=Access.KEY, group="info_routes", status_code=200)
async def info_many(
    request: AnyRequest, runtime: CurrentRuntime, data: JSONBody[OrganizationsIdentifier]
) -> list[dict[str, Any]]:
    """Several organizations; unknown ones are left out."""
    _check_visible(request, runtime, data.organizations)
    if not data.organizations:
        raise bad_request("`organizations` must name at least one organization", "organizations")
    await runtime.entities.scopes.settle()
    return await _shown(request, runtime, await runtime.entities.organizations.among(data.organizations))


@get("/organization/list", access=Access.KEY, group="info_routes")
async def list_organizations(request: AnyRequest, runtime: CurrentRuntime) -> list[dict[str, Any]]:
    """Every organization, or those that the caller is in charge of."""
    caller = caller_of(request)
    await runtime.entities.scopes.settle()
    found = await runtime.entities.organizations.all()
    if not caller.sees_everything:
        found = [one for one in found if one.organization_id in caller.rights.organizations]
    return await _shown(request, runtime, found)


@delete("/organization/delete", access=Access.ADMIN, status_code=200)
async def remove(
    request: AnyRequest, runtime: CurrentRuntime, data: JSONBody[DeleteOrganizationsRequest]
) -> list[dict[str, Any]]:
    """Remove organizations with their teams, and the keys of those."""
    if not data.organization_ids:
        raise bad_request("`organization_ids` must name at least one organization", "organization_ids")
    ids = list(dict.fromkeys(data.organization_ids))
    gone = [
        await _one(request, runtime, await runtime.entities.organizations.get(organization_id))
        for organization_id in ids
    ]
    await runtime.entities.delete_organizations(ids, caller_of(request).actor)
    return gone


@post("/organization/member_add", access=Access.MANAGER, status_code=200)
async def member_add(
    request: AnyRequest, runtime: CurrentRuntime, data: JSONBody[AddOrganizationMembersRequest]
) -> dict[str, Any]:
    """Take users in; those that do not exist are created."""
    members = data.member if isinstance(data.member, list) else [data.member]
    check = await authority_of(request, runtime).sure(
        lambda caller: caller.new_members_of_organization(data.organization_id, members)
    )
    added = await runtime.entities.organizations.add_members(
        data.organization_id, members, caller_of(request).actor, check
    )
    users = await runtime.entities.users.among([member.user_id for member in added])
    return {
        "organization_id": data.organization_id,
        "updated_users": [
            {"user_id": user.user_id, "user_email": user.user_email, "user_role": user.user_role} for user in users
        ],
        "updated_organization_memberships": [_membership(member) for member in added],
        **_warnings(data.max_budget_in_organization),
    }


@patch("/organization/member_update", access=Access.MANAGER)
async def member_update(
    request: AnyRequest, runtime: CurrentRuntime, data: JSONBody[UpdateOrganizationMemberRequest]
) -> dict[str, Any]:
    """Give a member another role."""
    check = await _in_charge(request, runtime, data.organization_id)
    member = await runtime.entities.organizations.update_member(
        data.organization_id, data.user_id, data.user_email, data.role, caller_of(request).actor, check
    )
    return {**_membership(member), **_warnings(data.max_budget_in_organization)}


@delete("/organization/member_delete", access=Access.MANAGER, status_code=200)
async def member_delete(
    request: AnyRequest, runtime: CurrentRuntime, data: JSONBody[DeleteOrganizationMemberRequest]
) -> dict[str, Any]:
    """Remove a member, and the keys that the user has within the organization and none of its teams."""
    authority, organizations = authority_of(request, runtime), runtime.entities.organizations
    authority.organization(data.organization_id)
    member = await organizations.member(data.organization_id, data.user_id, data.user_email)
    check = await authority.sure(lambda caller: caller.member_of_organization(member.organization_id, member.user_id))
    await runtime.entities.delete_organization_member(member, caller_of(request).actor, check)
    return _membership(member)


HANDLERS = [
    new,
    update,
    update_named,
    info,
    info_many,
    list_organizations,
    remove,
    member_add,
    member_update,
    member_delete,
]
