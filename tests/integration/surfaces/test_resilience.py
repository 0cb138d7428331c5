"""Timeouts, retries, cooldowns and keep-alive comments."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from tests.conftest import Gateway
from tests.rig import OPENAI_KEY, Sim
from tests.stalls import Stopwatch

CHAT: dict[str, Any] = {"messages": [{"role": "user", "content": "a b"}], "max_tokens": 3}
Start = Callable[..., Gateway]


def _config(penstock: str = "", router: str = "", *models: str) -> str:
    entries = models or ("{model: openai/*}",)
    listed = "".join(
        f"  - model_name: openai/*\n    litellm_params: {{{entry.strip('{}')}, api_base: $SIMULATOR/v1, api_key: {OPENAI_KEY}}}\n"
        for entry in entries
    )
    return f"model_list:\n{listed}router_settings: {{{router}}}\npenstock: {{{penstock}}}\n"


def _ask(gateway: Gateway, model: str, **fields: Any) -> httpx.Response:
    with gateway.client(headers=gateway.admin) as client:
        return client.post("/v1/chat/completions", json={**CHAT, "model": f"openai/{model}", **fields})


def _code(answer: httpx.Response) -> str:
    return str(answer.json()["error"]["code"])


@pytest.mark.parametrize("stream", [False, True])
def test_no_first_byte_in_time_is_504_and_cuts_the_upstream(door: Gateway, sim: Sim, stream: bool) -> None:
    since = sim.mark()
    watch = Stopwatch()
    with door.client(headers=door.admin) as client:
        answer = client.post("/v1/chat/completions", json={**CHAT, "model": "hasty/sim/ttft=20000", "stream": stream})
    assert (answer.status_code, _code(answer)) == (504, "upstream_timeout")
    assert watch.ran_s < 5
    assert sim.ended(sim.ledger(since)[0]["call_id"])["outcome"] == "cut"


def test_a_stream_that_stalls_ends_with_an_error_event(door: Gateway, sim: Sim) -> None:
    body = {**CHAT, "model": "hasty/sim/tokens=9,fault=hang_after:4", "stream": True, "max_tokens": 9}
    with door.client(headers=door.admin) as client:
        answer = client.post("/v1/chat/completions", json=body)
    frames = answer.text.strip().split("\n\n")
    assert answer.status_code == 200
    assert " time" in answer.text
    assert "[DONE]" not in answer.text
    assert json.loads(frames[-1].removeprefix("data: "))["error"]["code"] == "upstream_timeout"


def test_a_whole_answer_that_stalls_is_504(door: Gateway) -> None:
    with door.client(headers=door.admin) as client:
        answer = client.post("/v1/chat/completions", json={**CHAT, "model": "hasty/sim/fault=hang_after:1"})
    assert (answer.status_code, _code(answer)) == (504, "upstream_timeout")


@pytest.mark.parametrize("fault", ["reset_after:3", "close_after:3", "bad_chunk:3", "no_done"])
def test_a_stream_that_breaks_ends_with_an_error_event(door: Gateway, fault: str) -> None:
    body = {**CHAT, "model": f"openai/sim/fault={fault}", "stream": True}
    with door.client(headers=door.admin) as client:
        answer = client.post("/v1/chat/completions", json=body)
    if fault == "no_done":
        # The finish reason had arrived: the answer is complete.
        assert '"finish_reason":"length"' in answer.text
        return
    last = json.loads(answer.text.strip().split("\n\n")[-1].removeprefix("data: "))
    assert last["error"]["code"] == "upstream_protocol_error"
    assert "[DONE]" not in answer.text


@pytest.mark.parametrize("fault", ["reset_after:0", "close_after:0", "truncate", "reset_after:1"])
def test_a_whole_answer_that_breaks_is_502(door: Gateway, fault: str) -> None:
    with door.client(headers=door.admin) as client:
        answer = client.post("/v1/chat/completions", json={**CHAT, "model": f"openai/sim/fault={fault}"})
    assert (answer.status_code, _code(answer)) == (502, "upstream_protocol_error")


def test_nobody_listening_is_502(door: Gateway) -> None:
    with door.client(headers=door.admin) as client:
        answer = client.post("/v1/chat/completions", json={**CHAT, "model": "unreachable"})
    assert (answer.status_code, _code(answer)) == (502, "upstream_unreachable")
    assert "127.0.0.1" not in answer.text


@pytest.mark.parametrize("slow", ["ttft=5000", "fault=drip:10"])
def test_the_total_time_bounds_a_whole_answer_and_no_stream(start_gateway: Start, slow: str) -> None:
    gateway = start_gateway(config=_config("timeouts: {total: 0.7}", "num_retries: 0"))
    watch = Stopwatch()
    answer = _ask(gateway, f"sim/{slow}")
    assert (answer.status_code, _code(answer)) == (504, "upstream_timeout")
    assert watch.ran_s < 4
    usage = {"include_usage": True}
    streamed = _ask(gateway, "sim/tps=20,tokens=24", stream=True, max_tokens=24, stream_options=usage)
    assert '"completion_tokens":24' in streamed.text
    assert streamed.text.endswith("data: [DONE]\n\n")


def test_failures_before_the_first_byte_are_retried(start_gateway: Start, sim: Sim) -> None:
    gateway = start_gateway(config=_config("routing: {retries: 2, retry_backoff: 0.01}", "disable_cooldowns: true"))
    for status in (408, 429, 500, 502, 503, 529):
        since = sim.mark()
        answer = _ask(gateway, f"sim/key=retry-{status},fail_first=2:{status}")
        assert answer.status_code == 200, answer.text
        assert [entry["status"] for entry in sim.ledger(since)] == [status, status, 200]
        assert answer.headers["x-penstock-attempts"] == "3"


def test_retries_end(start_gateway: Start, sim: Sim) -> None:
    gateway = start_gateway(config=_config("routing: {retries: 1, retry_backoff: 0.01}", "disable_cooldowns: true"))
    since = sim.mark()
    answer = _ask(gateway, "sim/status=503")
    assert answer.status_code == 503
    assert [entry["status"] for entry in sim.ledger(since)] == [503, 503]


@pytest.mark.parametrize("status", [400, 401, 404, 422])
def test_what_will_not_change_is_not_retried_at_the_same_deployment(
    start_gateway: Start, sim: Sim, status: int
) -> None:
    gateway = start_gateway(config=_config("routing: {retries: 2, retry_backoff: 0.01}"))
    since = sim.mark()
    assert _ask(gateway, f"sim/status={status}").status_code == status
    assert len(sim.ledger(since)) == 1


def test_nothing_is_retried_after_the_first_byte(start_gateway: Start, sim: Sim) -> None:
    gateway = start_gateway(config=_config("routing: {retries: 3, retry_backoff: 0.01}"))
    since = sim.mark()
    assert "error" in _ask(gateway, "sim/fault=reset_after:2", stream=True).text
    assert len(sim.ledger(since)) == 1


def test_a_short_retry_after_is_waited_for_and_a_long_one_is_the_clients(start_gateway: Start, sim: Sim) -> None:
    gateway = start_gateway(config=_config("routing: {retries: 2, retry_backoff: 0.01}", "disable_cooldowns: true"))
    watch = Stopwatch()
    answer = _ask(gateway, "sim/key=short-wait,fail_first=1:429,retry_after=1")
    assert answer.status_code == 200
    assert watch.seconds >= 0.95
    assert watch.ran_s < 4
    since, watch = sim.mark(), Stopwatch()
    answer = _ask(gateway, "sim/status=429,retry_after=30")
    assert answer.status_code == 429
    assert answer.headers["retry-after"] == "30"
    assert watch.ran_s < 5
    assert len(sim.ledger(since)) == 1


def test_a_cooling_deployment_is_left_alone(start_gateway: Start, sim: Sim) -> None:
    config = _config(
        "routing: {retries: 1, retry_backoff: 0.01, allowed_fails: 2, cooldown: 60}",
        "",
        '{model: "openai/sim/status=500", order: 1}',
        "{model: openai/good, order: 2}",
    ).replace("model_name: openai/*", "model_name: openai/pair")
    gateway = start_gateway(config=config)
    since = sim.mark()
    answers = [_ask(gateway, "pair") for _ in range(8)]
    assert {answer.status_code for answer in answers} == {200}
    seen = [entry["model"] for entry in sim.ledger(since)]
    failed = seen.count("sim/status=500")
    assert 2 <= failed <= 3
    # Once it cools down, nobody asks it any more.
    assert set(seen[2 * failed :]) == {"good"}
    assert [answer.headers["x-penstock-attempts"] for answer in answers[-3:]] == ["1", "1", "1"]


def test_all_cooling_is_429_with_retry_after(start_gateway: Start, sim: Sim) -> None:
    config = _config(
        "routing: {retries: 0, allowed_fails: 1, cooldown: 45}",
        "",
        '{model: "openai/sim/status=500"}',
        '{model: "openai/sim/status=502"}',
    ).replace("model_name: openai/*", "model_name: openai/pair")
    gateway = start_gateway(config=config)
    statuses = [_ask(gateway, "pair").status_code for _ in range(12)]
    since = sim.mark()
    answer = _ask(gateway, "pair")
    assert statuses[0] in (500, 502)
    assert answer.status_code == 429
    assert 1 <= int(answer.headers["retry-after"]) <= 45
    assert sim.ledger(since) == []


@pytest.mark.parametrize("listener", ["native", "granian"])
def test_keep_alive_comments_come_before_the_first_token_only(start_gateway: Start, listener: str) -> None:
    config = _config("streams: {keepalive: 0.1}", "num_retries: 0")
    gateway = start_gateway(config=config, listener=listener)
    begun = time.monotonic()
    answer = _ask(gateway, "sim/ttft=1700,tps=5,tokens=3", stream=True)
    # One for each 0.1 s: sixteen or so on an idle machine, and never more than the whole call has room for.
    room = (time.monotonic() - begun) / 0.1
    frames = answer.text.strip().split("\n\n")
    comments = [frame.startswith(":") for frame in frames]
    first = comments.index(False)
    assert 2 <= first <= room
    assert not any(comments[first:])
    assert frames[-1] == "data: [DONE]"
    assert answer.headers["content-type"].startswith("text/event-stream")
    begun = time.monotonic()
    quick = _ask(gateway, "sim/tokens=3", stream=True)
    assert quick.text.count(": keep-alive") <= (time.monotonic() - begun) / 0.1
    whole = _ask(gateway, "sim/ttft=300,tokens=1")
    assert whole.json()["choices"][0]["message"]["content"] == " time"


def test_an_error_after_a_keep_alive_comment_is_an_event(start_gateway: Start) -> None:
    gateway = start_gateway(config=_config("streams: {keepalive: 0.1}", "num_retries: 0"))
    answer = _ask(gateway, "sim/ttft=1500,status=500", stream=True)
    assert answer.status_code == 200
    assert answer.text.startswith(": ")
    assert "error" in json.loads(answer.text.strip().split("\n\n")[-1].removeprefix("data: "))
