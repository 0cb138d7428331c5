"""Two gateways on one PostgreSQL: what one of them is told, the other serves within the interval."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Any

from tests.integration.managed import ASKED, Managed, cost_of_priced, nanos, until
from tests.integration.models.conftest import STORED, Models
from tests.stalls import Stopwatch


def soon(condition: Callable[[], Any], what: str) -> None:
    """It comes about within the two seconds that are promised, in which the machine does anything."""
    watch = Stopwatch()
    until(condition, what=what)
    assert watch.ran_s < 2, what


def test_models_and_resets_reach_the_other_gateway(start_managed: Callable[..., Managed], database_url: str) -> None:
    shared = {
        "DATABASE_URL": database_url,
        "PENSTOCK_SECRET_KEY": secrets.token_hex(32),
        "PENSTOCK_PEPPER": secrets.token_hex(32),
    }
    first, second = (Models(start_managed(config=STORED, environment=shared)) for _ in range(2))
    model_id = first.created("shared", input_cost_per_token=0.000001, output_cost_per_token=0.00001)
    soon(lambda: second.asked("shared").status_code == 200, "the model on the other gateway")
    assert second.entry(model_id)["model_info"]["db_model"] is True
    blocked = second.managed.post("/model/block", model_id=model_id)
    assert blocked.status_code == 200, blocked.text
    soon(lambda: first.asked("shared").status_code == 404, "the block on the other gateway")

    key = first.managed.key(max_budget=0.0003)
    cost, calls = cost_of_priced(ASKED, 4), 0
    while first.managed.chat(key).status_code == 200:
        calls += 1
    until(lambda: nanos(second.managed.info(key)["spend"]) == calls * cost, what="the first gateway's records")
    answer: Any = second.managed.client.post("/global/spend/reset", headers=second.managed.admin)
    assert answer.status_code == 200, answer.text
    soon(lambda: first.managed.chat(key).status_code == 200, "the reset on the first gateway")
    spent = until(lambda: nanos(second.managed.info(key)["spend"]), what="the next call's cost")
    assert spent == cost
    # Asking until it was admitted has left many refused calls, more than a page holds.
    paid_for = {"api_key": key, "status_filter": "success", "page_size": 1000}
    rows = first.managed.get("/spend/logs/v2", **paid_for).json()["data"]
    report = second.managed.get(
        "/global/spend/report", api_key=key, start_date="2020-01-01", end_date="2100-01-01"
    ).json()
    paid = sum(row["metadata"]["cost_nanodollars"] for row in rows)
    assert nanos(report[0]["total_cost"]) == paid
