"""From a `model_list` entry to what is asked of ``penstock.providers``: defaults, credentials and organizations.

Shared by the checker and the compiler, so that both see the same deployments.
"""

from __future__ import annotations

import msgspec

from penstock.config.schema import Config, CredentialValues, LitellmParams, ModelEntry
from penstock.providers.upstream import Access


def effective(params: LitellmParams, config: Config) -> LitellmParams:
    """``params`` with what they leave open taken from `router_settings.default_litellm_params`."""
    defaults = config.router_settings.default_litellm_params
    if defaults == LitellmParams():
        return params
    changes: dict[str, object] = {}
    for name in LitellmParams.__struct_fields__:
        fallback, value = getattr(defaults, name), getattr(params, name)
        if isinstance(value, dict):
            changes[name] = {**fallback, **value}
        elif value is None or value == []:
            changes[name] = fallback
    return msgspec.structs.replace(params, **changes)


def accesses(params: LitellmParams, config: Config) -> list[Access]:
    """One for each organization, usually a single one. ``params`` are :func:`effective`.

    Raises:
        KeyError: `litellm_credential_name` names no credential.
    """
    credential = _credential(params.litellm_credential_name, config)
    listed = params.organization if isinstance(params.organization, list) else [params.organization]
    return [
        Access(
            model=params.model or "",
            custom_llm_provider=params.custom_llm_provider,
            api_key=params.api_key or credential.api_key,
            api_base=params.api_base or params.base_url or credential.api_base,
            api_version=params.api_version or credential.api_version,
            azure_ad_token=params.azure_ad_token or credential.azure_ad_token,
            organization=organization or credential.organization,
            headers={**params.headers, **params.extra_headers},
        )
        for organization in listed or [None]
    ]


def is_catch_all(entry: ModelEntry, params: LitellmParams) -> bool:
    """`model: "*"` without a provider: every provider whose key is known, chosen by the name of each request."""
    return params.model == "*" and entry.model_name == "*" and not (params.custom_llm_provider or _base(params))


def _base(params: LitellmParams) -> str | None:
    return params.api_base or params.base_url


def _credential(name: str | None, config: Config) -> CredentialValues:
    if name is None:
        return CredentialValues()
    for credential in config.credential_list:
        if credential.credential_name == name:
            return credential.credential_values
    raise KeyError(name)
