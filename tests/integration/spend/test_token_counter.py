"""`POST /utils/token_counter` counts what admission counts."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from penstock import _core
from tests.integration.managed import Managed

TEXTS = [
    "",
    "hello world",
    "Grüße, 世界! 🦀🦀 \r\n\t  tabs and   blanks",
    " " * 10_000,
    "a" * 20_000,
    "<|endoftext|><|im_start|>",
    "def f(x):\n    return x ** 2  # comment\n" * 50,
]


@pytest.mark.parametrize("text", TEXTS, ids=range(len(TEXTS)))
def test_a_prompt_has_the_tokens_of_its_text(managed: Managed, text: str) -> None:
    answer = managed.post("/utils/token_counter", model="priced", prompt=text)
    assert answer.status_code == 200, answer.text
    assert answer.json() == {
        "total_tokens": _core.count_tokens(text),
        "request_model": "priced",
        "model_used": "sim",
        "tokenizer_type": "openai_tokenizer",
    }


@pytest.mark.parametrize(
    "body",
    [
        {"messages": [{"role": "user", "content": "hello world"}]},
        {"messages": [{"role": "system", "content": "be brief"}, {"role": "user", "content": "Grüße 🦀", "name": "n"}]},
        {
            "messages": [{"role": "user", "content": "weather?"}],
            "tools": [{"type": "function", "function": {"name": "w", "parameters": {"type": "object"}}}],
        },
    ],
)
def test_messages_have_the_tokens_that_a_call_reserves(managed: Managed, body: dict[str, Any]) -> None:
    counted = managed.post("/utils/token_counter", model="priced", **body).json()["total_tokens"]
    assert counted == _core.count_request_tokens(msgspec.json.encode({"model": "priced", **body}), "sim")
    key = managed.key(tpm_limit=1_000)
    reserved = 1_000 - int(managed.chat(key, max_tokens=1, **body).headers["x-ratelimit-remaining-tokens"])
    assert reserved == counted + 1


def test_a_virtual_key_may_count_and_nobody_else(managed: Managed) -> None:
    body = {"model": "priced", "prompt": "hello world"}
    assert managed.client.post("/utils/token_counter", headers={"x-api-key": managed.key()}, json=body).json()
    assert managed.client.post("/utils/token_counter", json=body).status_code == 401


@pytest.mark.parametrize(
    "body,param",
    [
        ({"model": "priced"}, "messages"),
        ({"prompt": "x"}, None),
        ({"model": "priced", "prompt": 5}, "prompt"),
        ({"model": "priced", "messages": "x"}, "messages"),
        ({"model": "priced", "promt": "x"}, "promt"),
    ],
)
def test_what_does_not_fit_is_refused(managed: Managed, body: dict[str, Any], param: str | None) -> None:
    answer = managed.post("/utils/token_counter", **body)
    assert answer.status_code == 400
    assert param is None or answer.json()["error"]["param"] == param
