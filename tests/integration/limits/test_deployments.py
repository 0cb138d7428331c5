"""Limits of deployments: a full one is passed over, and a group whose deployments are all full says so."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack

from tests.integration.managed import Managed, until

CONFIG = """
model_list:
  - model_name: two
    litellm_params: {model: openai/sim, api_base: $SIMULATOR/v1, api_key: unused-by-the-simulator, order: 1, rpm: 3}
    model_info: {id: first}
  - model_name: two
    litellm_params: {model: openai/sim, api_base: $SIMULATOR/v1, api_key: unused-by-the-simulator, order: 2, rpm: 2}
    model_info: {id: second}
  - model_name: tokens
    litellm_params: {model: openai/sim, api_base: $SIMULATOR/v1, api_key: unused-by-the-simulator, order: 1, tpm: 200}
    model_info: {id: small}
  - model_name: tokens
    litellm_params: {model: openai/sim, api_base: $SIMULATOR/v1, api_key: unused-by-the-simulator, order: 2}
    model_info: {id: large}
  - model_name: slots
    litellm_params:
      {model: openai/sim, api_base: $SIMULATOR/v1, api_key: unused-by-the-simulator, order: 1, max_parallel_requests: 2}
    model_info: {id: narrow}
  - model_name: slots
    litellm_params: {model: openai/sim, api_base: $SIMULATOR/v1, api_key: unused-by-the-simulator, order: 2}
    model_info: {id: wide}
router_settings: {num_retries: 0}
penstock:
  upstream: {forward_headers: [x-sim-]}
"""


def test_a_full_deployment_is_passed_over(start_managed: Callable[..., Managed]) -> None:
    managed = start_managed(config=CONFIG)
    key = managed.key()

    # Requests: three, then two on the next, then none is left.
    begin = time.monotonic()
    answers = [managed.chat(key, model="two") for _ in range(6)]
    assert time.monotonic() - begin < 10, "too slow to judge limits per minute"
    assert [answer.headers.get("x-penstock-deployment") for answer in answers[:5]] == ["first"] * 3 + ["second"] * 2
    assert answers[5].status_code == 429
    assert answers[5].json()["error"]["code"] == "no_deployment_available"
    assert int(answers[5].headers["retry-after"]) >= 1

    # Tokens: what a call reserves decides; what it gives back counts for the next.
    asked = [100, 150, 100, 250]
    served = [managed.chat(key, model="tokens", max_tokens=n).headers["x-penstock-deployment"] for n in asked]
    assert served == ["small", "small", "small", "large"]

    # Calls in flight, and again when they are over.
    with ExitStack() as stack:
        for expected in ("narrow", "narrow", "wide", "wide"):
            sim = {"tokens": 400, "tps": 4}
            answer = stack.enter_context(managed.stream(key, model="slots", max_tokens=400, sim=sim))
            assert answer.headers["x-penstock-deployment"] == expected
    until(lambda: managed.chat(key, model="slots").headers["x-penstock-deployment"] == "narrow", what="a free slot")

    # Every call is in the ledger with the deployment that answered it.
    rows = managed.logs(key)
    by_deployment = {row["model_id"] for row in rows}
    assert {"first", "second", "small", "large", "narrow", "wide"} <= by_deployment
    refused = [row for row in rows if row["metadata"]["error_code"] == "no_deployment_available"]
    assert [row["metadata"]["http_status"] for row in refused] == [429]
