"""Exactly one usage record per call, however it ends, and what stands in it."""

from __future__ import annotations

import socket
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from tests.conftest import Gateway
from tests.integration.managed import CONFIG, Managed, question, until

FIELDS = {
    *("request_id", "call_type", "api_key", "spend", "total_tokens", "prompt_tokens", "completion_tokens", "startTime"),
    *("endTime", "completionStartTime", "model", "model_id", "model_group", "custom_llm_provider", "user", "team_id"),
    *("cache_hit", "request_tags", "end_user", "status", "metadata", "organization_id"),
}


def only(managed: Managed, key: str) -> dict[str, Any]:
    """The one record that the key has; waits for it, for a cut call is settled a moment later."""
    rows = until(lambda: managed.logs(key), what="the record")
    assert len(rows) == 1
    return dict(rows[0])


def test_a_record_says_who_what_where_and_how_long(managed: Managed) -> None:
    assert managed.post("/organization/new", organization_id="o", organization_alias="O").status_code == 200
    assert managed.post("/team/new", team_id="t", organization_id="o").status_code == 200
    made = managed.post(
        "/key/generate", user_id="u", team_id="t", organization_id="o", tags=["blue"], key_alias="alias-of-a-record"
    ).json()
    before = datetime.now(UTC)
    answer = managed.chat(made["key"], user="end-user-7", sim={"cached": 1, "reasoning": 2, "tokens": 5}, max_tokens=50)
    row = only(managed, made["key"])
    assert set(row) >= FIELDS
    told = row["metadata"]
    assert row["request_id"] == answer.headers["x-penstock-call-id"]
    assert row["api_key"] == made["token"]
    assert (row["user"], row["team_id"], row["organization_id"], row["end_user"]) == ("u", "t", "o", "end-user-7")
    assert (told["user_api_key_alias"], row["request_tags"]) == ("alias-of-a-record", ["blue"])
    assert (row["call_type"], told["route"], told["stream"]) == ("acompletion", "/v1/chat/completions", False)
    assert (row["model_group"], told["requested_model"], row["model"]) == ("priced", "priced", "sim")
    assert row["model_id"] == answer.headers["x-penstock-deployment"]
    assert (row["custom_llm_provider"], row["cache_hit"], told["attempts"]) == ("openai", "False", 1)
    usage = answer.json()["usage"]
    assert (row["prompt_tokens"], row["completion_tokens"]) == (usage["prompt_tokens"], usage["completion_tokens"])
    assert row["total_tokens"] == usage["total_tokens"]
    assert (told["cached_tokens"], told["reasoning_tokens"], told["usage_source"]) == (1, 2, "upstream")
    assert (row["status"], told["http_status"], told["outcome"], told["error_code"]) == ("success", 200, "ok", None)
    assert told["price_version"] == "config"
    assert told["request_bytes"] > 80
    assert told["response_bytes"] >= len(answer.content)
    assert 0 < told["ttft_us"] <= told["duration_us"]
    assert 0 < told["overhead_us"] < told["duration_us"]
    start, end = datetime.fromisoformat(row["startTime"]), datetime.fromisoformat(row["endTime"])
    assert before - timedelta(milliseconds=2) <= start <= end <= datetime.now(UTC)


