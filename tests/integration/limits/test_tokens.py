"""Tokens per minute: reserved at admission, reconciled when the call is settled."""

from __future__ import annotations

import time
from typing import Any

import msgspec
import pytest

from penstock import _core
from tests.integration.managed import ASKED, Managed, question

LIMIT = 1_000


def remaining(answer: Any) -> int:
    """Tokens left, as the headers say."""
    return int(answer.headers["x-ratelimit-remaining-tokens"])


def prompt_tokens(**body: Any) -> int:
    """What admission counts for a request."""
    return _core.count_request_tokens(msgspec.json.encode(question(**body)), "sim")


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"max_tokens": 100},
        {"max_tokens": None, "max_completion_tokens": 30},
        {"max_tokens": 20, "n": 3},
        {"messages": [{"role": "system", "content": "tërse é 日本語"}, {"role": "user", "content": "word " * 60}]},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "in parts"}]}]},
    ],
)
def test_prompt_and_output_bound_are_reserved_exactly(managed: Managed, body: dict[str, Any]) -> None:
    body = {name: value for name, value in body.items() if value is not None or name == "max_tokens"}
    request = question(**body)
    if request["max_tokens"] is None:
        del request["max_tokens"]
    output = (request.get("max_completion_tokens") or request["max_tokens"]) * request.get("n", 1)
    key = managed.key(tpm_limit=LIMIT)
    answer = managed.client.post("/v1/chat/completions", headers={"authorization": f"Bearer {key}"}, json=request)
    assert answer.status_code == 200, answer.text
    counted = _core.count_request_tokens(msgspec.json.encode(request), "sim")
    assert answer.headers["x-ratelimit-limit-tokens"] == str(LIMIT)
    assert remaining(answer) == LIMIT - counted - output


def test_without_a_bound_the_deployments_or_the_default_is_reserved(managed: Managed) -> None:
    for model, bound in (("bounded", 64), ("priced", 1_024)):
        key = managed.key(tpm_limit=5_000)
        request = question(model=model)
        del request["max_tokens"]
        answer = managed.client.post("/v1/chat/completions", headers={"x-api-key": key}, json=request)
        assert remaining(answer) == 5_000 - prompt_tokens() - bound


def test_what_a_call_did_not_use_comes_back_when_it_is_settled(managed: Managed) -> None:
    key = managed.key(tpm_limit=LIMIT)
    first = managed.chat(key, max_tokens=900, sim={"tokens": 3})
    used = first.json()["usage"]["total_tokens"]
    assert used == ASKED + 3
    assert remaining(first) == LIMIT - prompt_tokens() - 900
    # Without the refund the second could not be admitted at all.
    second = managed.chat(key, max_tokens=900, sim={"tokens": 3})
    assert second.status_code == 200
    assert remaining(second) == LIMIT - used - prompt_tokens() - 900


def test_what_a_call_used_beyond_its_reservation_is_taken_when_it_is_settled(managed: Managed) -> None:
    key = managed.key(tpm_limit=LIMIT)
    assert managed.chat(key, sim={"prompt": 600}).json()["usage"]["prompt_tokens"] == 600
    assert remaining(managed.chat(key)) == LIMIT - 604 - prompt_tokens() - 4


def test_a_call_that_failed_upstream_gives_everything_back(managed: Managed) -> None:
    key = managed.key(tpm_limit=LIMIT)
    for status in (400, 500, 429):
        assert managed.chat(key, max_tokens=900, sim={"status": status}).status_code == status
    assert remaining(managed.chat(key)) == LIMIT - prompt_tokens() - 4


def test_a_stream_is_reconciled_when_it_ends(managed: Managed) -> None:
    key = managed.key(tpm_limit=LIMIT)
    with managed.stream(key, max_tokens=900, sim={"tokens": 2}) as answer:
        assert remaining(answer) == LIMIT - prompt_tokens() - 900
        answer.read()
    assert managed.chat(key, max_tokens=900).status_code == 200


def test_a_request_larger_than_the_limit_is_refused_with_its_size(managed: Managed) -> None:
    key = managed.key(tpm_limit=50)
    refused = managed.chat(key, max_tokens=500)
    assert refused.status_code == 429
    error = refused.json()["error"]
    assert (error["type"], error["code"]) == ("tokens", "rate_limit_exceeded")
    assert "Request too large" in error["message"]
    assert "limit 50" in error["message"]
    assert f"requested {prompt_tokens() + 500}" in error["message"]
    assert "retry-after" not in refused.headers, "waiting does not help"
    assert refused.headers["x-ratelimit-remaining-tokens"] == "50"
    assert managed.chat(key).status_code == 200, "it took nothing"


def test_used_up_tokens_are_refused_until_they_have_had_their_minute(managed: Managed) -> None:
    key = managed.key(tpm_limit=6_000, rpm_limit=1_000)
    assert managed.chat(key, sim={"prompt": 6_036}).status_code == 200
    settled = time.monotonic()
    refused = managed.chat(key)
    assert refused.status_code == 429
    assert refused.json()["error"]["type"] == "tokens"
    assert remaining(refused) == 0
    promised = int(refused.headers["retry-after-ms"])
    assert 60_000 - 1_000 * (time.monotonic() - settled) - 1_000 <= promised <= 60_000
    # What was refused for tokens was not counted as a request.
    assert refused.headers["x-ratelimit-remaining-requests"] == "999"


def test_concurrent_calls_never_reserve_more_than_the_limit(managed: Managed) -> None:
    key = managed.key(tpm_limit=LIMIT)
    demand = prompt_tokens() + 191
    answers = managed.many(key, 30, max_tokens=191, sim={"ttft": 2_500, "tokens": 2})
    admitted = sum(answer.status_code == 200 for answer in answers)
    assert admitted == LIMIT // demand


def test_embeddings_reserve_their_input_alone(managed: Managed) -> None:
    key = managed.key(tpm_limit=LIMIT)
    body = {"model": "priced", "input": ["one two three", "four"]}
    answer = managed.client.post("/v1/embeddings", headers={"x-api-key": key}, json=body)
    assert answer.status_code == 200, answer.text
    assert remaining(answer) == LIMIT - _core.count_request_tokens(msgspec.json.encode(body), "sim")
