"""The simulator's token counts are those of the encodings, so that its ledger can judge counted usage to the token.

What the gateway counts when a stream is cut before its usage came, and what admission counts before a call is sent,
must be what the simulator says it sent and received. Both rest on the simulator's vocabulary; this is its proof.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from penstock import _core

WORDS = (Path(__file__).parents[2] / "rust_core/simulator/src/words.txt").read_text(encoding="ascii").split()
ENCODINGS = ("o200k_base", "cl100k_base")


@pytest.fixture(scope="module")
def simulator() -> Iterator[httpx.Client]:
    """A client of a simulator in this process."""
    running = _core.Simulator(b"{}")
    client = httpx.Client(base_url=f"http://127.0.0.1:{running.start()}", trust_env=False, timeout=30)
    yield client
    client.close()
    running.stop()


def _deltas(text: str) -> list[str]:
    events = [json.loads(line[6:]) for line in text.splitlines() if line.startswith("data: {")]
    found = [(event.get("choices") or [{}])[0].get("delta", {}).get("content") for event in events]
    return [delta for delta in found if delta]


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_each_word_is_one_token_alone_and_after_a_space(encoding: str) -> None:
    tokens = set(_core.vocabulary(encoding))
    assert len(WORDS) == len(set(WORDS)) == 1_000
    for word in WORDS:
        assert word.encode() in tokens, word
        assert f" {word}".encode() in tokens, word
        assert _core.count_tokens(f" {word}", encoding) == 1, word


@pytest.mark.parametrize("n", [1, 2, 3, 16, 999, 1_000, 1_001, 2_500])
def test_the_text_of_n_tokens_counts_n_in_both_encodings(simulator: httpx.Client, n: int) -> None:
    body: dict[str, Any] = {"model": f"sim/tokens={n}", "messages": [{"role": "user", "content": "time"}]}
    unary = simulator.post("/v1/chat/completions", json=body).json()
    text = unary["choices"][0]["message"]["content"]
    assert unary["usage"]["completion_tokens"] == n
    assert [_core.count_tokens(text, encoding) for encoding in ENCODINGS] == [n, n]
    deltas = _deltas(simulator.post("/v1/chat/completions", json={**body, "stream": True}).text)
    assert deltas == [f" {WORDS[i % len(WORDS)]}" for i in range(n)]
    for encoding in ENCODINGS:
        # Additive from any cut on: a stream may end after every delta.
        for cut in {1, n // 3, n // 2, n - 1, n}:
            assert _core.count_tokens("".join(deltas[:cut]), encoding) == cut


def test_thinking_and_further_choices_are_counted_alike(simulator: httpx.Client) -> None:
    body: dict[str, Any] = {"model": "sim/tokens=40", "messages": [{"role": "user", "content": "time"}]}
    choices = simulator.post("/v1/chat/completions", json={**body, "n": 5}).json()["choices"]
    texts = [choice["message"]["content"] for choice in choices]
    assert len(set(texts)) == 5
    thinking = {"type": "enabled", "budget_tokens": 1_024}
    message = simulator.post("/v1/messages", json={**body, "max_tokens": 99, "thinking": thinking}).json()
    blocks = [block.get("thinking") or block["text"] for block in message["content"]]
    for encoding in ENCODINGS:
        assert [_core.count_tokens(text, encoding) for text in texts] == [40] * 5
        assert sum(_core.count_tokens(text, encoding) for text in blocks) == message["usage"]["output_tokens"]


def _words(count: int, start: int = 0) -> str:
    return " ".join(WORDS[(start + i) % len(WORDS)] for i in range(count))


CHAT: dict[str, list[dict[str, Any]]] = {
    "one message": [{"role": "user", "content": _words(1)}],
    "every role": [
        {"role": "system", "content": _words(7)},
        {"role": "developer", "content": _words(3)},
        {"role": "user", "content": _words(100, 50)},
        {"role": "assistant", "content": _words(4)},
        {"role": "tool", "tool_call_id": "call_1", "content": _words(5)},
    ],
    "a name": [{"role": "user", "name": "river", "content": _words(9)}],
    "content parts": [
        {"role": "user", "content": [{"type": "text", "text": _words(5)}, {"type": "text", "text": _words(6)}]}
    ],
    "all words": [{"role": "user", "content": _words(1_000)}, {"role": "user", "content": _words(1_500, 500)}],
    "empty": [{"role": "user", "content": ""}],
}


@pytest.mark.parametrize("messages", CHAT.values(), ids=CHAT.keys())
@pytest.mark.parametrize("model", ["gpt-4o", "gpt-4"])
def test_prompts_of_its_words_cost_what_admission_counts(
    simulator: httpx.Client, messages: list[dict[str, Any]], model: str
) -> None:
    body = {"model": model, "messages": messages}
    told = simulator.post("/v1/chat/completions", json=body).json()["usage"]["prompt_tokens"]
    assert told == _core.count_request_tokens(json.dumps(body).encode(), model)


@pytest.mark.parametrize(
    "path, fields, told",
    [
        (
            "/v1/messages",
            {"max_tokens": 9, "messages": CHAT["one message"], "system": _words(8)},
            ("usage", "input_tokens"),
        ),
        ("/v1/messages/count_tokens", {"messages": CHAT["content parts"]}, ("input_tokens",)),
        ("/v1/completions", {"prompt": _words(12)}, ("usage", "prompt_tokens")),
        ("/v1/completions", {"prompt": [_words(2), _words(3, 9)]}, ("usage", "prompt_tokens")),
        ("/v1/embeddings", {"input": [_words(2), _words(3, 9)]}, ("usage", "prompt_tokens")),
        ("/v1/embeddings", {"input": [1, 2, 3]}, ("usage", "prompt_tokens")),
        ("/v1/responses", {"input": _words(6), "max_output_tokens": 3}, ("usage", "input_tokens")),
        ("/v1/responses", {"input": CHAT["every role"][:4], "instructions": _words(2)}, ("usage", "input_tokens")),
    ],
)
def test_other_surfaces_cost_what_admission_counts(
    simulator: httpx.Client, path: str, fields: dict[str, Any], told: tuple[str, ...]
) -> None:
    body = {"model": "gpt-4o", **fields}
    value = simulator.post(path, json=body).json()
    for key in told:
        value = value[key]
    assert value == _core.count_request_tokens(json.dumps(body).encode(), "gpt-4o")