OUTCOMES: dict[str, tuple[dict[str, Any], dict[str, Any], dict[str, Any], tuple[int, str, str | None]]] = {
    # name: (key, simulator, body, (status, outcome, error code))
    "answered": ({}, {}, {}, (200, "ok", None)),
    "streamed": ({}, {}, {"stream": True}, (200, "ok", None)),
    "refused upstream": ({}, {"status": 400}, {}, (400, "error", "upstream_error")),
    "failed upstream": ({}, {"status": 500}, {}, (500, "error", "upstream_error")),
    "limited upstream": ({}, {"status": 429}, {}, (429, "error", "upstream_error")),
    "unreachable": ({}, {}, {"model": "unreachable"}, (502, "error", "upstream_unreachable")),
    "reset before the head": ({}, {"fault": "reset_after:0"}, {}, (502, "error", "upstream_protocol_error")),
    "cut in the stream": ({}, {"fault": "reset_after:2"}, {"stream": True}, (200, "upstream_cut", None)),
    "over the rate": ({"rpm_limit": 0}, {}, {}, (429, "error", "rate_limit_exceeded")),
    "over the tokens": ({"tpm_limit": 1}, {}, {}, (429, "error", "rate_limit_exceeded")),
    "over the budget": ({"max_budget": 0}, {}, {}, (422, "error", "budget_exceeded")),
    "not its model": ({"models": ["other"]}, {}, {}, (403, "error", "model_not_allowed")),
    "no such model": ({}, {}, {"model": "nothing"}, (404, "error", "model_not_found")),
    "not its route": ({"allowed_routes": ["/v1/files"]}, {}, {}, (403, "error", "route_not_allowed")),
}


@pytest.mark.parametrize("case", OUTCOMES)
def test_every_way_out_leaves_one_record(managed: Managed, case: str) -> None:
    fields, sim, body, (status, outcome, code) = OUTCOMES[case]
    key = managed.key(**fields)
    answer = None
    try:
        answer = managed.chat(key, sim=sim, **body)
        assert answer.status_code == status, answer.text
    except httpx.RemoteProtocolError:
        assert outcome == "upstream_cut"
    row = only(managed, key)
    told = row["metadata"]
    assert (told["http_status"], told["outcome"]) == (status, outcome)
    assert row["status"] == ("success" if outcome == "ok" else "failure")
    if code is not None:
        assert told["error_code"] == code
    if answer is not None:
        assert row["request_id"] == answer.headers["x-penstock-call-id"]
    if status != 200:
        assert (row["spend"], row["total_tokens"], told["usage_source"]) == (0, 0, "none")
    else:
        assert row["completion_tokens"] > 0


@pytest.mark.parametrize(
    "body,status", [(b"{", 400), (b"", 400), (b"[1]", 400), (b'{"messages": []}', 400), (b"x" * (33 << 20), 413)]
)
def test_a_body_that_cannot_be_used_leaves_one_record(managed: Managed, body: bytes, status: int) -> None:
    key = managed.key()
    headers = {"x-api-key": key, "content-type": "application/json"}
    answer = managed.client.post("/v1/chat/completions", headers=headers, content=body)
    assert answer.status_code == status
    assert only(managed, key)["metadata"]["http_status"] == status


def test_calls_of_nobody_leave_none(managed: Managed) -> None:
    # Of a call whose client left a test before this knows nothing.
    until(lambda: "penstock_in_flight_requests 0" in managed.get("/metrics").text.splitlines(), 20, "no call in flight")
    total = managed.get("/global/spend").json()["calls"]
    for headers in ({}, {"x-api-key": "sk-nobody-has-this-one"}, {"x-api-key": managed.key(blocked=True)}):
        assert managed.client.post("/v1/chat/completions", headers=headers, json=question()).status_code in (401, 403)
    assert managed.get("/global/spend").json()["calls"] == total
    refused = [row for row in managed.get("/metrics").text.splitlines() if row.startswith("penstock_refused_total")]
    assert {row.split('"')[1] for row in refused} >= {"missing_api_key", "invalid_api_key", "blocked_api_key"}


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_goes_leaves_one_record_with_what_was_used(managed: Managed, stream: bool) -> None:
    key = managed.key()
    if stream:
        with managed.stream(key, max_tokens=400, sim={"tokens": 400, "tps": 50}) as answer:
            pieces, text = answer.iter_text(), ""
            while text.count("data:") < 5:
                text += next(pieces)
            pieces.close()
    else:
        # No answer within this time: the client hangs up.
        headers = {"x-api-key": key, "x-sim-ttft": "20000"}
        url = f"{managed.gateway.url}/v1/chat/completions"
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(url, headers=headers, json=question(), timeout=1.5, trust_env=False)
    row = only(managed, key)
    told = row["metadata"]
    # A client that has gone before the answer began got no status at all.
    assert told["http_status"] == (200 if stream else 499)
    assert (told["outcome"], row["status"]) == ("client_disconnect", "failure")
    if stream:
        assert row["completion_tokens"] >= 3
        assert row["spend"] > 0
    else:
        assert row["completion_tokens"] == 0


