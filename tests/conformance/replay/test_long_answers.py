"""Answers longer than what the gateway holds in memory pass untouched, and their usage is not lost on the way."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.conformance.replay.accounting import Tokens
from tests.conformance.replay.replayer import Replayer

_ASKED: dict[str, Any] = {"max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}]}
_OPENAI_USAGE = {"usage": {"prompt_tokens": 8, "completion_tokens": 5, "total_tokens": 13}}
_CLAUDE_USAGE = {"usage": {"input_tokens": 6, "cache_read_input_tokens": 2, "output_tokens": 5}}
_LONG = "long \u00e9 " * 250_000


def _joined(usage: dict[str, Any], long: dict[str, Any], place: str) -> dict[str, Any]:
    return {**usage, **long} if place == "first" else {**long, **usage}


@pytest.mark.parametrize("place", ["first", "last"])
def test_usage_of_a_long_completion_is_accounted(replayer: Replayer, place: str) -> None:
    choice = {"index": 0, "message": {"role": "assistant", "content": _LONG}, "finish_reason": "stop"}
    body = json.dumps(_joined(_OPENAI_USAGE, {"choices": [choice]}, place)).encode()
    request = json.dumps({"model": "openai", **_ASKED}).encode()
    answer = replayer.post("/v1/chat/completions", request, replayer.put(body, "application/json"))
    assert answer.content == body
    record = replayer.usage(answer.headers["x-penstock-call-id"])
    assert (record.tokens, record.source) == (Tokens(prompt=8, completion=5), "upstream")


@pytest.mark.parametrize("path", ["/v1/messages", "/v1/chat/completions"])
@pytest.mark.parametrize("place", ["first", "last"])
def test_usage_of_a_long_message_is_accounted(replayer: Replayer, place: str, path: str) -> None:
    long = {"id": "m", "content": [{"type": "text", "text": _LONG}], "stop_reason": "end_turn"}
    body = json.dumps(_joined(_CLAUDE_USAGE, long, place)).encode()
    request = json.dumps({"model": "claude", **_ASKED}).encode()
    answer = replayer.post(path, request, replayer.put(body, "application/json"))
    if path == "/v1/messages":
        assert answer.content == body
    else:
        assert answer.json()["choices"][0]["message"]["content"] == _LONG
    record = replayer.usage(answer.headers["x-penstock-call-id"])
    assert (record.tokens, record.source) == (Tokens(prompt=8, completion=5, cached=2), "upstream")


@pytest.mark.parametrize("place", ["first", "last"])
def test_usage_in_a_long_event_is_accounted(replayer: Replayer, place: str) -> None:
    choice = {"index": 0, "delta": {"content": _LONG}, "finish_reason": "stop"}
    event = _joined(_OPENAI_USAGE, {"choices": [choice]}, place)
    body = f"data: {json.dumps(event)}\n\ndata: [DONE]\n\n".encode()
    request = {"model": "openai", "stream": True, "stream_options": {"include_usage": True}, **_ASKED}
    answer = replayer.post(
        "/v1/chat/completions", json.dumps(request).encode(), replayer.put(body, "text/event-stream")
    )
    assert answer.content == body
    record = replayer.usage(answer.headers["x-penstock-call-id"])
    assert (record.tokens, record.source, record.outcome) == (Tokens(prompt=8, completion=5), "upstream", "ok")


@pytest.mark.parametrize("path", ["/v1/messages", "/v1/chat/completions"])
def test_long_event_of_a_message_stream_is_no_obstacle(replayer: Replayer, path: str) -> None:
    events: list[dict[str, Any]] = [
        {"type": "message_start", "message": {"id": "m", "usage": {"input_tokens": 6, "cache_read_input_tokens": 2}}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": _LONG}},
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 5}},
        {"type": "message_stop"},
    ]
    body = b"".join(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode() for event in events)
    request = json.dumps({"model": "claude", "stream": True, **_ASKED}).encode()
    answer = replayer.post(path, request, replayer.put(body, "text/event-stream"))
    if path == "/v1/messages":
        assert answer.content == body
    else:
        assert answer.content.endswith(b"data: [DONE]\n\n")
    record = replayer.usage(answer.headers["x-penstock-call-id"])
    assert (record.tokens, record.outcome) == (Tokens(prompt=8, completion=5, cached=2), "ok")
