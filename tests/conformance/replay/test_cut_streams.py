"""Streams that break: the client is told so in the stream, and what was generated until then is accounted."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from tests.conformance.replay import accounting, openai_wire, recordings
from tests.conformance.replay.recordings import Recording
from tests.conformance.replay.replayer import Replayer

_STREAMS = [
    one
    for one in openai_wire.every()
    if one.status < 400 and one.is_stream and openai_wire.is_complete(one) and openai_wire.asked(one).wants_usage
]
# One of each provider; cuts are placed alike in all of them.
STREAMS = list({one.provider: one for one in _STREAMS}.values())
REFUSED = [one for one in openai_wire.every() if one.status >= 400 and one.request_text]


def _first_finish(frames: list[bytes]) -> int:
    """The number of frames before one that says why the answer stops or that it does."""
    for number, frame in enumerate(frames):
        if recordings.data_of(frame).strip() == "[DONE]":
            return number
        choices = [choice for event in recordings.events(frame) for choice in event.get("choices") or []]
        if any(choice.get("finish_reason") for choice in choices):
            return number
    return len(frames)


def _send(replayer: Replayer, recording: Recording, body: bytes, **faults: str) -> httpx.Response:
    call = openai_wire.asked(recording)
    headers = replayer.put(body, recording.content_type, split=[len(frame) for frame in recordings.frames(body)])
    return replayer.post(call.path, call.body, {**headers, **faults})


def _assert_told(replayer: Replayer, recording: Recording, answer: httpx.Response, passed: bytes) -> None:
    assert answer.status_code == 200
    assert answer.content.startswith(passed)
    last = recordings.frames(answer.content)[-1]
    assert last.endswith(b"\n\n")
    error: dict[str, Any] = json.loads(recordings.data_of(last))["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["message"]
    assert answer.content.count(b"[DONE]") == 0
    record = replayer.usage(answer.headers["x-penstock-call-id"])
    assert (record.outcome, record.status, record.stream) == ("upstream_cut", 200, True)
    # Some providers state what was used so far in each event.
    stated = accounting.openai(recording, answer.content)
    if stated is None:
        assert record.source in {"counted", "none"}
    else:
        assert (record.tokens, record.source) == (stated, "upstream")


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0], ids=["first-event", "half", "before-the-end"])
@pytest.mark.parametrize("recording", recordings.cases(STREAMS))
def test_stream_that_stops_between_events_ends_with_an_error_event(
    replayer: Replayer, recording: Recording, share: float
) -> None:
    frames = recordings.frames(recording.body)
    kept = max(1, int(_first_finish(frames) * share))
    if kept > _first_finish(frames):
        pytest.skip("says all in its first event")
    body = b"".join(frames[:kept])
    _assert_told(replayer, recording, _send(replayer, recording, body), body)


@pytest.mark.parametrize("recording", recordings.cases(STREAMS))
def test_stream_that_stops_within_an_event_ends_with_an_error_event(replayer: Replayer, recording: Recording) -> None:
    frames = recordings.frames(recording.body)
    kept = _first_finish(frames) // 2
    body = b"".join(frames[:kept])
    _assert_told(replayer, recording, _send(replayer, recording, body + frames[kept][:40]), body)


@pytest.mark.parametrize("fault", ["close_after:2", "reset_after:2", "bad_chunk:2"])
@pytest.mark.parametrize("recording", recordings.cases(STREAMS))
def test_connection_that_breaks_ends_the_stream_with_an_error_event(
    replayer: Replayer, recording: Recording, fault: str
) -> None:
    frames = recordings.frames(recording.body)
    if _first_finish(frames) <= 2:
        pytest.skip("says all in its first events")
    answer = _send(replayer, recording, recording.body, **{"x-sim-fault": fault})
    # A reset may overtake what was sent before it.
    passed = b"" if fault.startswith("reset") else b"".join(frames[:2])
    _assert_told(replayer, recording, answer, passed)


@pytest.mark.parametrize("recording", recordings.cases(REFUSED))
def test_refusal_of_a_streamed_request_is_passed_as_it_is(replayer: Replayer, recording: Recording) -> None:
    call = openai_wire.asked(recording)
    body = json.dumps({**json.loads(call.body), "stream": True}).encode()
    headers = replayer.put(recording.body, recording.content_type, status=recording.status, headers=recording.headers)
    answer = replayer.post(call.path, body, headers)
    assert (answer.status_code, answer.content) == (recording.status, recording.body)
    assert answer.headers["content-type"] == recording.content_type
    record = replayer.usage(answer.headers["x-penstock-call-id"])
    assert (record.outcome, record.status, record.source) == ("error", recording.status, "none")


@pytest.mark.parametrize("recording", recordings.cases(STREAMS))
def test_event_that_is_no_json_is_passed_and_the_rest_goes_on(replayer: Replayer, recording: Recording) -> None:
    first, *rest = recordings.frames(recording.body)
    odd = b': comment\n\ndata: {"choices": [\n\nevent: odd\ndata:\n\ndata: \xff\xfe\n\nretry: 5\n\n'
    body = first + odd + b"".join(rest)
    answer = _send(replayer, recording, body)
    assert answer.content == body
    whole = replayer.usage(answer.headers["x-penstock-call-id"])
    assert (whole.outcome, whole.source) == ("ok", "upstream")
