"""`Upgrade`: WebSockets go to the app and back, everything else is declined and answered as if it had not been asked."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect as connect_websocket
from websockets.sync.server import ServerConnection, unix_serve

pytest.importorskip("penstock._core", reason="the extension is not built: `make setup`")

from tests.conftest import Gateway
from tests.integration.listener import wire
from tests.integration.listener.conftest import BODY
from tests.integration.listener.standin import StandIn, engine, socket_path

_HANDSHAKE = (
    "Host: gateway\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


def _echo(peer: ServerConnection) -> None:
    assert peer.request is not None
    if peer.request.path == "/first":
        peer.send(peer.request.headers["X-Forwarded-For"])
    if peer.request.path == "/leave":
        peer.close(4001, "enough")
        return
    for message in peer:
        peer.send(message)


@pytest.fixture(scope="module")
def sockets() -> Iterator[str]:
    """The port before a WebSocket server."""
    with socket_path() as path, unix_serve(_echo, path, max_size=None) as server:
        serving = threading.Thread(target=server.serve_forever)
        serving.start()
        try:
            with engine(path) as url:
                yield url.replace("http", "ws")
        finally:
            server.shutdown()
            serving.join(10)


def test_messages_go_both_ways_whatever_their_size(sockets: str) -> None:
    with connect_websocket(f"{sockets}/echo", max_size=None, proxy=None) as client:
        for size in (0, 1, 125, 126, 65_535, 65_536, 3_000_000):
            client.send("é" * size)
            assert client.recv(timeout=10) == "é" * size
            client.send(b"\0" * size)
            assert client.recv(timeout=10) == b"\0" * size
        client.ping().wait(10)


def test_what_the_app_says_with_its_handshake_is_not_lost(sockets: str) -> None:
    with connect_websocket(
        f"{sockets}/first", proxy=None, additional_headers={"X-Forwarded-For": "10.0.0.1"}
    ) as client:
        assert client.recv(timeout=10) == "127.0.0.1"


def test_a_close_is_relayed_with_its_code(sockets: str) -> None:
    with connect_websocket(f"{sockets}/leave", proxy=None) as client, pytest.raises(ConnectionClosed) as closed:
        client.recv(timeout=10)
    assert closed.value.rcvd is not None
    assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (4001, "enough")


def test_many_sockets_at_once_do_not_mix(sockets: str) -> None:
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(connect_websocket(f"{sockets}/echo", proxy=None)) for _ in range(30)]
        for number, client in enumerate(clients):
            client.send(f"{number}" * 1000)
        for number, client in reversed(list(enumerate(clients))):
            assert client.recv(timeout=10) == f"{number}" * 1000


@pytest.fixture(scope="module")
def app() -> Iterator[tuple[StandIn, str]]:
    """A stand-in and the port before it."""
    with socket_path() as path:
        standin = StandIn(path)
        try:
            with engine(path) as url:
                yield standin, url
        finally:
            standin.close()


def test_the_app_sees_the_handshake_and_data_sent_ahead(app: tuple[StandIn, str]) -> None:
    standin, url = app
    got: list[bytes] = []

    def script(peer: wire.Wire) -> None:
        standin.record(peer)
        peer.send(
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nX-A: b\r\n\r\nearly"
        )
        got.append(peer.rest())

    standin.does(script)
    with wire.connect(url) as client:
        client.send(f"GET /ws HTTP/1.1\r\nX-Forwarded-For: 10.0.0.1\r\n{_HANDSHAKE}ahead")
        answer = client.head()
        assert answer is not None
        assert answer.status == 101
        assert (answer.get("upgrade"), answer.get("x-a")) == ("websocket", "b")
        assert client.take(5) == b"early"
        client.send(b" and after")
    wire.until(lambda: got)
    assert got == [b"ahead and after"]
    request = standin.requests[0]
    assert request.get("upgrade") == "websocket"
    assert "upgrade" in str(request.get("connection")).lower()
    assert request.get("sec-websocket-key") == "dGhlIHNhbXBsZSBub25jZQ=="
    assert request.all("x-forwarded-for") == ["127.0.0.1"]


def test_an_app_that_declines_is_answered_with_its_own_words(app: tuple[StandIn, str]) -> None:
    standin, url = app
    standin.answers(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno")
    with wire.connect(url) as client:
        answer = client.send(f"GET /ws HTTP/1.1\r\n{_HANDSHAKE}").answer()
        assert (answer.status, answer.body) == (403, b"no")
        # What follows a declined handshake is a request again, or the connection was said to end.
        if answer.get("connection") == "close":
            assert client.is_closed()
        else:
            assert client.send("GET /x HTTP/1.1\r\nHost: gateway\r\n\r\n").answer().status == 403


@pytest.mark.parametrize(
    "request_head",
    [
        "POST /ws HTTP/1.1\r\nHost: g\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 0\r\n\r\n",
        "GET /ws HTTP/1.1\r\nHost: g\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n",
        "GET /ws HTTP/1.1\r\nHost: g\r\nConnection: Upgrade\r\nUpgrade: TLS/1.2\r\n\r\n",
        "GET /ws HTTP/1.1\r\nHost: g\r\nConnection: Upgrade\r\nUpgrade: websocket, h2c\r\n\r\n",
        "GET /ws HTTP/1.1\r\nHost: g\r\nUpgrade: websocket\r\n\r\n",
        "GET /ws HTTP/1.1\r\nHost: g\r\nConnection: Upgrade\r\n\r\n",
    ],
    ids=["POST", "h2c", "TLS", "list", "not nominated", "no protocol"],
)
def test_other_upgrades_are_not_even_asked_of_the_app(app: tuple[StandIn, str], request_head: str) -> None:
    standin, url = app
    standin.answers(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
    with wire.connect(url) as client:
        assert client.send(request_head).answer().status == 200
    assert standin.requests[0].get("upgrade") is None
    assert standin.requests[0].get("connection") is None


@pytest.mark.parametrize("stream", [False, True], ids=["unary", "stream"])
def test_a_call_that_offers_h2c_is_served_over_http_1_1(port: Gateway, stream: bool) -> None:
    """As clients of some runtimes send every request over plain TCP."""
    fields = ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAEAAEAAAAIAAAAAAAMAAAAAAAQBAAAA")
    with wire.connect(port.url) as client:
        answer = client.send(wire.chat(port.admin_key, {**BODY, "stream": stream}, *fields)).answer()
        assert answer.status == 200
        if answer.get("connection") == "close":
            assert client.is_closed()
        else:
            assert client.send(wire.chat(port.admin_key, BODY)).answer().status == 200
    assert answer.body.endswith(b"data: [DONE]\n\n") if stream else json.loads(answer.body)["usage"]


def test_a_websocket_to_no_route_is_refused(port: Gateway) -> None:
    with wire.connect(port.url) as client:
        answer = client.send(f"GET /no/such/route HTTP/1.1\r\n{_HANDSHAKE}").answer()
        assert answer.status in (403, 404)
