"""Requests whose framing cannot be trusted: refused with the right status, and the connection closed."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from tests.conftest import Gateway
from tests.integration.listener import wire
from tests.integration.listener.conftest import BODY

_GET = "GET /_health/live HTTP/1.1\r\n"
_POST = "POST /v1/chat/completions HTTP/1.1\r\nHost: gateway\r\n"

HEADS = {
    "two hosts": (f"{_GET}Host: a\r\nHost: a\r\n\r\n", 400),
    "two hosts that differ": (f"{_GET}Host: a\r\nHost: b\r\n\r\n", 400),
    "no host": (f"{_GET}\r\n", 400),
    "empty host": (f"{_GET}Host:\r\n\r\n", 400),
    "host with a path": (f"{_GET}Host: a/b\r\n\r\n", 400),
    "host with user info": (f"{_GET}Host: a@b\r\n\r\n", 400),
    "host with a space": (f"{_GET}Host: a b\r\n\r\n", 400),
    "host with a comma": (f"{_GET}Host: a,b\r\n\r\n", 400),
    "absolute form for another authority": ("GET http://other/_health/live HTTP/1.1\r\nHost: gateway\r\n\r\n", 400),
    "absolute form for another port": ("GET http://gateway:1/_health/live HTTP/1.1\r\nHost: gateway\r\n\r\n", 400),
    "absolute form with user info": ("GET http://u@gateway/_health/live HTTP/1.1\r\nHost: gateway\r\n\r\n", 400),
    "absolute form of another scheme": ("GET ftp://gateway/ HTTP/1.1\r\nHost: gateway\r\n\r\n", 400),
    "connect": ("CONNECT other:443 HTTP/1.1\r\nHost: other:443\r\n\r\n", 400),
    "asterisk for another method": ("GET * HTTP/1.1\r\nHost: gateway\r\n\r\n", 400),
    "relative target": ("GET _health/live HTTP/1.1\r\nHost: gateway\r\n\r\n", 400),
    "two spaces before the target": ("GET  /_health/live HTTP/1.1\r\nHost: gateway\r\n\r\n", 400),
    "space inside the target": ("GET /_health live HTTP/1.1\r\nHost: gateway\r\n\r\n", 400),
    "tab in the request line": ("GET\t/_health/live\tHTTP/1.1\r\nHost: gateway\r\n\r\n", 400),
    "eight-bit target": ("GET /\xe9 HTTP/1.1\r\nHost: gateway\r\n\r\n", 400),
    "method that is no token": ("G(T /_health/live HTTP/1.1\r\nHost: gateway\r\n\r\n", 400),
    "bare LF everywhere": ("GET /_health/live HTTP/1.1\nHost: gateway\n\n", 400),
    "bare LF after a field": (f"{_GET}Host: gateway\nX-A: b\r\n\r\n", 400),
    "bare LF ends the head": (f"{_GET}Host: gateway\r\n\n", 400),
    "bare CR in a value": (f"{_GET}Host: gateway\r\nX-A: b\rX-C: d\r\n\r\n", 400),
    "bare CR in the request line": ("GET /_health/live HTTP/1.1\rX: y\r\nHost: gateway\r\n\r\n", 400),
    "obs-fold": (f"{_GET}Host: gateway\r\nX-A: b\r\n c\r\n\r\n", 400),
    "obs-fold with a tab": (f"{_GET}Host: gateway\r\nX-A: b\r\n\tc\r\n\r\n", 400),
    "space before the first field": (f"{_GET} Host: gateway\r\nHost: gateway\r\n\r\n", 400),
    "NUL in a value": (f"{_GET}Host: gateway\r\nX-A: b\0c\r\n\r\n", 400),
    "NUL in a name": (f"{_GET}Host: gateway\r\nX\0A: b\r\n\r\n", 400),
    "NUL in the target": ("GET /_health\0/live HTTP/1.1\r\nHost: gateway\r\n\r\n", 400),
    "control character in a value": (f"{_GET}Host: gateway\r\nX-A: \x1b[0m\r\n\r\n", 400),
    "space before the colon": (f"{_GET}Host: gateway\r\nX-A : b\r\n\r\n", 400),
    "field without a colon": (f"{_GET}Host: gateway\r\nX-A\r\n\r\n", 400),
    "field without a name": (f"{_GET}Host: gateway\r\n: b\r\n\r\n", 400),
    "length and encoding": (f"{_POST}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    "encoding and length": (f"{_POST}Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n", 400),
    "two lengths that differ": (f"{_POST}Content-Length: 2\r\nContent-Length: 3\r\n\r\n{{}}", 400),
    "two equal lengths": (f"{_POST}Content-Length: 2\r\nContent-Length: 2\r\n\r\n{{}}", 400),
    "list of lengths": (f"{_POST}Content-Length: 2, 2\r\n\r\n{{}}", 400),
    "signed length": (f"{_POST}Content-Length: +2\r\n\r\n{{}}", 400),
    "negative length": (f"{_POST}Content-Length: -2\r\n\r\n{{}}", 400),
    "hexadecimal length": (f"{_POST}Content-Length: 0x2\r\n\r\n{{}}", 400),
    "empty length": (f"{_POST}Content-Length:\r\n\r\n{{}}", 400),
    "length with a space inside": (f"{_POST}Content-Length: 1 0\r\n\r\n{{}}", 400),
    "length beyond 64 bits": (f"{_POST}Content-Length: 18446744073709551618\r\n\r\n{{}}", 400),
    "unknown encoding": (f"{_POST}Transfer-Encoding: gzip\r\n\r\n", 400),
    "encoding before chunked": (f"{_POST}Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 400),
    "encoding after chunked": (f"{_POST}Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n", 400),
    "two encodings": (f"{_POST}Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    "encoding that only looks chunked": (f"{_POST}Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", 400),
    "quoted encoding": (f'{_POST}Transfer-Encoding: "chunked"\r\n\r\n0\r\n\r\n', 400),
    "chunked in HTTP/1.0": (
        "POST /v1/chat/completions HTTP/1.0\r\nHost: gateway\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        400,
    ),
    "version 0.9": ("GET /_health/live\r\n\r\n", 400),
    "version 1.2": ("GET /_health/live HTTP/1.2\r\nHost: gateway\r\n\r\n", 505),
    "version 2.0 without the preface": ("GET /_health/live HTTP/2.0\r\nHost: gateway\r\n\r\n", 505),
    "version 3.0": ("GET /_health/live HTTP/3.0\r\nHost: gateway\r\n\r\n", 505),
    "lower-case version": ("GET /_health/live http/1.1\r\nHost: gateway\r\n\r\n", 400),
    "version of many digits": ("GET /_health/live HTTP/1.10\r\nHost: gateway\r\n\r\n", 505),
    "TLS to a plain port": ("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
    "one header over 64 KiB": (f"{_GET}Host: gateway\r\nX-A: {'a' * 70_000}\r\n\r\n", 431),
    "many headers over 64 KiB": (f"{_GET}Host: gateway\r\n" + f"X-A: {'a' * 400}\r\n" * 180 + "\r\n", 431),
    "target over 64 KiB": (f"GET /{'a' * 70_000} HTTP/1.1\r\nHost: gateway\r\n\r\n", 431),
    "a thousand fields": (f"{_GET}Host: gateway\r\n" + "A: b\r\n" * 1000 + "\r\n", 431),
    "64 KiB without a line end": ("G" * 70_000, 431),
}


@pytest.mark.parametrize("name", HEADS)
def test_an_untrustworthy_head_is_refused_and_the_connection_closed(port: Gateway, name: str) -> None:
    request, status = HEADS[name]
    follower = "GET /_health/live HTTP/1.1\r\nHost: gateway\r\n\r\n"
    with wire.connect(port.url) as client:
        answers = client.send(request + follower).answers()
    assert [answer.status for answer in answers] == [status]
    assert answers[0].get("connection") == "close"
    assert answers[0].json()["error"]["type"] == "invalid_request_error"


CHUNKS = {
    "size that is no number": b"zz\r\n{}\r\n0\r\n\r\n",
    "size with a prefix": b"0x2\r\n{}\r\n0\r\n\r\n",
    "negative size": b"-2\r\n{}\r\n0\r\n\r\n",
    "signed size": b"+2\r\n{}\r\n0\r\n\r\n",
    "empty size": b"\r\n{}\r\n0\r\n\r\n",
    "space before the size": b" 2\r\n{}\r\n0\r\n\r\n",
    "space after the size": b"2 \r\n{}\r\n0\r\n\r\n",
    "size beyond 64 bits": b"10000000000000002\r\n{}\r\n0\r\n\r\n",
    "size line ends in LF": b"2\n{}\r\n0\r\n\r\n",
    "size line ends in CR": b"2\r{}\r\n0\r\n\r\n",
    "data longer than said": b"2\r\n{}}\r\n0\r\n\r\n",
    "data ends in LF": b"2\r\n{}\n0\r\n\r\n",
    "data ends in CR": b"2\r\n{}\r0\r\n\r\n",
    "extension without a semicolon": b"2 a=b\r\n{}\r\n0\r\n\r\n",
    "extension with a bare LF": b"2;a\nb\r\n{}\r\n0\r\n\r\n",
    "extension with a bare CR": b"2;a\rb\r\n{}\r\n0\r\n\r\n",
    "extension with a NUL": b"2;a=\0\r\n{}\r\n0\r\n\r\n",
    "extension of 4 KiB": b"2;" + b"a" * 4096 + b"\r\n{}\r\n0\r\n\r\n",
    "trailer ends in LF": b"2\r\n{}\r\n0\r\nX-A: b\n\r\n",
    "trailer section ends in LF": b"2\r\n{}\r\n0\r\n\n",
    "trailer without a colon": b"2\r\n{}\r\n0\r\nGET / HTTP/1.1\r\n\r\n",
    "trailer with a space before the colon": b"2\r\n{}\r\n0\r\nX-A : b\r\n\r\n",
    "trailer with a NUL": b"2\r\n{}\r\n0\r\nX-A: \0\r\n\r\n",
    "folded trailer": b"2\r\n{}\r\n0\r\nX-A: b\r\n c\r\n\r\n",
}


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/key/generate"], ids=["call", "control"])
@pytest.mark.parametrize("name", CHUNKS)
def test_a_malformed_chunked_body_is_refused_and_the_connection_closed(
    port: Gateway, upstream_calls: Callable[[], int], name: str, path: str
) -> None:
    head = (
        f"POST {path} HTTP/1.1\r\nHost: gateway\r\nAuthorization: Bearer {port.admin_key}\r\n"
        "Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    follower = b"GET /_health/live HTTP/1.1\r\nHost: gateway\r\n\r\n"
    with wire.connect(port.url) as client:
        answers = client.send(head.encode() + CHUNKS[name] + follower).answers()
    assert [answer.status for answer in answers] == [400]
    assert answers[0].get("connection") == "close"
    assert upstream_calls() == 0


def test_trailers_beyond_their_bound_are_refused(port: Gateway) -> None:
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nHost: gateway\r\nAuthorization: Bearer {port.admin_key}\r\n"
        "Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n"
    )
    with wire.connect(port.url) as client:
        answers = client.send(head + "X-A: " + "a" * 40_000 + "\r\n\r\n").answers()
    assert [answer.status for answer in answers] in ([431], [400])
    assert answers[0].get("connection") == "close"


@pytest.mark.parametrize(
    "request_line, host",
    [
        ("GET http://gateway/_health/live HTTP/1.1", "gateway"),
        ("GET HTTP://GateWay:4000/_health/live HTTP/1.1", "gateway:4000"),
        ("GET /_health/live HTTP/1.1", "[::1]:4000"),
        ("GET /_health/live HTTP/1.1", "127.0.0.1"),
        ("HEAD /_health/live HTTP/1.1", "gateway"),
    ],
)
def test_unusual_but_valid_heads_are_served(port: Gateway, request_line: str, host: str) -> None:
    with wire.connect(port.url) as client:
        client.send(f"\r\n{request_line}\r\nhOsT:  {host}\t\r\nX-Empty:\r\nX-Latin: \xe9\r\n\r\n")
        answer = client.answer(bodiless=request_line.startswith("HEAD"))
        assert answer.status == 200
        # The connection is kept: the next request gets its own answer.
        client.send("GET /_health/ready HTTP/1.1\r\nHost: gateway\r\n\r\n")
        assert client.answer().json() == {"status": "ready"}


def test_an_absolute_target_without_a_path_is_the_root(port: Gateway) -> None:
    with wire.connect(port.url) as client:
        client.send("GET http://gateway HTTP/1.1\r\nHost: gateway\r\n\r\n")
        assert client.answer().json()["name"] == "Penstock"


def test_options_of_the_whole_server_are_answered(port: Gateway) -> None:
    with wire.connect(port.url) as client:
        answer = client.send("OPTIONS * HTTP/1.1\r\nHost: gateway\r\n\r\n").answer()
    assert answer.status in (200, 204, 404, 405)


def test_valid_chunk_extensions_and_trailers_are_read_over(port: Gateway) -> None:
    body = json.dumps(BODY).encode()
    sent = (
        f"POST /v1/chat/completions HTTP/1.1\r\nHost: gateway\r\nAuthorization: Bearer {port.admin_key}\r\n"
        "Content-Type: application/json\r\nTransfer-Encoding: Chunked\r\n\r\n"
    ).encode()
    sent += b'%X;a="b c";d\r\n%s\r\n0003\r\n%s\r\n%x\r\n%s\r\n' % (5, body[:5], body[5:8], len(body) - 8, body[8:])
    sent += b"000;last\r\nX-Trailer: of no use\r\nContent-Length: 7\r\n\r\n"
    with wire.connect(port.url) as client:
        assert client.send(sent).answer().json()["usage"]["completion_tokens"] == 4
        assert client.send("GET /_health/live HTTP/1.1\r\nHost: gateway\r\n\r\n").answer().status == 200


@pytest.mark.parametrize("cut", [1, 7, 16, 40, 90])
def test_a_client_that_leaves_inside_its_head_costs_nothing(port: Gateway, cut: int) -> None:
    request = f"{_GET}Host: gateway\r\nX-A: {'b' * 80}\r\n\r\n"
    with wire.connect(port.url) as client:
        client.send(request[:cut])
