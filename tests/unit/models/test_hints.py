"""What is shown of a stored model's parameters never holds a secret, whatever the parameter is called."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.config.schema import LitellmParams
from penstock.models.hints import hints_of, origins

_SHOWN = {
    *("model", "custom_llm_provider", "api_version", "litellm_credential_name", "timeout", "stream_timeout"),
    *("keepalive_seconds", "rpm", "tpm", "weight", "order", "additional_drop_params", "allowed_openai_params"),
    *("api_base", "base_url"),
}
_NAMES = sorted((set(LitellmParams.__struct_fields__) | LitellmParams.unused | LitellmParams.parameters) - _SHOWN)
_SECRET = "swordfish-0123456789"


def nested(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Lists and objects of them; the names of objects are not secret."""
    return st.lists(values, max_size=3) | st.dictionaries(st.sampled_from(("x-a", "note")), values, max_size=2)


@given(
    params=st.dictionaries(
        st.sampled_from(_NAMES), st.recursive(st.just(_SECRET) | st.none() | st.booleans(), nested, max_leaves=8)
    )
)
def test_no_text_is_shown_whole(params: dict[str, Any]) -> None:
    assert _SECRET not in json.dumps(hints_of(params))


@pytest.mark.parametrize("name", ["api_key", "azure_password", "client_secret", "vertex_credentials"])
def test_numbers_can_be_secrets_too(name: str) -> None:
    assert "8812345678901234" not in json.dumps(hints_of({name: 8812345678901234}))
    assert "8812345678901234" not in json.dumps(hints_of({"extra_headers": {"x": 8812345678901234}}))


def test_what_is_harmless_is_legible() -> None:
    params = {"model": "openai/gpt-4o", "rpm": 5, "temperature": 0.5, "drop_params": True, "timeout": "30s"}
    assert hints_of(params) == params
    assert hints_of({"api_key": "os.environ/NAME"}) == {"api_key": "os.environ/NAME"}


@pytest.mark.parametrize(
    "address,shown",
    [
        ("https://h.example/v1?key=swordfish", "https://h.example"),
        ("http://[::1]:8080/x", "http://[::1]:8080"),
        ("http://user:swordfish@h:99999/v1", "ht****v1"),
        ("http://user:swordfish@h/v1", "http://h"),
    ],
)
def test_of_an_address_the_server_is_shown(address: str, shown: str) -> None:
    assert hints_of({"api_base": address}) == {"api_base": shown}
    assert origins({"api_base": address, "rpm": 1}) == {"api_base": shown}
