"""`/organization/...` in LiteLLM's shapes."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from litestar import Request, delete, get, patch, post
from litestar.params import FromQuery, JSONBody

from penstock.access import Access, caller_of
from penstock.durations import iso
from penstock.engine.current import CurrentRuntime
from penstock.engine.runtime import Runtime
from penstock.errors import bad_request
from penstock.organizations.models import (
    AddOrganizationMembersRequest,
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
from penstock.scopes.shown import budget_table, limits, stamps

AnyRequest = Request[Any, Any, Any]


def _warnings(max_budget: Decimal | None) -> dict[str, Any]:
    words = "`max_budget_in_organization` has no effect in this version: give the user or the team member a budget"
    return {"warnings": [words]} if max_budget is not None else {}


def _membership(member: OrganizationMember) -> dict[str, Any]:
    return {
        "user_id": member.user_id,
        "organization_id": member.organization_id,
        "user_role": member.user_role,
        "created_at": iso(member.created_at),
        "updated_at": iso(member.updated_at),
    }


async def _shown(runtime: Runtime, organizations: list[Organization]) -> list[dict[str, Any]]:
    entities = runtime.entities
    ids = [organization.organization_id for organization in organizations]
    wanted = [names.organization(organization_id) for organization_id in ids]
    found, models = await entities.scopes.find_many(wanted), await entities.scopes.models_of(wanted)
    members = await entities.organizations.members(ids)
    return [
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


async def _one(runtime: Runtime, organization: Organization) -> dict[str, Any]:
    teams = await runtime.entities.teams.of_organization(organization.organization_id)
    shown = (await _shown(runtime, [organization]))[0]
    return {**shown, "teams": [{"team_id": team.team_id, "team_alias": team.team_alias} for team in teams]}


@post("/organization/new", access=Access.ADMIN, status_code=200)
async def new(request: AnyRequest, runtime: CurrentRuntime, data: JSONBody[NewOrganizationRequest]) -> dict[str, Any]:
    """Create an organization; its limits bound those of its teams."""
    return await _one(runtime, await runtime.entities.organizations.create(data, caller_of(request).actor))


@patch("/organization/update", access=Access.ADMIN)
async def update(
    request: AnyRequest, runtime: CurrentRuntime, data: JSONBody[UpdateOrganizationRequest]
) -> dict[str, Any]:
    """Change the given fields of an organization, with effect on the next call."""
    return await _one(runtime, await runtime.entities.organizations.update(data, caller_of(request).actor))


@get("/organization/info", access=Access.ADMIN)
async def info(runtime: CurrentRuntime, organization_id: FromQuery[str]) -> dict[str, Any]:
    """One organization with its members and teams."""
    await runtime.entities.scopes.settle()
    return await _one(runtime, await runtime.entities.organizations.get(organization_id))


@post("/organization/info", access=Access.ADMIN, status_code=200)
async def info_many(runtime: CurrentRuntime, data: JSONBody[OrganizationsIdentifier]) -> list[dict[str, Any]]:
    """Several organizations; unknown ones are left out."""
    if not data.organizations:
        raise bad_request("`organizations` must name at least one organization", "organizations")
    await runtime.entities.scopes.settle()
    return await _shown(runtime, await runtime.entities.organizations.among(data.organizations))


@get("/organization/list", access=Access.ADMIN)
async def list_organizations(runtime: CurrentRuntime) -> list[dict[str, Any]]:
    """Every organization."""
    await runtime.entities.scopes.settle()
    return await _shown(runtime, await runtime.entities.organizations.all())


@delete("/organization/delete", access=Access.ADMIN, status_code=200)
async def remove(
    request: AnyRequest, runtime: CurrentRuntime, data: JSONBody[DeleteOrganizationsRequest]
) -> list[dict[str, Any]]:
    """Remove organizations with their teams, and the keys of those."""
    if not data.organization_ids:
        raise bad_request("`organization_ids` must name at least one organization", "organization_ids")
    ids = list(dict.fromkeys(data.organization_ids))
    gone = [await _one(runtime, await runtime.entities.organizations.get(organization_id)) for organization_id in ids]
    await runtime.entities.delete_organizations(ids, caller_of(request).actor)
    return gone


@post("/organization/member_add", access=Access.ADMIN, status_code=200)
async def member_add(
    request: AnyRequest, runtime: CurrentRuntime, data: JSONBody[AddOrganizationMembersRequest]
) -> dict[str, Any]:
    """Take users in; those that do not exist are created."""
    members = data.member if isinstance(data.member, list) else [data.member]
    added = await runtime.entities.organizations.add_members(data.organization_id, members, caller_of(request).actor)
    users = await runtime.entities.users.among([member.user_id for member in added])
    return {
        "organization_id": data.organization_id,
        "updated_users": [
            {"user_id": user.user_id, "user_email": user.user_email, "user_role": user.user_role} for user in users
        ],
        "updated_organization_memberships": [_membership(member) for member in added],
        **_warnings(data.max_budget_in_organization),
    }


@patch("/organization/member_update", access=Access.ADMIN)
async def member_update(
    request: AnyRequest, runtime: CurrentRuntime, data: JSONBody[UpdateOrganizationMemberRequest]
) -> dict[str, Any]:
    """Give a member another role."""
    member = await runtime.entities.organizations.update_member(
        data.organization_id, data.user_id, data.user_email, data.role, caller_of(request).actor
    )
    return {**_membership(member), **_warnings(data.max_budget_in_organization)}


@delete("/organization/member_delete", access=Access.ADMIN, status_code=200)
async def member_delete(
    request: AnyRequest, runtime: CurrentRuntime, data: JSONBody[DeleteOrganizationMemberRequest]
) -> dict[str, Any]:
    """Remove a member; the user stays."""
    member = await runtime.entities.organizations.delete_member(
        data.organization_id, data.user_id, data.user_email, caller_of(request).actor
    )
    return _membership(member)


HANDLERS = [
    new,
    update,
    info,
    info_many,
    list_organizations,
    remove,
    member_add,
    member_update,
    member_delete,
]
