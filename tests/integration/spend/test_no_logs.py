"""`general_settings.disable_spend_logs`: keys are charged to the nano-dollar, and no call leaves a row."""

from __future__ import annotations

from collections.abc import Callable

from tests.integration.managed import CONFIG, Managed, cost_of_priced, nanos, until


def test_keys_are_charged_and_no_call_has_a_row(start_managed: Callable[..., Managed]) -> None:
    managed = start_managed(config=f"{CONFIG}\ngeneral_settings:\n  disable_spend_logs: true\n")
    key = managed.key(max_budget=1.0)
    costs = []
    for _ in range(3):
        answer = managed.chat(key)
        sent = managed.simulated(answer)
        costs.append(cost_of_priced(sent["prompt_tokens"], sent["completion_tokens"]))
        assert managed.chat(managed.gateway.admin_key).status_code == 200
    until(lambda: nanos(managed.info(key)["spend"]) == sum(costs), what="the key's spend")
    assert managed.logs(key) == []
    assert managed.get("/spend/logs", limit=100).json() == []
    assert sum(costs) > 0
