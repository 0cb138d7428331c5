"""A client that leaves or reads slowly is felt by the upstream, through both doors."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.conftest import Gateway
from tests.rig import Sim, until

STREAMS = [
    ("/v1/chat/completions", {"messages": [{"role": "user", "content": "a b"}], "stream": True}, "openai/"),
    ("/v1/chat/completions", {"messages": [{"role": "user", "content": "a b"}], "stream": True}, "anthropic/"),
    (
        "/v1/messages",
        {"messages": [{"role": "user", "content": "a"}], "stream": True, "max_tokens": 90_000},
        "anthropic/",
    ),
    ("/v1/responses", {"input": "a b", "stream": True}, "openai/"),
]


def _open(gateway: Gateway, path: str, body: dict[str, Any], receive_buffer: int | None = None) -> socket.socket:
    """Sends one call on a connection of its own."""
    place = urlsplit(gateway.url)
    connection = socket.socket()
    if receive_buffer is not None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    connection.settimeout(20)
    connection.connect((str(place.hostname), place.port))
    payload = json.dumps(body).encode()
    head = f"POST {path} HTTP/1.1\r\nhost: gateway\r\nauthorization: Bearer {gateway.admin_key}\r\n"
    head += f"content-type: application/json\r\ncontent-length: {len(payload)}\r\n\r\n"
    connection.sendall(head.encode() + payload)
    return connection


def _read_until(connection: socket.socket, mark: bytes) -> None:
    received = b""
    while mark not in received:
        piece = connection.recv(65_536)
        assert piece, received
        received += piece


def _entry(sim: Sim, since: int) -> dict[str, Any] | None:
    entries = sim.ledger(since)
    return entries[0] if entries else None


def _resident_mb(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    raise AssertionError("no VmRSS")


@pytest.mark.parametrize("path, body, prefix", STREAMS)
def test_leaving_in_the_middle_of_a_stream_cancels_the_upstream(
    door: Gateway, sim: Sim, path: str, body: dict[str, Any], prefix: str
) -> None:
    since = sim.mark()
    with _open(door, path, {**body, "model": f"{prefix}sim/tps=100,tokens=90000"}) as connection:
        _read_until(connection, b" that")
    ended = until(
        lambda: (entry := _entry(sim, since)) and entry["outcome"] != "open" and entry, "the end of the upstream's call"
    )
    assert ended["outcome"] == "cut"
    assert 3 <= ended["tokens_sent"] < 2_000


@pytest.mark.parametrize("stream", [False, True])
def test_leaving_before_the_first_byte_cancels_the_upstream(door: Gateway, sim: Sim, stream: bool) -> None:
    since = sim.mark()
    body = {"model": "openai/sim/ttft=60000", "stream": stream, "messages": [{"role": "user", "content": "a"}]}
    connection = _open(door, "/v1/chat/completions", body)
    until(lambda: _entry(sim, since), "the call's arrival upstream")
    connection.close()
    ended = until(
        lambda: (entry := _entry(sim, since)) and entry["outcome"] != "open" and entry, "the end of the upstream's call"
    )
    assert ended["outcome"] == "cut"


def test_the_usage_of_a_cut_stream_is_what_was_sent(door: Gateway, sim: Sim) -> None:
    key = door.new_key()
    place = urlsplit(door.url)
    body = {"model": "openai/sim/tps=200,tokens=90000", "stream": True, "messages": [{"role": "user", "content": "a"}]}
    payload = json.dumps(body).encode()
    since = sim.mark()
    with socket.create_connection((str(place.hostname), place.port), timeout=20) as connection:
        head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: g\r\nauthorization: Bearer {key}\r\n"
        connection.sendall(f"{head}content-length: {len(payload)}\r\n\r\n".encode() + payload)
        _read_until(connection, b" from")
    cut = until(lambda: (e := _entry(sim, since)) and e["outcome"] == "cut" and e, "the cut")

    def logged() -> list[dict[str, Any]]:
        with door.client(headers=door.admin) as client:
            return list(client.get("/spend/logs", params={"api_key": key}).json())

    row = until(logged, "the usage record")[0]
    assert 6 <= row["completion_tokens"] <= cut["tokens_sent"]


@pytest.mark.parametrize("path, body, prefix", STREAMS[:1])
def test_a_client_that_does_not_read_stops_the_upstream(
    door: Gateway, sim: Sim, path: str, body: dict[str, Any], prefix: str
) -> None:
    """64 MiB are on offer; the buffers in between are allowed a quarter of it."""
    since = sim.mark()
    before = _resident_mb(door.pid)
    tokens, size = 16_384, 4_096
    model = f"{prefix}sim/bytes={size},tokens={tokens}"
    with _open(door, path, {**body, "model": model}, receive_buffer=16_384) as connection:
        assert connection.recv(1_000)
        until(lambda: _entry(sim, since), "the call's arrival upstream")
        # Long enough for all of it, were it taken: a call is some hundred times smaller and slower to set up.
        with door.client(headers=door.admin) as client:
            for _ in range(300):
                assert client.get("/v1/models").status_code == 200
        grown = _resident_mb(door.pid) - before
        entry = _entry(sim, since)
        assert entry is not None
        assert entry["outcome"] == "open", "the upstream was drained although nobody read"
        assert grown < tokens * size / (1 << 20) / 4
    until(lambda: (e := _entry(sim, since)) and e["outcome"] == "cut", "the cut")


def test_a_download_that_is_not_read_stops_the_upstream(door: Gateway, sim: Sim) -> None:
    content = bytes(1 << 20) * 24
    with door.client(headers=door.admin) as client:
        files = {"file": ("big.bin", content)}
        uploaded = client.post("/v1/files", files=files, data={"purpose": "batch", "model": "pinned"}).json()
        since = sim.mark()
        with client.stream("GET", f"/v1/files/{uploaded['id']}/content") as answer:
            next(answer.iter_raw(1_000))
    ended = until(
        lambda: (entry := _entry(sim, since)) and entry["outcome"] != "open" and entry, "the end of the upstream's call"
    )
    assert ended["outcome"] == "cut"


def test_many_streams_at_once_are_each_whole(door: Gateway) -> None:
    body = {"messages": [{"role": "user", "content": "a"}], "stream": True, "stream_options": {"include_usage": True}}
    connections = [
        _open(door, "/v1/chat/completions", {**body, "model": f"openai/sim/tps=200,tokens={20 + i % 7}"})
        for i in range(100)
    ]
    try:
        for i, connection in enumerate(connections):
            received = b""
            while b"data: [DONE]\n\n" not in received:
                piece = connection.recv(65_536)
                assert piece, received[-200:]
                received += piece
            assert b'"completion_tokens":%d,' % (20 + i % 7) in received
            assert received.count(b'"content":" ') == 20 + i % 7
    finally:
        for connection in connections:
            connection.close()
