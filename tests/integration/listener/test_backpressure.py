"""Readers that do not read: the upstream is held back, memory stays bounded, and nothing is lost when they go on."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.conftest import Gateway
from tests.integration.listener import wire
from tests.integration.listener.conftest import BODY
from tests.integration.listener.h2client import H2Client
from tests.integration.listener.wire import Message, Wire

_MIB = 1024 * 1024
_TOTAL = 200 * _MIB
# More than the gateway reads of what is under way when its client has left.
_ENDLESS = 100_000 * _MIB
_CONFIG = """
model_list:
  - model_name: sim
    litellm_params: {model: openai/gpt-sim, api_base: "http://127.0.0.1:%d/v1", api_key: sk-upstream}
penstock: {demo: false, listener: {%s}}
"""
_TEXT = "x" * (64 * 1024)
_FRAME = b'data: {"choices":[{"index":0,"delta":{"content":"%s"},"finish_reason":null}]}\n\n' % _TEXT.encode()
_END = b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'


class Torrent:
    """An upstream that writes as fast as it may and counts what the gateway took."""

    def __init__(self) -> None:
        self.taken = 0
        self.closed = 0
        self.total = _TOTAL
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port = int(self._listener.getsockname()[1])
        self._lock = threading.Lock()
        self._open: list[Wire] = []
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            self._open.append(Wire(sock))
            self._threads.append(threading.Thread(target=self._serve, args=(self._open[-1],)))
            self._threads[-1].start()

    def _serve(self, peer: Wire) -> None:
        with peer:
            peer.sock.settimeout(60)
            try:
                while (request := peer.read()) is not None:
                    self._answer(peer, request)
            except OSError:
                with self._lock:
                    self.closed += 1

    def _answer(self, peer: Wire, request: Message) -> None:
        if not request.start.endswith("chat/completions HTTP/1.1"):
            self._write(
                peer, f"HTTP/1.1 200 OK\r\nContent-Type: audio/wav\r\nContent-Length: {self.total}\r\n\r\n".encode()
            )
            for _ in range(self.total // len(_TEXT)):
                self._write(peer, _TEXT.encode())
            return
        self._write(peer, b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(self.total // len(_TEXT)):
            self._write(peer, b"%x\r\n%s\r\n" % (len(_FRAME), _FRAME))
        self._write(peer, b"%x\r\n%s\r\n0\r\n\r\n" % (len(_END), _END))

    def _write(self, peer: Wire, data: bytes) -> None:
        peer.sock.sendall(data)
        with self._lock:
            self.taken += len(data)

    def close(self) -> None:
        """Stop."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for peer in self._open:
            if peer.sock.fileno() >= 0:
                peer.sock.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(10)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Gateway, Torrent]]:
    """A gateway before a torrent."""
    pytest.importorskip("penstock._core", reason="the extension is not built: `make setup`")
    torrent = Torrent()
    gateway = None
    try:
        gateway = Gateway(tmp_path_factory.mktemp("torrent"), "", config=_CONFIG % (torrent.port, ""))
        yield gateway, torrent
    finally:
        if gateway is not None:
            gateway.close()
        torrent.close()


def _resident(gateway: Gateway) -> int:
    return int(Path(f"/proc/{gateway.pid}/statm").read_text().split()[1]) * 4096


def _request(gateway: Gateway, kind: str) -> bytes:
    if kind == "file":
        return wire.chat(gateway.admin_key, {"model": "sim", "input": "a", "voice": "b"}, path="/v1/audio/speech")
    return wire.chat(gateway.admin_key, {**BODY, "stream": True})


def _warm(gateway: Gateway, torrent: Torrent, kind: str, total: int = _TOTAL) -> None:
    """One small answer, so that what a first call allocates is not counted."""
    torrent.total = 4 * _MIB
    with wire.connect(gateway.url) as client:
        assert client.send(_request(gateway, kind)).answer().status == 200
    torrent.total, torrent.taken = total, 0


