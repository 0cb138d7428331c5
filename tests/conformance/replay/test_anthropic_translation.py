"""Chat completions from an Anthropic deployment: nothing of the recorded requests and answers is lost on the way."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from tests.conformance.replay import accounting, chat_requests, chat_sdk, messages_wire, recordings
from tests.conformance.replay.recordings import Recording
from tests.conformance.replay.replayer import UPSTREAM_MODEL, Replayer

EVERY = messages_wire.every()
ANSWERS = [one for one in EVERY if one.status < 400]
STREAMS = [one for one in ANSWERS if one.is_stream]
WHOLE = [one for one in ANSWERS if not one.is_stream]
REQUESTS = [one for one in EVERY if chat_requests.is_expressible(one.request)]
_SIMPLE = {"model": "claude", "messages": [{"role": "user", "content": "Hi"}], "max_completion_tokens": 4096}
_FINISH = {"tool_use": "tool_calls", "max_tokens": "length", "refusal": "content_filter"}


def _request(recording: Recording) -> dict[str, Any]:
    if chat_requests.is_expressible(recording.request):
        return chat_requests.to_chat(recording.request, "claude")
    return {**_SIMPLE, "stream": recording.is_stream}


def _put(replayer: Replayer, recording: Recording, cut: str = "events") -> dict[str, str]:
    split = recordings.splits(recording.body)[cut] if recording.is_stream else None
    return replayer.put(recording.body, recording.content_type, split=split, headers=recording.headers)


def _assert_usage(stated: dict[str, Any] | None, expected: accounting.Tokens) -> None:
    assert stated is not None
    assert stated["prompt_tokens"] == expected.prompt
    assert stated["completion_tokens"] == expected.completion
    assert stated["total_tokens"] == expected.prompt + expected.completion
    assert stated["prompt_tokens_details"]["cached_tokens"] == expected.cached
    assert stated["completion_tokens_details"]["reasoning_tokens"] == expected.reasoning


def _expected_tokens(recording: Recording) -> accounting.Tokens:
    tokens = accounting.anthropic(recording.body, stream=recording.is_stream)
    assert tokens is not None
    return tokens


@pytest.mark.parametrize("recording", recordings.cases(REQUESTS))
def test_recorded_request_reaches_the_upstream_as_it_was(replayer: Replayer, recording: Recording) -> None:
    chat = _request(recording)
    headers = replayer.put(b'{"content": [], "usage": {}}', "application/json")
    replayer.post("/v1/chat/completions", json.dumps(chat).encode(), headers)
    received = replayer.received()
    assert received.target == "/v1/messages"
    assert received.header("x-api-key") == ["sk-upstream"]
    assert received.header("authorization") == []
    assert received.header("anthropic-version")
    expected = chat_requests.normal({**recording.request, "model": UPSTREAM_MODEL})
    assert chat_requests.normal(received.json) == expected


@pytest.mark.parametrize("recording", recordings.cases(WHOLE))
def test_openai_sdk_reads_the_recorded_message(replayer: Replayer, recording: Recording) -> None:
    expected = messages_wire.answer(recording)
    completion = chat_sdk.complete(replayer, _request(recording), _put(replayer, recording))
    [choice] = completion.choices
    assert completion.model == "claude"
    assert (choice.message.content or "") == expected.text
    calls = [(call.id, call.function.name, json.loads(call.function.arguments))
             for call in choice.message.tool_calls or [] if call.type == "function"]  # fmt: skip
    assert calls == expected.calls
    assert choice.finish_reason == _FINISH.get(expected.stop_reason or "", "stop")
    extra = choice.message.model_extra or {}
    assert (extra.get("thinking_blocks") or []) == expected.thinking
    _assert_usage(completion.usage.model_dump() if completion.usage else None, _expected_tokens(recording))


@pytest.mark.parametrize("recording", recordings.cases(STREAMS))
def test_openai_sdk_reads_the_recorded_stream(replayer: Replayer, recording: Recording) -> None:
    expected = messages_wire.answer(recording)
    request = {**_request(recording), "stream_options": {"include_usage": True}}
    found = chat_sdk.stream(replayer, request, _put(replayer, recording))
    assert {chunk.model for chunk in found.chunks} == {"claude"}
    if not expected.restarts:
        assert found.text == expected.text
        assert [(id, name, json.loads(arguments)) for id, name, arguments in found.calls] == expected.calls
        assert found.thinking == expected.thinking
    elif expected.calls:
        id, name, arguments = found.calls[-1]
        assert (id, name, json.loads(arguments)) == expected.calls[-1]
    assert found.reasoning == "".join(block.get("thinking", "") for block in expected.thinking)
    assert found.finish_reason == _FINISH.get(expected.stop_reason or "", "stop")
    assert [block["type"] for block in found.fields.get("content_blocks", [])] == expected.others
    _assert_usage(found.usage, _expected_tokens(recording))


@pytest.mark.parametrize("recording", recordings.cases(STREAMS))
def test_helper_of_the_sdk_puts_the_stream_together(replayer: Replayer, recording: Recording) -> None:
    """`chat.completions.stream()` merges deltas of fields that it does not know, too, and is strict about them."""
    request = _request(recording)
    request.pop("stream", None)
    with (
        chat_sdk.client(replayer) as sdk,
        sdk.chat.completions.stream(
            model="claude",
            messages=request["messages"],
            extra_body=request,
            extra_headers=_put(replayer, recording),
        ) as events,
    ):
        for _event in events:
            pass
        message = events.current_completion_snapshot.choices[0].message
    expected = messages_wire.answer(recording)
    if not expected.restarts:
        assert (message.content or "") == expected.text
        assert ((message.model_extra or {}).get("thinking_blocks") or []) == expected.thinking


@pytest.mark.parametrize("recording", recordings.cases(STREAMS))
def test_cuts_in_the_upstream_bytes_do_not_show(replayer: Replayer, recording: Recording) -> None:
    body = json.dumps({**_request(recording), "stream": True, "stream_options": {"include_usage": True}}).encode()
    seen = set()
    for cut in recordings.splits(recording.body):
        answer = replayer.post("/v1/chat/completions", body, _put(replayer, recording, cut))
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert answer.content.endswith(b"data: [DONE]\n\n")
        seen.add(re.sub(rb'"created":\d+', b"", answer.content))
        record = replayer.usage(answer.headers["x-penstock-call-id"])
        assert (record.tokens, record.source) == (_expected_tokens(recording), "upstream")
        assert (record.outcome, record.status, record.stream) == ("ok", 200, True)
    assert len(seen) == 1


@pytest.mark.parametrize("recording", recordings.cases(STREAMS[:3]))
def test_usage_is_shown_to_clients_that_ask_for_it_only(replayer: Replayer, recording: Recording) -> None:
    found = chat_sdk.stream(replayer, _request(recording), _put(replayer, recording))
    assert found.usage is None
    assert all(chunk.choices for chunk in found.chunks)
