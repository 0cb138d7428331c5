"""Money, exactly: what the simulator says it sent, times the configured price, is what every account shows."""

from __future__ import annotations

from typing import Any

import pytest

from tests.integration.managed import ASKED, Managed, cost_of_priced, nanos, question

TRAFFIC: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({}, {}),
    ({"max_tokens": 1}, {}),
    ({"max_tokens": 333}, {"tokens": 333}),
    ({"stream": True}, {}),
    ({"stream": True, "stream_options": {"include_usage": True}}, {"tokens": 11}),
    ({"max_tokens": 50}, {"prompt": 1_234, "cached": 1_000}),
    ({"max_tokens": 500, "stream": True}, {"prompt": 99, "cached": 99, "reasoning": 77, "tokens": 21}),
    ({"max_tokens": 500}, {"reasoning": 123}),
    ({"n": 2}, {}),
    ({"messages": [{"role": "user", "content": "drei Wörter nur"}]}, {}),
    ({}, {"status": 400}),
    ({}, {"status": 503}),
]
"""Bodies and what the simulator is told."""


def test_keys_logs_headers_and_simulator_agree_to_the_nano_dollar(managed: Managed) -> None:
    key = managed.key()
    expected = 0
    by_call: dict[str, int] = {}
    for body, sim in TRAFFIC:
        answer = managed.chat(key, sim=sim, **body)
        sent = managed.simulated(answer)
        failed = answer.status_code != 200
        cost = 0
        if not failed:
            cost = cost_of_priced(
                sent["prompt_tokens"], sent["completion_tokens"], sent["cached_tokens"], sent["reasoning_tokens"]
            )
        if "x-penstock-cost-usd" in answer.headers:
            assert nanos(answer.headers["x-penstock-cost-usd"]) == cost
        expected += cost
        by_call[answer.headers["x-penstock-call-id"]] = cost
    rows = managed.logs(key)
    assert {row["request_id"]: row["metadata"]["cost_nanodollars"] for row in rows} == by_call
    assert {row["request_id"]: nanos(row["spend"]) for row in rows} == by_call
    info = managed.info(key)
    assert nanos(info["spend"]) == nanos(info["total_spend"]) == sum(by_call.values()) == expected > 0


@pytest.mark.parametrize("path", ["/v1/messages", "/v1/chat/completions"])
@pytest.mark.parametrize("stream", [False, True])
def test_anthropics_usage_is_priced_the_same_through_both_surfaces(managed: Managed, path: str, stream: bool) -> None:
    key = managed.key()
    headers = {"x-api-key": key, "x-sim-prompt": "100", "x-sim-cached": "60", "x-sim-tokens": "9"}
    body = question(model="claude", max_tokens=50, stream=stream)
    answer = managed.client.post(path, headers=headers, json=body)
    assert answer.status_code == 200, answer.text
    rows = managed.logs(key)
    assert [(row["prompt_tokens"], row["completion_tokens"]) for row in rows] == [(100, 9)]
    assert rows[0]["metadata"]["cached_tokens"] == 60
    assert nanos(managed.info(key)["spend"]) == 40 * 3_000 + 60 * 300 + 9 * 15_000


def test_an_upstream_without_usage_is_counted_by_us_and_charged(managed: Managed) -> None:
    for stream in (False, True):
        key = managed.key()
        answer = managed.chat(key, stream=stream, max_tokens=50, sim={"fault": "no_usage", "tokens": 20})
        assert answer.status_code == 200
        (row,) = managed.logs(key)
        assert row["metadata"]["usage_source"] == "counted"
        # Each of the simulator's words is one token.
        assert (row["prompt_tokens"], row["completion_tokens"]) == (ASKED, 20)
        assert nanos(managed.info(key)["spend"]) == cost_of_priced(ASKED, 20)


def test_a_hundred_calls_at_once_are_summed_exactly(managed: Managed) -> None:
    key = managed.key()
    answers = managed.many(key, 100, max_tokens=7)
    assert {answer.status_code for answer in answers} == {200}
    assert nanos(managed.info(key)["spend"]) == 100 * cost_of_priced(ASKED, 7)
    rows = managed.logs(key)
    assert len(rows) == len({row["request_id"] for row in rows}) == 100


def test_spend_of_the_master_key_is_in_the_ledger_and_on_no_key(managed: Managed) -> None:
    call = managed.chat(managed.gateway.admin_key).headers["x-penstock-call-id"]
    (row,) = managed.get("/spend/logs", request_id=call).json()
    assert row["metadata"]["cost_nanodollars"] == cost_of_priced(ASKED, 4)
    assert managed.gateway.admin_key not in str(row)


def test_a_regenerated_keys_calls_in_flight_are_charged_to_its_successor(managed: Managed) -> None:
    old = managed.key()
    with managed.stream(old, max_tokens=12, sim={"tokens": 12, "tps": 6}) as answer:
        pieces = answer.iter_text()
        next(pieces)
        fresh = managed.post(f"/key/{old}/regenerate").json()["key"]
        for _ in pieces:
            pass
    assert nanos(managed.info(fresh)["spend"]) == cost_of_priced(ASKED, 12)
    assert len(managed.logs(fresh)) == 1
