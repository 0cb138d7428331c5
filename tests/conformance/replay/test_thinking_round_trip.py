"""Signed thinking goes back to the provider byte for byte and first in its turn, whoever carried it in between."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.conformance.replay import chat_sdk, messages_wire, recordings
from tests.conformance.replay.recordings import Recording
from tests.conformance.replay.replayer import Replayer

THINKING = [one for one in messages_wire.every() if one.status < 400 and messages_wire.answer(one).thinking]
_ASKED: dict[str, Any] = {
    "model": "claude",
    "messages": [{"role": "user", "content": "Think, then answer."}],
    "thinking": {"type": "enabled", "budget_tokens": 1024},
    "max_completion_tokens": 4096,
}
# Characters that a careless carrier escapes, folds or re-encodes.
_SIGNATURE = "EqQB/+==\\u00e9é\u2028\U0001f600</script>" + "A" * 300


def _first_message(replayer: Replayer, recording: Recording, *, stream: bool) -> dict[str, Any]:
    headers = replayer.put(
        recording.body,
        recording.content_type,
        split=recordings.splits(recording.body)["sevens"] if stream else None,
    )
    if stream:
        return chat_sdk.stream(replayer, {**_ASKED, "stream": True}, headers).as_message()
    message = chat_sdk.complete(replayer, _ASKED, headers).choices[0].message
    return message.model_dump(exclude_none=True)


def _send_back(replayer: Replayer, message: dict[str, Any]) -> list[dict[str, Any]]:
    """The content of the assistant's turn that the upstream gets."""
    results = [
        {"role": "tool", "tool_call_id": call["id"], "content": "done"} for call in message.get("tool_calls") or []
    ]
    following = results or [{"role": "user", "content": "Go on."}]
    request = {**_ASKED, "messages": [*_ASKED["messages"], message, *following]}
    headers = replayer.put(b'{"content": [], "usage": {}}', "application/json")
    answer = replayer.post("/v1/chat/completions", json.dumps(request).encode(), headers)
    assert answer.status_code == 200, answer.text
    turns = replayer.received().json["messages"]
    assert [turn["role"] for turn in turns] == ["user", "assistant", "user"]
    return list(turns[1]["content"])


@pytest.mark.parametrize("recording", recordings.cases(THINKING))
def test_recorded_thinking_comes_back_as_it_went_out(replayer: Replayer, recording: Recording) -> None:
    expected = messages_wire.answer(recording)
    message = _first_message(replayer, recording, stream=recording.is_stream)
    if expected.restarts:
        # What was sent of an abandoned call cannot be taken back; a client has no use for half a call.
        message["tool_calls"] = message["tool_calls"][-1:]
    content = _send_back(replayer, message)
    # Only the thinking of the answer that counts, when an intermediary began it anew.
    signed = expected.thinking[-1:] if expected.restarts else expected.thinking
    assert content[: len(signed)] == signed
    assert not any("thinking" in block["type"] for block in content[len(signed) :])
    if not expected.restarts:
        assert "".join(block["text"] for block in content if block["type"] == "text") == expected.text
        assert [(b["id"], b["name"], b["input"]) for b in content if b["type"] == "tool_use"] == expected.calls
        assert [b["type"] for b in content[len(signed) :] if b["type"] not in {"text", "tool_use"}] == expected.others


@pytest.mark.parametrize("stream", [False, True], ids=["unary", "stream"])
def test_no_byte_of_signature_thinking_or_redacted_data_changes(replayer: Replayer, stream: bool) -> None:
    thinking = [
        {"type": "thinking", "thinking": ' é\n\t"quoted" \\ \U0001f914 ', "signature": _SIGNATURE},
        {"type": "redacted_thinking", "data": _SIGNATURE[::-1]},
    ]
    call = {"type": "tool_use", "id": "toolu_1", "name": "look", "input": {"é": [1.50, 1e2, "\u2028"]}}
    if stream:
        raw = b"".join(f"event: {e['type']}\ndata: {json.dumps(e)}\n\n".encode() for e in _events([*thinking, call]))
        headers = replayer.put(raw, "text/event-stream", split=[3] * (len(raw) // 3))
        message = chat_sdk.stream(replayer, {**_ASKED, "stream": True}, headers).as_message()
    else:
        body = json.dumps({"id": "m", "content": [*thinking, call], "stop_reason": "tool_use", "usage": {}})
        headers = replayer.put(body.encode(), "application/json")
        message = chat_sdk.complete(replayer, _ASKED, headers).choices[0].message.model_dump(exclude_none=True)
    assert _send_back(replayer, message) == [*thinking, call]


def _events(blocks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The events of a stream with these blocks, thinking and arguments in pieces."""
    events: list[dict[str, Any]] = [{"type": "message_start", "message": {"id": "m", "usage": {"input_tokens": 1}}}]
    for index, block in enumerate(blocks):
        start: dict[str, Any] = dict(block)
        deltas: list[dict[str, str]] = []
        if block["type"] == "thinking":
            start |= {"thinking": "", "signature": ""}
            half = len(block["thinking"]) // 2
            pieces = (block["thinking"][:half], block["thinking"][half:])
            deltas = [{"type": "thinking_delta", "thinking": piece} for piece in pieces]
            deltas.append({"type": "signature_delta", "signature": block["signature"]})
        elif block["type"] == "tool_use":
            start["input"] = {}
            text = json.dumps(block["input"])
            deltas = [{"type": "input_json_delta", "partial_json": piece} for piece in ("", text[:5], text[5:])]
        events.append({"type": "content_block_start", "index": index, "content_block": start})
        events += [{"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas]
        events.append({"type": "content_block_stop", "index": index})
    ending = {"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": {"output_tokens": 1}}
    return [*events, ending, {"type": "message_stop"}]


def test_unsigned_thinking_of_another_model_is_not_sent(replayer: Replayer) -> None:
    message = {"role": "assistant", "content": "Yes.", "reasoning_content": "hm", "thinking_blocks": [
        {"type": "thinking", "thinking": "hm", "signature": ""}]}  # fmt: skip
    assert _send_back(replayer, message) == [{"type": "text", "text": "Yes."}]
