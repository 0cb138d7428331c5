"""`Idempotency-Key`: a request that is sent again is answered again and not run again, through both doors."""

from __future__ import annotations

import json
import secrets
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from tests.conftest import Gateway
from tests.rig import Sim

CHAT = "/v1/chat/completions"


def _body(model: str, **more: Any) -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": "a b c"}], "max_tokens": 8, **more}


def _model() -> str:
    """A model that no other test asks for."""
    return f"openai/once-{secrets.token_hex(6)}"


def _runs(sim: Sim, since: int, model: str) -> int:
    """How often the upstream ran a model."""
    return sum(entry["model"] == model.removeprefix("openai/") for entry in sim.ledger(since))


def _ask(door: Gateway, key: str, body: dict[str, Any], path: str = CHAT, **headers: str) -> httpx.Response:
    with door.client() as client:
        sent = {
            **door.admin,
            "idempotency-key": key,
            **{name.replace("_", "-"): value for name, value in headers.items()},
        }
        return client.post(path, json=body, headers=sent)


@pytest.mark.parametrize("stream", [False, True])
def test_the_same_request_gets_the_same_answer(door: Gateway, sim: Sim, stream: bool) -> None:
    since, model, key = sim.mark(), _model(), secrets.token_hex(16)
    first = _ask(door, key, _body(model, stream=stream))
    assert first.status_code == 200
    assert "idempotent-replayed" not in first.headers
    for _ in range(3):
        again = _ask(door, key, _body(model, stream=stream))
        assert again.status_code == 200
        assert again.content == first.content
        assert again.headers["idempotent-replayed"] == "true"
        assert again.headers["content-type"] == first.headers["content-type"]
        assert again.headers["x-penstock-call-id"] == first.headers["x-penstock-call-id"]
    assert _runs(sim, since, model) == 1


def test_fifty_at_once_run_once(door: Gateway, sim: Sim) -> None:
    since, model, key = sim.mark(), _model(), secrets.token_hex(16)
    start = threading.Barrier(50)

    def send(_: int) -> httpx.Response:
        start.wait()
        return _ask(door, key, _body(model), x_sim_delay="500")

    with ThreadPoolExecutor(50) as pool:
        answers = list(pool.map(send, range(50)))
    good = [answer for answer in answers if answer.status_code == 200]
    refused = [answer for answer in answers if answer.status_code == 409]
    assert len(good) + len(refused) == 50
    assert good
    assert all(answer.content == good[0].content for answer in good)
    for answer in refused:
        assert answer.json()["error"]["code"] == "idempotency_key_in_use"
        assert int(answer.headers["retry-after"]) >= 1
    assert _runs(sim, since, model) == 1
    assert _ask(door, key, _body(model)).content == good[0].content


def test_another_body_under_the_same_key_is_refused(door: Gateway, sim: Sim) -> None:
    since, model, key = sim.mark(), _model(), secrets.token_hex(16)
    assert _ask(door, key, _body(model)).status_code == 200
    other = _ask(door, key, _body(model, temperature=0.5))
    assert other.status_code == 422
    assert other.json()["error"]["code"] == "idempotency_key_reused"
    assert other.json()["error"]["param"] == "Idempotency-Key"
    assert _runs(sim, since, model) == 1


def test_a_key_means_something_else_to_others_and_elsewhere(door: Gateway, sim: Sim) -> None:
    since, model, key = sim.mark(), _model(), secrets.token_hex(16)
    assert _ask(door, key, _body(model)).status_code == 200
    stranger = door.new_key()
    with door.client() as client:
        headers = {"authorization": f"Bearer {stranger}", "idempotency-key": key}
        theirs = client.post(CHAT, json=_body(model), headers=headers)
    assert theirs.status_code == 200
    assert "idempotent-replayed" not in theirs.headers
    elsewhere = _ask(door, key, {"model": model, "input": "a"}, "/v1/embeddings")
    assert elsewhere.status_code == 200
    assert _runs(sim, since, model) == 3
    # The same route under its other name.
    again = _ask(door, key, _body(model), CHAT.removeprefix("/v1"))
    assert again.headers["idempotent-replayed"] == "true"
    assert _runs(sim, since, model) == 3


def test_a_header_that_travels_on_makes_another_request(door: Gateway, sim: Sim) -> None:
    since, model, key = sim.mark(), _model(), secrets.token_hex(16)
    assert _ask(door, key, _body(model), anthropic_beta="one").status_code == 200
    assert "idempotent-replayed" in _ask(door, key, _body(model), anthropic_beta="one").headers
    assert _ask(door, key, _body(model), anthropic_beta="two").json()["error"]["code"] == "idempotency_key_reused"
    assert _runs(sim, since, model) == 1


