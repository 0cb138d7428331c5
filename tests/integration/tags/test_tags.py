"""`/tag/...` through the public port."""

from __future__ import annotations

import uuid

import pytest

from tests.integration.managed import Managed


def _name() -> str:
    return f"tag-{uuid.uuid4()}"


def test_a_tag_is_made_changed_shown_and_removed(managed: Managed) -> None:
    name = _name()
    made = managed.post("/tag/new", name=name, description="blue things", max_budget=1, models=["id-1"]).json()
    assert made["message"] == f"Tag {name} created successfully"
    assert (made["tag"]["name"], made["tag"]["max_budget"], made["tag"]["models"]) == (name, 1.0, ["id-1"])
    assert managed.post("/tag/new", name=name).json()["error"]["param"] == "name"
    changed = managed.post("/tag/update", name=name, rpm_limit=5).json()["tag"]
    assert (changed["rpm_limit"], changed["max_budget"], changed["description"]) == (5, 1.0, "blue things")
    assert managed.post("/tag/info", names=[name, _name()]).json() == {name: changed}
    assert name in {one["name"] for one in managed.get("/tag/list").json()}
    assert managed.post("/tag/delete", name=name).json()["message"] == f"Tag {name} deleted successfully"
    assert managed.post("/tag/info", names=[name]).status_code == 404
    assert managed.post("/tag/update", name=name).status_code == 404


def test_spend_is_that_of_the_keys_with_the_tag(managed: Managed) -> None:
    name = _name()
    key, other = managed.key(tags=[name]), managed.key()
    managed.post("/tag/new", name=name)
    for one in (key, key, other):
        assert managed.chat(one).status_code == 200
    spend = managed.post("/tag/info", names=[name]).json()[name]["spend"]
    assert 0 < spend == pytest.approx(managed.info(key)["spend"])


def test_refusals_name_the_field(managed: Managed) -> None:
    for body, param in (({"name": ""}, "name"), ({"name": "x", "max_budget": -1}, "max_budget")):
        refused = managed.post("/tag/new", **body)
        assert (refused.status_code, refused.json()["error"]["param"]) == (400, param)
