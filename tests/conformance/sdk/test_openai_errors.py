"""The official OpenAI SDK: error classes, its own retries, and its timeouts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import openai
import pytest

from tests.conftest import Gateway
from tests.rig import Sim
from tests.stalls import Stopwatch

ASK: list[Any] = [{"role": "user", "content": "one two three"}]
Clients = Callable[..., openai.OpenAI]


def _call(client: openai.OpenAI, model: str = "openai/gpt-4o", **more: Any) -> Any:
    return client.chat.completions.create(model=model, messages=ASK, **more)


@pytest.mark.parametrize(
    "status, error",
    [
        (400, openai.BadRequestError),
        (401, openai.AuthenticationError),
        (403, openai.PermissionDeniedError),
        (404, openai.NotFoundError),
        (409, openai.ConflictError),
        (422, openai.UnprocessableEntityError),
        (429, openai.RateLimitError),
        (500, openai.InternalServerError),
        (503, openai.InternalServerError),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_the_providers_error_keeps_its_class_and_words(
    client: openai.OpenAI, status: int, error: type[openai.APIStatusError], stream: bool
) -> None:
    with pytest.raises(error) as caught:
        _call(client, f"openai/sim/status={status}", stream=stream)
    assert caught.value.status_code == status
    assert isinstance(caught.value.body, dict)
    assert caught.value.body["message"]
    assert caught.value.response.headers["x-penstock-call-id"]


def test_the_gateways_own_refusals_have_their_classes(client: openai.OpenAI, client_of: Clients, door: Gateway) -> None:
    for key, code in (("sk-not-a-key-at-all-but-long-enough-to-be-one", "invalid_api_key"), ("plain", None)):
        with pytest.raises(openai.AuthenticationError) as denied:
            _call(client_of(api_key=key))
        assert code is None or denied.value.code == code
    with pytest.raises(openai.PermissionDeniedError) as forbidden:
        _call(client_of(api_key=door.new_key(models=["pinned"])))
    assert forbidden.value.code == "model_not_allowed"
    with pytest.raises(openai.NotFoundError) as unknown:
        _call(client, "no-such-model")
    assert (unknown.value.code, unknown.value.param) == ("model_not_found", "model")
    with pytest.raises(openai.BadRequestError) as missing:
        client.post("/chat/completions", body={"messages": ASK}, cast_to=object)
    assert missing.value.param == "model"


def test_a_budget_that_is_used_up_is_422(client_of: Clients, door: Gateway) -> None:
    with pytest.raises(openai.UnprocessableEntityError) as caught:
        _call(client_of(api_key=door.new_key(max_budget=1e-9)), "openai/gpt-4o", max_tokens=1000)
    assert caught.value.type == "budget_exceeded"


def test_a_rate_limit_is_429_with_retry_after(client_of: Clients, door: Gateway) -> None:
    client = client_of(api_key=door.new_key(rpm_limit=1))
    raw = client.chat.completions.with_raw_response.create(model="openai/gpt-4o", messages=ASK)
    assert raw.headers["x-ratelimit-limit-requests"] == "1"
    assert raw.headers["x-ratelimit-remaining-requests"] == "0"
    with pytest.raises(openai.RateLimitError) as caught:
        _call(client)
    assert caught.value.code == "rate_limit_exceeded"
    assert 1 <= int(caught.value.response.headers["retry-after"]) <= 60


def test_a_provider_that_is_too_slow_is_504(client: openai.OpenAI) -> None:
    with pytest.raises(openai.InternalServerError) as caught:
        _call(client, "hasty/sim/ttft=5000")
    assert caught.value.status_code == 504
    assert caught.value.code == "upstream_timeout"


def test_a_provider_that_cannot_be_reached_is_502(client: openai.OpenAI) -> None:
    with pytest.raises(openai.InternalServerError) as caught:
        _call(client, "unreachable")
    assert caught.value.status_code == 502
    assert caught.value.code == "upstream_unreachable"


def test_an_error_inside_a_stream_is_raised(client: openai.OpenAI) -> None:
    received = []
    with pytest.raises(openai.APIError) as caught:
        received.extend(_call(client, "openai/sim/tokens=9,fault=reset_after:4", stream=True))
    assert not isinstance(caught.value, openai.APIConnectionError)
    assert 1 <= len(received) <= 4


def test_the_clients_timeout_cancels_the_upstream(client_of: Clients, sim: Sim) -> None:
    since = sim.mark()
    client = client_of(timeout=1.5)
    # Of a client that is gone before its call has arrived there the upstream hears nothing.
    arrived: list[dict[str, Any]] = []
    for _ in range(10):
        with pytest.raises(openai.APITimeoutError):
            _call(client, "openai/sim/ttft=20000")
        if arrived := sim.ledger(since):
            break
    assert arrived
    assert sim.ended(arrived[0]["call_id"])["outcome"] == "cut"


def test_the_sdk_retries_as_retry_after_says(client_of: Clients, sim: Sim, door: Gateway) -> None:
    since = sim.mark()
    key = f"sdk-retry-{door.pid}"
    watch = Stopwatch()
    answer = _call(client_of(max_retries=2), f"openai/sim/key={key},fail_first=1:429,retry_after=1", max_tokens=1)
    assert answer.choices[0].message.content == " time"
    assert [entry["status"] for entry in sim.ledger(since)] == [429, 200]
    assert watch.seconds >= 0.9
    assert watch.ran_s < 8


def test_the_sdk_gives_up_after_its_retries(client_of: Clients, sim: Sim, door: Gateway) -> None:
    since = sim.mark()
    with pytest.raises(openai.InternalServerError):
        _call(client_of(max_retries=1), f"openai/sim/key=sdk-give-up-{door.pid},fail_first=9:503")
    assert [entry["status"] for entry in sim.ledger(since)] == [503, 503]
