"""Anthropic's wire in and out: `/v1/messages` is passed on byte for byte and accounted to the token."""

from __future__ import annotations

import json
from typing import Any

import anthropic
import httpx
import pytest

from tests.conformance.replay import accounting, messages_wire, recordings
from tests.conformance.replay.recordings import Recording
from tests.conformance.replay.replayer import UPSTREAM_MODEL, Replayer

EVERY = messages_wire.every()
STREAMS = [one for one in EVERY if one.is_stream]
WHOLE = [one for one in EVERY if not one.is_stream]
HEADERS = {"anthropic-version": "2023-06-01", "anthropic-beta": "some-flag-2025-01-01,other-flag"}


def _send(replayer: Replayer, recording: Recording, split: list[int] | None) -> httpx.Response:
    headers = replayer.put(
        recording.body, recording.content_type, status=recording.status, split=split, headers=recording.headers
    )
    return replayer.post(recording.path, messages_wire.body(recording, "claude"), {**headers, **HEADERS})


def _assert_passed(replayer: Replayer, recording: Recording, answer: httpx.Response) -> None:
    received = replayer.received()
    assert received.target == recording.path
    assert received.body == messages_wire.body(recording, UPSTREAM_MODEL)
    assert received.header("x-api-key") == ["sk-upstream"]
    assert received.header("authorization") == []
    assert {name: received.header(name) for name in HEADERS} == {name: [value] for name, value in HEADERS.items()}
    assert (answer.status_code, answer.headers["content-type"]) == (recording.status, recording.content_type)
    assert answer.content == recording.body
    kept = {name: value for name, value in recording.headers.items() if "ratelimit" in name or name == "request-id"}
    assert {name: answer.headers.get(name) for name in kept} == kept
    record = replayer.usage(answer.headers["x-penstock-call-id"])
    assert record.status == recording.status
    if recording.status >= 400:
        assert (record.outcome, record.tokens) == ("error", accounting.Tokens())
        return
    assert record.outcome == "ok"
    assert (record.tokens, record.source) == (
        accounting.anthropic(recording.body, stream=recording.is_stream),
        "upstream",
    )


@pytest.mark.parametrize("recording", recordings.cases(WHOLE))
def test_recorded_message_passes_untouched_and_is_accounted(replayer: Replayer, recording: Recording) -> None:
    _assert_passed(replayer, recording, _send(replayer, recording, None))


@pytest.mark.parametrize("cut", ["whole", "events", "bytes", "sevens"])
@pytest.mark.parametrize("recording", recordings.cases(STREAMS))
def test_recorded_message_stream_passes_however_it_is_cut(replayer: Replayer, recording: Recording, cut: str) -> None:
    _assert_passed(replayer, recording, _send(replayer, recording, recordings.splits(recording.body)[cut]))


def _sdk(replayer: Replayer) -> anthropic.Anthropic:
    return anthropic.Anthropic(
        base_url=replayer.gateway.url,
        api_key=replayer.gateway.admin_key,
        max_retries=0,
        http_client=anthropic.DefaultHttpxClient(trust_env=False),
    )


def _arguments(recording: Recording) -> dict[str, Any]:
    body = json.loads(messages_wire.body(recording, "claude"))
    return {"model": "claude", "max_tokens": body["max_tokens"], "messages": body["messages"], "extra_body": body}


@pytest.mark.parametrize("recording", recordings.cases([one for one in STREAMS if not messages_wire.is_mended(one)]))
def test_anthropic_sdk_reads_recorded_streams(replayer: Replayer, recording: Recording) -> None:
    headers = replayer.put(recording.body, recording.content_type, split=recordings.splits(recording.body)["sevens"])
    with _sdk(replayer) as client, client.beta.messages.stream(**_arguments(recording), extra_headers=headers) as found:
        message = found.get_final_message()
    expected = messages_wire.answer(recording)
    assert "".join(block.text for block in message.content if block.type == "text") == expected.text
    calls = [(block.id, block.name, block.input) for block in message.content if block.type == "tool_use"]
    assert calls == expected.calls
    assert message.stop_reason == expected.stop_reason
    thinking = [block for block in message.content if block.type in {"thinking", "redacted_thinking"}]
    assert [block.model_dump(exclude_none=True) for block in thinking] == expected.thinking


@pytest.mark.parametrize("recording", recordings.cases([one for one in WHOLE if one.status >= 400]))
def test_anthropic_sdk_raises_what_the_upstream_said(replayer: Replayer, recording: Recording) -> None:
    headers = replayer.put(recording.body, recording.content_type, status=recording.status)
    with _sdk(replayer) as client, pytest.raises(anthropic.APIStatusError) as raised:
        client.messages.create(model="claude", max_tokens=9, messages=[], extra_headers=headers)
    assert raised.value.status_code == recording.status
    assert raised.value.body == json.loads(recording.body)


@pytest.mark.parametrize(
    "unfinished",
    [b"", b'event: content_block_delta\ndata: {"type":"content_bl'],
    ids=["between-events", "within-an-event"],
)
def test_stream_that_ends_early_gets_an_error_event_and_counted_usage(replayer: Replayer, unfinished: bytes) -> None:
    events: list[dict[str, Any]] = [
        {"type": "message_start", "message": {"id": "m", "role": "assistant", "usage": {"input_tokens": 11, "output_tokens": 1}}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "one two three four"}},
    ]  # fmt: skip
    body = b"".join(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode() for event in events)
    request = {"model": "claude", "max_tokens": 9, "stream": True, "messages": [{"role": "user", "content": "Hi"}]}
    headers = replayer.put(body + unfinished, "text/event-stream")
    answer = replayer.post("/v1/messages", json.dumps(request).encode(), headers)
    assert answer.content.startswith(body)
    last = recordings.frames(answer.content)[-1]
    assert last.startswith(b"event: error\n")
    assert json.loads(recordings.data_of(last))["type"] == "error"
    record = replayer.usage(answer.headers["x-penstock-call-id"])
    assert (record.outcome, record.source) == ("upstream_cut", "counted")
    assert record.tokens.prompt == 11
    # Four words, one token each.
    assert record.tokens.completion == 4


def test_error_event_in_a_stream_is_passed_on_and_nothing_is_added(replayer: Replayer) -> None:
    error = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
    body = f"event: error\ndata: {json.dumps(error)}\n\n".encode()
    request = {"model": "claude", "max_tokens": 9, "stream": True, "messages": [{"role": "user", "content": "Hi"}]}
    answer = replayer.post("/v1/messages", json.dumps(request).encode(), replayer.put(body, "text/event-stream"))
    assert answer.content == body
    assert replayer.usage(answer.headers["x-penstock-call-id"]).tokens.completion == 0


def test_counting_tokens_costs_none(replayer: Replayer) -> None:
    request = {"model": "claude", "messages": [{"role": "user", "content": "How many tokens is this?"}]}
    answer = replayer.post(
        "/v1/messages/count_tokens",
        json.dumps(request).encode(),
        replayer.put(b'{"input_tokens": 14}', "application/json"),
    )
    assert answer.json() == {"input_tokens": 14}
    assert replayer.usage(answer.headers["x-penstock-call-id"]).tokens == accounting.Tokens()
