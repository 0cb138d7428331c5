"""The shapes of users: as clients send them (LiteLLM's field names), and as they are stored."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, Literal

import msgspec
from msgspec import UNSET, UnsetType

from penstock.scopes.models import JsonObject, ScopeFields

ROLES = {
    "proxy_admin": "admin over the platform",
    "proxy_admin_viewer": "view all keys and spend",
    "org_admin": "admin over a specific organization",
    "internal_user": "view own keys and spend",
    "internal_user_viewer": "view own keys and spend",
}
DEFAULT_ROLE = "internal_user"
ADMIN_ROLE = "proxy_admin"


def address(email: str) -> str:
    """An email address as it is stored: what tells one from another."""
    return email.strip().lower()


class UserFields(ScopeFields, kw_only=True, forbid_unknown_fields=True):
    """What new and update have in common. Absent: keep (or the default); null: clear."""

    user_id: str | None | UnsetType = UNSET
    user_email: str | None | UnsetType = UNSET
    user_alias: str | None | UnsetType = UNSET
    user_role: str | None | UnsetType = UNSET
    sso_user_id: str | None | UnsetType = UNSET
    models: list[str] | None | UnsetType = UNSET
    """Models that the user's keys may call; empty: all."""
    spend: Decimal | None | UnsetType = UNSET
    blocked: bool | None | UnsetType = UNSET
    metadata: JsonObject | None | UnsetType = UNSET
    organization_id: str | None | UnsetType = UNSET
    organizations: list[str] | None | UnsetType = UNSET
    send_invite_email: bool | None | UnsetType = UNSET
    aliases: JsonObject | None | UnsetType = UNSET
    config: JsonObject | None | UnsetType = UNSET
    permissions: JsonObject | None | UnsetType = UNSET
    guardrails: list[str] | None | UnsetType = UNSET
    policies: list[str] | None | UnsetType = UNSET
    prompts: list[str] | None | UnsetType = UNSET
    object_permission: JsonObject | None | UnsetType = UNSET
    allowed_cache_controls: list[str] | None | UnsetType = UNSET


class TeamToJoin(msgspec.Struct, forbid_unknown_fields=True):
    """A team that a new user belongs to from the start, and as what."""

    team_id: str
    user_role: Literal["admin", "user"] | None = None
    max_budget_in_team: Decimal | None = None
    """US dollars of the user in this team."""


class NewUserRequest(UserFields, kw_only=True, forbid_unknown_fields=True):
    """`POST /user/new`."""

    teams: list[TeamToJoin | str] | None | UnsetType = UNSET
    auto_create_key: bool = True
    """Make a key for the user; it is in the answer, shown this once."""
    duration: str | None | UnsetType = UNSET
    """Life of that key."""
    key_alias: str | None | UnsetType = UNSET


class UpdateUserRequest(UserFields, kw_only=True, forbid_unknown_fields=True):
    """`POST /user/update`: by `user_id`, or by `user_email` when there is no id."""

    password: str | None | UnsetType = UNSET


class BulkUpdateUsersRequest(msgspec.Struct, forbid_unknown_fields=True):
    """`POST /user/bulk_update`: users with their own changes each, or the same changes for everybody."""

    users: list[UpdateUserRequest] | None = None
    all_users: bool = False
    user_updates: UpdateUserRequest | None = None


class DeleteUserRequest(msgspec.Struct, forbid_unknown_fields=True):
    """`POST /user/delete`."""

    user_ids: list[str]


STORED_ONLY = (
    "tpd_limit",
    "aliases",
    "config",
    "permissions",
    "guardrails",
    "policies",
    "prompts",
    "object_permission",
    "allowed_cache_controls",
)


class User(msgspec.Struct, kw_only=True):
    """A row of `users`; limits and spend are in its scope. Times in Unix milliseconds."""

    user_id: str
    user_email: str | None = None
    user_alias: str | None = None
    user_role: str = DEFAULT_ROLE
    sso_user_id: str | None = None
    metadata: dict[str, Any] = {}
    extra: dict[str, Any] = {}
    created_at: int = 0
    created_by: str = ""
    updated_at: int = 0
    updated_by: str = ""
