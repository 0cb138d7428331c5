"""`/customer/...` and `/end_user/...` through the public port."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from tests.integration.managed import Managed


def _id() -> str:
    return f"customer-{uuid.uuid4()}"


@pytest.mark.parametrize("prefix", ["/customer", "/end_user"])
def test_a_customer_lives_under_both_names(managed: Managed, prefix: str) -> None:
    customer = _id()
    made = managed.post(f"{prefix}/new", user_id=customer, alias="c", max_budget=1, budget_duration="1d", rpm_limit=2)
    assert made.status_code == 200, made.text
    assert (made.json()["user_id"], made.json()["blocked"], made.json()["spend"]) == (customer, False, 0.0)
    assert made.json()["litellm_budget_table"]["max_budget"] == 1.0
    assert managed.post(f"{prefix}/new", user_id=customer).json()["error"]["param"] == "user_id"
    changed = managed.post(f"{prefix}/update", user_id=customer, max_budget=2, default_model="priced").json()
    assert (changed["max_budget"], changed["rpm_limit"], changed["default_model"]) == (2.0, 2, "priced")
    assert managed.get(f"{prefix}/info", end_user_id=customer).json()["alias"] == "c"
    assert customer in {one["user_id"] for one in managed.get(f"{prefix}/list").json()}
    blocked = managed.post(f"{prefix}/block", user_ids=[customer]).json()["blocked_users"]
    assert [(one["user_id"], one["blocked"]) for one in blocked] == [(customer, True)]
    assert managed.post(f"{prefix}/unblock", user_ids=[customer]).json() == {"blocked_users": []}
    assert managed.get(f"{prefix}/info", end_user_id=customer).json()["blocked"] is False
    assert managed.post(f"{prefix}/delete", user_ids=[customer]).json()["deleted_customers"] == 1
    assert managed.get(f"{prefix}/info", end_user_id=customer).status_code == 404
    assert managed.post(f"{prefix}/delete", user_ids=[customer]).status_code == 404


def test_limits_per_model_that_refuse_nothing_are_named(managed: Managed) -> None:
    made = managed.post("/customer/new", user_id=_id(), model_rpm_limit={"priced": 1}).json()
    assert made["model_rpm_limit"] == {"priced": 1}
    assert "`model_rpm_limit`" in made["warnings"][0]


def test_who_is_blocked_need_not_have_been_created(managed: Managed) -> None:
    customer = _id()
    assert managed.post("/customer/block", user_ids=[customer]).json()["blocked_users"][0]["user_id"] == customer
    assert managed.post("/customer/unblock", user_ids=[_id()]).status_code == 404


def test_spend_is_that_of_the_requests_user(managed: Managed) -> None:
    customer = _id()
    managed.post("/customer/new", user_id=customer)
    key = managed.key()
    assert managed.chat(key, user=customer).status_code == 200
    assert managed.chat(key).status_code == 200
    spend = managed.get("/customer/info", end_user_id=customer).json()["spend"]
    assert 0 < spend == pytest.approx(managed.info(key)["spend"] / 2)


def test_a_name_that_no_store_keeps_is_one_customer_all_the_same(managed: Managed) -> None:
    """U+0000: what is charged is what is asked for, whichever database it is."""
    customer = _id()
    managed.post("/customer/new", user_id=f"{customer}\ufffd")
    assert managed.chat(managed.key(), user=f"{customer}\0").status_code == 200
    assert managed.get("/customer/info", end_user_id=f"{customer}\ufffd").json()["spend"] > 0


@pytest.mark.parametrize(
    "path,body,param",
    [
        ("/customer/new", {"user_id": ""}, "user_id"),
        ("/customer/new", {"user_id": "x", "soft_budget": -1}, "soft_budget"),
        ("/customer/new", {"user_id": "x", "budget_id": "none"}, "budget_id"),
        ("/customer/new", {"user_id": "x", "aliass": "y"}, "aliass"),
        ("/customer/block", {"user_ids": []}, "user_ids"),
    ],
)
def test_refusals_name_the_field(managed: Managed, path: str, body: dict[str, Any], param: str) -> None:
    refused = managed.post(path, **body)
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, param), refused.text
