"""Budgets: admitted until they are spent, never above them."""

from __future__ import annotations

import http.client
import time
from collections.abc import Callable
from datetime import datetime
from typing import Any

import msgspec
import pytest

from penstock import _core
from tests.integration.managed import ASKED, CONFIG, Managed, cost_of_priced, nanos, question, until

COST = cost_of_priced(ASKED, 4)
"""What one call of the default question costs."""


def worst_case(**body: Any) -> int:
    """What admission reserves for a call to `priced`."""
    request = question(**body)
    prompt = _core.count_request_tokens(msgspec.json.encode(request), "sim")
    # Reasoning is the dearest way to be charged for output.
    return 500 + prompt * 1_000 + int(request["max_tokens"]) * 20_000


def dollars(amount: int) -> float:
    """Nano-dollars as a client writes a budget."""
    return amount / 1_000_000_000


def spend_all(managed: Managed, key: str, **body: Any) -> int:
    """Call until the budget refuses; how many calls were admitted."""
    admitted = 0
    while (answer := managed.chat(key, **body)).status_code == 200:
        admitted += 1
        assert admitted < 500
    assert answer.status_code == 422, answer.text
    return admitted


def test_calls_are_admitted_while_their_worst_case_fits_and_no_longer(managed: Managed) -> None:
    budget = 10 * COST + worst_case() // 2
    key = managed.key(max_budget=dollars(budget))
    expected, spent = 0, 0
    while spent + worst_case() <= budget:
        expected, spent = expected + 1, spent + COST
    assert expected > 5
    assert spend_all(managed, key) == expected
    assert nanos(managed.info(key)["spend"]) == expected * COST <= budget
    # A smaller call still fits in what is left.
    assert spent + worst_case(max_tokens=1) <= budget
    assert managed.chat(key, max_tokens=1).status_code == 200


def test_the_refusal_is_lite_llms(managed: Managed) -> None:
    key = managed.key(max_budget=dollars(worst_case() - 1))
    refused = managed.chat(key)
    assert refused.status_code == 422
    error = refused.json()["error"]
    assert (error["type"], error["code"], error["param"]) == ("budget_exceeded", "budget_exceeded", None)
    assert error["message"].startswith("Budget has been exceeded! Current cost: $0, Max budget: $0.0000")
    assert "retry-after" not in refused.headers, "a budget without windows never comes back"
    answer = managed.client.post(
        "/v1/messages", headers={"x-api-key": key}, json=question(model="claude", max_tokens=500)
    )
    assert answer.status_code == 422
    assert answer.json()["error"]["type"] == "billing_error"
    assert managed.chat(managed.key(max_budget=dollars(worst_case()))).status_code == 200, "just enough is enough"


def test_a_spent_budget_admits_nothing_not_even_what_costs_nothing(managed: Managed) -> None:
    key = managed.key(max_budget=0)
    assert managed.chat(key).status_code == 422
    assert managed.chat(key, model="other").status_code == 422
    assert managed.chat(managed.key(max_budget=0.000001), model="other").status_code == 200


@pytest.mark.parametrize(
    "section,status",
    [
        ("  budgets: {exceeded_status: 402}\n", 402),
        ("litellm_settings: {budget_exceeded_status_code: 429}\n", 429),
    ],
)
def test_the_status_can_be_configured(start_managed: Callable[..., Managed], section: str, status: int) -> None:
    managed = start_managed(config=CONFIG + section)
    refused = managed.chat(managed.key(max_budget=0))
    assert (refused.status_code, refused.json()["error"]["code"]) == (status, "budget_exceeded")


