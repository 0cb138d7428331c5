"""Spending: what the data plane holds spent, what the ledger says, and what a call costs."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

pytest.importorskip("penstock._core", reason="the extension is not built: `make setup`")

from penstock.engine.snapshot import ModelGroup, Settings
from tests.integration.listener import wire
from tests.integration.listener.wire import Message, Wire, until
from tests.integration.regressions.rig import COMPLETION, Rig, answering, messages, price

_CLIENTS = 12
_CALLS = 30
_IMAGE = {"created": 1, "data": [{"url": "x"}]}


def test_two_threads_agree_with_the_ledger_on_what_was_spent(rig: Rig) -> None:
    provider = rig.provider(answering(COMPLETION))
    deployment = provider.deployment(price=price(input=1_000_000, output=1_000_000))
    plane = rig.plane([deployment], threads=2)
    budget = 10**12
    key = plane.key(max_budget=budget)
    request = wire.chat(key, messages(max_tokens=5))
    over = threading.Event()

    def client() -> None:
        for _ in range(_CALLS):
            with plane.connect() as own:
                assert own.send(request).answer().status == 200

    seqs: list[int] = []
    ledger = 0

    def store() -> int:
        nonlocal ledger
        records = plane.take()
        seqs.extend(record["seq"] for record in records)
        ledger += sum(record["cost"] for record in records)
        return len(records)

    with ThreadPoolExecutor(_CLIENTS) as pool:
        done = [pool.submit(client) for _ in range(_CLIENTS)]
        for one in done:
            one.add_done_callback(lambda _: over.set() if all(d.done() for d in done) else None)
        while not over.wait(0.002):
            if store():
                # What the key's management does whenever a key is changed: the figure of the ledger and how far it goes.
                plane.put(key, max_budget=budget, spend=ledger, spend_version=seqs[-1])
                assert plane.spend(key) >= ledger
        for one in done:
            one.result()
    total = _CLIENTS * _CALLS * 10
    until(lambda: plane.in_flight() == 0)
    # Before the last records are taken: the plane's own sum, made of the ledger's figure and what came after it.
    assert plane.spend(key) == total
    until(lambda: store() == 0 and len(seqs) >= _CLIENTS * _CALLS)
    assert ledger == total
    first = seqs[0]
    assert seqs == list(range(first, first + _CLIENTS * _CALLS)), "not in the order of their ordinals"


def test_a_budget_covers_the_dearest_fallback(rig: Rig) -> None:
    bad, good = rig.provider(answering({"error": {"message": "no"}}, status=500)), rig.provider(answering(COMPLETION))
    cheap = bad.deployment(price=price(output=1_000))
    dear = good.deployment(id="dear", price=price(input=100_000_000, output=100_000_000))
    groups = [ModelGroup(name="m", deployments=[0], fallbacks=["f"]), ModelGroup(name="f", deployments=[1])]
    plane = rig.plane([cheap, dear], groups, Settings(retries=0, cooldown_ms=0))
    # The answer's 10 tokens cost 1,000 at the fallback, the 3 that are asked for at least 300.
    request = messages(max_tokens=3)

    poor = plane.key(max_budget=200)
    assert plane.ask(request, key=poor).status in (422, 500)
    assert (good.requests, plane.spend(poor)) == ([], 0)

    rich = plane.key(max_budget=10_000)
    assert plane.ask(request, key=rich).status == 200
    plane.records(2)
    assert plane.spend(rich) == 1_000


@pytest.mark.parametrize("budget", [1_600, 2_500])
def test_fallbacks_at_once_do_not_pass_the_budget(rig: Rig, budget: int) -> None:
    meet = threading.Barrier(2)

    def script(peer: Wire, request: Message) -> None:
        # Two calls that are both on their way are let go together.
        try:
            meet.wait(0.3)
        except threading.BrokenBarrierError:
            meet.reset()
        answering({**COMPLETION, "usage": {"prompt_tokens": 0, "completion_tokens": 10}})(peer, request)

    bad, good = rig.provider(answering({"error": {"message": "no"}}, status=500)), rig.provider(script)
    cheap = bad.deployment(price=price(output=1_000))
    dear = good.deployment(id="dear", price=price(output=100_000_000))
    groups = [ModelGroup(name="m", deployments=[0], fallbacks=["f"]), ModelGroup(name="f", deployments=[1])]
    plane = rig.plane([cheap, dear], groups, Settings(retries=0, cooldown_ms=0))
    key = plane.key(max_budget=budget)
    with ThreadPoolExecutor(6) as pool:
        statuses = list(pool.map(lambda _: plane.ask(messages(max_tokens=10), key=key).status, range(6)))
    assert statuses.count(200) == budget // 1_000
    plane.records(6)
    assert plane.spend(key) == budget // 1_000 * 1_000


def test_what_a_request_costs_by_itself_is_charged_without_tokens(rig: Rig) -> None:
    provider = rig.provider(answering(_IMAGE))
    plane = rig.plane([provider.deployment(price=price(request=40_000_000))])
    key = plane.key(max_budget=100_000_000)
    answer = plane.ask({"model": "m", "prompt": "a cat"}, key=key, path="/v1/images/generations")
    (record,) = plane.records()
    assert (answer.status, record["cost"], record["usage_source"]) == (200, 40_000_000, "none")
    assert record["price_version"] == "test"
    assert float(answer.get("x-penstock-cost-usd") or "") == pytest.approx(0.04)
    assert plane.spend(key) == 40_000_000


def test_a_request_that_failed_is_not_charged_by_itself(rig: Rig) -> None:
    provider = rig.provider(answering({"error": {"message": "no"}}, status=400))
    plane = rig.plane([provider.deployment(price=price(request=40_000_000))])
    key = plane.key(max_budget=100_000_000)
    answer = plane.ask({"model": "m", "prompt": "a cat"}, key=key, path="/v1/images/generations")
    (record,) = plane.records()
    assert (answer.status, record["cost"], plane.spend(key)) == (400, 0, 0)


def test_an_answer_without_usage_tells_the_cost_that_is_recorded(rig: Rig) -> None:
    unreported: dict[str, Any] = {name: value for name, value in COMPLETION.items() if name != "usage"}
    provider = rig.provider(answering(unreported))
    plane = rig.plane([provider.deployment(price=price(input=1_000_000_000, output=1_000_000_000))])
    answer = plane.ask(messages())
    (record,) = plane.records()
    assert (record["usage_source"], record["completion_tokens"]) == ("counted", 1)
    assert record["cost"] == 1_000 * (record["prompt_tokens"] + 1)
    assert float(answer.get("x-penstock-cost-usd") or "") == pytest.approx(record["cost"] / 1e9)


def test_absurd_usage_of_a_provider_does_not_stop_the_gateway(rig: Rig) -> None:
    absurd = {"prompt_tokens": 2**63, "completion_tokens": 2**63, "total_tokens": 2**64 - 1}
    provider = rig.provider(answering({**COMPLETION, "usage": absurd}))
    plane = rig.plane([provider.deployment(price=price(input=1_000_000, output=1_000_000))])
    key = plane.key(tpm=10**15)
    assert [plane.ask(messages(), key=key).status for _ in range(3)] == [200, 200, 200]
    for record in plane.records(3):
        # What a JSON reader with floating-point numbers can still hold.
        assert record["prompt_tokens"] <= 2**53
