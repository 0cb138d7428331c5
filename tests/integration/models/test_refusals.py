"""What cannot be a model is refused with the field named, is not stored, and changes nothing that is served."""

from __future__ import annotations

from typing import Any

import pytest

from tests.integration.models.conftest import Models

REFUSED: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    # By name: parameters, information, and the field at fault.
    "no model": ({"model": None}, {}, "litellm_params"),
    "unknown provider": ({"model": "nobody/sim", "api_base": None}, {}, "litellm_params.model"),
    "misspelt": ({"rmp": 5}, {}, "litellm_params.rmp"),
    "not a number": ({"rpm": "many"}, {}, "litellm_params.rpm"),
    "negative": ({"tpm": -1}, {}, "litellm_params.tpm"),
    "too expensive": ({"input_cost_per_token": 2}, {}, "litellm_params.input_cost_per_token"),
    "no address": ({"api_base": "localhost"}, {}, "litellm_params.api_base"),
    "password in the address": ({"api_base": "http://u:p@h/v1"}, {}, "litellm_params.api_base"),
    "line break in the key": ({"api_key": "a\nb"}, {}, "litellm_params.api_key"),
    "framing header": ({"extra_headers": {"Host": "x"}}, {}, "litellm_params.extra_headers"),
    "two wildcards": ({"model": "openai/*/*"}, {}, "litellm_params.model"),
    "wildcard behind a plain name": ({"model": "openai/*"}, {}, "litellm_params.model"),
    "a list where a text goes": ({"api_key": ["x"]}, {}, "litellm_params.api_key"),
    "an id that no header carries": ({}, {"id": "ü"}, "model_info.id"),
    "an id that is a number": ({}, {"id": 5}, "model_info.id"),
    "an unknown mode": ({}, {"mode": "telepathy"}, "model_info.mode"),
    "blocked by a text": ({}, {"blocked": "yes"}, "model_info.blocked"),
    "a team's own": ({}, {"team_id": "t"}, "model_info.team_id"),
    "a variable of the gateway": ({"api_key": "os.environ/UNRELATED_SECRET"}, {}, "litellm_params.api_key"),
    "the master key": ({"api_key": "os.environ/PENSTOCK_MASTER_KEY"}, {}, "litellm_params.api_key"),
    "a variable in a header": (
        {"extra_headers": {"x-a": "os.environ/UNRELATED_SECRET"}},
        {},
        "litellm_params.extra_headers.x-a",
    ),
    "a variable in the body": (
        {"extra_body": {"a": [{"b": "os.environ/HOME"}]}},
        {},
        "litellm_params.extra_body.a[0].b",
    ),
    "the provider's key to another address": ({"api_key": "os.environ/OPENAI_API_KEY"}, {}, "litellm_params.api_key"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_served_is_refused_and_not_stored(models: Models, case: str) -> None:
    params, info, field = REFUSED[case]
    before = models.managed.get("/v2/model/info").json()["total_count"]
    answer = models.new(models.name(), info, **params)
    assert answer.status_code == 400, answer.text
    error = answer.json()["error"]
    assert (error["type"], error["param"]) == ("invalid_request_error", field)
    assert field in error["message"]
    assert models.managed.get("/v2/model/info").json()["total_count"] == before
    assert models.asked("priced").status_code == 200


# Null leaves a parameter as it is, so that these are no different from before.
@pytest.mark.parametrize("case", sorted(REFUSED.keys() - {"no model", "unknown provider"}))
def test_an_update_that_cannot_be_served_leaves_the_model_as_it_was(models: Models, case: str) -> None:
    params, info, _ = REFUSED[case]
    name = models.name()
    model_id = models.created(name)
    body = {"litellm_params": params, "model_info": info}
    answer = models.managed.client.patch(f"/model/{model_id}/update", headers=models.managed.admin, json=body)
    assert answer.status_code == 400, answer.text
    assert models.asked(name).status_code == 200


def test_a_whole_body_that_does_not_fit_is_refused_by_name(models: Models) -> None:
    bodies: list[tuple[str, dict[str, Any], str | None]] = [
        ("/model/new", {}, None),
        ("/model/new", {"model_name": "x", "litellm_params": {}, "modle_info": {}}, "modle_info"),
        ("/model/new", {"model_name": 5, "litellm_params": {}}, "model_name"),
        ("/model/new", {"model_name": "", "litellm_params": {"model": "openai/sim"}}, "model_name"),
        ("/model/new", {"model_name": "x" * 600, "litellm_params": {"model": "openai/sim"}}, "model_name"),
        ("/model/update", {"litellm_params": {}}, "model_info.id"),
        ("/model/delete", {"model_id": "x"}, "model_id"),
    ]
    for path, body, param in bodies:
        answer = models.managed.post(path, **body)
        assert answer.status_code == 400, (path, body, answer.text)
        assert param is None or answer.json()["error"]["param"] == param
    deep: Any = 1
    for _ in range(70):
        deep = [deep]
    assert models.new(models.name(), extra_body={"a": deep}).json()["error"]["param"] == "litellm_params"


def test_an_id_is_given_once(models: Models) -> None:
    model_id = models.created(models.name(), {"id": f"id-{models.name()}"})
    again = models.new(models.name(), {"id": model_id})
    assert (again.status_code, again.json()["error"]["param"]) == (400, "model_info.id")
    of_the_file = models.managed.get("/model/info").json()["data"][0]["model_info"]["id"]
    taken = models.new(models.name(), {"id": of_the_file})
    assert (taken.status_code, taken.json()["error"]["param"]) == (400, "model_info.id")
    for path in ("/model/delete", "/model/block"):
        field = "id" if path.endswith("delete") else "model_id"
        answer = models.managed.post(path, **{field: of_the_file})
        assert answer.status_code == 400
        assert "configuration file" in answer.json()["error"]["message"]
        assert models.managed.post(path, **{field: "nothing"}).status_code == 404


def test_what_has_no_effect_is_said(models: Models) -> None:
    answer = models.new(models.name(), rpd=5, use_in_pass_through=True)
    assert answer.status_code == 200, answer.text
    said = " ".join(answer.json()["warnings"])
    assert "`litellm_params.rpd`: is a protection and is NOT enforced" in said
    assert "use_in_pass_through" in said


def test_pages_filters_and_order(models: Models) -> None:
    prefix = models.name()
    ids = [models.created(f"{prefix}-{letter}") for letter in "cab"]
    found = models.managed.get("/v2/model/info", search=prefix.upper(), sortBy="model_name", sortOrder="desc").json()
    assert [entry["model_name"][-1] for entry in found["data"]] == ["c", "b", "a"]
    pages = [
        models.managed.get("/v2/model/info", search=prefix, size=2, page=page, sortBy="created_at").json()
        for page in (1, 2)
    ]
    assert [entry["model_info"]["id"] for page in pages for entry in page["data"]] == ids
    assert (pages[0]["total_count"], pages[0]["total_pages"]) == (3, 2)
    one = models.managed.get("/v2/model/info", modelId=ids[1]).json()
    assert [entry["model_info"]["id"] for entry in one["data"]] == [ids[1]]
    assert models.managed.get("/v2/model/info", model=f"{prefix}-b").json()["total_count"] == 1
    group = models.managed.get("/model_group/info", model_group=f"{prefix}-a").json()["data"]
    assert [one["model_group"] for one in group] == [f"{prefix}-a"]
    assert models.managed.get("/v2/model/info", sortBy="secret").status_code == 400
