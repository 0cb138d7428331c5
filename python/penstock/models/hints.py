"""What may be shown of a stored model's parameters.

By the kind of value and not by a list of secret names: a name that is missing from such a list would give a secret
away, one that is missing from the list of harmless ones costs a few asterisks.
"""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import urlsplit

from penstock.config.bind import INTERPOLATION
from penstock.config.schema import LitellmParams
from penstock.credentials.service import mask
from penstock.models.models import JsonObject

_TEXTS: Final = frozenset(
    {"model", "custom_llm_provider", "api_version", "litellm_credential_name", "timeout", "stream_timeout"}
    | {"keepalive_seconds", "rpm", "tpm", "weight", "order", "additional_drop_params", "allowed_openai_params"}
)
SECRET: Final = frozenset({"api_key", "azure_ad_token", "headers", "extra_headers", "extra_body"})
"""Parameters that may hold a secret: shown masked, and kept to the server that they were given for."""
_NUMBERS: Final = (frozenset(LitellmParams.__struct_fields__) | LitellmParams.parameters) - SECRET
_ADDRESSES: Final = frozenset({"api_base", "base_url"})


def hints_of(params: JsonObject) -> JsonObject:
    """The parameters with texts masked that may be secret, and addresses without their paths."""
    return {name: _hint(name, value) for name, value in params.items()}


def _hint(name: str, value: Any) -> Any:
    if isinstance(value, dict):
        return {inner: _hint("", one) for inner, one in value.items()}
    if isinstance(value, list):
        return [_hint(name, one) for one in value]
    if value is None or isinstance(value, bool):
        return value
    if not isinstance(value, str):
        return value if name in _NUMBERS else mask(str(value))
    if name in _TEXTS or value.startswith(INTERPOLATION):
        return value
    if name in _ADDRESSES:
        return _origin(value)
    return mask(value)


def origins(params: JsonObject) -> dict[str, str]:
    """The servers that the parameters name, by the parameter."""
    return {name: _origin(value) for name, value in params.items() if name in _ADDRESSES and isinstance(value, str)}


def provider_of(params: JsonObject) -> str:
    """Whose server it is when no address says otherwise: the provider's that is named, or that `model` begins with."""
    named, model = params.get("custom_llm_provider"), params.get("model")
    if isinstance(named, str) and named:
        return named
    return model.partition("/")[0] if isinstance(model, str) and "/" in model else ""


def _origin(address: str) -> str:
    try:
        parts = urlsplit(address)
        port = f":{parts.port}" if parts.port is not None else ""
    except ValueError:
        return mask(address)
    host = parts.hostname or ""
    return f"{parts.scheme}://{f'[{host}]' if ':' in host else host}{port}"
