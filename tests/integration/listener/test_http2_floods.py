"""HTTP/2 connections that mean harm: capped, closed, and without effect on others."""

from __future__ import annotations

import json
import struct
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import h2.errors
import pytest

from tests.conftest import Gateway
from tests.integration.listener import wire
from tests.integration.listener.conftest import BODY
from tests.integration.listener.h2client import H2Client
from tests.stalls import Stopwatch

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_SETTINGS, _HEADERS, _RST, _PING, _CONTINUATION, _WINDOW = 4, 1, 3, 6, 9, 8


def _frame(kind: int, stream: int, payload: bytes, flags: int = 0) -> bytes:
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def _status_of(port: Gateway) -> int:
    with wire.connect(port.url) as client:
        return client.send(wire.chat(port.admin_key, BODY)).answer().status


def _flood(port: Gateway, frames: Callable[[int], bytes], count: int) -> bool:
    """Send frames until the server closes; whether it did."""
    with wire.connect(port.url) as client:
        client.send(_PREFACE + _frame(_SETTINGS, 0, b""))
        client.sock.settimeout(20)
        try:
            for start in range(0, count, 100):
                client.sock.sendall(b"".join(frames(number) for number in range(start, start + 100)))
        except OSError:
            return True
        with suppress(TimeoutError):
            while client.fill():
                client.buffer = b""
            return True
        return False


def test_a_rapid_reset_flood_ends_the_connection(port: Gateway, upstream_calls: Callable[[], int]) -> None:
    with H2Client(wire.connect(port.url).sock) as client:
        headers = [("authorization", f"Bearer {port.admin_key}"), ("x-sim-ttft", "2000")]
        body = json.dumps(BODY).encode()
        opened = 0
        begun = time.monotonic()
        with suppress(OSError):
            while opened < 5000 and time.monotonic() - begun < 20:
                for _ in range(20):
                    number = client.connection.get_next_available_stream_id()
                    pseudo = [(":method", "POST"), (":scheme", "http"), (":path", "/v1/chat/completions")]
                    client.connection.send_headers(number, [*pseudo, (":authority", "gateway"), *headers])
                    # What the server gives back of the window is not read meanwhile.
                    if client.connection.local_flow_control_window(number) > len(body):
                        client.connection.send_data(number, body, end_stream=True)
                    client.connection.reset_stream(number, 8)
                    opened += 1
                client.flush()
        with suppress(OSError):
            client.closed_with()
        # ENHANCE_YOUR_CALM, or closed before it could be read.
        assert client.goaway in (11, None)
    assert opened < 5000, "every stream of the flood was taken"
    # Nothing of it is still running upstream, and no more reached it than may run at once many times over.
    assert upstream_calls() < 1000
    assert _status_of(port) == 200


def test_a_flood_of_resets_before_any_work_ends_the_connection(port: Gateway) -> None:
    # :method GET, :scheme http, :path / from the static table; :authority as a literal.
    block = b"\x82\x86\x84\x41\x07gateway"

    def frames(number: int) -> bytes:
        stream = number * 2 + 1
        return _frame(_HEADERS, stream, block, 0x5) + _frame(_RST, stream, struct.pack(">I", 8))

    assert _flood(port, frames, 20_000)
    assert _status_of(port) == 200


def test_headers_that_never_end_are_cut_off(port: Gateway) -> None:
    def frames(number: int) -> bytes:
        if number == 0:
            return _frame(_HEADERS, 1, b"\x82\x86\x84\x41\x07gateway")
        return _frame(_CONTINUATION, 1, b"\x40\x01a\x7f\x81\x01" + b"b" * 256)

    assert _flood(port, frames, 20_000)
    assert _status_of(port) == 200


def test_headers_that_are_not_ended_in_time_end_the_connection(port: Gateway) -> None:
    with H2Client(wire.connect(port.url).sock) as client:
        # The settings are settled: their acknowledgement would be in the middle of the block.
        assert client.answer(client.open("GET", "/_health/live")).status == 200
        watch = Stopwatch()
        client.sock.sendall(_frame(_HEADERS, 3, b"\x82\x86\x84\x41\x07gateway"))
        assert client.closed_with() == h2.errors.ErrorCodes.ENHANCE_YOUR_CALM
        assert watch.seconds > 1.3
        assert watch.ran_s < 4
    assert _status_of(port) == 200


def test_a_header_bomb_is_not_unpacked(port: Gateway) -> None:
    """A small block that refers to one large entry of the dynamic table over and over."""
    large = b"\x40\x01a\x7f" + b"\x81\x1e" + b"b" * 4000
    bomb = b"\x82\x86\x84\x41\x07gateway" + large + b"\xbe" * 10_000
    with wire.connect(port.url) as client:
        client.send(_PREFACE + _frame(_SETTINGS, 0, b"") + _frame(_HEADERS, 1, bomb, 0x5))
        client.send(_frame(_PING, 0, b"12345678"))
        client.sock.settimeout(3)
        received = b""
        with suppress(TimeoutError):
            while client.fill():
                received += client.buffer
                client.buffer = b""
    assert b'"name"' not in received, "the front page was served"
    assert _status_of(port) == 200


@pytest.mark.parametrize(
    "frames",
    [
        lambda _: _frame(_PING, 0, b"12345678"),
        lambda number: _frame(_SETTINGS, 0, struct.pack(">HI", 4, 65_535 + number)),
    ],
    ids=["ping", "settings"],
)
def test_a_flood_that_wants_answers_and_reads_none_is_bounded(port: Gateway, frames: Callable[[int], bytes]) -> None:
    def resident() -> int:
        return int(Path(f"/proc/{port.pid}/statm").read_text().split()[1]) * 4096

    before = resident()
    with wire.connect(port.url, receive_buffer=4096) as client:
        client.send(_PREFACE + _frame(_SETTINGS, 0, b""))
        client.sock.settimeout(1)
        burst = b"".join(frames(number) for number in range(2000))
        with suppress(OSError):
            for _ in range(200):
                client.sock.sendall(burst)
        assert resident() - before < 32 * 1024 * 1024
    assert _status_of(port) == 200


@pytest.mark.parametrize(
    "garbage",
    [
        b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        _frame(_HEADERS, 0, b""),
        _frame(_HEADERS, 2, b"\x82\x86\x84", 0x5),
        _frame(_WINDOW, 0, struct.pack(">I", 0)),
        _frame(_RST, 1, struct.pack(">I", 0)),
        _frame(_SETTINGS, 0, b"abc"),
        _frame(_CONTINUATION, 1, b""),
        b"\xff" * 64,
    ],
)
def test_frames_that_break_the_protocol_end_the_connection(port: Gateway, garbage: bytes) -> None:
    with wire.connect(port.url) as client:
        client.send(_PREFACE + _frame(_SETTINGS, 0, b"") + garbage)
        client.rest()
    assert _status_of(port) == 200
