"""How deployments are reached: names, addresses and headers of each kind of provider."""

from __future__ import annotations

import pytest

from penstock.config import Environment, Secret
from penstock.config.env import PROVIDERS as VARIABLES
from penstock.providers import (
    PROVIDERS,
    Access,
    MissingKeyError,
    UnknownProviderError,
    UpstreamError,
    connect,
    resolve,
)
from penstock.providers.address import AddressError, checked

EMPTY = Environment({})


@pytest.mark.parametrize(
    "model,explicit,provider,upstream",
    [
        ("openai/gpt-4o", None, "openai", "gpt-4o"),
        ("text-completion-openai/davinci-002", None, "openai", "davinci-002"),
        ("gpt-4o", None, "openai", "gpt-4o"),
        ("o1-mini", None, "openai", "o1-mini"),
        ("claude-3-5-sonnet-latest", None, "anthropic", "claude-3-5-sonnet-latest"),
        ("anthropic/*", None, "anthropic", "*"),
        ("groq/meta-llama/llama-4", None, "groq", "meta-llama/llama-4"),
        ("openrouter/openai/gpt-4o", None, "openrouter", "openai/gpt-4o"),
        ("together_ai/meta-llama/x", None, "together_ai", "meta-llama/x"),
        ("fireworks_ai/llama-v3", None, "fireworks_ai", "accounts/fireworks/models/llama-v3"),
        ("fireworks_ai/accounts/me/models/x", None, "fireworks_ai", "accounts/me/models/x"),
        ("hosted_vllm/org/model", None, "hosted_vllm", "org/model"),
        ("ollama_chat/llama3", None, "ollama", "llama3"),
        ("custom_openai/x", None, "openai_like", "x"),
        ("my-model", "groq", "groq", "my-model"),
        ("openai/gpt-oss", "groq", "groq", "openai/gpt-oss"),
        ("groq/my-model", "groq", "groq", "my-model"),
    ],
)
def test_names_resolve_to_provider_and_upstream_name(
    model: str, explicit: str | None, provider: str, upstream: str
) -> None:
    target = resolve(model, explicit)
    assert (target.provider.name, target.model) == (provider, upstream)


def test_an_unknown_provider_lists_the_known_ones() -> None:
    with pytest.raises(UnknownProviderError, match=r"did you mean `mistral`.*openai, .*hosted_vllm"):
        resolve("mistrl/x")


def test_an_unknown_name_with_an_address_is_an_openai_compatible_server() -> None:
    target = resolve("org/model", has_base_url=True)
    assert (target.provider.name, target.model) == ("openai_like", "org/model")


def test_every_provider_has_variables_and_an_address_or_asks_for_one() -> None:
    assert set(VARIABLES) == {provider.name for provider in PROVIDERS.values()}
    for provider in PROVIDERS.values():
        if provider.base_url is not None:
            assert checked(provider.base_url) == provider.base_url


def test_bearer_keys_come_from_the_entry_before_the_environment() -> None:
    environment = Environment({"GROQ_API_KEY": "outside"})
    assert connect(Access("groq/x"), environment).headers == [("Authorization", "Bearer outside")]
    assert connect(Access("groq/x", api_key=Secret(" inside\n")), environment).headers == [
        ("Authorization", "Bearer inside")
    ]


def test_anthropic_has_its_own_headers_and_its_base_without_the_path() -> None:
    for base in ("https://host/", "https://host/v1", "https://host/v1/messages"):
        found = connect(Access("anthropic/claude-x", api_key=Secret("k"), api_base=base), EMPTY)
        assert (found.wire, found.base_url) == ("anthropic", "https://host")
        assert found.headers == [("x-api-key", "k"), ("anthropic-version", "2023-06-01")]