def test_two_hundred_parallel_calls_never_overspend(managed: Managed) -> None:
    body = {"max_tokens": 40}
    cost, worst = cost_of_priced(ASKED, 40), worst_case(**body)
    budget = 20 * cost + cost // 2
    key = managed.key(max_budget=dollars(budget))
    sim = {"ttft": 30, "tokens": 40}
    answers = managed.many(key, 200, sim=sim, **body)
    admitted = sum(answer.status_code == 200 for answer in answers)
    assert {answer.status_code for answer in answers} == {200, 422}
    assert budget // worst <= admitted <= budget // cost
    assert nanos(managed.info(key)["spend"]) == admitted * cost <= budget
    # Nothing stays reserved: what is left can be spent to the last call that fits.
    left = budget - admitted * cost
    more = spend_all(managed, key, sim=sim, **body)
    assert more == max(0, -(-(left - worst + 1) // cost))
    assert nanos(managed.info(key)["spend"]) == (admitted + more) * cost <= budget


def test_a_call_that_costs_more_than_was_reserved_is_charged_in_full(managed: Managed) -> None:
    key = managed.key(max_budget=dollars(worst_case() * 2))
    assert managed.chat(key, sim={"prompt": 1_000}).status_code == 200
    assert managed.chat(key).status_code == 422
    assert nanos(managed.info(key)["spend"]) == cost_of_priced(1_000, 4)


def test_failed_calls_cost_nothing_and_hold_nothing(managed: Managed) -> None:
    key = managed.key(max_budget=dollars(worst_case()))
    for status in (400, 500, 503):
        assert managed.chat(key, sim={"status": status}).status_code == status
    assert managed.info(key)["spend"] == 0
    assert managed.chat(key).status_code == 200


def test_a_budget_begins_again_with_its_window(managed: Managed) -> None:
    key = managed.key(max_budget=dollars(COST + worst_case() - 1), budget_duration="2s")
    before = managed.info(key)
    first = datetime.fromisoformat(before["budget_reset_at"])
    assert 1 <= (first - datetime.fromisoformat(before["created_at"])).total_seconds() <= 2
    assert managed.chat(key).status_code == 200
    refused = managed.chat(key)
    if refused.status_code == 422:
        assert int(refused.headers["retry-after-ms"]) <= 2_000
        until(lambda: managed.chat(key).status_code == 200, what="the next window")
        assert time.time() >= first.timestamp() - 0.05, "admitted before the window was over"
    after = until(lambda: _in_later_window(managed, key, first), what="the shown window")
    assert nanos(after["total_spend"]) % COST == 0
    assert nanos(after["total_spend"]) >= 2 * COST, "what was ever spent is not forgotten"
    until(lambda: managed.info(key)["spend"] == 0, what="an unspent window")


def test_a_call_is_charged_to_the_window_that_let_it_in(managed: Managed) -> None:
    key = managed.key(max_budget=dollars(2 * COST + worst_case()), budget_duration="8s")
    first = datetime.fromisoformat(managed.info(key)["budget_reset_at"])
    body = msgspec.json.encode(question())
    calls = []
    for _ in range(6):
        # It begins in the first window, and asks in the next one.
        call = http.client.HTTPConnection(managed.gateway.url.removeprefix("http://"), timeout=30)
        call.putrequest("POST", "/v1/chat/completions")
        for name, value in (("authorization", f"Bearer {key}"), ("content-length", str(len(body)))):
            call.putheader(name, value)
        call.endheaders()
        call.send(body[:10])
        calls.append(call)
    assert time.time() < first.timestamp() - 1, "all of them began in time"
    until(lambda: time.time() >= first.timestamp() and managed.info(key)["spend"] == 0, 10, "the next window")
    statuses = []
    for call in calls:
        call.send(body[10:])
        statuses.append(call.getresponse().status)
        call.close()
    assert statuses == [200] * 3 + [422] * 3
    assert nanos(managed.info(key)["spend"]) == 3 * COST
    # Nor when the ledger has told what it knows of them.
    while time.time() < first.timestamp() + 3:
        assert managed.chat(key).status_code == 422
    assert nanos(managed.info(key)["spend"]) == 3 * COST


def _in_later_window(managed: Managed, key: str, first: datetime) -> dict[str, object] | None:
    info = managed.info(key)
    return info if datetime.fromisoformat(info["budget_reset_at"]) > first else None


def test_a_higher_budget_and_a_reset_spend_take_effect_at_once(managed: Managed) -> None:
    key = managed.key(max_budget=dollars(COST + worst_case() - 1))
    assert managed.chat(key).status_code == 200
    assert managed.chat(key).status_code == 422
    managed.post("/key/update", key=key, max_budget=dollars(2 * COST + worst_case() - 1))
    assert managed.chat(key).status_code == 200
    assert managed.chat(key).status_code == 422
    managed.post("/key/update", key=key, spend=0)
    assert managed.chat(key).status_code == 200
    managed.post("/key/update", key=key, max_budget=None)
    assert managed.chat(key, max_tokens=10_000, sim={"tokens": 1}).status_code == 200


def test_spend_given_when_the_key_is_made_counts(managed: Managed) -> None:
    key = managed.key(max_budget=1, spend=1)
    assert managed.chat(key).status_code == 422


def test_a_budget_outlives_a_restart(start_managed: Callable[..., Managed], simulator_url: str) -> None:
    from tests.conftest import Gateway

    first = start_managed()
    key = first.key(max_budget=dollars(3 * COST + worst_case() - 1))
    for _ in range(2):
        assert first.chat(key).status_code == 200
    first.gateway.close()
    gateway = Gateway(first.gateway.directory, simulator_url, config=CONFIG)
    try:
        second = Managed(gateway)
        assert spend_all(second, key) == 1
        assert nanos(second.info(key)["spend"]) == 3 * COST
        second.client.close()
    finally:
        gateway.close()
