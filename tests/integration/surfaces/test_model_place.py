"""Where a request may name its model: JSON, multipart, header, query, or nowhere."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from tests.conftest import Gateway
from tests.rig import CONFIG, Sim


def _send(gateway: Gateway, method: str, path: str, **options: Any) -> httpx.Response:
    headers = {**gateway.admin, **options.pop("headers", {})}
    with gateway.client() as client:
        return client.request(method, path, headers=headers, **options)


def test_json_goes_before_header_and_query(door: Gateway, sim: Sim) -> None:
    answer = _send(
        door,
        "POST",
        "/v1/moderations?model=demo&x=1",
        json={"model": "openai/by-json", "input": "a"},
        headers={"x-penstock-model": "azure-pinned"},
    )
    assert answer.headers["x-penstock-model"] == "openai/by-json"
    assert json.loads(sim.of(answer).body)["model"] == "by-json"
    assert sim.of(answer).query == "x=1"


def test_multipart(door: Gateway, sim: Sim) -> None:
    form: dict[str, Any] = {
        "files": {"image": ("a.png", b"\x89PNG")},
        "data": {"prompt": "x", "model": "openai/by-form"},
    }
    answer = _send(door, "POST", "/v1/images/edits", **form)
    assert answer.headers["x-penstock-model"] == "openai/by-form"
    assert b'name="model"\r\n\r\nby-form\r\n' in sim.of(answer).body


@pytest.mark.parametrize("name", ["x-penstock-model", "x-litellm-model"])
def test_header(door: Gateway, sim: Sim, name: str) -> None:
    answer = _send(door, "GET", "/v1/files", headers={name: "azure-pinned"})
    assert answer.headers["x-penstock-model"] == "azure-pinned"
    assert sim.of(answer).values(name) == []


@pytest.mark.parametrize(
    "query", ["model=openai/by-query", "model=openai%2Fby-query", "limit=2&model=openai/by%2Dquery"]
)
def test_query(door: Gateway, sim: Sim, query: str) -> None:
    answer = _send(door, "GET", f"/v1/files?{query}")
    assert answer.headers.get("x-penstock-model") == "openai/by-query", answer.text
    assert "model=" not in sim.of(answer).query


def test_nowhere_means_the_configured_group(door: Gateway) -> None:
    for method, path in (("GET", "/v1/files"), ("POST", "/v1/batches/b_1/cancel")):
        assert _send(door, method, path).headers["x-penstock-model"] == "pinned"


def test_nowhere_and_nothing_configured_is_400_and_names_the_setting(start_gateway: Any) -> None:
    gateway = start_gateway(config=CONFIG.replace("passthrough_group: pinned", ""))
    answer = _send(gateway, "GET", "/v1/files")
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "model"
    # The name of the setting as the configuration knows it.
    assert "penstock.routing.passthrough_group" in answer.json()["error"]["message"]


@pytest.mark.parametrize("method, path", [("GET", "/v1/files"), ("POST", "/v1/responses")])
def test_a_key_needs_the_model_wherever_it_is_named(door: Gateway, sim: Sim, method: str, path: str) -> None:
    key = {"authorization": f"Bearer {door.new_key(models=['demo'])}"}
    since = sim.mark()
    options: list[dict[str, Any]] = [
        {"headers": {**key, "x-penstock-model": "pinned"}},
        {"headers": key, "params": {"model": "pinned"}},
        {"headers": key},
    ]
    for option in options:
        answer = _send(door, method, path, **option)
        assert answer.status_code == 403, answer.text
        assert answer.json()["error"]["code"] == "model_not_allowed"
    assert sim.ledger(since) == []


HIDDEN: dict[str, dict[str, Any]] = {
    "twice": {
        "content": b'{"model":"pinned","input":"a","model":"gpt-secret"}',
        "headers": {"content-type": "application/json"},
    },
    "twice, escaped": {
        "content": b'{"model":"pinned","input":"a","mod\\u0065l":"gpt-secret"}',
        "headers": {"content-type": "application/json"},
    },
    "JSON by another name": {"content": b'{"model":"gpt-secret"}', "headers": {"content-type": "text/plain"}},
    "JSON without a name": {"content": b'{"model":"gpt-secret"}'},
    "JSON as a form": {
        "content": b'{"model":"gpt-secret"}',
        "headers": {"content-type": "application/x-www-form-urlencoded"},
    },
    "a form": {"data": {"model": "gpt-secret"}},
    "multipart twice": {"files": [("model", (None, "pinned")), ("model", (None, "gpt-secret")), ("file", ("a", b"x"))]},
    "multipart with a file name": {"files": [("model", ("x", b"gpt-secret")), ("file", ("a", b"x"))]},
}


@pytest.mark.parametrize("how", HIDDEN)
@pytest.mark.parametrize("path", ["/v1/responses", "/v1/images/edits"])
def test_a_model_cannot_be_slipped_past_the_permission(door: Gateway, sim: Sim, how: str, path: str) -> None:
    """The provider must not read another model than the one that was checked."""
    options = dict(HIDDEN[how])
    headers = {"authorization": f"Bearer {door.new_key(models=['pinned'])}", **options.pop("headers", {})}
    since = sim.mark()
    answer = _send(door, "POST", path, headers=headers, **options)
    if answer.status_code in (400, 403, 404, 415) and not sim.ledger(since):
        return
    assert b"gpt-secret" not in sim.last().body


@pytest.mark.parametrize(
    "model",
    [
        "azure/x?api-version=1#",
        "azure/x y",
        "azure/a/../../b",
        "azure/x\r\nx-injected: 1",
        "azure/x HTTP/1.1\r\nhost: evil\r\n\r\n",
        "azure/ümlaut",
        "azure/a%2Fb",
    ],
)
def test_a_model_name_cannot_change_the_upstream_request(door: Gateway, sim: Sim, model: str) -> None:
    """Azure takes the model into the path: it goes there percent-encoded or not at all."""
    since = sim.mark()
    answer = _send(door, "POST", "/v1/chat/completions", json={"model": model, "messages": []})
    entries = sim.ledger(since)
    assert len(entries) <= 1
    if not entries:
        assert answer.status_code in (400, 404), answer.text
        return
    received = sim.last()
    assert received.path.startswith("/openai/deployments/")
    assert received.path.endswith("/chat/completions")
    assert received.path.count("/") == 5
    assert received.query == "api-version=2024-10-21"
    assert received.values("x-injected") == []