@pytest.mark.parametrize("status", [401, 429, 500, 503])
def test_what_may_pass_is_not_kept(door: Gateway, sim: Sim, status: int) -> None:
    since, model, key = sim.mark(), _model(), secrets.token_hex(16)
    for _ in range(2):
        failed = _ask(door, key, _body(model), x_sim_status=str(status))
        assert failed.status_code >= 400
        assert "idempotent-replayed" not in failed.headers
    assert _ask(door, key, _body(model)).status_code == 200
    assert _runs(sim, since, model) == 3


def test_a_lasting_refusal_is_kept(door: Gateway, sim: Sim) -> None:
    since, model, key = sim.mark(), _model(), secrets.token_hex(16)
    first = _ask(door, key, _body(model), x_sim_status="400")
    again = _ask(door, key, _body(model))
    assert (first.status_code, again.status_code) == (400, 400)
    assert again.content == first.content
    assert _runs(sim, since, model) == 1


def test_a_stream_that_broke_is_run_again(door: Gateway, sim: Sim) -> None:
    since, model, key = sim.mark(), _model(), secrets.token_hex(16)
    broken = _ask(door, key, _body(model, stream=True), x_sim_fault="reset_after:3")
    assert "[DONE]" not in broken.text
    whole = _ask(door, key, _body(model, stream=True))
    assert "idempotent-replayed" not in whole.headers
    assert whole.text.rstrip().endswith("[DONE]")
    assert _runs(sim, since, model) == 2


@pytest.mark.parametrize("key", ["", "x" * 256, "with blank", "tab\tbed"])
def test_a_malformed_key_is_refused(door: Gateway, key: str) -> None:
    answer = _ask(door, key, _body(_model()))
    assert answer.status_code == 400
    assert "Idempotency-Key" in answer.json()["error"]["message"]


def test_replays_take_nothing_of_limits_and_budget(door: Gateway, sim: Sim) -> None:
    model = _model()
    limited = door.new_key(rpm_limit=1)
    headers = {"authorization": f"Bearer {limited}", "idempotency-key": secrets.token_hex(16)}
    with door.client() as client:
        answers = [client.post(CHAT, json=_body(model), headers=headers) for _ in range(4)]
        assert [answer.status_code for answer in answers] == [200] * 4
        fresh = client.post(CHAT, json=_body(model), headers={"authorization": f"Bearer {limited}"})
    assert fresh.status_code == 429


def test_an_answer_beyond_the_bound_is_not_run_again(start_gateway: Callable[..., Gateway], sim: Sim) -> None:
    config = """
model_list:
  - model_name: openai/*
    litellm_params: {model: openai/*, api_base: $SIMULATOR/v1, api_key: sk-x}
penstock: {demo: false, idempotency: {answer_kb: 2}}
"""
    gateway = start_gateway(config=config)
    since, model, key = sim.mark(), _model(), secrets.token_hex(16)
    body = _body(model, stream=True, max_tokens=500)
    assert _ask(gateway, key, body).text.rstrip().endswith("[DONE]")
    again = _ask(gateway, key, body)
    assert again.status_code == 409
    assert again.json()["error"]["code"] == "idempotency_answer_not_kept"
    assert _runs(sim, since, model) == 1


def test_answers_end_with_their_time(start_gateway: Callable[..., Gateway], sim: Sim) -> None:
    config = """
model_list:
  - model_name: openai/*
    litellm_params: {model: openai/*, api_base: $SIMULATOR/v1, api_key: sk-x}
penstock: {demo: false, idempotency: {keep: 300ms}}
"""
    gateway = start_gateway(config=config)
    since, model, key = sim.mark(), _model(), secrets.token_hex(16)
    assert _ask(gateway, key, _body(model)).status_code == 200
    threading.Event().wait(0.4)
    again = _ask(gateway, key, _body(model))
    assert again.status_code == 200
    assert "idempotent-replayed" not in again.headers
    assert _runs(sim, since, model) == 2


def test_anthropic_clients_are_refused_in_their_words(door: Gateway) -> None:
    model, key = f"anthropic/once-{secrets.token_hex(4)}", secrets.token_hex(16)
    assert _ask(door, key, _body(model), "/v1/messages").status_code == 200
    other = _ask(door, key, _body(model, temperature=0.1), "/v1/messages")
    assert other.status_code == 422
    assert json.loads(other.text)["type"] == "error"


def test_what_the_gateway_refuses_is_decided_anew(door: Gateway, sim: Sim) -> None:
    model, key = _model(), secrets.token_hex(16)
    poor = door.new_key(max_budget=0.0)
    headers = {"authorization": f"Bearer {poor}", "idempotency-key": key}
    with door.client() as client:
        refused = client.post(CHAT, json=_body(model), headers=headers)
        assert refused.json()["error"]["code"] == "budget_exceeded"
        raised = client.post("/key/update", headers=door.admin, json={"key": poor, "max_budget": 1.0})
        assert raised.status_code == 200
        answer = client.post(CHAT, json=_body(model), headers=headers)
    assert answer.status_code == 200
    assert "idempotent-replayed" not in answer.headers
