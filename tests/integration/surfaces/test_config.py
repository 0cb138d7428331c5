"""What the configuration promises, seen from the upstream's side."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from tests.conftest import Gateway
from tests.rig import OPENAI_KEY, Sim

_TO = f"api_base: $SIMULATOR/v1, api_key: {OPENAI_KEY}"
CONFIG = f"""
model_list:
  - model_name: defaults
    litellm_params: {{model: openai/m, {_TO}, temperature: 0.25, max_tokens: 4, stop: ["never"]}}
  - model_name: extra
    litellm_params:
      model: openai/m
      api_base: $SIMULATOR/v1
      api_key: {OPENAI_KEY}
      extra_body: {{top_k: 7, seed: 9, nested: {{a: [1]}}}}
      extra_headers: {{X-Team: blue, User-Agent: gateway/1}}
      additional_drop_params: [logit_bias, metadata]
  - model_name: bearer
    litellm_params: {{model: openai/m, {_TO}, organization: org-7, extra_headers: {{Authorization: Basic abc}}}}
  - model_name: weighted
    litellm_params: {{model: openai/heavy, {_TO}, weight: 3}}
  - model_name: weighted
    litellm_params: {{model: openai/light, {_TO}, weight: 1}}
  - model_name: weighted
    litellm_params: {{model: openai/never, {_TO}, weight: 0}}
  - model_name: by-rpm
    litellm_params: {{model: openai/most, {_TO}, rpm: 90000}}
  - model_name: by-rpm
    litellm_params: {{model: openai/least, {_TO}, rpm: 10000}}
  - model_name: ordered
    litellm_params: {{model: openai/second, {_TO}, order: 2}}
  - model_name: ordered
    litellm_params: {{model: openai/first, {_TO}, order: 1}}
  - model_name: ordered-failing
    litellm_params: {{model: openai/backup, {_TO}, order: 2}}
  - model_name: ordered-failing
    litellm_params: {{model: "openai/sim/status=500", {_TO}, order: 1}}
  - model_name: broken
    litellm_params: {{model: "openai/sim/status=503", {_TO}}}
  - model_name: refusing
    litellm_params: {{model: "openai/sim/status=400", {_TO}}}
  - model_name: cut-off
    litellm_params: {{model: openai/m, api_base: "http://127.0.0.1:1/v1", api_key: k}}
  - model_name: rescue
    litellm_params: {{model: openai/rescued, {_TO}}}
  - model_name: openai/*
    litellm_params: {{model: openai/*, {_TO}}}
  - model_name: team-*-chat
    litellm_params: {{model: openai/vendor-*-v2, {_TO}}}
  - model_name: openai/exact
    litellm_params: {{model: openai/exactly, {_TO}}}
  - model_name: azure-new
    litellm_params: {{model: azure/dep, api_base: $SIMULATOR, api_key: ak, api_version: v1}}
  - model_name: azure-url
    litellm_params:
      model: azure/dep
      api_base: "$SIMULATOR/openai/deployments/dep/chat/completions?api-version=2023-05-15"
      api_key: ak
  - model_name: azure-token
    litellm_params: {{model: azure/dep, api_base: $SIMULATOR, azure_ad_token: ad, api_version: "2024-02-01"}}
litellm_settings: {{num_retries: 0}}
router_settings:
  disable_cooldowns: true
  model_group_alias: {{gpt-4: rescue, hidden-one: {{model: rescue, hidden: true}}}}
  fallbacks: [{{broken: [cut-off, rescue]}}, {{refusing: [rescue]}}]
"""


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory, simulator_url: str) -> Iterator[Gateway]:
    """One gateway with everything that this module looks at."""
    running = Gateway(tmp_path_factory.mktemp("config"), simulator_url, config=CONFIG)
    try:
        yield running
    finally:
        running.close()


Ask = Callable[..., httpx.Response]


@pytest.fixture
def ask(gateway: Gateway) -> Iterator[Ask]:
    """Sends chat completions as the administrator."""
    with gateway.client(headers=gateway.admin) as client:

        def send(model: str, **fields: Any) -> httpx.Response:
            body = {"model": model, "messages": [{"role": "user", "content": "a b"}], **fields}
            return client.post("/v1/chat/completions", json=body)

        yield send


def _body(sim: Sim, answer: httpx.Response) -> dict[str, Any]:
    return dict(json.loads(sim.of(answer).body))


def test_defaults_hold_where_the_request_says_nothing(ask: Ask, sim: Sim) -> None:
    answer = ask("defaults")
    body = _body(sim, answer)
    assert (body["temperature"], body["max_tokens"], body["stop"]) == (0.25, 4, ["never"])
    assert answer.json()["usage"]["completion_tokens"] == 4
    body = _body(sim, ask("defaults", temperature=1, max_tokens=2, stop=None))
    assert (body["temperature"], body["max_tokens"], body["stop"]) == (1, 2, ["never"])


def test_extra_body_replaces_and_dropped_parameters_are_gone(ask: Ask, sim: Sim) -> None:
    answer = ask("extra", seed=1, logit_bias={"1": 2}, metadata={"a": "b"}, top_p=0.5)
    body = _body(sim, answer)
    assert (body["top_k"], body["seed"], body["nested"], body["top_p"]) == (7, 9, {"a": [1]}, 0.5)
    assert not {"logit_bias", "metadata"} & set(body)
    received = sim.of(answer)
    assert received.values("x-team") == ["blue"]
    assert received.values("user-agent") == ["gateway/1"]


def test_extra_headers_may_replace_the_credential(ask: Ask, sim: Sim) -> None:
    received = sim.of(ask("bearer"))
    assert received.values("authorization") == ["Basic abc"]
    assert received.values("openai-organization") == ["org-7"]


def test_weights_share_the_calls(ask: Ask, sim: Sim) -> None:
    since = sim.mark()
    for _ in range(400):
        assert ask("weighted", max_tokens=1).status_code == 200
    seen = Counter(entry["model"] for entry in sim.ledger(since))
    # 3 : 1 of 400; five standard deviations are 43.
    assert 257 <= seen["heavy"] <= 343, seen
    assert seen["heavy"] + seen["light"] == 400


def test_requests_per_minute_share_the_calls_when_there_are_no_weights(ask: Ask, sim: Sim) -> None:
    since = sim.mark()
    for _ in range(200):
        assert ask("by-rpm", max_tokens=1).status_code == 200
    seen = Counter(entry["model"] for entry in sim.ledger(since))
    # 9 : 1 of 200; five standard deviations are 21.
    assert 159 <= seen["most"] <= 199, seen


def test_lower_orders_go_first_and_higher_ones_help_out(ask: Ask, sim: Sim) -> None:
    since = sim.mark()
    for _ in range(10):
        assert ask("ordered").status_code == 200
    assert {entry["model"] for entry in sim.ledger(since)} == {"first"}


def test_a_failing_lower_order_is_followed_by_the_next(start_gateway: Callable[..., Gateway], sim: Sim) -> None:
    gateway = start_gateway(config=CONFIG.replace("num_retries: 0", "num_retries: 1"))
    since = sim.mark()
    with gateway.client(headers=gateway.admin) as client:
        answer = client.post("/v1/chat/completions", json={"model": "ordered-failing", "messages": []})
    assert answer.status_code == 200
    assert [entry["model"] for entry in sim.ledger(since)] == ["sim/status=500", "backup"]
    assert answer.headers["x-penstock-attempts"] == "2"


@pytest.mark.parametrize("stream", [False, True])
def test_fallbacks_are_tried_in_order(ask: Ask, sim: Sim, stream: bool) -> None:
    since = sim.mark()
    answer = ask("broken", stream=stream)
    assert answer.status_code == 200
    assert answer.headers["x-penstock-model"] == "rescue"
    assert [entry["model"] for entry in sim.ledger(since)] == ["sim/status=503", "rescued"]


def test_a_request_that_is_wrong_is_not_tried_elsewhere(ask: Ask, sim: Sim) -> None:
    since = sim.mark()
    assert ask("refusing").status_code == 400
    assert len(sim.ledger(since)) == 1


def test_a_fallback_is_not_a_way_around_permissions(gateway: Gateway) -> None:
    key = {"authorization": f"Bearer {gateway.new_key(models=['broken'])}"}
    with gateway.client(headers=key) as client:
        answer = client.post("/v1/chat/completions", json={"model": "broken", "messages": []})
    assert answer.status_code == 503


@pytest.mark.parametrize(
    "asked, upstream",
    [
        ("openai/gpt-4o", "gpt-4o"),
        ("openai/org/model:tag@1", "org/model:tag@1"),
        ("openai/exact", "exactly"),
        ("team-a.b-chat", "vendor-a.b-v2"),
        ("gpt-4", "rescued"),
        ("hidden-one", "rescued"),
    ],
)
def test_names_lead_to_upstream_models(ask: Ask, sim: Sim, asked: str, upstream: str) -> None:
    assert _body(sim, ask(asked))["model"] == upstream


def test_aliases_are_listed_unless_hidden(gateway: Gateway) -> None:
    with gateway.client(headers=gateway.admin) as client:
        ids = {model["id"] for model in client.get("/v1/models").json()["data"]}
    assert "gpt-4" in ids
    assert "hidden-one" not in ids


@pytest.mark.parametrize(
    "model, target, credential",
    [
        ("azure-new", "/openai/v1/chat/completions", ("api-key", "ak")),
        ("azure-url", "/openai/deployments/dep/chat/completions?api-version=2023-05-15", ("api-key", "ak")),
        (
            "azure-token",
            "/openai/deployments/dep/chat/completions?api-version=2024-02-01",
            ("authorization", "Bearer ad"),
        ),
    ],
)
def test_azures_addresses(ask: Ask, sim: Sim, model: str, target: str, credential: tuple[str, str]) -> None:
    received = sim.of(ask(model))
    assert received.target == target
    shown = [(name.lower(), value) for name, value in received.headers if name.lower() in ("api-key", "authorization")]
    assert shown == [credential]


def test_without_a_file_the_environment_is_enough(
    start_gateway: Callable[..., Gateway], sim: Sim, simulator_url: str
) -> None:
    gateway = start_gateway(
        environment={
            "OPENAI_API_KEY": "sk-env",
            "OPENAI_API_BASE": f"{simulator_url}/v1",
            "ANTHROPIC_API_KEY": "sk-ant-env",
            "ANTHROPIC_API_BASE": simulator_url,
            "AZURE_API_KEY": "az-env",
            "AZURE_API_BASE": simulator_url,
            "AZURE_API_VERSION": "2024-06-01",
        }
    )
    chat: dict[str, Any] = {"messages": [{"role": "user", "content": "a"}], "max_tokens": 2}
    with gateway.client(headers=gateway.admin) as client:
        openai = client.post("/v1/chat/completions", json={**chat, "model": "openai/gpt-4o"})
        assert openai.status_code == 200, openai.text
        assert sim.of(openai).values("authorization") == ["Bearer sk-env"]
        assert _body(sim, openai)["model"] == "gpt-4o"
        claude = client.post("/v1/messages", json={**chat, "model": "anthropic/claude-x"})
        assert claude.status_code == 200, claude.text
        assert sim.of(claude).values("x-api-key") == ["sk-ant-env"]
        azure = client.post("/v1/chat/completions", json={**chat, "model": "azure/dep"})
        assert sim.of(azure).target == "/openai/deployments/dep/chat/completions?api-version=2024-06-01"
        assert sim.of(azure).values("api-key") == ["az-env"]
        assert client.post("/v1/chat/completions", json={**chat, "model": "groq/x"}).status_code == 404
