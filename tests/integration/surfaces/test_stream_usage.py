"""Usage in streams: always asked of the provider, shown only to clients that want it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from tests.conftest import Gateway
from tests.rig import CONFIG, Sim, until

BODY: dict[str, Any] = {
    "model": "openai/m",
    "max_tokens": 3,
    "stream": True,
    "messages": [{"role": "user", "content": "a"}],
}


def _stream(gateway: Gateway, **fields: Any) -> httpx.Response:
    with gateway.client(headers=gateway.admin) as client:
        answer = client.post("/v1/chat/completions", json={**BODY, **fields})
    assert answer.status_code == 200, answer.text
    return answer


def _replayed(
    gateway: Gateway, sim: Sim, frames: list[bytes], separator: bytes = b"\n\n", **fields: Any
) -> list[bytes]:
    sim.record("usage", separator.join([*frames, b""]), "text/event-stream")
    answer = _stream(gateway, model="openai/replay/usage", **fields)
    return answer.content.split(separator)[:-1]


def _settled(gateway: Gateway, answer: httpx.Response) -> dict[str, Any]:
    call_id = answer.headers["x-penstock-call-id"]

    def probe() -> dict[str, Any] | None:
        with gateway.client(headers=gateway.admin) as client:
            rows = client.get("/spend/logs", params={"request_id": call_id}).json()
        return rows[0] if rows else None

    return until(probe, "the usage record")


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/completions"])
def test_it_is_asked_for_and_hidden(door: Gateway, sim: Sim, path: str) -> None:
    body = {**BODY, "prompt": "a"}
    with door.client(headers=door.admin) as client:
        answer = client.post(path, json=body)
    assert json.loads(sim.of(answer).body)["stream_options"] == {"include_usage": True}
    assert '"usage"' not in answer.text
    assert '"choices":[]' not in answer.text
    assert answer.text.endswith("data: [DONE]\n\n")
    assert _settled(door, answer)["completion_tokens"] == 3


def test_it_is_shown_to_those_who_ask_and_the_request_is_left_alone(door: Gateway, sim: Sim) -> None:
    answer = _stream(door, stream_options={"include_usage": True, "include_obfuscation": False})
    assert json.loads(sim.of(answer).body)["stream_options"] == {"include_usage": True, "include_obfuscation": False}
    frames = [json.loads(f[6:]) for f in answer.text.strip().split("\n\n")[:-1]]
    assert frames[-1]["choices"] == []
    assert frames[-1]["usage"]["completion_tokens"] == 3
    assert all(frame["usage"] is None for frame in frames[:-1])


@pytest.mark.parametrize("options", [{"include_usage": False}, {"include_obfuscation": True}, {}, None])
def test_other_stream_options_are_kept(door: Gateway, sim: Sim, options: dict[str, Any] | None) -> None:
    answer = _stream(door, stream_options=options)
    assert json.loads(sim.of(answer).body)["stream_options"] == {**(options or {}), "include_usage": True}
    assert '"usage"' not in answer.text


def test_a_whole_answer_is_not_asked_for_stream_options(door: Gateway, sim: Sim) -> None:
    with door.client(headers=door.admin) as client:
        answer = client.post("/v1/chat/completions", json={**BODY, "stream": False})
    assert b"stream_options" not in sim.of(answer).body


def test_always_include_stream_usage_shows_it_to_all(start_gateway: Callable[..., Gateway]) -> None:
    gateway = start_gateway(config=CONFIG + "general_settings: {always_include_stream_usage: true}\n")
    assert '"completion_tokens":3' in _stream(gateway).text
    gateway = start_gateway(config=CONFIG + "  streams: {include_usage: true}\n")
    assert '"completion_tokens":3' in _stream(gateway).text


A = b'data: {"id":"c","choices":[{"index":0,"delta":{"content":"a"},"finish_reason":null}]%s}'
END = b'data: {"id":"c","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]%s}'
USAGE = b'"usage":{"prompt_tokens":5,"completion_tokens":2,"total_tokens":7}'
ONLY = b'data: {"id":"c","choices":[],%s}' % USAGE
DONE = b"data: [DONE]"


def test_null_usage_is_taken_out_only_when_the_gateway_caused_it(door: Gateway, sim: Sim) -> None:
    null = b',"usage":null'
    frames = [A % null, END % null, ONLY, DONE]
    assert _replayed(door, sim, frames) == [A % b"", END % b"", DONE]
    assert _replayed(door, sim, frames, stream_options={"include_usage": True}) == frames


@pytest.mark.parametrize(
    "null, left",
    [
        (
            b'data: {"usage":null,"choices":[{"delta":{"content":"a"}}]}',
            b'data: {"choices":[{"delta":{"content":"a"}}]}',
        ),
        (
            b'data: {"choices":[{"delta":{"content":"a"}}], "usage" : null }',
            b'data: {"choices":[{"delta":{"content":"a"}}] }',
        ),
        (
            b'data: {"choices":[{"delta":{"content":"usage"}}],"usage":null}',
            b'data: {"choices":[{"delta":{"content":"usage"}}]}',
        ),
        (
            b'data: {"choices":[{"delta":{"content":"\\"usage\\":null"}}],"usage":null,"x":1}',
            b'data: {"choices":[{"delta":{"content":"\\"usage\\":null"}}],"x":1}',
        ),
        (
            b'data: {"choices":[{"delta":{"content":"a","usage":null}}],"x":1}',
            b'data: {"choices":[{"delta":{"content":"a","usage":null}}],"x":1}',
        ),
    ],
    ids=["first", "spaced", "content is the word", "content quotes it", "not the chunk's own"],
)
def test_only_the_chunks_own_null_usage_is_taken_out(door: Gateway, sim: Sim, null: bytes, left: bytes) -> None:
    assert _replayed(door, sim, [null, END % b"", ONLY, DONE]) == [left, END % b"", DONE]


@pytest.mark.parametrize(
    "chunk",
    [
        ONLY,
        b'data: {"id": "c", "choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}}',
        b'data:{"usage":{"prompt_tokens":5,"completion_tokens":2,"total_tokens":7},"choices":[ ]}',
        b'id: 1\nevent: message\ndata: {"choices":[],"usage":{"prompt_tokens":5,"completion_tokens":2}}\nretry: 1',
    ],
    ids=["compact", "spaced", "usage first", "with other fields"],
)
@pytest.mark.parametrize("separator", [b"\n\n", b"\r\n\r\n"], ids=["LF", "CRLF"])
def test_the_usage_chunk_is_hidden_however_it_is_written(
    door: Gateway, sim: Sim, chunk: bytes, separator: bytes
) -> None:
    chunk = chunk.replace(b"\n", separator[: len(separator) // 2])
    assert _replayed(door, sim, [A % b"", END % b"", chunk, DONE], separator) == [A % b"", END % b"", DONE]


def test_usage_on_a_chunk_with_content_does_not_cost_the_content(door: Gateway, sim: Sim) -> None:
    shown = _replayed(door, sim, [A % b"", END % (b"," + USAGE), DONE])
    assert len(shown) == 3
    assert b'"finish_reason":"stop"' in shown[1]


@pytest.mark.parametrize("ask", [False, True])
def test_usage_of_every_kind_of_stream_is_accounted(door: Gateway, sim: Sim, ask: bool) -> None:
    sim.record("accounted", b"\n\n".join([A % b"", END % b"", ONLY, DONE, b""]), "text/event-stream")
    fields = {"stream_options": {"include_usage": True}} if ask else {}
    answer = _stream(door, model="openai/replay/accounted", **fields)
    row = _settled(door, answer)
    assert (row["prompt_tokens"], row["completion_tokens"]) == (5, 2)
