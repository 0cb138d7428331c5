"""Role by route, from the OpenAPI document that the gateway serves; and the document holds every route."""

from __future__ import annotations

import http.client
import re
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from penstock.engine.routes import HOT_ROUTES
from tests import access
from tests.integration.managed import Managed, until

PUBLIC = access.PUBLIC | {"/schema", "/schema/openapi.json", "/schema/{path}"}
OPEN_TO_KEYS = access.OPEN_TO_KEYS | access.ANSWERED_AFTER_A_LOOK


def operations(managed: Managed) -> list[tuple[str, str]]:
    """Method and path template of every documented operation."""
    answer = managed.client.get("/schema/openapi.json")
    assert answer.status_code == 200
    document = answer.json()
    assert document["openapi"].startswith("3.")
    return [(method.upper(), path) for path, item in document["paths"].items() for method in item]


def request(managed: Managed, method: str, path: str, headers: dict[str, str]) -> httpx.Response:
    """A call without a body to a template's path."""
    return managed.client.request(method, re.sub(r"{[^}]+}", "x", path), headers=headers)


def test_every_route_is_documented_and_every_documented_route_is_there(managed: Managed) -> None:
    listed = {
        (method, route["path"]) for route in managed.get("/routes").json()["routes"] for method in route["methods"]
    }
    hot = {path for _, path in listed if any(path.removesuffix("/{rest}") == hot.path for hot in HOT_ROUTES)}
    documented = {(method, path) for method, path in operations(managed)}
    undocumented = {(method, path) for method, path in listed if path not in hot} - documented
    assert not undocumented
    assert not documented - listed
    assert len(documented) > 30
    assert {"/v1/chat/completions", "/chat/completions"} <= {path.removesuffix("/{rest}") for path in hot}
    for method, path in documented:
        answer = request(managed, method, path, {})
        assert answer.status_code not in (404, 405) or path == "/schema/{path}", (method, path)


def test_every_operation_says_what_it_does_and_answers(managed: Managed) -> None:
    document: dict[str, Any] = managed.client.get("/schema/openapi.json").json()
    names = set()
    for path, item in document["paths"].items():
        for method, operation in item.items():
            assert operation.get("description") or operation.get("summary"), (method, path)
            assert operation["responses"], (method, path)
            names.add(operation["operationId"])
    assert len(names) == sum(len(item) for item in document["paths"].values()), "each has a name of its own"


def test_nobody_without_a_valid_key_calls_anything_but_public_routes(managed: Managed) -> None:
    strangers: list[dict[str, str]] = [
        {},
        {"authorization": "Bearer sk-nobody-has-this-one"},
        {"authorization": "Basic YTpi"},
        {"x-api-key": "' OR 1=1 --"},
        {"x-penstock-role": "master", "x-forwarded-for": "127.0.0.1"},
    ]
    for method, path in operations(managed):
        for headers in strangers:
            answer = request(managed, method, path, headers)
            if path in PUBLIC:
                assert answer.status_code not in (401, 403), (method, path)
                continue
            assert answer.status_code == 401, (method, path, headers)
            error = answer.json()["error"]
            assert set(error) == {"message", "type", "param", "code"}
            assert error["code"] == "401"


@pytest.mark.parametrize("fields", [{}, {"key_type": "management"}, {"allowed_routes": ["/*"]}, {"user_id": "admin"}])
def test_no_virtual_key_calls_an_admin_route(managed: Managed, fields: dict[str, Any]) -> None:
    headers = {"authorization": f"Bearer {managed.key(**fields)}"}
    denied = 0
    for method, path in operations(managed):
        if path in PUBLIC or path in OPEN_TO_KEYS:
            continue
        answer = request(managed, method, path, headers)
        assert answer.status_code == 403, (method, path, answer.text)
        assert answer.json()["error"]["type"] == "auth_error"
        denied += 1
    assert denied > 20


def test_keys_out_of_force_call_nothing(managed: Managed) -> None:
    blocked, outside, expiring = (
        managed.key(blocked=True),
        managed.key(allowed_cidrs=["10.0.0.0/8"]),
        managed.key(duration="1s"),
    )
    until(lambda: managed.chat(expiring).status_code == 401, what="the end of the key's life")
    for key, status, kind in (
        (blocked, 403, "auth_error"),
        (outside, 403, "permission_error"),
        (expiring, 401, "expired_key"),
    ):
        for method, path in operations(managed):
            if path in PUBLIC:
                continue
            answer = request(managed, method, path, {"x-api-key": key})
            assert (answer.status_code, answer.json()["error"]["type"]) == (status, kind), (method, path)


def test_the_master_key_is_refused_nowhere(managed: Managed) -> None:
    for method, path in operations(managed):
        answer = request(managed, method, path, managed.admin)
        assert answer.status_code not in (401, 403), (method, path)
        assert answer.status_code < 500, (method, path, answer.text)


@pytest.mark.parametrize(
    "path",
    [
        "/key/list/",
        "//key/list",
        "/./key/list",
        "/x/../key/list",
        "/key%2flist",
        "/KEY/list",
        "/v1/../key/list",
        "/schema/../key/list",
        "/v1/models/..%2f..%2fkey%2flist",
        "/key/list;/schema",
        "/key/list?x=/schema",
    ],
)
def test_no_spelling_of_a_path_goes_around_the_guard(managed: Managed, path: str) -> None:
    address = urlsplit(managed.gateway.url)
    for key in (None, managed.key()):
        connection = http.client.HTTPConnection(str(address.hostname), address.port, timeout=30)
        headers = {"x-api-key": key} if key else {}
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        body = answer.read()
        connection.close()
        assert answer.status in (400, 401, 403, 404), body
        assert b'"total_count"' not in body
