"""LiteLLM's shapes of `/credentials`."""

from __future__ import annotations

from typing import Any

import msgspec


class CreateCredentialRequest(msgspec.Struct, forbid_unknown_fields=True):
    """`POST /credentials`."""

    credential_name: str
    credential_values: dict[str, str]
    """E.g. `{"api_key": ..., "api_base": ...}`; sealed."""
    credential_info: dict[str, Any] = {}
    """Description for people; not sealed, never put a secret here."""


class UpdateCredentialRequest(msgspec.Struct, forbid_unknown_fields=True):
    """`PATCH /credentials/{credential_name}`: values given are replaced one by one, the others stay."""

    credential_name: str | None = None
    credential_values: dict[str, str] | None = None
    credential_info: dict[str, Any] | None = None


class Credential(msgspec.Struct, frozen=True):
    """What may be shown of a credential."""

    credential_name: str
    credential_values: dict[str, str]
    """Masked."""
    credential_info: dict[str, Any]
