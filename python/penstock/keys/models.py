"""The shapes of virtual keys: as clients send them (LiteLLM's field names), and as the service holds them.

Fields that Penstock acts on are typed; the rest of LiteLLM's fields are kept as they came, so that nothing a
client sends is lost. A field in neither group is refused by name.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any, Literal

import msgspec
from msgspec import UNSET, UnsetType

from penstock.engine.snapshot import WhenGone

JsonObject = dict[str, Any]


class KeyFields(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """What generate, update and regenerate have in common. Absent: keep (or the default); null: clear."""

    key_alias: str | None | UnsetType = UNSET
    duration: str | None | UnsetType = UNSET
    """Life from now on (`30d`); null or `-1`: for ever."""
    models: list[str] | None | UnsetType = UNSET
    spend: Decimal | None | UnsetType = UNSET
    """US dollars already spent in the current budget window."""
    max_budget: Decimal | None | UnsetType = UNSET
    """US dollars per budget window."""
    budget_duration: str | None | UnsetType = UNSET
    user_id: str | None | UnsetType = UNSET
    team_id: str | None | UnsetType = UNSET
    organization_id: str | None | UnsetType = UNSET
    max_parallel_requests: int | None | UnsetType = UNSET
    tpm_limit: int | None | UnsetType = UNSET
    """Tokens per minute."""
    rpm_limit: int | None | UnsetType = UNSET
    """Requests per minute."""
    metadata: JsonObject | None | UnsetType = UNSET
    blocked: bool | None | UnsetType = UNSET
    aliases: dict[str, str] | None | UnsetType = UNSET
    """This key's own model names."""
    tags: list[str] | None | UnsetType = UNSET
    allowed_routes: list[str] | None | UnsetType = UNSET
    when_gone: WhenGone | None | UnsetType = UNSET
    """What becomes of rates and slots when Redis has been gone for a while: `fail_open`, `local_share` or `fail_closed`; the
    strictest of those that a call stands under holds. Penstock's own field."""
    allowed_cidrs: list[str] | None | UnsetType = UNSET
    """Client addresses that may use the key (`10.0.0.0/8`); Penstock's own field."""
    key_type: str | None | UnsetType = UNSET
    """`default`, `llm_api`, `management` or `read_only`: shorthand for `allowed_routes`."""

    soft_budget: Decimal | None | UnsetType = UNSET
    agent_id: str | None | UnsetType = UNSET
    project_id: str | None | UnsetType = UNSET
    budget_id: str | None | UnsetType = UNSET
    end_user_budget_id: str | None | UnsetType = UNSET
    tpd_limit: int | None | UnsetType = UNSET
    budget_limits: list[JsonObject] | None | UnsetType = UNSET
    budget_fallbacks: Any = UNSET
    allowed_cache_controls: list[str] | None | UnsetType = UNSET
    config: JsonObject | None | UnsetType = UNSET
    permissions: JsonObject | None | UnsetType = UNSET
    model_max_budget: JsonObject | None | UnsetType = UNSET
    model_rpm_limit: JsonObject | None | UnsetType = UNSET
    model_tpm_limit: JsonObject | None | UnsetType = UNSET
    mcp_rpm_limit: JsonObject | None | UnsetType = UNSET
    tag_rpm_limit: JsonObject | None | UnsetType = UNSET
    guardrails: list[str] | None | UnsetType = UNSET
    policies: list[str] | None | UnsetType = UNSET
    prompts: list[str] | None | UnsetType = UNSET
    object_permission: JsonObject | None | UnsetType = UNSET
    default_estimated_output_tokens: int | None | UnsetType = UNSET
    default_estimated_output_tokens_per_model: JsonObject | None | UnsetType = UNSET
    disable_global_guardrails: bool | None | UnsetType = UNSET
    enable_prompt_caching: bool | None | UnsetType = UNSET
    throttle_on_budget_exceeded: Any = UNSET
    enforced_params: list[str] | None | UnsetType = UNSET
    allowed_passthrough_routes: list[Any] | None | UnsetType = UNSET
    denied_passthrough_routes: list[Any] | None | UnsetType = UNSET
    allowed_vector_store_indexes: list[JsonObject] | None | UnsetType = UNSET
    rpm_limit_type: str | None | UnsetType = UNSET
    tpm_limit_type: str | None | UnsetType = UNSET
    router_settings: JsonObject | None | UnsetType = UNSET
    access_group_ids: list[str] | None | UnsetType = UNSET
    send_invite_email: bool | None | UnsetType = UNSET
    auto_rotate: bool | None | UnsetType = UNSET
    rotation_interval: str | None | UnsetType = UNSET


class GenerateKeyRequest(KeyFields, kw_only=True, forbid_unknown_fields=True):
    """`POST /key/generate`."""

    key: str | None | UnsetType = UNSET
    """The key itself, when the caller wants to choose it: `sk-` and at least 16 characters."""


