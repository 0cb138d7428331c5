"""The shapes of teams: as clients send them (LiteLLM's field names), and as they are stored."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, Literal

import msgspec
from msgspec import UNSET, UnsetType

from penstock.scopes.models import JsonObject, ScopeFields

MemberRole = Literal["admin", "user"]


class Member(msgspec.Struct, forbid_unknown_fields=True):
    """Somebody to take in; a user that does not exist is created."""

    role: MemberRole = "user"
    user_id: str | None = None
    user_email: str | None = None


class TeamFields(ScopeFields, kw_only=True, forbid_unknown_fields=True):
    """What new and update have in common. Absent: keep (or the default); null: clear."""

    team_alias: str | None | UnsetType = UNSET
    organization_id: str | None | UnsetType = UNSET
    models: list[str] | None | UnsetType = UNSET
    """Models that the team's keys may call; empty or `all-proxy-models`: all."""
    blocked: bool | None | UnsetType = UNSET
    spend: Decimal | None | UnsetType = UNSET
    metadata: JsonObject | None | UnsetType = UNSET
    model_aliases: JsonObject | None | UnsetType = UNSET
    tags: list[str] | None | UnsetType = UNSET
    team_member_budget: Decimal | None | UnsetType = UNSET
    """US dollars per member and budget window, where a member has no budget of its own."""
    team_member_budget_duration: str | None | UnsetType = UNSET
    team_member_rpm_limit: int | None | UnsetType = UNSET
    team_member_tpm_limit: int | None | UnsetType = UNSET
    team_member_key_duration: str | None | UnsetType = UNSET
    team_member_permissions: list[str] | None | UnsetType = UNSET
    budget_limits: list[JsonObject] | None | UnsetType = UNSET
    guardrails: list[str] | None | UnsetType = UNSET
    policies: list[str] | None | UnsetType = UNSET
    prompts: list[str] | None | UnsetType = UNSET
    object_permission: JsonObject | None | UnsetType = UNSET
    router_settings: JsonObject | None | UnsetType = UNSET
    allowed_passthrough_routes: list[Any] | None | UnsetType = UNSET
    allowed_vector_store_indexes: list[JsonObject] | None | UnsetType = UNSET
    secret_manager_settings: JsonObject | None | UnsetType = UNSET
    disable_global_guardrails: bool | None | UnsetType = UNSET
    access_group_ids: list[str] | None | UnsetType = UNSET
    default_team_member_models: list[str] | None | UnsetType = UNSET
    enforced_params: list[str] | None | UnsetType = UNSET
    rpm_limit_type: str | None | UnsetType = UNSET
    tpm_limit_type: str | None | UnsetType = UNSET


class NewTeamRequest(TeamFields, kw_only=True, forbid_unknown_fields=True):
    """`POST /team/new`."""

    team_id: str | None | UnsetType = UNSET
    members_with_roles: list[Member] | None | UnsetType = UNSET
    admins: list[str] | None | UnsetType = UNSET
    members: list[str] | None | UnsetType = UNSET

    def everybody(self) -> list[Member]:
        """Whom the team has from the start, however they are named."""
        roles = [] if self.members_with_roles is UNSET else self.members_with_roles or []
        admins = [] if self.admins is UNSET else self.admins or []
        others = [] if self.members is UNSET else self.members or []
        return [
            *roles,
            *(Member(role="admin", user_id=user_id) for user_id in admins),
            *(Member(user_id=user_id) for user_id in others),
        ]


class UpdateTeamRequest(TeamFields, kw_only=True, forbid_unknown_fields=True):
    """`POST /team/update`: fields that are absent stay as they are."""

    team_id: str


class ChangeTeamRequest(TeamFields, kw_only=True, forbid_unknown_fields=True):
    """`PATCH /team/{team_id}`: fields that are absent stay as they are."""


class TeamIdentifier(msgspec.Struct, forbid_unknown_fields=True):
    """`POST /team/block` and `/team/unblock`."""

    team_id: str


class DeleteTeamsRequest(msgspec.Struct, forbid_unknown_fields=True):
    """`POST /team/delete`."""

    team_ids: list[str]


class AddMembersRequest(msgspec.Struct, forbid_unknown_fields=True):
    """`POST /team/member_add`."""

    team_id: str
    member: Member | list[Member]
    max_budget_in_team: Decimal | None = None
    """US dollars of each of these members in this team; the team's `team_member_budget` holds without."""
    budget_duration: str | None = None
    tpm_limit: int | None = None
    rpm_limit: int | None = None


