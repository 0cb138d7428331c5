"""Opaque parts of the API: found by the model they name, wherever they name it, and otherwise not touched."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.conformance.replay.accounting import Tokens
from tests.conformance.replay.replayer import UPSTREAM_MODEL, Replayer

# The published shapes of rerank answers of Voyage and Cohere: the first counts tokens, the second searches.
RERANKED: list[tuple[str, str, dict[str, Any], Tokens | None]] = [
    (
        "voyage",
        "/v1/rerank",
        {"object": "list", "data": [{"index": 1, "relevance_score": 0.9}], "usage": {"total_tokens": 26}},
        Tokens(prompt=26),
    ),
    (
        "cohere",
        "/v2/rerank",
        {"id": "r", "results": [{"index": 1, "relevance_score": 0.9}], "meta": {"billed_units": {"search_units": 1}}},
        None,
    ),
]


@pytest.mark.parametrize("path, answer, tokens", [row[1:] for row in RERANKED], ids=[row[0] for row in RERANKED])
def test_rerank_passes_untouched(replayer: Replayer, path: str, answer: dict[str, Any], tokens: Tokens | None) -> None:
    request = '{ "query":"q",  "documents": ["a", "b"], "model" : "%s", "top_n":1, "unknown": [1.0, 1e5] }'
    body = json.dumps(answer, indent=3).encode()
    found = replayer.post(path, (request % "other").encode(), replayer.put(body, "application/json"))
    assert (found.status_code, found.content) == (200, body)
    assert replayer.received().body == (request % UPSTREAM_MODEL).encode()
    record = replayer.usage(found.headers["x-penstock-call-id"])
    assert record.outcome == "ok"
    if tokens is not None:
        assert (record.tokens, record.source) == (tokens, "upstream")


def test_request_that_names_no_model_goes_to_the_group_of_the_config(replayer: Replayer) -> None:
    request = b'{"input": "fine"}'
    found = replayer.post("/v1/moderations", request, replayer.put(b'{"results": []}', "application/json"))
    assert found.content == b'{"results": []}'
    assert replayer.received().body == request
    assert replayer.received().target == "/v1/moderations"


@pytest.mark.parametrize("size", [0, 1, 300_000, 3_000_000])
def test_binary_answer_passes_untouched(replayer: Replayer, size: int) -> None:
    body = bytes(range(256)) * (size // 256) + b"\x00" * (size % 256)
    request = json.dumps({"model": "openai", "input": "x", "voice": "alloy"}).encode()
    found = replayer.post("/v1/audio/speech", request, replayer.put(body, "audio/mpeg"))
    assert (found.status_code, found.headers["content-type"]) == (200, "audio/mpeg")
    assert found.content == body


@pytest.mark.parametrize("count", [1, 20_000])
def test_usage_after_a_long_answer_is_found(replayer: Replayer, count: int) -> None:
    """Longer than what the gateway holds: the answer goes through as it comes, usage is at its end."""
    data = [{"object": "embedding", "index": n, "embedding": "A" * 100} for n in range(count)]
    usage = {"prompt_tokens": 8, "total_tokens": 8}
    body = json.dumps({"object": "list", "data": data, "usage": usage}).encode()
    request = json.dumps({"model": "openai", "input": ["x"]}).encode()
    found = replayer.post("/v1/embeddings", request, replayer.put(body, "application/json"))
    assert found.content == body
    record = replayer.usage(found.headers["x-penstock-call-id"])
    assert (record.tokens, record.source) == (Tokens(prompt=8), "upstream")


def test_usage_of_a_part_is_not_the_usage_of_the_call(replayer: Replayer) -> None:
    """Tool schemas, metadata and breakdowns may hold objects of that name before and after the real one."""
    part = {"usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}}
    usage = {"prompt_tokens": 40, "completion_tokens": 2, "total_tokens": 42}
    said = {"role": "assistant", "content": json.dumps(part)}
    answer = {"before": part, "choices": [{"index": 0, "message": said, "finish_reason": "stop"}], "usage": usage,
              "after": [part, {"deep": part}]}  # fmt: skip
    request = json.dumps({"model": "groq", "messages": [{"role": "user", "content": "Hi"}]}).encode()
    found = replayer.post(
        "/v1/chat/completions", request, replayer.put(json.dumps(answer).encode(), "application/json")
    )
    record = replayer.usage(found.headers["x-penstock-call-id"])
    assert (record.tokens, record.source) == (Tokens(prompt=40, completion=2), "upstream")
