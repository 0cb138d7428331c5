"""The shapes of models that are kept in the database: as clients send them (LiteLLM's), as they are stored and shown."""

from __future__ import annotations

from typing import Any

import msgspec

JsonObject = dict[str, Any]


class NewModelRequest(msgspec.Struct, forbid_unknown_fields=True):
    """`POST /model/new`."""

    model_name: str
    """As clients ask for it; may hold one `*`."""
    litellm_params: JsonObject
    """As in an entry of `model_list`; sealed."""
    model_info: JsonObject | None = None
    """As in an entry of `model_list`; shown as it is, never put a secret here."""


class ModelChange(msgspec.Struct, forbid_unknown_fields=True):
    """`PATCH /model/{model_id}/update`: what is absent or null stays; parameters are replaced one by one."""

    model_name: str | None = None
    litellm_params: JsonObject | None = None
    model_info: JsonObject | None = None


class UpdateModelRequest(ModelChange, forbid_unknown_fields=True):
    """`POST /model/update`: the same, with the model named by `model_info.id`."""


class DeleteModelRequest(msgspec.Struct, forbid_unknown_fields=True):
    """`POST /model/delete`."""

    id: str


class BlockModelRequest(msgspec.Struct, forbid_unknown_fields=True):
    """`POST /model/block` and `/model/unblock`."""

    model_id: str


class StoredModel(msgspec.Struct, kw_only=True):
    """A row of `models`; `hints` and `model_info` are JSON, times Unix milliseconds."""

    model_id: str
    model_name: str
    sealed_params: bytes
    hints: str
    """`litellm_params` with what may be secret masked."""
    model_info: str
    blocked: int
    """1: kept, and not served."""
    created_at: int
    created_by: str
    updated_at: int
    updated_by: str
