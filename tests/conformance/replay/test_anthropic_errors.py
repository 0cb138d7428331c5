"""What goes wrong at an Anthropic deployment reaches a client of OpenAI's API as an error that its SDK understands."""

from __future__ import annotations

import json
from typing import Any

import httpx
import openai
import pytest

from tests.conformance.replay import accounting, chat_sdk, messages_wire, recordings
from tests.conformance.replay.recordings import Recording
from tests.conformance.replay.replayer import Replayer

REFUSED = [one for one in messages_wire.every() if one.status >= 400]
_ASKED: dict[str, Any] = {"model": "claude", "messages": [{"role": "user", "content": "Hi"}]}
_BEGUN = (
    {"type": "message_start", "message": {"id": "msg_1", "usage": {"input_tokens": 5, "output_tokens": 1}}},
    {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hel"}},
)


def _post(replayer: Replayer, headers: dict[str, str], **more: Any) -> httpx.Response:
    return replayer.post("/v1/chat/completions", json.dumps({**_ASKED, **more}).encode(), headers)


def _sse(*events: dict[str, Any]) -> bytes:
    return b"".join(f"event: {e['type']}\ndata: {json.dumps(e, separators=(',', ':'))}\n\n".encode() for e in events)


@pytest.mark.parametrize("stream", [False, True], ids=["unary", "stream"])
@pytest.mark.parametrize("recording", recordings.cases(REFUSED))
def test_recorded_refusal_becomes_an_openai_error(replayer: Replayer, recording: Recording, stream: bool) -> None:
    headers = replayer.put(recording.body, recording.content_type, status=recording.status, headers=recording.headers)
    answer = _post(replayer, headers, stream=stream)
    assert answer.status_code == recording.status
    error = answer.json()["error"]
    assert error["message"] == json.loads(recording.body)["error"]["message"]
    assert set(error) == {"message", "type", "param", "code"}
    assert isinstance(error["type"], str)
    record = replayer.usage(answer.headers["x-penstock-call-id"])
    assert (record.outcome, record.status, record.tokens) == ("error", recording.status, accounting.Tokens())


@pytest.mark.parametrize(
    "status, kind, raised, code",
    [
        (400, "invalid_request_error", openai.BadRequestError, None),
        (401, "authentication_error", openai.AuthenticationError, "invalid_api_key"),
        (403, "permission_error", openai.PermissionDeniedError, "permission_denied"),
        (404, "not_found_error", openai.NotFoundError, "model_not_found"),
        (413, "request_too_large", openai.APIStatusError, "request_too_large"),
        (429, "rate_limit_error", openai.RateLimitError, "rate_limit_exceeded"),
        (500, "api_error", openai.InternalServerError, None),
        (529, "overloaded_error", openai.InternalServerError, "overloaded"),
    ],
)
@pytest.mark.parametrize("stream", [False, True], ids=["unary", "stream"])
def test_openai_sdk_raises_its_own_error_for_each_refusal(
    replayer: Replayer, status: int, kind: str, raised: type[openai.APIStatusError], code: str | None, stream: bool
) -> None:
    said = {"type": "error", "error": {"type": kind, "message": "model: no"}, "request_id": "req_1"}
    headers = replayer.put(json.dumps(said).encode(), "application/json", status=status)
    call = chat_sdk.stream if stream else chat_sdk.complete
    with pytest.raises(raised, match="model: no") as caught:
        call(replayer, {**_ASKED, "stream": stream}, headers)
    assert caught.value.status_code == status
    if code is not None:
        assert caught.value.code == code


def test_retry_after_of_the_upstream_reaches_the_client(replayer: Replayer) -> None:
    said = {"type": "error", "error": {"type": "rate_limit_error", "message": "slow down"}}
    sent = {"retry-after": "17", "request-id": "req_7", "anthropic-ratelimit-requests-remaining": "0"}
    answer = _post(replayer, replayer.put(json.dumps(said).encode(), "application/json", status=429, headers=sent))
    assert answer.status_code == 429
    assert answer.headers["retry-after"] == "17"


@pytest.mark.parametrize("begun", [0, 3], ids=["at-once", "after-text"])
@pytest.mark.parametrize("kind", ["overloaded_error", "api_error", "rate_limit_error", "of_the_future"])
def test_error_event_ends_the_stream_with_an_openai_error(replayer: Replayer, kind: str, begun: int) -> None:
    error = {"type": "error", "error": {"type": kind, "message": "Overloaded just now"}}
    body = _sse(*_BEGUN[:begun], error)
    answer = _post(replayer, replayer.put(body, "text/event-stream"), stream=True)
    *chunks, last = recordings.frames(answer.content)
    found = json.loads(recordings.data_of(last))["error"]
    assert found["message"] == "Overloaded just now"
    assert found["type"]
    assert b"[DONE]" not in answer.content
    text = "".join(json.loads(recordings.data_of(c))["choices"][0]["delta"].get("content") or "" for c in chunks)
    assert text == ("Hel" if begun else "")
    with pytest.raises(openai.APIError, match="Overloaded just now"):
        chat_sdk.stream(replayer, {**_ASKED, "stream": True}, replayer.put(body, "text/event-stream"))
    record = replayer.usage(answer.headers["x-penstock-call-id"])
    assert record.outcome != "ok"
    assert record.tokens.prompt == (5 if begun else record.tokens.prompt)


@pytest.mark.parametrize("cut", [1, 2, 3])
def test_stream_that_ends_early_is_not_passed_off_as_whole(replayer: Replayer, cut: int) -> None:
    answer = _post(replayer, replayer.put(_sse(*_BEGUN[:cut]), "text/event-stream"), stream=True)
    last = recordings.frames(answer.content)[-1]
    assert json.loads(recordings.data_of(last))["error"]["message"]
    assert b"[DONE]" not in answer.content
    assert b'"finish_reason":"' not in answer.content
    record = replayer.usage(answer.headers["x-penstock-call-id"])
    assert (record.outcome, record.source) == ("upstream_cut", "counted")
    assert record.tokens.prompt == 5


@pytest.mark.parametrize(
    "body",
    [b"", b"null", b"[]", b"{", b"<html>down</html>", b'{"content": 3}', b'{"content": [3]}', b'{"usage": {}}', b"\xff\x00"],
)  # fmt: skip
def test_answer_that_is_no_message_is_a_bad_gateway(replayer: Replayer, body: bytes) -> None:
    answer = _post(replayer, replayer.put(body, "application/json"))
    assert answer.status_code == 502
    assert answer.json()["error"]["message"]
    assert replayer.usage(answer.headers["x-penstock-call-id"]).outcome == "error"


@pytest.mark.parametrize("status", [400, 401, 429, 500, 502, 503, 529])
@pytest.mark.parametrize("body", [b"", b"<html><body>oops</body></html>", b'{"message": "no"}', b'{"error": "no"}'])
def test_error_of_a_stranger_keeps_its_status(replayer: Replayer, status: int, body: bytes) -> None:
    answer = _post(replayer, replayer.put(body, "text/html", status=status))
    assert answer.status_code == status
    error = answer.json()["error"]
    assert error["message"]
    assert "<" not in error["message"]
