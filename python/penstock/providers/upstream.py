"""How one deployment is reached: wire, address and headers, from what the configuration and the environment say.

The checker and the compiler both ask here, so that what passes `penstock check` is what is served.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import msgspec

from penstock.engine.snapshot import Wire
from penstock.providers import address
from penstock.providers.registry import Provider
from penstock.providers.resolve import ProviderNotYetError, UnknownProviderError, resolve

if TYPE_CHECKING:
    # For types only: the configuration imports this package.
    from penstock.config.env import Environment
    from penstock.config.secret import Secret

ANTHROPIC_VERSION: Final = "2023-06-01"
AZURE_API_VERSION: Final = "2025-02-01-preview"
"""Used when neither the configuration nor the environment names a version."""

_HEADER_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,128}")
_FRAMING: Final = frozenset(
    {"host", "content-length", "transfer-encoding", "connection", "keep-alive", "upgrade", "te", "trailer", "expect"}
)


class UpstreamError(ValueError):
    """The deployment cannot be called. ``field`` names the parameter at fault; no value is repeated."""

    def __init__(self, field: str, message: str) -> None:
        self.field = field
        super().__init__(message)


class MissingKeyError(UpstreamError):
    """The provider wants a key and there is none: the deployment is of no use until one is set."""


class NotYetError(UpstreamError):
    """The provider is one that LiteLLM knows and this version cannot call."""


@dataclass(frozen=True, slots=True, repr=False)
class Access:
    """What the configuration says about reaching a deployment; None and empty: nothing."""

    model: str
    custom_llm_provider: str | None = None
    api_key: Secret | None = None
    api_base: str | None = None
    api_version: str | None = None
    azure_ad_token: Secret | None = None
    organization: str | None = None
    headers: Mapping[str, Secret] = field(default_factory=dict)


class Upstream(msgspec.Struct, frozen=True, kw_only=True):
    """The answer. ``headers`` hold credentials: never print it."""

    provider: Provider
    wire: Wire
    model: str
    base_url: str
    headers: list[tuple[str, str]]
    query: str

    def __repr__(self) -> str:
        return f"Upstream({self.provider.name}/{self.model})"


def connect(access: Access, environment: Environment) -> Upstream:
    """Put together how ``access`` is called; what it leaves open comes from ``environment`` and the provider.

    Raises:
        UpstreamError: something is missing or cannot be used.
    """
    try:
        target = resolve(access.model, access.custom_llm_provider, has_base_url=access.api_base is not None)
    except UnknownProviderError as error:
        kind = NotYetError if isinstance(error, ProviderNotYetError) else UpstreamError
        raise kind("custom_llm_provider" if access.custom_llm_provider else "model", str(error)) from error
    provider = target.provider
    wire, base_url, query = _address(access, provider, environment)
    headers = _credentials(access, provider, environment)
    if wire == "anthropic":
        headers.append(("anthropic-version", ANTHROPIC_VERSION))
    organization = access.organization or (environment.openai_organization if provider.name == "openai" else None)
    if organization is not None:
        headers.append(("OpenAI-Organization", _header_value("organization", organization)))
    return Upstream(
        provider=provider,
        wire=wire,
        model=target.model,
        base_url=base_url,
        headers=_extended(headers, access.headers),
        query=query,
    )


def _address(access: Access, provider: Provider, environment: Environment) -> tuple[Wire, str, str]:
    base_url = access.api_base or environment.provider_base(provider.name) or provider.base_url
    if base_url is None:
        raise UpstreamError("api_base", f"`{provider.name}` has no address of its own: set `api_base`")
    try:
        base_url = address.checked(base_url)
        if provider.wire == "azure":
            place = address.azure(base_url, access.api_version or environment.azure_api_version, AZURE_API_VERSION)
            return ("openai" if place.openai else "azure"), place.base_url, place.query
        if provider.wire == "anthropic":
            return "anthropic", address.anthropic(base_url), ""
        return "openai", address.openai(base_url, provider.path), ""
    except address.AddressError as error:
        raise UpstreamError("api_base", str(error)) from error


def _credentials(access: Access, provider: Provider, environment: Environment) -> list[tuple[str, str]]:
    if provider.wire == "azure":
        # What the configuration says goes before the environment, and a key before a token.
        key = access.api_key or (None if access.azure_ad_token else environment.provider_key(provider.name))
        token = None if key else access.azure_ad_token or environment.azure_ad_token
        if token is not None:
            return [("Authorization", f"Bearer {_header_value('azure_ad_token', token.reveal())}")]
    else:
        key = access.api_key or environment.provider_key(provider.name)
    if key is None:
        # Somebody else's server at an address of their own may well ask for none.
        if provider.key_required and (access.api_base is None or provider.wire == "azure"):
            raise MissingKeyError("api_key", "there is no key for this provider: set `api_key` or its variable")
        return []
    value = _header_value("api_key", key.reveal())
    if provider.auth == "bearer":
        return [("Authorization", f"Bearer {value}")]
    return [(provider.auth, value)]


def _extended(headers: list[tuple[str, str]], extra: Mapping[str, Secret]) -> list[tuple[str, str]]:
    added = []
    for name, secret in extra.items():
        if not _HEADER_NAME.fullmatch(name):
            raise UpstreamError("extra_headers", "a header name holds characters that headers do not allow")
        if name.lower() in _FRAMING:
            raise UpstreamError("extra_headers", f"`{name.lower()}` is set by the gateway itself: take it out")
        added.append((name, _header_value("extra_headers", secret.reveal())))
    replaced = {name.lower() for name, _ in added}
    return [(name, value) for name, value in headers if name.lower() not in replaced] + added


def _header_value(name: str, value: str) -> str:
    text = value.strip()
    if not text.isascii() or not text.isprintable():
        raise UpstreamError(name, "holds characters that a header cannot carry (a line break, or not ASCII)")
    return text
