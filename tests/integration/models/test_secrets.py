"""Secrets of stored models go to their own upstream and nowhere else: no answer, no log, no file in the clear."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from typing import Any

import pytest

from tests.conftest import Gateway
from tests.integration.managed import Managed
from tests.integration.models.conftest import STORED, Models
from tests.integration.models.upstream import Upstream


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    """Somebody's server that writes down what it is sent."""
    with Upstream() as running:
        yield running


def test_secrets_are_in_no_answer_log_or_file(models: Models) -> None:
    managed = models.managed
    words = [f"hidden-{secrets.token_hex(8)}" for _ in range(5)]
    key, header, body, token, inner = words
    name = models.name()
    params: dict[str, Any] = {
        "api_key": key,
        "extra_headers": {"x-extra": header},
        "extra_body": {"note": {"deep": [body]}},
        "aws_secret_access_key": token,
        "api_base": f"{models.upstream}?sig={inner}",
    }
    answers = [models.new(name, **params)]
    params.pop("api_base")
    answers.append(models.new(name, **params))
    model_id = answers[-1].json()["model_id"]
    answers += [
        models.managed.client.patch(
            f"/model/{model_id}/update", headers=managed.admin, json={"litellm_params": {"api_key": f"{key}-2"}}
        ),
        models.asked(name),
        managed.get("/model/info"),
        managed.get("/v1/model/info", litellm_model_id=model_id),
        managed.get("/v2/model/info", search=name),
        managed.get("/model_group/info"),
        managed.get("/v1/models"),
        managed.post("/model/block", model_id=model_id),
        managed.get("/model/info"),
        managed.post("/model/unblock", model_id=model_id),
        models.new(name, **{**params, "rpm": "x"}),
        models.new(name, **{**params, "api_key": f"{key}\n"}),
        models.new(name, **{**params, "extra_headers": {"bad header": header}}),
        managed.get("/metrics"),
    ]
    assert [answers[index].status_code for index in (1, 2, 3)] == [200, 200, 200]
    for word in words:
        for answer in answers:
            assert word not in answer.text
        assert word not in managed.gateway.process.output()
        for file in managed.gateway.data_dir.iterdir():
            if file.is_file():
                assert word.encode() not in file.read_bytes(), file.name
    shown = answers[1].json()["litellm_params"]
    assert shown["api_key"] == f"hi****{key[-2:]}"
    assert shown["api_base"] == managed.gateway.simulator_url


def test_hints_sent_back_change_nothing(models: Models) -> None:
    name = models.name()
    made = models.new(name).json()
    body = {"litellm_params": made["litellm_params"], "model_info": made["model_info"], "model_name": name}
    answer = models.managed.client.patch(f"/model/{made['model_id']}/update", headers=models.managed.admin, json=body)
    assert answer.status_code == 200, answer.text
    assert models.asked(name).status_code == 200
    assert answer.json()["litellm_params"] == made["litellm_params"]


def test_an_address_of_its_own_gets_what_the_model_brings_and_nothing_else(models: Models, upstream: Upstream) -> None:
    """Whoever may add models could otherwise have the gateway's keys sent to a place of their choice."""
    name = models.name()
    base = f"{upstream.url}/v1"
    models.created(name, api_base=base, api_key=None)
    models.asked(name)
    assert upstream.last.get("authorization") is None, "neither the environment's key nor anybody's"
    models.created(f"{name}-own", api_base=base, api_key="sk-brought-along")
    models.asked(f"{name}-own")
    assert upstream.last.get("authorization") == "Bearer sk-brought-along"
    managed = models.managed
    values = {"api_key": "sk-for-elsewhere", "api_base": models.upstream}
    managed.post("/credentials", credential_name=f"c-{name}", credential_values=values)
    lent = models.new(f"{name}-lent", api_base=base, api_key=None, litellm_credential_name=f"c-{name}")
    assert (lent.status_code, lent.json()["error"]["param"]) == (400, "litellm_params.api_base")


def test_a_stored_key_does_not_follow_to_another_address(models: Models, upstream: Upstream) -> None:
    name = models.name()
    path = f"/model/{models.created(name)}/update"

    def change(**params: Any) -> Any:
        return models.managed.client.patch(path, headers=models.managed.admin, json={"litellm_params": params})

    for field in ("api_base", "base_url"):
        moved = change(**{field: f"{upstream.url}/v1"})
        assert (moved.status_code, moved.json()["error"]["param"]) == (400, "litellm_params.api_key")
    assert models.asked(name).status_code == 200
    assert change(api_base=f"{models.managed.gateway.simulator_url}/v1/").status_code == 200, "the same server"
    assert change(api_base=f"{upstream.url}/v1", api_key="sk-given-again").status_code == 200
    assert models.asked(name).status_code == 200
    assert upstream.last.get("authorization") == "Bearer sk-given-again"


def test_a_stored_key_does_not_follow_to_another_providers_server(models: Models) -> None:
    """Without an address it is the provider that says where the key goes."""
    params = {"model": "openai/x", "api_key": "sk-for-openai-alone"}
    made = models.managed.post("/model/new", model_name=models.name(), litellm_params=params)
    assert made.status_code == 200, made.text
    path = f"/model/{made.json()['model_id']}/update"

    def change(**params: Any) -> Any:
        return models.managed.client.patch(path, headers=models.managed.admin, json={"litellm_params": params})

    for moved in ({"model": "groq/x"}, {"custom_llm_provider": "groq"}):
        refused = change(**moved)
        assert (refused.status_code, refused.json()["error"]["param"]) == (400, "litellm_params.api_key"), moved
    assert change(model="openai/y").status_code == 200
    assert change(model="groq/x", api_key="sk-for-groq").status_code == 200


def test_the_files_defaults_stay_with_the_files_addresses(
    tmp_path_factory: pytest.TempPathFactory, simulator_url: str, upstream: Upstream
) -> None:
    config = STORED.replace(
        "router_settings:",
        "router_settings:\n  default_litellm_params: {api_key: sk-default, extra_headers: {x-default: secret}}",
    ).replace("penstock:\n", "penstock:\n  stored_models: {environment: [LISTED_KEY]}\n")
    environment = {"LISTED_KEY": "sk-listed", "OPENAI_API_KEY": "sk-of-the-environment", "OPENAI_ORGANIZATION": "org-1"}
    gateway = Gateway(tmp_path_factory.mktemp("defaults"), simulator_url, config=config, environment=environment)
    managed = Managed(gateway)
    try:
        models = Models(managed)
        base = f"{upstream.url}/v1"
        models.created("bare", api_base=base, api_key=None)
        models.asked("bare")
        assert (upstream.last.get("authorization"), upstream.last.get("x-default")) == (None, None)
        assert upstream.last.get("openai-organization") is None
        models.created("listed", api_base=base, api_key="os.environ/LISTED_KEY")
        models.asked("listed")
        assert upstream.last.get("authorization") == "Bearer sk-listed"
        for name, status in (("OPENAI_API_KEY", 400), ("PATH", 400)):
            assert models.new("other", api_base=base, api_key=f"os.environ/{name}").status_code == status
        # On the way to the provider itself its own key may be named, as configuration files do.
        fine = models.new("theirs", api_base=None, api_key="os.environ/OPENAI_API_KEY")
        assert fine.status_code == 200, fine.text
        assert "sk-of-the-environment" not in fine.text
    finally:
        managed.client.close()
        gateway.close()