class UpdateKeyRequest(KeyFields, kw_only=True, forbid_unknown_fields=True):
    """`POST /key/update`: fields that are absent stay as they are."""

    key: str
    """The key or its token (digest)."""
    temp_budget_increase: Decimal | None | UnsetType = UNSET
    temp_budget_expiry: str | None | UnsetType = UNSET


class RegenerateKeyRequest(KeyFields, kw_only=True, forbid_unknown_fields=True):
    """`POST /key/regenerate` and `POST /key/{key}/regenerate`: a new secret for the same key, and changes if any."""

    key: str | None | UnsetType = UNSET
    new_key: str | None | UnsetType = UNSET


class BulkUpdateKeysRequest(msgspec.Struct, forbid_unknown_fields=True):
    """`POST /key/bulk_update`: at most 500 keys, each with its own changes."""

    keys: list[UpdateKeyRequest]


class BulkUpdateTeamKeysRequest(msgspec.Struct, forbid_unknown_fields=True):
    """`POST /team/key/bulk_update`: the same changes for some keys of a team, or for all."""

    team_id: str
    update_fields: KeyFields
    key_ids: list[str] | None = None
    all_keys_in_team: bool = False


class ResetKeySpendRequest(msgspec.Struct, forbid_unknown_fields=True):
    """`POST /key/{key}/reset_spend`."""

    reset_to: Decimal = Decimal(0)
    """US dollars, at most what was spent."""


class KeyIdentifier(msgspec.Struct, forbid_unknown_fields=True):
    """`POST /key/block` and `/key/unblock`."""

    key: str


class KeysIdentifier(msgspec.Struct, forbid_unknown_fields=True):
    """`POST /v2/key/info`."""

    keys: list[str]


class DeleteKeysRequest(msgspec.Struct, forbid_unknown_fields=True):
    """`POST /key/delete`: by key or token, or by alias."""

    keys: list[str] | None = None
    key_aliases: list[str] | None = None


STORED_ONLY = (
    "soft_budget",
    "agent_id",
    "project_id",
    "budget_id",
    "end_user_budget_id",
    "tpd_limit",
    "budget_limits",
    "budget_fallbacks",
    "allowed_cache_controls",
    "config",
    "permissions",
    "model_max_budget",
    "model_rpm_limit",
    "model_tpm_limit",
    "mcp_rpm_limit",
    "tag_rpm_limit",
    "guardrails",
    "policies",
    "prompts",
    "object_permission",
    "default_estimated_output_tokens",
    "default_estimated_output_tokens_per_model",
    "disable_global_guardrails",
    "enable_prompt_caching",
    "throttle_on_budget_exceeded",
    "enforced_params",
    "allowed_passthrough_routes",
    "denied_passthrough_routes",
    "allowed_vector_store_indexes",
    "rpm_limit_type",
    "tpm_limit_type",
    "router_settings",
    "access_group_ids",
    "send_invite_email",
    "auto_rotate",
    "rotation_interval",
    "temp_budget_increase",
    "temp_budget_expiry",
)
"""Kept and shown as they came."""
ACTED_UPON = frozenset({"soft_budget", "budget_id", "model_max_budget", "model_rpm_limit", "model_tpm_limit"})
"""Those of them that limit something; an answer warns of the others."""

KEY_TYPE_ROUTES: dict[str, list[str]] = {
    "default": [],
    "llm_api": ["llm_api_routes"],
    "management": ["management_routes"],
    "read_only": ["info_routes"],
}


class VirtualKey(msgspec.Struct, kw_only=True):
    """A key as it is stored. Money in nano-dollars, times in Unix milliseconds. The secret itself is nowhere."""

    token: str
    """HMAC-SHA-256 of the key, hexadecimal."""
    key_name: str
    """`sk-...` and the last four characters."""
    key_alias: str | None = None
    user_id: str | None = None
    team_id: str | None = None
    org_id: str | None = None
    models: list[str] = []
    aliases: dict[str, str] = {}
    rpm_limit: int | None = None
    tpm_limit: int | None = None
    max_parallel_requests: int | None = None
    max_budget: int | None = None
    budget_duration: str | None = None
    budget_window_start: int | None = None
    budget_reset_at: int | None = None
    spend: int = 0
    """In the current budget window."""
    total_spend: int = 0
    """Ever."""
    expires_at: int | None = None
    blocked: bool = False
    when_gone: WhenGone | None = None
    """What becomes of its rates and slots when Redis has been gone for a while; None: as others say."""
    allowed_cidrs: list[str] = []
    allowed_routes: list[str] = []
    tags: list[str] = []
    metadata: JsonObject = {}
    extra: JsonObject = {}
    """LiteLLM's other fields, by name."""
    created_at: int = 0
    created_by: str = ""
    updated_at: int = 0
    updated_by: str = ""
    last_active_at: int | None = None


class KeyFilter(msgspec.Struct, frozen=True):
    """What a list of keys is narrowed to; None: no matter."""

    user_id: str | None = None
    team_id: str | None = None
    org_id: str | None = None
    key_alias: str | None = None
    token: str | None = None


SortColumn = Literal["created_at", "updated_at", "spend", "max_budget", "key_alias", "expires_at"]
