"""HTTP semantics of the public port, through both doors."""

from __future__ import annotations

import http.client
import json
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.conftest import Gateway
from tests.rig import Sim

CHAT: dict[str, Any] = {"model": "openai/m", "max_tokens": 2, "messages": [{"role": "user", "content": "a"}]}


def test_head_answers_as_get_would_without_a_body(door: Gateway) -> None:
    with door.client(headers=door.admin) as client:
        for path in ("/v1/models", "/v1/models/pinned", "/_health/live", "/_health/ready"):
            head, get = client.head(path), client.get(path)
            assert head.status_code == get.status_code == 200, path
            assert head.content == b""
            assert head.headers["content-type"] == get.headers["content-type"]


def test_a_whole_answer_states_its_length(door: Gateway) -> None:
    with door.client(headers=door.admin) as client:
        answers = [
            client.post("/v1/chat/completions", json=CHAT),
            client.get("/v1/models"),
            client.post("/v1/chat/completions", json={**CHAT, "model": "nowhere"}),
        ]
    for answer in answers:
        assert answer.headers.get("content-length") == str(len(answer.content)), answer.request.url


def test_unknown_paths_are_404_and_wrong_methods_405_with_allow(door: Gateway) -> None:
    with door.client(headers=door.admin) as client:
        assert client.get("/v1/nothing").status_code == 404
        assert client.post("/v1//chat/completions", json=CHAT).status_code == 404
        for method, path in (("PUT", "/v1/embeddings"), ("DELETE", "/v1/completions"), ("GET", "/v1/messages")):
            answer = client.request(method, path)
            assert answer.status_code == 405, path
            assert "POST" in answer.headers["allow"], path


def test_a_preflight_is_not_taken_for_a_call(door: Gateway, sim: Sim) -> None:
    since = sim.mark()
    asked = {"origin": "https://a.example", "access-control-request-method": "POST"}
    with door.client() as client:
        for path in ("/v1/chat/completions", "/v1/files", "/v1/responses"):
            answer = client.options(path, headers=asked)
            assert answer.status_code in (204, 405), path
            # Nothing was configured, so no foreign page is let in.
            assert "access-control-allow-origin" not in answer.headers
    assert sim.ledger(since) == []


