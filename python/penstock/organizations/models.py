"""The shapes of organizations: as clients send them (LiteLLM's field names), and as they are stored."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from penstock.scopes.models import JsonObject, ScopeFields

ROLES = ("org_admin", "internal_user", "internal_user_viewer")


class OrganizationFields(ScopeFields, kw_only=True, forbid_unknown_fields=True):
    """What new and update have in common. Absent: keep (or the default); null: clear."""

    models: list[str] | None | UnsetType = UNSET
    """Models that the organization's keys may call; empty: all."""
    metadata: JsonObject | None | UnsetType = UNSET
    blocked: bool | None | UnsetType = UNSET
    spend: Decimal | None | UnsetType = UNSET
    object_permission: JsonObject | None | UnsetType = UNSET


class NewOrganizationRequest(OrganizationFields, kw_only=True, forbid_unknown_fields=True):
    """`POST /organization/new`."""

    organization_alias: str
    organization_id: str | None | UnsetType = UNSET


class ChangeOrganizationRequest(OrganizationFields, kw_only=True, forbid_unknown_fields=True):
    """`PATCH /v2/organization/{organization_id}`: fields that are absent stay as they are."""

    organization_alias: str | None | UnsetType = UNSET


class UpdateOrganizationRequest(OrganizationFields, kw_only=True, forbid_unknown_fields=True):
    """`PATCH /organization/update`: fields that are absent stay as they are."""

    organization_id: str
    organization_alias: str | None | UnsetType = UNSET


class OrganizationsIdentifier(msgspec.Struct, forbid_unknown_fields=True):
    """`POST /organization/info`."""

    organizations: list[str]


class DeleteOrganizationsRequest(msgspec.Struct, forbid_unknown_fields=True):
    """`DELETE /organization/delete`."""

    organization_ids: list[str]


class OrganizationMemberInput(msgspec.Struct, forbid_unknown_fields=True):
    """Somebody to take in; a user that does not exist is created."""

    role: str = "internal_user"
    user_id: str | None = None
    user_email: str | None = None


class AddOrganizationMembersRequest(msgspec.Struct, forbid_unknown_fields=True):
    """`POST /organization/member_add`."""

    organization_id: str
    member: OrganizationMemberInput | list[OrganizationMemberInput]
    max_budget_in_organization: Decimal | None = None
    """LiteLLM's field; a member's budget is that of its user, or of its place in a team."""


class UpdateOrganizationMemberRequest(msgspec.Struct, forbid_unknown_fields=True):
    """`PATCH /organization/member_update`."""

    organization_id: str
    role: str
    user_id: str | None = None
    user_email: str | None = None
    max_budget_in_organization: Decimal | None = None


class DeleteOrganizationMemberRequest(msgspec.Struct, forbid_unknown_fields=True):
    """`DELETE /organization/member_delete`."""

    organization_id: str
    user_id: str | None = None
    user_email: str | None = None


STORED_ONLY = ("tpd_limit", "object_permission")


class Organization(msgspec.Struct, kw_only=True):
    """A row of `organizations`; limits and spend are in its scope. Times in Unix milliseconds."""

    organization_id: str
    organization_alias: str
    metadata: dict[str, Any] = {}
    extra: dict[str, Any] = {}
    created_at: int = 0
    created_by: str = ""
    updated_at: int = 0
    updated_by: str = ""


class OrganizationMember(msgspec.Struct, kw_only=True):
    """A row of `organization_members`."""

    organization_id: str
    user_id: str
    user_role: str
    created_at: int
    updated_at: int
