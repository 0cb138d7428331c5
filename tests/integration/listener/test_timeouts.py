"""Clients that are slow to send: bounded in time, answered where they can be, and never in anybody's way."""

from __future__ import annotations

import json

import pytest

from tests.conftest import Gateway
from tests.integration.listener import wire
from tests.integration.listener.conftest import BODY
from tests.stalls import Stopwatch, again_after_a_stall

# Of the shared gateway's configuration.
_TIMEOUT_S = 1.5


@pytest.mark.parametrize(
    "part",
    [
        "GET /_health/live HTTP/1.1\r\nHost: gateway\r\n",
        "G",
        "P",
        "POST /v1/chat/completions HTTP/1.1\r\nHost: gateway\r\nAuthorization: Be",
        "PRI * HTTP/2.0\r\n",
        "\r\n\r\n",
    ],
)
def test_a_head_that_never_ends_is_given_up(port: Gateway, part: str) -> None:
    watch = Stopwatch()
    with wire.connect(port.url) as client:
        answers = client.send(part).answers()
    assert [answer.status for answer in answers] in ([408], []), answers
    # Of a preface nothing can be said; a request is told why.
    if not part.startswith("PRI"):
        assert [answer.status for answer in answers] == [408]
        assert answers[0].get("connection") == "close"
    assert watch.seconds >= _TIMEOUT_S * 0.9
    assert watch.ran_s < _TIMEOUT_S + 3


def test_a_head_that_drips_is_given_up_whatever_its_pace(port: Gateway) -> None:
    watch = Stopwatch()
    with wire.connect(port.url) as client:
        client.send("GET /_health/live HTTP/1.1\r\nHost: gateway\r\nX-Drip: ")
        client.sock.settimeout(0.05)
        answer = b""
        while not answer and watch.seconds < 8:
            client.send("a")
            try:
                answer = client.sock.recv(4096)
            except TimeoutError:
                continue
    assert answer.startswith(b"HTTP/1.1 408 "), answer
    assert watch.ran_s < _TIMEOUT_S + 2


def test_the_second_head_of_a_connection_is_bounded_too(port: Gateway) -> None:
    with wire.connect(port.url) as client:
        assert client.send("GET /_health/live HTTP/1.1\r\nHost: gateway\r\n\r\n").answer().status == 200
        watch = Stopwatch()
        answer = client.send("GET /_health/live HTTP/1.1\r\n").answer()
        assert answer.status == 408
        assert client.is_closed()
    assert watch.ran_s < _TIMEOUT_S + 3


@pytest.mark.parametrize("framing", ["Content-Length: 500", "Transfer-Encoding: chunked"], ids=["length", "chunked"])
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/key/generate"], ids=["call", "control"])
def test_a_body_that_stalls_is_given_up(port: Gateway, path: str, framing: str) -> None:
    head = f"POST {path} HTTP/1.1\r\nHost: gateway\r\nAuthorization: Bearer {port.admin_key}\r\n{framing}\r\n\r\n"
    watch = Stopwatch()
    with wire.connect(port.url) as client:
        answer = client.send(head + '5\r\n{"mod').answer()
        assert answer.status == 408
        assert answer.get("connection") == "close"
        assert answer.json()["error"]["code"] == "request_timeout"
    assert watch.seconds >= _TIMEOUT_S * 0.9
    assert watch.ran_s < _TIMEOUT_S + 3


@again_after_a_stall(_TIMEOUT_S / 3)
def test_a_body_that_makes_progress_is_waited_for(port: Gateway) -> None:
    body = json.dumps(BODY).encode()
    watch = Stopwatch()
    with wire.connect(port.url) as client:
        request = wire.chat(port.admin_key, BODY)
        client.send(request[: -len(body)])
        for at in range(0, len(body), len(body) // 6 + 1):
            wire.pause(_TIMEOUT_S / 3)
            client.send(body[at : at + len(body) // 6 + 1])
        assert client.answer().status == 200
    # Longer than the pause that is allowed: it bounds the pause, not the whole.
    assert watch.seconds > _TIMEOUT_S * 1.5


def test_an_idle_connection_is_kept_beyond_the_head_s_bound(port: Gateway) -> None:
    with wire.connect(port.url) as client, wire.connect(port.url) as fresh:
        assert client.send("GET /_health/live HTTP/1.1\r\nHost: gateway\r\n\r\n").answer().status == 200
        wire.pause(_TIMEOUT_S * 1.7)
        for each in (client, fresh):
            assert each.send("GET /_health/live HTTP/1.1\r\nHost: gateway\r\n\r\n").answer().status == 200


@again_after_a_stall(0.2)
def test_two_hundred_slow_clients_are_in_nobody_s_way(port: Gateway) -> None:
    slow = [wire.connect(port.url) for _ in range(200)]
    for client in slow:
        client.send("POST /v1/chat/completions HTTP/1.1\r\nHost: gateway\r\nX-")
    with wire.connect(port.url) as quick:
        watch = Stopwatch()
        assert quick.send(wire.chat(port.admin_key, BODY)).answer().status == 200
        assert watch.ran_s < 1
    assert {client.answer().status for client in slow} == {408}
    for client in slow:
        client.close()
