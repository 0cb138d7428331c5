"""The relay to the control plane: bodies of any size and framing, streams, and an app that misbehaves."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator

import pytest

pytest.importorskip("penstock._core", reason="the extension is not built: `make setup`")

from tests.conftest import Gateway
from tests.integration.listener import wire
from tests.integration.listener.standin import StandIn, engine, socket_path
from tests.integration.listener.wire import Broken, Wire

_GET = "GET /x HTTP/1.1\r\nHost: gateway\r\n\r\n"
_MIB = 1024 * 1024


@pytest.fixture(scope="module")
def app() -> Iterator[tuple[StandIn, str]]:
    """A stand-in and the port before it."""
    with socket_path() as path:
        standin = StandIn(path)
        try:
            with engine(path, body_timeout_ms=2000) as url:
                yield standin, url
        finally:
            standin.close()
        assert standin.failures == []


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE", "PATCH"])
@pytest.mark.parametrize("path", ["/no/such/route", "/v1/no-such-route", "/key/", "/v1", "/%00", "/key.generate"])
def test_unknown_routes_get_litellm_s_404(port: Gateway, method: str, path: str) -> None:
    with wire.connect(port.url) as client:
        answer = client.send(f"{method} {path} HTTP/1.1\r\nHost: gateway\r\n\r\n").answer()
    assert answer.status == 404
    assert answer.json() == {"detail": "Not Found"}


@pytest.mark.parametrize(
    "path, says",
    [
        ("/_health/live", {"status": "alive"}),
        ("/_health/ready", {"status": "ready"}),
        ("/health/liveliness", "I'm alive!"),
        ("/health/liveness", "I'm alive!"),
        ("/health/readiness", None),
    ],
)
def test_health_needs_no_key(port: Gateway, path: str, says: object) -> None:
    with wire.connect(port.url) as client:
        answer = client.send(f"GET {path}?x=1 HTTP/1.1\r\nHost: gateway\r\n\r\n").answer()
    assert answer.status == 200
    assert answer.get("content-type") == "application/json"
    assert answer.json() == says or (says is None and answer.json()["status"] == "healthy")


@pytest.mark.parametrize(
    "path", ["/key/generate/../x", "/v1/./models", "/key/%2e%2E/x", "/..", "/v1/chat/..%2fcompletions"]
)
def test_dot_segments_are_refused_before_anybody_could_resolve_them(port: Gateway, path: str) -> None:
    with wire.connect(port.url) as client:
        answer = client.send(f"GET {path} HTTP/1.1\r\nHost: gateway\r\n\r\n").answer()
    assert answer.status in (400, 404)
    assert set(answer.json()) <= {"error", "detail"}


def test_a_large_admin_body_arrives_whole(port: Gateway) -> None:
    note = "n" * 900_000
    with port.client() as client:
        key = client.post("/key/generate", headers=port.admin, json={"metadata": {"note": note}}).json()["key"]
        info = client.get("/key/info", headers=port.admin, params={"key": key}).json()
    assert info["info"]["metadata"]["note"] == note


def test_a_chunked_admin_body_arrives_whole(port: Gateway) -> None:
    def pieces() -> Iterator[bytes]:
        body = json.dumps({"metadata": {"note": "c" * 300_000}}).encode()
        yield from (body[at : at + 7_000] for at in range(0, len(body), 7_000))

    with port.client() as client:
        key = client.post("/key/generate", headers=port.admin, content=pieces()).json()["key"]
        info = client.get("/key/info", headers=port.admin, params={"key": key}).json()
    assert info["info"]["metadata"]["note"] == "c" * 300_000


@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_the_app_gets_the_body_s_bytes(app: tuple[StandIn, str], framing: str) -> None:
    standin, url = app
    standin.answers(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
    body = bytes(range(256)) * 16_384
    fields = f"Content-Length: {len(body)}" if framing == "length" else "Transfer-Encoding: chunked"
    content = (
        body if framing == "length" else wire.chunked(*(body[at : at + 99_999] for at in range(0, len(body), 99_999)))
    )
    with wire.connect(url) as client:
        client.send(f"PUT /x HTTP/1.1\r\nHost: gateway\r\n{fields}\r\n\r\n".encode() + content)
        assert client.answer().body == b"ok"
    request = standin.requests[0]
    assert request.body == body
    assert len(request.all("content-length") + request.all("transfer-encoding")) == 1


def test_an_empty_chunked_body_stays_a_body(app: tuple[StandIn, str]) -> None:
    standin, url = app
    standin.answers(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    with wire.connect(url) as client:
        client.send("POST /x HTTP/1.1\r\nHost: gateway\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n")
        assert client.answer().status == 200
        assert client.send(_GET).answer().status == 200
    assert standin.requests[0].body == b""


@pytest.mark.parametrize("framing", ["chunked", "until close"])
def test_an_answer_is_streamed_as_the_app_writes_it(app: tuple[StandIn, str], framing: str) -> None:
    standin, url = app
    told: list[Wire] = []

    def reached(number: int) -> bool:
        return len(told) > number

    def script(peer: Wire) -> None:
        standin.record(peer)
        field = "Transfer-Encoding: chunked\r\n" if framing == "chunked" else ""
        peer.send(f"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n{field}\r\n")
        for number in range(3):
            event = f"data: {number}\n\n".encode()
            peer.send(b"%x\r\n%s\r\n" % (len(event), event) if framing == "chunked" else event)
            # The next event is written only once the client has this one.
            wire.until(functools.partial(reached, number))
        peer.send(b"0\r\n\r\n" if framing == "chunked" else b"")

    standin.does(script)
    with wire.connect(url) as client:
        head = client.send(_GET).head()
        assert head is not None
        assert head.get("transfer-encoding") == "chunked"
        received = []
        for piece in client.chunks():
            received.append(piece)
            told.append(client)
        assert received == [b"data: 0\n\n", b"data: 1\n\n", b"data: 2\n\n"]


def test_informational_answers_are_not_taken_for_the_answer(app: tuple[StandIn, str]) -> None:
    standin, url = app
    standin.answers(
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
    )
    with wire.connect(url) as client:
        answer = client.send(_GET).answer()
        while answer.status < 200:
            answer = client.answer()
        assert (answer.status, answer.body) == (200, b"ok")


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 204 No Content\r\n\r\n",
        b"HTTP/1.1 304 Not Modified\r\nETag: a\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    ],
)
def test_answers_without_a_body_keep_the_connection(app: tuple[StandIn, str], answer: bytes) -> None:
    standin, url = app
    standin.answers(answer)
    with wire.connect(url) as client:
        for _ in range(3):
            assert client.send(_GET).answer().status == int(answer[9:12])


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nContent-",
        b"nonsense\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nX: a\nb: c\r\n\r\n",
    ],
    ids=["nothing", "half a head", "nonsense", "two lengths", "bare LF"],
)
def test_an_app_that_answers_no_http_is_a_503(app: tuple[StandIn, str], answer: bytes) -> None:
    standin, url = app
    standin.answers(answer)
    with wire.connect(url) as client:
        refused = client.send(_GET).answer()
        assert refused.status == 503
        assert refused.json()["error"]["code"] == "control_plane_unavailable"
        standin.does(standin.answer_empty)
        assert client.send(_GET).answer().status == 204


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\nzz\r\n",
    ],
    ids=["length", "chunked", "malformed"],
)
def test_an_answer_that_breaks_off_does_not_look_complete(app: tuple[StandIn, str], answer: bytes) -> None:
    standin, url = app
    standin.answers(answer)
    with wire.connect(url) as client, pytest.raises(Broken):
        client.send(_GET).read()


@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_an_app_that_answers_before_it_has_read_the_body_is_heard(app: tuple[StandIn, str], framing: str) -> None:
    standin, url = app

    def script(peer: Wire) -> None:
        assert peer.head() is not None
        peer.send(b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\nConnection: close\r\n\r\nbig")

    standin.does(script)
    fields = f"Content-Length: {8 * _MIB}" if framing == "length" else "Transfer-Encoding: chunked"
    piece = b" " * 65_536
    with wire.connect(url) as client:
        client.send(f"POST /x HTTP/1.1\r\nHost: gateway\r\n{fields}\r\n\r\n")
        for _ in range(128):
            client.send(piece if framing == "length" else b"10000\r\n" + piece + b"\r\n")
        client.send(b"" if framing == "length" else b"0\r\n\r\n")
        answer = client.answer()
    assert (answer.status, answer.body) == (413, b"big")


def test_a_client_that_leaves_is_noticed_by_the_app(app: tuple[StandIn, str]) -> None:
    standin, url = app
    noticed: list[bool] = []

    def script(peer: Wire) -> None:
        standin.record(peer)
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 0\n\n")
        noticed.append(peer.is_closed())

    standin.does(script)
    with wire.connect(url) as client:
        assert client.send(_GET).head() is not None
    wire.until(lambda: noticed)
    assert noticed == [True]


def test_a_slow_reader_holds_the_app_back(app: tuple[StandIn, str]) -> None:
    standin, url = app
    written = [0]
    total = 64 * _MIB

    def script(peer: Wire) -> None:
        standin.record(peer)
        peer.send(f"HTTP/1.1 200 OK\r\nContent-Length: {total}\r\n\r\n")
        peer.sock.settimeout(60)
        for _ in range(total // 65_536):
            peer.sock.sendall(b"x" * 65_536)
            written[0] += 65_536

    standin.does(script)
    with wire.connect(url, receive_buffer=65_536) as client:
        client.send(_GET)
        assert wire.settled(lambda: written[0], quiet=0.3) < 16 * _MIB
        assert len(client.answer().body) == total


def test_without_an_app_the_port_says_so_and_goes_on() -> None:
    with socket_path() as path, engine(path) as url, wire.connect(url) as client:
        answer = client.send(_GET).answer()
        assert answer.status == 503
        assert answer.get("retry-after") == "1"
        assert client.send("GET /_health/live HTTP/1.1\r\nHost: gateway\r\n\r\n").answer().status == 200
