"""The shapes of customers: as clients send them (LiteLLM's field names), and as they are stored."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from penstock.scopes.models import JsonObject, ScopeFields


class CustomerFields(ScopeFields, kw_only=True, forbid_unknown_fields=True):
    """`POST /customer/new` and `/customer/update`. Absent: keep (or the default); null: clear."""

    user_id: str
    alias: str | None | UnsetType = UNSET
    blocked: bool | None | UnsetType = UNSET
    spend: Decimal | None | UnsetType = UNSET
    models: list[str] | None | UnsetType = UNSET
    """Models that may be called for the customer; empty: all."""
    allowed_model_region: str | None | UnsetType = UNSET
    default_model: str | None | UnsetType = UNSET
    object_permission: JsonObject | None | UnsetType = UNSET
    metadata: JsonObject | None | UnsetType = UNSET


class CustomersIdentifier(msgspec.Struct, forbid_unknown_fields=True):
    """`POST /customer/block`, `/customer/unblock` and `/customer/delete`."""

    user_ids: list[str]


STORED_ONLY = ("tpd_limit", "object_permission", "metadata")


class Customer(msgspec.Struct, kw_only=True):
    """A row of `customers`; limits and spend are in its scope. Times in Unix milliseconds."""

    user_id: str
    alias: str | None = None
    allowed_model_region: str | None = None
    default_model: str | None = None
    extra: dict[str, Any] = {}
    created_at: int = 0
    created_by: str = ""
    updated_at: int = 0
    updated_by: str = ""
