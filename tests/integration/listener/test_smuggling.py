"""Two requests in one write whose border is in doubt: never two answers, and never a control route's."""

from __future__ import annotations

import json

import pytest

from tests.conftest import Gateway
from tests.integration.listener import wire
from tests.integration.listener.conftest import BODY
from tests.integration.listener.h2client import H2Client, Stream
from tests.integration.listener.wire import Broken

# {inner}: a request to a control route that would tell; {length}: its length; {admin}: a credential.
AMBIGUOUS = {
    "CL.TE": "Content-Length: {length}\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{inner}",
    "TE.CL": "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n5\r\nxxxxx\r\n0\r\n\r\n{inner}",
    "TE with a space before its colon": "Content-Length: {length}\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n{inner}",
    "TE on a folded line": "Content-Length: {length}\r\nX: y\r\n Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n{inner}",
    "TE after a bare LF": "Content-Length: {length}\r\nX: y\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{inner}",
    "TE after a bare CR": "Content-Length: {length}\r\nX: y\rTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{inner}",
    "TE with a vertical tab": "Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n{inner}",
    "TE with a NUL": "Transfer-Encoding: chunked\0\r\n\r\n0\r\n\r\n{inner}",
    "TE of an unknown name": "Transfer-Encoding: cow\r\n\r\n{inner}",
    "TE twice": "Transfer-Encoding: chunked\r\nTransfer-Encoding: cow\r\n\r\n0\r\n\r\n{inner}",
    "TE in a list": "Transfer-Encoding: identity, chunked\r\n\r\n0\r\n\r\n{inner}",
    "CL twice": "Content-Length: 0\r\nContent-Length: {length}\r\n\r\n{inner}",
    "CL in a list": "Content-Length: 0, {length}\r\n\r\n{inner}",
    "CL with a sign": "Content-Length: +0\r\n\r\n{inner}",
    "CL that wraps": "Content-Length: 18446744073709551616\r\n\r\n{inner}",
    "CL with an underscore": "Content-Length: 0_0\r\n\r\n{inner}",
    "CL with a space before its colon": "Content-Length : 0\r\n\r\n{inner}",
    "CL without digits": "Content-Length: \r\n\r\n{inner}",
    "head that ends in LF LF": "X: y\n\n{inner}",
    "chunk size that wraps": "Transfer-Encoding: chunked\r\n\r\n10000000000000000\r\n\r\n{inner}",
    "chunk size with a prefix": "Transfer-Encoding: chunked\r\n\r\n0x0\r\n\r\n{inner}",
    "chunk size line that ends in LF": "Transfer-Encoding: chunked\r\n\r\n0\n\r\n{inner}",
    "chunk extension with LF": "Transfer-Encoding: chunked\r\n\r\n0;\n\r\n\r\n{inner}",
    "chunk data that is too short": "Transfer-Encoding: chunked\r\n\r\n3\r\nab\r\n0\r\n\r\n{inner}",
    "last chunk without its end": "Transfer-Encoding: chunked\r\n\r\n0\r\n{inner}",
    "trailers that end in LF": "Transfer-Encoding: chunked\r\n\r\n0\r\n\n{inner}",
}


def _inner(port: Gateway) -> str:
    return f"GET /key/list HTTP/1.1\r\nHost: gateway\r\nAuthorization: Bearer {port.admin_key}\r\n\r\n"


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/key/info", "/_health/live"], ids=["call", "control", "own"])
@pytest.mark.parametrize("name", AMBIGUOUS)
def test_an_ambiguous_border_yields_one_refusal(port: Gateway, name: str, path: str) -> None:
    inner = _inner(port)
    method = "POST" if path.startswith("/v1") else "GET"
    rest = AMBIGUOUS[name].format(inner=inner, length=len(inner) + 5)
    head = f"{method} {path} HTTP/1.1\r\nHost: gateway\r\nAuthorization: Bearer {port.admin_key}\r\n"
    with wire.connect(port.url) as client:
        answers = client.send(head + rest).answers()
    assert b"keys" not in b"".join(answer.body for answer in answers), "the hidden request was answered"
    # Own routes answer without looking at the body; what follows is then refused with the body.
    assert len(answers) == 1
    if path != "/_health/live":
        assert answers[0].status == 400
        assert answers[0].get("connection") == "close"


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/key/generate", "/_health/live", "/no/such/route"])
def test_a_body_of_known_length_is_never_a_request(port: Gateway, path: str) -> None:
    inner = _inner(port)
    head = f"POST {path} HTTP/1.1\r\nHost: gateway\r\nContent-Length: {len(inner)}\r\n\r\n"
    last = "GET /_health/live HTTP/1.1\r\nHost: gateway\r\nConnection: close\r\n\r\n"
    with wire.connect(port.url) as client:
        answers = client.send(head + inner + last).answers()
    assert all(b"keys" not in answer.body for answer in answers)
    assert len(answers) in (1, 2)


def test_a_header_cannot_carry_a_second_request_to_the_app(port: Gateway) -> None:
    for value in ("a\r\n\r\n" + _inner(port).replace("\r\n", "\n"), "a\nX-Forwarded-For: 10.0.0.1"):
        with wire.connect(port.url) as client:
            client.send(f"GET /no/such/route HTTP/1.1\r\nHost: gateway\r\nX: {value}\r\n\r\n")
            answers = client.answers()
        assert [answer.status for answer in answers] in ([400], [404, 400])


@pytest.mark.parametrize("declared", [5, 5000])
def test_a_length_that_lies_over_http_2_is_refused(port: Gateway, declared: int) -> None:
    """On the way to the app it would become the border of an HTTP/1 message."""
    inner = _inner(port).encode()
    headers = [("authorization", f"Bearer {port.admin_key}"), ("content-length", str(declared))]
    for path in ("/key/generate", "/v1/chat/completions"):
        with H2Client(wire.connect(port.url).sock) as client:
            try:
                stream = client.answer(client.open("POST", path, body=b"{}   " + inner, extra=headers))
            except (Broken, ConnectionError):
                stream = Stream(reset=1)
            assert stream.reset is not None or stream.status in (400, 408), stream
            assert b"keys" not in stream.body


@pytest.mark.parametrize(
    "name, value", [("x\r\ny", "z"), ("x: y", "z"), ("x", "y\r\nGET /key/list HTTP/1.1"), (":path", "/key/list")]
)
def test_http_2_headers_cannot_break_out_of_their_line(port: Gateway, name: str, value: str) -> None:
    with H2Client(wire.connect(port.url).sock, validate=False) as client:
        try:
            stream = client.answer(client.open("GET", "/no/such/route", extra=[(name, value)]))
        except (Broken, ConnectionError):
            return
    assert stream.reset is not None or stream.status == 400


@pytest.mark.parametrize("target", ["/no such/route", "/x\r\nX: y", "/x HTTP/1.1\r\nX: y", "relative", ""])
def test_http_2_targets_cannot_break_out_of_their_line(port: Gateway, target: str) -> None:
    with H2Client(wire.connect(port.url).sock, validate=False) as client:
        try:
            stream = client.answer(client.open("GET", target))
        except (Broken, ConnectionError):
            return
    assert stream.reset is not None or stream.status == 400


def test_a_model_name_cannot_break_out_of_its_json(port: Gateway) -> None:
    body = json.dumps({**BODY, "model": 'sim", "stream": true, "x": "\r\n\r\n'}).encode()
    with wire.connect(port.url) as client:
        assert client.send(wire.chat(port.admin_key, body)).answer().status == 404