@pytest.mark.parametrize(
    "base,version,wire,url,query",
    [
        ("https://r.openai.azure.com/", None, "azure", "https://r.openai.azure.com", "api-version=2025-02-01-preview"),
        (
            "https://r.openai.azure.com/openai",
            "2024-10-21",
            "azure",
            "https://r.openai.azure.com",
            "api-version=2024-10-21",
        ),
        ("https://r.openai.azure.com/openai/v1/", None, "openai", "https://r.openai.azure.com/openai/v1", ""),
        ("https://r.openai.azure.com", "v1", "openai", "https://r.openai.azure.com/openai/v1", ""),
        (
            "https://r.openai.azure.com",
            "preview",
            "openai",
            "https://r.openai.azure.com/openai/v1",
            "api-version=preview",
        ),
        (
            "https://r.openai.azure.com/openai/deployments/d/chat/completions?api-version=2024-06-01",
            None,
            "azure",
            "https://r.openai.azure.com",
            "api-version=2024-06-01",
        ),
        ("https://gateway/team/azure", "2024-10-21", "azure", "https://gateway/team/azure", "api-version=2024-10-21"),
    ],
)
def test_azure_addresses(base: str, version: str | None, wire: str, url: str, query: str) -> None:
    found = connect(Access("azure/d", api_key=Secret("k"), api_base=base, api_version=version), EMPTY)
    assert (found.wire, found.base_url, found.query, found.model) == (wire, url, query, "d")
    assert found.headers == [("api-key", "k")]


def test_azure_takes_an_entra_token_instead_of_a_key() -> None:
    access = Access("azure/d", api_base="https://r", azure_ad_token=Secret("t"))
    assert connect(access, Environment({"AZURE_API_KEY": "k"})).headers == [("Authorization", "Bearer t")]
    environment = Environment({"AZURE_OPENAI_ENDPOINT": "https://r", "AZURE_AD_TOKEN": "e", "AZURE_API_VERSION": "v9"})
    found = connect(Access("azure/d"), environment)
    assert (found.headers, found.query) == ([("Authorization", "Bearer e")], "api-version=v9")


def test_ollama_needs_no_key_and_gets_its_openai_root() -> None:
    assert connect(Access("ollama/llama3"), EMPTY).base_url == "http://localhost:11434/v1"
    found = connect(Access("ollama/llama3"), Environment({"OLLAMA_API_BASE": "http://box:11434/"}))
    assert (found.base_url, found.headers) == ("http://box:11434/v1", [])


def test_organizations_are_openai_s() -> None:
    environment = Environment({"OPENAI_API_KEY": "k", "GROQ_API_KEY": "k", "OPENAI_ORGANIZATION": "org-env"})
    assert ("OpenAI-Organization", "org-env") in connect(Access("openai/x"), environment).headers
    assert ("OpenAI-Organization", "org-1") in connect(Access("openai/x", organization="org-1"), environment).headers
    assert len(connect(Access("groq/x"), environment).headers) == 1


def test_extra_headers_replace_in_any_case() -> None:
    access = Access("openai/x", api_key=Secret("k"), headers={"authorization": Secret("Basic b"), "X-A": Secret("1")})
    assert connect(access, EMPTY).headers == [("authorization", "Basic b"), ("X-A", "1")]


def test_a_missing_key_matters_only_at_the_provider_s_own_address() -> None:
    with pytest.raises(MissingKeyError):
        connect(Access("openai/x"), EMPTY)
    assert connect(Access("openai/x", api_base="http://localhost:8000/v1"), EMPTY).headers == []
    with pytest.raises(MissingKeyError):
        connect(Access("azure/x", api_base="https://r"), EMPTY)


@pytest.mark.parametrize(
    "url",
    [
        "host/v1",
        "file:///etc/passwd",
        "https://",
        "https:///v1",
        "https://user@host",
        "https://user:pass@host",
        "https://host:0",
        "https://host:port",
        "https://ho st",
        "https://host/\nx",
        "https://host/#a",
        "http://[::1",
        "https://host:/v1",
        "https://ho_st-/v1",
        "https://a..b/v1",
        "https://-host",
        "https://[zz]/v1",
    ],
)
def test_addresses_that_are_refused(url: str) -> None:
    with pytest.raises(AddressError):
        checked(url)


def test_a_query_is_refused_except_azure_s() -> None:
    for model in ("openai/x", "anthropic/x"):
        with pytest.raises(UpstreamError, match="query"):
            connect(Access(model, api_key=Secret("k"), api_base="https://host?a=b"), EMPTY)
    with pytest.raises(UpstreamError, match="query"):
        connect(Access("azure/x", api_key=Secret("k"), api_base="https://host?a=b"), EMPTY)


def test_upstreams_do_not_show_their_headers() -> None:
    assert "hunter2" not in repr(connect(Access("openai/x", api_key=Secret("hunter2")), EMPTY))
    assert "hunter2" not in repr(Access("openai/x", api_key=Secret("hunter2")))
