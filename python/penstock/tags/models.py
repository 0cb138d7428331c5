"""The shapes of tags: as clients send them (LiteLLM's field names), and as they are stored."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from penstock.scopes.models import JsonObject, ScopeFields


class TagFields(ScopeFields, kw_only=True, forbid_unknown_fields=True):
    """`POST /tag/new` and `/tag/update`. Absent: keep (or the default); null: clear."""

    name: str
    description: str | None | UnsetType = UNSET
    models: list[str] | None | UnsetType = UNSET
    """Ids of the deployments that the tag is about; kept and shown."""
    model_info: JsonObject | None | UnsetType = UNSET
    blocked: bool | None | UnsetType = UNSET


class TagsIdentifier(msgspec.Struct, forbid_unknown_fields=True):
    """`POST /tag/info`."""

    names: list[str]


class TagIdentifier(msgspec.Struct, forbid_unknown_fields=True):
    """`POST /tag/delete`."""

    name: str


class Tag(msgspec.Struct, kw_only=True):
    """A row of `tags`; limits and spend are in its scope. Times in Unix milliseconds."""

    name: str
    description: str | None = None
    models: list[str] = []
    model_info: dict[str, Any] = {}
    extra: dict[str, Any] = {}
    created_at: int = 0
    created_by: str = ""
    updated_at: int = 0
    updated_by: str = ""
