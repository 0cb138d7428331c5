"""Requests that are framed well: pipelining, persistence, HTTP/1.0, HEAD, `Expect`, and bodies over their bound."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from tests.conftest import Gateway
from tests.integration.listener import wire
from tests.integration.listener.conftest import BODY

_LIVE = "GET /_health/live HTTP/1.1\r\nHost: gateway\r\n\r\n"
_MIB = 1024 * 1024


def _head(gateway: Gateway, *fields: str, path: str = "/v1/chat/completions", key: str | None = None) -> str:
    lines = [f"POST {path} HTTP/1.1", "Host: gateway", f"Authorization: Bearer {key or gateway.admin_key}", *fields]
    return "\r\n".join(lines) + "\r\n\r\n"


def test_pipelined_requests_are_answered_in_order(port: Gateway) -> None:
    first = wire.chat(port.admin_key, {**BODY, "max_tokens": 3}, "x-sim-ttft: 80")
    second = wire.chat(port.admin_key, {**BODY, "max_tokens": 7, "stream": True})
    control = f"GET /key/list HTTP/1.1\r\nHost: gateway\r\nAuthorization: Bearer {port.admin_key}\r\n\r\n"
    missing = "GET /no/such/route HTTP/1.1\r\nHost: gateway\r\n\r\n"
    last = "GET /_health/live HTTP/1.1\r\nHost: gateway\r\nConnection: close\r\n\r\n"
    with wire.connect(port.url) as client:
        client.send(first + second + control.encode() + missing.encode() + first + last.encode())
        answers = client.answers()
    assert [answer.status for answer in answers] == [200, 200, 200, 404, 200, 200]
    assert answers[0].json()["usage"]["completion_tokens"] == 3
    assert answers[1].body.endswith(b"data: [DONE]\n\n")
    assert answers[1].body.count(b'"finish_reason":null') == 8
    assert "keys" in answers[2].json()
    assert answers[5].json() == {"status": "alive"}


def test_a_request_that_arrives_byte_by_byte_is_served(port: Gateway) -> None:
    request = wire.chat(port.admin_key, BODY)
    with wire.connect(port.url) as client:
        for index in range(len(request)):
            client.send(request[index : index + 1])
        assert client.answer().json()["usage"]["completion_tokens"] == 4


@pytest.mark.parametrize(
    "path, status",
    [("/v1/chat/completions", 401), ("/key/generate", 401), ("/no/such/route", 404), ("/v1/models", 401)],
)
def test_errors_leave_the_connection_usable(port: Gateway, path: str, status: int) -> None:
    method = "GET" if path == "/v1/models" else "POST"
    body = b"" if method == "GET" else b'{"model": "sim"}'
    request = f"{method} {path} HTTP/1.1\r\nHost: gateway\r\nAuthorization: Bearer wrong\r\n"
    with wire.connect(port.url) as client:
        for _ in range(3):
            client.send(f"{request}Content-Length: {len(body)}\r\n\r\n".encode() + body)
            answer = client.answer()
            assert answer.status == status
            assert answer.get("connection") is None
        assert client.send(_LIVE).answer().status == 200


def test_a_stream_leaves_the_connection_usable(port: Gateway) -> None:
    with wire.connect(port.url) as client:
        for _ in range(3):
            answer = client.send(wire.chat(port.admin_key, {**BODY, "stream": True})).answer()
            assert answer.get("transfer-encoding") == "chunked"
            assert answer.body.endswith(b"data: [DONE]\n\n")


def test_connection_close_is_honoured_and_announced(port: Gateway) -> None:
    with wire.connect(port.url) as client:
        answer = client.send(wire.chat(port.admin_key, BODY, "Connection: close")).answer()
        assert answer.get("connection") == "close"
        assert client.is_closed()


@pytest.mark.parametrize("stream", [False, True], ids=["unary", "stream"])
def test_http_1_0_gets_a_body_that_ends_with_the_connection(port: Gateway, stream: bool) -> None:
    request = wire.chat(port.admin_key, {**BODY, "stream": stream}, version="1.0")
    with wire.connect(port.url) as client:
        answer = client.send(request).answer()
        assert answer.status == 200
        assert answer.get("transfer-encoding") is None
        assert answer.get("connection") == "close"
        assert client.is_closed()
    if stream:
        assert answer.body.endswith(b"data: [DONE]\n\n")
    else:
        assert answer.json()["usage"]["completion_tokens"] == 4


def test_http_1_0_may_keep_its_connection(port: Gateway) -> None:
    with wire.connect(port.url) as client:
        for _ in range(2):
            answer = client.send(wire.chat(port.admin_key, BODY, "Connection: keep-alive", version="1.0")).answer()
            assert answer.get("connection") == "keep-alive"
            assert answer.get("content-length") is not None


@pytest.mark.parametrize("path", ["/_health/live", "/health/liveliness"], ids=["own", "control"])
def test_http_1_0_needs_no_host(port: Gateway, path: str) -> None:
    with wire.connect(port.url) as client:
        answer = client.send(f"GET {path} HTTP/1.0\r\n\r\n").answer()
        assert answer.status == 200
        assert client.is_closed()


@pytest.mark.parametrize("path", ["/_health/live", "/v1/models", "/health/liveliness", "/schema/openapi.json"])
def test_head_has_the_fields_of_get_and_no_body(port: Gateway, path: str) -> None:
    fields = f"Host: gateway\r\nAuthorization: Bearer {port.admin_key}\r\n\r\n"
    with wire.connect(port.url) as client:
        got = client.send(f"GET {path} HTTP/1.1\r\n{fields}").answer()
        head = client.send(f"HEAD {path} HTTP/1.1\r\n{fields}").answer(bodiless=True)
        # What follows must be the next answer's first byte, not a body.
        assert client.send(_LIVE).answer().json() == {"status": "alive"}
    assert got.status == 200
    assert head.status in (200, 405)
    if head.status == 200:
        assert head.get("content-type") == got.get("content-type")


def test_expect_is_met_only_when_the_body_is_wanted(port: Gateway) -> None:
    body = json.dumps(BODY).encode()
    fields = ("Expect: 100-continue", f"Content-Length: {len(body)}")
    with wire.connect(port.url) as client:
        client.send(_head(port, *fields))
        assert client.answer().status == 100
        assert client.send(body).answer().status == 200
        # A body that came along needs no leave.
        answer = client.send(_head(port, *fields).encode() + body).answer()
        assert answer.status == 200
    with wire.connect(port.url) as client:
        refused = client.send(_head(port, *fields, key="sk-wrong")).answer()
        assert refused.status == 401
        assert refused.get("connection") == "close"
        assert client.is_closed()
    with wire.connect(port.url) as client:
        large = client.send(_head(port, "Expect: 100-continue", f"Content-Length: {2 * _MIB}")).answer()
        assert large.status == 413
        assert client.is_closed()


def test_expect_is_met_on_control_routes_too(port: Gateway) -> None:
    body = b'{"key_alias": null}'
    with wire.connect(port.url) as client:
        client.send(_head(port, "Expect: 100-continue", f"Content-Length: {len(body)}", path="/key/generate"))
        assert client.answer().status == 100
        assert client.send(body).answer().json()["key"].startswith("sk-")


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/key/generate", "/v1/audio/transcriptions"])
def test_a_body_that_says_it_is_too_large_is_refused_at_once(
    port: Gateway, upstream_calls: Callable[[], int], path: str
) -> None:
    with wire.connect(port.url) as client:
        # Not one byte of the body is sent: the answer comes all the same.
        answer = client.send(_head(port, f"Content-Length: {_MIB + 1}", path=path)).answer()
        assert answer.status == 413
        assert answer.get("connection") == "close"
    assert upstream_calls() == 0


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/key/generate", "/v1/audio/transcriptions"])
def test_a_chunked_body_is_refused_once_it_is_too_large(
    port: Gateway, upstream_calls: Callable[[], int], path: str
) -> None:
    chunk = b"%x\r\n%s\r\n" % (65_536, b" " * 65_536)
    with wire.connect(port.url) as client:
        client.send(_head(port, "Transfer-Encoding: chunked", "Content-Type: application/json", path=path))
        for _ in range(17):
            client.send(chunk)
        answer = client.answer()
        assert answer.status == 413, answer
        assert answer.get("connection") == "close"
    assert upstream_calls() == 0


@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_a_body_of_the_largest_size_is_served(port: Gateway, framing: str) -> None:
    body = json.dumps(BODY).encode()
    body += b" " * (_MIB - len(body))
    content = wire.chunked(*(body[at : at + 50_000] for at in range(0, _MIB, 50_000)))
    with wire.connect(port.url) as client:
        if framing == "length":
            client.send(_head(port, f"Content-Length: {_MIB}").encode() + body)
        else:
            client.send(_head(port, "Transfer-Encoding: chunked").encode() + content)
        assert client.answer().status == 200


def test_the_body_of_an_unknown_caller_is_not_waited_for(port: Gateway, upstream_calls: Callable[[], int]) -> None:
    for fields in (["Content-Length: 1000000"], ["Transfer-Encoding: chunked"], ["Content-Length: 99999999999"]):
        with wire.connect(port.url) as client:
            client.send(_head(port, *fields, key="sk-unknown"))
            answer = client.answer()
            assert answer.status == 401
    assert upstream_calls() == 0


def test_the_large_body_of_an_unknown_caller_is_not_read_to_its_end(port: Gateway) -> None:
    piece = b" " * 65_536
    with wire.connect(port.url) as client:
        client.send(_head(port, "Content-Length: 900000000", key="sk-unknown"))
        sent = 0
        client.sock.settimeout(5)
        try:
            while sent < 900_000_000:
                client.sock.sendall(piece)
                sent += len(piece)
        except (TimeoutError, OSError):
            pass
        # The socket's own buffers on both sides and the lingering close take a few MiB, never the body.
        assert sent < 64 * _MIB


def test_a_refused_unread_body_is_never_taken_for_a_request(port: Gateway, upstream_calls: Callable[[], int]) -> None:
    inner = wire.chat(port.admin_key, BODY)
    with wire.connect(port.url) as client:
        client.send(_head(port, f"Content-Length: {len(inner)}", key="sk-unknown").encode() + inner)
        assert client.answer().status == 401
        client.send("GET /_health/live HTTP/1.1\r\nHost: gateway\r\nConnection: close\r\n\r\n")
        rest = client.answers()
    # Either the connection was closed, or the body was read over and the next request answered.
    assert [answer.body for answer in rest] in ([], [b'{"status":"alive"}'])
    assert upstream_calls() == 0