@pytest.mark.parametrize("kind", ["stream", "file"])
def test_a_stalled_reader_of_200_mib_holds_the_upstream_back(running: tuple[Gateway, Torrent], kind: str) -> None:
    gateway, torrent = running
    _warm(gateway, torrent, kind)
    before = _resident(gateway)
    with wire.connect(gateway.url, receive_buffer=65_536) as client:
        head = client.send(_request(gateway, kind)).head()
        assert head is not None
        assert head.status == 200, head
        held = wire.settled(lambda: torrent.taken)
        # What is under way lies in the kernel's buffers of two connections and in one write of the gateway.
        assert held < 24 * _MIB, f"the upstream was read {held >> 20} MiB ahead of the client"
        assert _resident(gateway) - before < 16 * _MIB
        received, letters, highest = 0, 0, 0
        over = b"\r\n0\r\n\r\n" if kind == "stream" else b""
        tail = b""
        while True:
            received += len(client.buffer)
            letters += client.buffer.count(b"x")
            tail = (tail + client.buffer)[-200:]
            client.buffer = b""
            highest = max(highest, _resident(gateway))
            if received >= _TOTAL and tail.endswith(over):
                break
            assert client.fill(), "the answer broke off"
    if kind == "stream":
        assert b"data: [DONE]" in tail
        # Every letter of the text, and the one of `index` in each frame.
        assert letters == _TOTAL + _TOTAL // len(_TEXT) + 1
    else:
        assert received == letters == _TOTAL
    assert highest - before < 24 * _MIB


def test_a_stalled_http_2_stream_holds_the_upstream_back(running: tuple[Gateway, Torrent]) -> None:
    gateway, torrent = running
    _warm(gateway, torrent, "stream", _ENDLESS)
    before = _resident(gateway)
    with H2Client(wire.connect(gateway.url, receive_buffer=65_536).sock, greedy=False) as client:
        body = json.dumps({**BODY, "stream": True}).encode()
        number = client.open(
            "POST", "/v1/chat/completions", body=body, extra=[("authorization", f"Bearer {gateway.admin_key}")]
        )
        while len(client.streams[number].body) < 65_535:
            client.pump()
        assert wire.settled(lambda: torrent.taken) < 24 * _MIB
        assert _resident(gateway) - before < 16 * _MIB
        closed = torrent.closed
        client.connection.reset_stream(number)
        client.flush()
        wire.until(lambda: torrent.closed > closed, 20, "the upstream was not cancelled")


def test_thirty_stalled_readers_cost_little_and_are_in_nobody_s_way(running: tuple[Gateway, Torrent]) -> None:
    gateway, torrent = running
    _warm(gateway, torrent, "stream", _ENDLESS)
    before, closed = _resident(gateway), torrent.closed
    with ExitStack() as stack:
        for _ in range(30):
            client = stack.enter_context(wire.connect(gateway.url, receive_buffer=65_536))
            head = client.send(_request(gateway, "stream")).head()
            assert head is not None
            assert head.status == 200
        wire.settled(lambda: torrent.taken)
        assert _resident(gateway) - before < 64 * _MIB
        with wire.connect(gateway.url) as other:
            assert other.send("GET /_health/ready HTTP/1.1\r\nHost: gateway\r\n\r\n").answer().status == 200
    # The readers leave: every upstream call is cancelled.
    wire.until(lambda: torrent.closed - closed >= 30, 20, "upstream calls go on without a reader")


@pytest.mark.parametrize("over", ["HTTP/1.1", "HTTP/2"])
def test_a_reader_that_takes_nothing_for_too_long_is_gone(
    running: tuple[Gateway, Torrent], tmp_path: Path, over: str
) -> None:
    _, torrent = running
    gateway = Gateway(tmp_path, "", config=_CONFIG % (torrent.port, "write_timeout: 400ms"))
    try:
        torrent.total, closed = _ENDLESS, torrent.closed
        with wire.connect(gateway.url, receive_buffer=65_536) as client:
            if over == "HTTP/1.1":
                client.send(_request(gateway, "stream"))
            else:
                second = H2Client(client.sock, greedy=False)
                body = json.dumps({**BODY, "stream": True}).encode()
                key = ("authorization", f"Bearer {gateway.admin_key}")
                second.open("POST", "/v1/chat/completions", body=body, extra=[key])
            wire.until(lambda: torrent.closed > closed, 20, "the upstream call goes on")
            with gateway.client() as admin:
                rows = wire.until(lambda: admin.get("/spend/logs", headers=gateway.admin).json(), 20)
            assert [row["metadata"]["outcome"] for row in rows] == ["client_disconnect"]
    finally:
        gateway.close()