@pytest.mark.parametrize(
    "path,body,call_type",
    [
        ("/v1/completions", {"model": "priced", "prompt": "a b c", "max_tokens": 4}, "atext_completion"),
        ("/v1/embeddings", {"model": "priced", "input": ["a b", "c"]}, "aembedding"),
        ("/v1/messages", question(model="claude"), "messages"),
        ("/chat/completions", question(model="claude"), "acompletion"),
        ("/v1/moderations", {"model": "priced", "input": "a b c"}, "passthrough"),
        ("/v1/responses", {"model": "priced", "input": "a b c", "max_output_tokens": 4}, "passthrough"),
    ],
)
def test_every_surface_leaves_one_record(managed: Managed, path: str, body: dict[str, Any], call_type: str) -> None:
    key = managed.key()
    answer = managed.client.post(path, headers={"x-api-key": key}, json=body)
    assert answer.status_code == 200, answer.text
    row = only(managed, key)
    assert row["call_type"] == call_type
    assert row["request_id"] == answer.headers["x-penstock-call-id"]
    if path == "/v1/moderations":
        assert row["metadata"]["usage_source"] == "none", "OpenAI's answer states none"
        return
    sent = managed.simulated(answer)
    assert (row["prompt_tokens"], row["completion_tokens"]) == (sent["prompt_tokens"], sent["completion_tokens"])


def test_a_connection_that_dies_with_its_request_half_sent_leaves_at_most_one(managed: Managed) -> None:
    key = managed.key()
    address = urlsplit(managed.gateway.url)
    for _ in range(5):
        with socket.create_connection((address.hostname, address.port)) as client:
            head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: {address.netloc}\r\nx-api-key: {key}\r\n"
            client.sendall(f"{head}Content-Length: 1000\r\n\r\n{{".encode())
    rows = until(lambda: len(found := managed.logs(key)) == 5 and found, what="the records")
    assert {row["metadata"]["usage_source"] for row in rows} == {"none"}
    assert managed.chat(key).status_code == 200


def test_nothing_is_lost_or_doubled_across_a_graceful_restart(
    start_managed: Callable[..., Managed], simulator_url: str
) -> None:
    first = start_managed()
    key = first.key()
    calls = {answer.headers["x-penstock-call-id"] for answer in first.many(key, 60)}
    calls |= {first.chat(key, model="nothing").headers["x-penstock-call-id"] for _ in range(5)}
    # No question in between that would have written them out.
    assert first.gateway.process.stop() == 0
    gateway = Gateway(first.gateway.directory, simulator_url, config=CONFIG)
    second = Managed(gateway)
    try:
        calls |= {answer.headers["x-penstock-call-id"] for answer in second.many(key, 5)}
        rows = second.logs(key)
        assert len(rows) == len(calls) == 70
        assert {row["request_id"] for row in rows} == calls
        assert len({row["metadata"]["event_id"] for row in rows}) == 70
        cost = sum(row["metadata"]["cost_nanodollars"] for row in rows)
        totals = second.get("/global/spend").json()
        assert (totals["calls"], round(totals["spend"] * 1e9)) == (70, cost)
        assert round(second.info(key)["spend"] * 1e9) == cost
    finally:
        second.client.close()
        gateway.close()


@pytest.mark.parametrize("field", ["user", "model"])
def test_long_names_in_a_request_are_not_kept_whole(managed: Managed, field: str) -> None:
    key = managed.key()
    body: dict[str, Any] = {field: "u" * 1_000_000}
    managed.chat(key, **body)
    row = only(managed, key)
    assert len(row["end_user"]) <= 1_024
    assert len(row["metadata"]["requested_model"]) <= 1_024