class BulkAddMembersRequest(msgspec.Struct, forbid_unknown_fields=True):
    """`POST /team/bulk_member_add`."""

    team_id: str
    members: list[Member] | None = None
    all_users: bool = False
    max_budget_in_team: Decimal | None = None


class UpdateMemberRequest(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """`POST /team/member_update`: fields that are absent stay as they are."""

    team_id: str
    user_id: str | None = None
    user_email: str | None = None
    role: MemberRole | None | UnsetType = UNSET
    max_budget_in_team: Decimal | None | UnsetType = UNSET
    budget_duration: str | None | UnsetType = UNSET
    tpm_limit: int | None | UnsetType = UNSET
    rpm_limit: int | None | UnsetType = UNSET


class DeleteMemberRequest(msgspec.Struct, forbid_unknown_fields=True):
    """`POST /team/member_delete`."""

    team_id: str
    user_id: str | None = None
    user_email: str | None = None


class PermissionsRequest(msgspec.Struct, forbid_unknown_fields=True):
    """`POST /team/permissions_update`: all that the team's members may do from now on."""

    team_id: str
    team_member_permissions: list[str]


class AddPermissionsRequest(msgspec.Struct, forbid_unknown_fields=True):
    """`POST /team/permissions_bulk_update`: more for the members of several teams."""

    permissions: list[str]
    team_ids: list[str] | None = None
    apply_to_all_teams: bool = False


class TeamModelsRequest(msgspec.Struct, forbid_unknown_fields=True):
    """`POST /team/model/add` and `/team/model/delete`."""

    team_id: str
    models: list[str]


STORED_ONLY = (
    "tpd_limit",
    "tags",
    "team_member_key_duration",
    "team_member_permissions",
    "budget_limits",
    "guardrails",
    "policies",
    "prompts",
    "object_permission",
    "router_settings",
    "allowed_passthrough_routes",
    "allowed_vector_store_indexes",
    "secret_manager_settings",
    "disable_global_guardrails",
    "access_group_ids",
    "default_team_member_models",
    "enforced_params",
    "rpm_limit_type",
    "tpm_limit_type",
)
"""Kept and shown as they came."""

WITHOUT_EFFECT_YET = ("model_aliases", *(name for name in STORED_ONLY if name != "team_member_permissions"))
"""What nothing acts upon; an answer warns of it."""


class Team(msgspec.Struct, kw_only=True):
    """A row of `teams`; limits and spend are in its scope. Times in Unix milliseconds."""

    team_id: str
    team_alias: str | None = None
    organization_id: str | None = None
    member_budget_id: str | None = None
    """The budget of members that have none of their own."""
    model_aliases: dict[str, Any] = {}
    metadata: dict[str, Any] = {}
    extra: dict[str, Any] = {}
    created_at: int = 0
    created_by: str = ""
    updated_at: int = 0
    updated_by: str = ""

    @property
    def member_permissions(self) -> list[str]:
        """What every member may do with the team's keys."""
        kept = self.extra.get("team_member_permissions") or []
        return list(dict.fromkeys(SPELLINGS.get(permission, permission) for permission in kept))


PERMISSIONS = (
    "/key/generate",
    "/key/service-account/generate",
    "/key/update",
    "/key/delete",
    "/key/regenerate",
    "/key/block",
    "/key/unblock",
    "/key/bulk_update",
    "/key/{key_id}/reset_spend",
    "/key/info",
    "/key/list",
    "/team/daily/activity",
    "/spend/logs",
)
"""What a team can let its members do, by the path that it takes."""
SPELLINGS = {
    "/key/{key_id}/regenerate": "/key/regenerate",
    "/team/key/bulk_update": "/key/bulk_update",
    "/team/daily/activity/aggregated": "/team/daily/activity",
    "/spend/logs/v2": "/spend/logs",
}
"""LiteLLM's other names of some of them."""
WITHOUT_EFFECT = frozenset({"/key/health", "/key/aliases"})
"""LiteLLM's that everybody has for its own, or nobody for a team."""


class TeamMember(msgspec.Struct, kw_only=True):
    """A row of `team_members`; limits and spend are in its scope."""

    team_id: str
    user_id: str
    role: str
    created_at: int
    updated_at: int
