"""One slow or odd end must not hold up, or spoil, anything else."""

from __future__ import annotations

import json
import random
import socket
import ssl
import string
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("penstock._core", reason="the extension is not built: `make setup`")

from penstock.engine.snapshot import ListenerTls
from tests.integration.listener import wire
from tests.integration.listener.certificates import Authority, needs_openssl
from tests.integration.listener.wire import Message, Wire, pause, settled, until
from tests.integration.regressions.rig import COMPLETION, MASTER, Door, Plane, Rig, answering, messages
from tests.stalls import Stopwatch, again_after_a_stall

_STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


def _frame(text: str) -> bytes:
    data = json.dumps({"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": None}]})
    return b"data: " + data.encode() + b"\n\n"


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Signs for 127.0.0.1."""
    needs_openssl()
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def identity(authority: Authority) -> tuple[Path, Path]:
    """A certificate and its key."""
    return authority.issue("server")


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages"])
@pytest.mark.parametrize(
    "body, status",
    [
        (COMPLETION, 200),
        ({"error": {"message": "no such thing", "code": 404}}, 200),
        ({"error": {"message": "no"}}, 400),
    ],
    ids=["completion", "error", "status"],
)
def test_json_after_keep_alive_comments_ends_in_an_error_event(
    rig: Rig, body: dict[str, Any], status: int, path: str
) -> None:
    def script(peer: Wire, request: Message) -> None:
        provider.is_over(0.8)
        answering(body, status)(peer, request)

    provider = rig.provider(script)
    kind = "anthropic" if path == "/v1/messages" else "openai"
    plane = rig.plane([provider.deployment(keepalive_ms=50, wire=kind)])
    request = wire.chat(MASTER, messages(stream=True, max_tokens=5), path=path)
    with plane.connect() as client:
        answer = client.send(request).answer()
        # Nothing may stand between this answer and the end of the connection, or the next answer.
        again = client.send(request).read()
    assert (answer.status, answer.all("content-length")) == (200, [])
    assert (answer.get("content-type") or "").startswith("text/event-stream")
    events = [event for event in answer.body.decode().split("\n\n") if event]
    assert events[0].startswith(":")
    assert b"HTTP/1.1" not in answer.body
    (data,) = (line for event in events for line in event.split("\n") if line.startswith("data: {"))
    assert json.loads(data.removeprefix("data: "))["error"]["message"]
    assert again is None or again.status == 200
    assert {record["outcome"] for record in plane.records(1 if again is None else 2)} <= {"error", "upstream_cut"}


@pytest.mark.timeout(400)
@again_after_a_stall(0.1)
def test_a_huge_prompt_of_a_counted_key_does_not_delay_others(rig: Rig) -> None:
    provider = rig.provider(answering(COMPLETION))
    plane = rig.plane([provider.deployment()], threads=1)
    key = plane.key(tpm=10**9)
    # No word ends: what takes longest to count.
    text = "".join(random.Random(4).choices(string.ascii_lowercase, k=1_000_000)) * 16
    request = wire.chat(key, messages(text))
    answers: list[Message] = []

    def call() -> None:
        with plane.connect() as own:
            own.sock.settimeout(60)
            answers.append(own.send(request).answer())

    caller = threading.Thread(target=call)
    longest = 0.0
    with plane.connect() as client:
        whole = Stopwatch()
        caller.start()
        while caller.is_alive():
            watch = Stopwatch()
            assert client.send("GET /_health/live HTTP/1.1\r\nHost: gateway\r\n\r\n").answer().status == 200
            longest = max(longest, watch.ran_s)
            pause(0.005)
    caller.join()
    took = whole.seconds
    assert answers[0].status == 200
    # Who had to wait for it would have waited for most of the time that it took.
    assert longest < max(0.25, took / 20), took


def _queued(server: int, client: int) -> int:
    """Bytes between two ports of this machine that were written and not yet read."""
    total = 0
    for row in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        _, local, remote, _, queues = row.split()[:5]
        ports = (int(local.split(":")[1], 16), int(remote.split(":")[1], 16))
        sent, unread = (int(part, 16) for part in queues.split(":"))
        total += sent if ports == (client, server) else unread if ports == (server, client) else 0
    return total


@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="looks into the kernel's queues")
def test_a_large_upload_to_a_tls_provider_arrives_whole(
    rig: Rig, authority: Authority, identity: tuple[Path, Path]
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*map(str, identity))
    listener = socket.create_server(("127.0.0.1", 0), backlog=64)
    own = listener.getsockname()[1]

    def serve() -> int:
        peer, (_, client) = listener.accept()
        with context.wrap_socket(peer, server_side=True) as secure:
            # Every buffer on the way is full, or has all of it, before the first byte is read.
            room = settled(lambda: _queued(own, client), quiet=0.1)
            end = Wire(secure)
            assert end.read() is not None
            content = json.dumps(COMPLETION).encode()
            end.send(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: application/json\r\n")
            end.send(b"Content-Length: %d\r\n\r\n%s" % (len(content), content))
        return room

    provider = rig.provider(answering(COMPLETION))
    deployment = provider.deployment(base_url=f"https://127.0.0.1:{own}/v1", first_byte_timeout_ms=20_000)
    plane = rig.plane([deployment], ca_file=str(authority.certificate))
    with listener, ThreadPoolExecutor(1) as pool:

        def room_for(size: int) -> int:
            served = pool.submit(serve)
            assert plane.ask(messages("x" * size)).status == 200, size
            return served.result()

        # What goes beyond the kernel's buffers by less than a TLS library holds back: 64 KiB.
        room = room_for(12_000_000)
        for beyond in range(-8, 72, 8):
            room_for(room + beyond * 1024)


def _endless(rig: Rig) -> Any:
    piece = _chunk(_frame("x" * 8_000)) * 8

    def script(peer: Wire, request: Message) -> bool:
        peer.sock.sendall(_STREAM)
        while not provider.is_over(0):
            peer.sock.sendall(piece)
        return False

    provider = rig.provider(script)
    return provider.deployment()


@pytest.mark.parametrize("secure", [False, True], ids=["plain", "tls"])
def test_a_client_that_stops_reading_is_given_up(
    rig: Rig, authority: Authority, identity: tuple[Path, Path], secure: bool
) -> None:
    tls = ListenerTls(certificate=str(identity[0]), key=str(identity[1])) if secure else None
    plane = rig.plane([_endless(rig)], write_timeout_ms=1_500, tls=tls)
    client = plane.connect()
    sock = authority.context().wrap_socket(client.sock, server_hostname="127.0.0.1") if secure else client.sock
    sock.sendall(wire.chat(MASTER, messages(stream=True)))
    assert sock.recv(100)
    (record,) = plane.records(seconds=20)
    assert record["outcome"] == "client_disconnect"
    until(lambda: plane.in_flight() == 0)
    sock.close()


def test_a_listener_that_grants_nothing_more_is_given_up(rig: Rig) -> None:
    plane = rig.plane([_endless(rig)], write_timeout_ms=1_500)
    door = Door(plane.core)
    call = door.submit(messages(stream=True))
    (record,) = plane.records(seconds=20)
    assert record["outcome"] == "client_disconnect"
    until(lambda: door.of(call, "call.abort"), what="the listener was not told")
    assert 0 < len(door.of(call, "call.data")) <= 16
    assert door.of(call, "call.end") == []


def test_a_slow_listener_is_not_taken_for_a_provider_that_stalls(rig: Rig) -> None:
    received: list[int] = []
    resumed = threading.Event()

    def script(peer: Wire, request: Message) -> None:
        peer.sock.sendall(_STREAM)
        for number in range(16):
            peer.sock.sendall(_chunk(_frame(f"w{number} ")))
            # One frame, one piece: the sixteen that a listener grants are used up exactly.
            until(lambda wanted=number: len(received) > wanted)  # type: ignore[misc]
        peer.sock.sendall(_chunk(_frame("held ")))
        resumed.wait(30)
        provider.is_over(0.2)
        peer.sock.sendall(_chunk(_frame("last ")))
        finish = json.dumps({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}], "usage": {}})
        peer.sock.sendall(_chunk(f"data: {finish}\n\ndata: [DONE]\n\n".encode()) + b"0\r\n\r\n")

    provider = rig.provider(script)
    plane = rig.plane([provider.deployment(idle_timeout_ms=3_000)])
    door = Door(plane.core)
    call = door.submit(messages(stream=True))

    def seen() -> int:
        received[:] = range(len(door.of(call, "call.data")))
        return len(received)

    until(lambda: seen() >= 16)
    pause(4)
    assert seen() == 16
    plane.core.credit(call, 100)
    until(lambda: seen() > 16)
    resumed.set()
    until(lambda: door.of(call, "call.end") or door.of(call, "call.abort"))
    text = b"".join(door.of(call, "call.data"))
    assert b"last " in text
    assert b'"error"' not in text
    (record,) = plane.records()
    assert (record["outcome"], record["error_code"]) == ("ok", "")


def test_a_provider_that_switches_protocols_is_not_believed(rig: Rig) -> None:
    def script(peer: Wire, request: Message) -> None:
        if len(provider.requests) == 1:
            peer.send("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n")
        else:
            answering(COMPLETION)(peer, request)

    provider = rig.provider(script)
    plane = rig.plane([provider.deployment()])
    assert _statuses(plane, 2) == [502, 200]


def _statuses(plane: Plane, count: int) -> list[int]:
    return [plane.ask(messages()).status for _ in range(count)]


@pytest.mark.parametrize("ends", [True, False], ids=["whole", "cut"])
def test_a_responses_stream_is_whole_only_with_its_last_event(rig: Rig, ends: bool) -> None:
    """Its first events show the response with an error that is null; that is not the error event."""
    created: dict[str, Any] = {
        "type": "response.created",
        "response": {"id": "r", "status": "in_progress", "error": None},
    }
    delta: dict[str, Any] = {"type": "response.output_text.delta", "delta": "water"}
    last = {
        "type": "response.completed",
        "response": {"id": "r", "error": None, "usage": {"input_tokens": 3, "output_tokens": 1}},
    }

    def script(peer: Wire, request: Message) -> None:
        peer.sock.sendall(_STREAM)
        for event in [created, delta, *([last] if ends else [])]:
            peer.sock.sendall(_chunk(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode()))
        peer.sock.sendall(b"0\r\n\r\n")

    plane = rig.plane([rig.provider(script).deployment()])
    answer = plane.ask({"model": "m", "input": "hello", "stream": True}, path="/v1/responses")
    assert answer.status == 200
    assert (b"upstream_protocol_error" in answer.body) is not ends
    (record,) = until(plane.take)
    assert record["outcome"] == ("ok" if ends else "upstream_cut")
