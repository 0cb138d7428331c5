"""What a restricted key may reach, however the request is dressed up."""

from __future__ import annotations

import json
from typing import Any

import pytest

pytest.importorskip("penstock._core", reason="the extension is not built: `make setup`")

from penstock.engine.snapshot import ModelGroup, Settings
from tests.integration.regressions.rig import COMPLETION, MASTER, Plane, Provider, Rig, answering, messages

_FILES = {"object": "list", "data": []}


def _opened(rig: Rig, **options: Any) -> tuple[Provider, Plane]:
    provider = rig.provider(answering(_FILES))
    groups = [ModelGroup(name="cheap", deployments=[0]), ModelGroup(name="dear", deployments=[0])]
    settings = Settings(retries=0, passthrough_group="cheap")
    return provider, rig.plane([provider.deployment()], groups, settings, **options)


def _sent(plane: Plane, key: str, method: str, path: str, content_type: str, body: bytes, *fields: str) -> int:
    lines = [f"{method} {path} HTTP/1.1", "Host: gateway", f"Authorization: Bearer {key}", *fields]
    lines += [f"Content-Length: {len(body)}", *([f"Content-Type: {content_type}"] if content_type else [])]
    with plane.connect() as client:
        return client.send("\r\n".join(lines).encode() + b"\r\n\r\n" + body).answer().status


@pytest.mark.parametrize(
    "path, field",
    [("/v1/files", None), ("/v1/files", "x-penstock-model: cheap"), ("/v1/files?model=cheap", None)],
    ids=["configured", "header", "query"],
)
@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_a_key_for_some_models_may_not_use_what_names_none(rig: Rig, method: str, path: str, field: str | None) -> None:
    provider, plane = _opened(rig)
    path = path.replace("/files", "/files/f-1") if method == "DELETE" else path
    fields = [field] if field else []
    denied = plane.get(path, *fields, key=plane.key(models=["cheap"]), method=method)
    assert (denied.status, provider.requests) == (403, [])

    named = plane.key(models=["cheap"], allowed_routes=["/v1/files"])
    for key in (named, plane.key(), MASTER):
        assert plane.get(path, *fields, key=key, method=method).status == 200
    assert len(provider.requests) == 3


@pytest.mark.parametrize("route", ["/v1/batches", "/v1/fine_tuning/jobs", "/v1/threads/t/runs"])
def test_a_key_for_some_models_may_not_start_jobs_whose_models_are_elsewhere(rig: Rig, route: str) -> None:
    provider, plane = _opened(rig)
    denied = plane.ask({"input_file_id": "f"}, "x-penstock-model: cheap", key=plane.key(models=["cheap"]), path=route)
    assert (denied.status, provider.requests) == (403, [])
    named = plane.key(models=["cheap"], allowed_routes=[route])
    assert plane.ask({"input_file_id": "f"}, "x-penstock-model: cheap", key=named, path=route).status == 200


_UPLOAD = (
    b'--b\r\nContent-Disposition: form-data; name="model"\r\n\r\ncheap\r\n'
    b'--b\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n'
    b'--b\r\nContent-Disposition: form-data; name="file"; filename="f.jsonl"\r\n\r\n{"body":{"model":"dear"}}\r\n--b--\r\n'
)


@pytest.mark.parametrize(
    "method, path, content_type, body",
    [
        ("GET", "/v1/files", "application/json", b'{"model":"cheap"}'),
        ("DELETE", "/v1/files/f-1", "application/json", b'{"model":"cheap"}'),
        ("POST", "/v1/batches", "application/json", b'{"model":"cheap","input_file_id":"f"}'),
        ("POST", "/v1/files", "multipart/form-data; boundary=b", _UPLOAD),
    ],
    ids=["list", "delete", "batch", "upload"],
)
def test_an_allowed_model_in_the_body_does_not_open_the_account(
    rig: Rig, method: str, path: str, content_type: str, body: bytes
) -> None:
    provider, plane = _opened(rig)
    assert _sent(plane, plane.key(), method, path, content_type, body) == 200
    provider.requests.clear()
    denied = _sent(plane, plane.key(models=["cheap"]), method, path, content_type, body)
    assert (denied, provider.requests) == (403, [])


@pytest.mark.parametrize(
    "allowed, path, other",
    [
        ("/v1/images/generations", "/v1/images/generations", "/v1/images/edits"),
        ("/v1/audio/transcriptions", "/v1/audio/transcriptions", "/v1/audio/speech"),
        ("/v1/files/*", "/v1/files/f-1", "/v1/batches"),
        ("/v1/files/f-1", "/v1/files/f-1", "/v1/files/f-2"),
    ],
)
def test_allowed_routes_are_checked_against_the_path(rig: Rig, allowed: str, path: str, other: str) -> None:
    provider, plane = _opened(rig)
    key = plane.key(allowed_routes=[allowed])
    assert plane.ask({"model": "cheap"}, key=key, path=path).status == 200
    assert plane.ask({"model": "cheap"}, key=key, path=other).status == 403
    assert [request.start.split(" ")[1] for request in provider.requests] == [path]


@pytest.mark.parametrize("path", ["/v1/models", "/v1/models/cheap", "/v1/chat/completions"])
def test_a_keys_networks_mean_the_client_and_not_the_proxy(rig: Rig, path: str) -> None:
    _, plane = _opened(rig, trusted_proxies=["127.0.0.0/8"])

    def status(key: str, client: str) -> int:
        if path.endswith("completions"):
            return plane.ask(messages(model="cheap"), f"x-forwarded-for: {client}", key=key, path=path).status
        return plane.get(path, f"x-forwarded-for: {client}", key=key).status

    clients, proxies = plane.key(cidrs=["203.0.113.0/24"]), plane.key(cidrs=["127.0.0.0/8"])
    assert status(clients, "203.0.113.9") == 200
    assert status(clients, "198.51.100.9") == 403
    assert status(proxies, "203.0.113.9") == 403


@pytest.mark.parametrize("content_type", ["application/json", "text/plain", "", "application/octet-stream"])
@pytest.mark.parametrize(
    "encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-8-sig", "utf-32", "utf-32-be", "utf-32-le"]
)
def test_json_in_another_encoding_is_refused_and_not_sent_on(rig: Rig, encoding: str, content_type: str) -> None:
    provider, plane = _opened(rig)
    # Named, so that only the body's own model can be what stops it.
    key = plane.key(models=["cheap"], allowed_routes=["/v1/responses"])
    body = json.dumps({"model": "dear", "input": "x"}).encode(encoding)
    status = _sent(plane, key, "POST", "/v1/responses", content_type, body, "x-penstock-model: cheap")
    assert (status, provider.requests) == (400, [])


def test_a_models_name_is_bounded_before_it_is_kept(rig: Rig) -> None:
    provider = rig.provider(answering(COMPLETION))
    group = ModelGroup(name="openai/*", deployments=[0])
    plane = rig.plane([provider.deployment(model="*")], [group])
    longest = "openai/" + "x" * (256 - len("openai/"))
    assert plane.ask(messages(model=longest)).status == 200
    for size in (1, 300_000):
        answer = plane.ask(messages(model=longest + "x" * size))
        assert 400 <= answer.status < 500
        assert answer.json()["error"]["param"] == "model"
        assert len(answer.body) < 2_000
    assert len(provider.requests) == 1
    assert all(len(record[name]) <= 256 for record in plane.records(3) for name in ("model", "upstream_model"))