def test_a_large_body_arrives_whole(door: Gateway, sim: Sim) -> None:
    text = "x" * (12 << 20)
    body = json.dumps({**CHAT, "messages": [{"role": "user", "content": text}]}).encode()
    with door.client(headers=door.admin) as client:
        answer = client.post("/v1/chat/completions", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 200, answer.text[:300]
    received = sim.of(answer)
    assert len(received.body) == len(body.replace(b'"openai/m"', b'"m"'))
    assert received.body.replace(b'"m"', b'"openai/m"') == body


def test_a_body_over_the_limit_is_413(door: Gateway) -> None:
    body = b'{"model":"openai/m","messages":[{"role":"user","content":"' + b"x" * (33 << 20) + b'"}]}'
    with door.client(headers=door.admin) as client:
        answer = client.post("/v1/chat/completions", content=body)
    assert answer.status_code == 413
    assert "error" in answer.json()


def test_a_chunked_request_body_is_read(door: Gateway, sim: Sim) -> None:
    pieces = [json.dumps(CHAT).encode()[i : i + 7] for i in range(0, 200, 7)]
    with door.client(headers=door.admin) as client:
        answer = client.post("/v1/chat/completions", content=iter(pieces))
    assert answer.status_code == 200, answer.text
    assert json.loads(sim.of(answer).body)["messages"] == CHAT["messages"]


def test_a_connection_serves_many_calls(door: Gateway) -> None:
    place = urlsplit(door.url)
    connection = http.client.HTTPConnection(str(place.hostname), place.port, timeout=20)
    try:
        connection.connect()
        socket = connection.sock
        for stream in (False, True, False, True):
            body = json.dumps({**CHAT, "stream": stream})
            connection.request("POST", "/v1/chat/completions", body, door.admin)
            answer = connection.getresponse()
            assert answer.status == 200
            assert answer.read()
        assert connection.sock is socket
    finally:
        connection.close()


@pytest.mark.parametrize("size", [0, 1, 100_000, 5_000_000])
def test_binary_answers_are_intact(door: Gateway, sim: Sim, size: int) -> None:
    body = bytes((i * 131 + i // 251) % 256 for i in range(size))
    sim.record(f"binary-{size}", body, "audio/mpeg")
    with door.client(headers=door.admin) as client:
        answer = client.post("/v1/audio/speech", json={"model": f"openai/replay/binary-{size}", "input": "a"})
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "audio/mpeg"
    assert answer.content == body


def test_an_answer_without_a_body_has_none(door: Gateway, sim: Sim) -> None:
    sim.record("no-content", b"", "text/plain", status=204)
    with door.client(headers=door.admin) as client:
        answer = client.post("/v1/batches", json={"model": "openai/replay/no-content"})
        assert answer.status_code == 204
        assert answer.content == b""
        # The connection is still in step.
        assert client.get("/_health/live").status_code == 200


def test_redirects_are_passed_on_and_not_followed(door: Gateway, sim: Sim) -> None:
    sim.record("moved", b"", "text/plain", status=307, headers={"location": "https://elsewhere.example/x"})
    with door.client(headers=door.admin) as client:
        answer = client.post("/v1/batches", json={"model": "openai/replay/moved"}, follow_redirects=False)
    assert answer.status_code == 307


@pytest.mark.parametrize("content_type", [None, "application/json; charset=utf-8", "text/plain", "APPLICATION/JSON"])
def test_the_content_type_of_a_call_is_not_looked_at(door: Gateway, content_type: str | None) -> None:
    headers = {} if content_type is None else {"content-type": content_type}
    with door.client(headers=door.admin) as client:
        answer = client.post("/v1/chat/completions", content=json.dumps(CHAT).encode(), headers=headers)
    assert answer.status_code == 200


def test_a_compressed_request_is_refused_with_a_reason(door: Gateway, sim: Sim) -> None:
    import gzip

    since = sim.mark()
    with door.client(headers=door.admin) as client:
        answer = client.post(
            "/v1/chat/completions",
            content=gzip.compress(json.dumps(CHAT).encode()),
            headers={"content-encoding": "gzip"},
        )
    assert answer.status_code in (400, 415)
    assert answer.json()["error"]["message"]
    assert sim.ledger(since) == []


def test_expect_100_continue_is_honoured(door: Gateway) -> None:
    import socket

    place = urlsplit(door.url)
    payload = json.dumps(CHAT).encode()
    with socket.create_connection((str(place.hostname), place.port), timeout=20) as connection:
        head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: g\r\nauthorization: Bearer {door.admin_key}\r\n"
        connection.sendall(f"{head}content-length: {len(payload)}\r\nexpect: 100-continue\r\n\r\n".encode())
        assert connection.recv(4_096).startswith(b"HTTP/1.1 100 ")
        connection.sendall(payload)
        assert connection.recv(4_096).startswith(b"HTTP/1.1 200 ")


def test_an_http_1_0_client_gets_a_plain_body(door: Gateway) -> None:
    import socket

    place = urlsplit(door.url)
    payload = json.dumps({**CHAT, "stream": True}).encode()
    with socket.create_connection((str(place.hostname), place.port), timeout=20) as connection:
        head = f"POST /v1/chat/completions HTTP/1.0\r\nhost: g\r\nauthorization: Bearer {door.admin_key}\r\n"
        connection.sendall(f"{head}content-length: {len(payload)}\r\n\r\n".encode() + payload)
        received = b""
        while piece := connection.recv(65_536):
            received += piece
    head_bytes, _, body = received.partition(b"\r\n\r\n")
    assert b"transfer-encoding" not in head_bytes.lower()
    assert body.startswith(b"data: ")
    assert body.endswith(b"data: [DONE]\n\n")
