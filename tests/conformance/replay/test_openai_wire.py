"""OpenAI's wire in and out: what providers were sent and what they answered passes the gateway byte for byte."""

from __future__ import annotations

import json

import httpx
import pytest

from tests.conformance.replay import accounting, openai_wire, recordings
from tests.conformance.replay.openai_wire import Asked
from tests.conformance.replay.recordings import Recording
from tests.conformance.replay.replayer import UPSTREAM_MODEL, Received, Replayer

EVERY = openai_wire.every()
ANSWERS = [one for one in EVERY if one.status < 400]
STREAMS = [one for one in ANSWERS if one.is_stream]
WHOLE = [one for one in EVERY if not one.is_stream]
ASKED_FOR_USAGE = [one for one in STREAMS if openai_wire.asked(one).wants_usage]


def _is_insertion(longer: bytes, shorter: bytes) -> bool:
    """Whether removing one run of bytes from `longer` leaves `shorter`."""
    same = 0
    while same < len(shorter) and longer[same] == shorter[same]:
        same += 1
    return len(longer) > len(shorter) and longer.endswith(shorter[same:])


def _assert_upstream_got(received: Received, call: Asked) -> None:
    if call.upstream is not None:
        assert received.body == call.upstream
    else:
        renamed = call.body.replace(
            f'"model": "{json.loads(call.body)["model"]}"'.encode(), f'"model": "{UPSTREAM_MODEL}"'.encode(), 1
        ).replace(f'"model":"{json.loads(call.body)["model"]}"'.encode(), f'"model":"{UPSTREAM_MODEL}"'.encode(), 1)
        assert _is_insertion(received.body, renamed)
        expected = json.loads(renamed)
        expected["stream_options"] = {**(expected.get("stream_options") or {}), "include_usage": True}
        assert received.json == expected
    assert received.header("content-type") == [call.content_type]
    credentials = [received.header(name) for name in ("authorization", "api-key", "x-api-key")]
    assert sorted(value for found in credentials for value in found) in (["Bearer sk-upstream"], ["sk-upstream"])


def _send(replayer: Replayer, recording: Recording, call: Asked, split: list[int] | None) -> httpx.Response:
    headers = replayer.put(
        recording.body, recording.content_type, status=recording.status, split=split, headers=recording.headers
    )
    return replayer.post(call.path, call.body, {**headers, "content-type": call.content_type})


def _assert_client_got(answer: httpx.Response, recording: Recording, expected: bytes) -> None:
    assert answer.status_code == recording.status
    assert answer.headers["content-type"] == recording.content_type
    body = answer.content
    # Who is told of an error by the provider is not told of another one.
    if not (openai_wire.is_complete(recording) or openai_wire.tells_error(recording)):
        assert body.startswith(expected)
        last = recordings.frames(body[len(expected) :])
        assert len(last) == 1
        assert json.loads(recordings.data_of(last[0]))["error"]["message"]
    else:
        assert body == expected
    kept = {n: v for n, v in recording.headers.items() if n in {"x-request-id", "retry-after"} or "ratelimit" in n}
    assert {name: answer.headers.get(name) for name in kept} == kept


def _assert_accounted(replayer: Replayer, answer: httpx.Response, recording: Recording) -> None:
    record = replayer.usage(answer.headers["x-penstock-call-id"])
    stated = accounting.openai(recording)
    assert record.status == recording.status
    if recording.status >= 400 or openai_wire.is_error_in_disguise(recording):
        assert (record.outcome, record.tokens) == ("error", accounting.Tokens())
        return
    is_whole = openai_wire.is_complete(recording) and not openai_wire.tells_error(recording)
    assert record.outcome == ("ok" if is_whole else "upstream_cut")
    if stated is not None:
        assert (record.tokens, record.source) == (stated, "upstream")
    else:
        assert record.source in {"counted", "none"}


@pytest.mark.parametrize("recording", recordings.cases(WHOLE))
def test_recorded_answer_passes_untouched_and_is_accounted(replayer: Replayer, recording: Recording) -> None:
    call = openai_wire.asked(recording)
    answer = _send(replayer, recording, call, None)
    _assert_upstream_got(replayer.received(), call)
    _assert_client_got(answer, recording, recording.body)
    _assert_accounted(replayer, answer, recording)


@pytest.mark.parametrize("recording", recordings.cases([one for one in WHOLE if len(one.body) < 20_000]))
def test_recorded_answer_passes_in_whatever_pieces_it_comes(replayer: Replayer, recording: Recording) -> None:
    call = openai_wire.asked(recording, compact=True)
    answer = _send(replayer, recording, call, recordings.splits(recording.body)["sevens"])
    _assert_upstream_got(replayer.received(), call)
    _assert_client_got(answer, recording, recording.body)
    _assert_accounted(replayer, answer, recording)


@pytest.mark.parametrize("cut", ["whole", "events", "bytes", "sevens"])
@pytest.mark.parametrize("recording", recordings.cases(STREAMS))
def test_recorded_stream_passes_however_its_bytes_are_cut(replayer: Replayer, recording: Recording, cut: str) -> None:
    call = openai_wire.asked(recording, compact=cut == "events")
    answer = _send(replayer, recording, call, recordings.splits(recording.body)[cut])
    _assert_upstream_got(replayer.received(), call)
    _assert_client_got(answer, recording, openai_wire.shown(recording, call))
    _assert_accounted(replayer, answer, recording)


@pytest.mark.parametrize("cut", ["events", "bytes"])
@pytest.mark.parametrize("recording", recordings.cases(ASKED_FOR_USAGE))
def test_usage_that_only_the_gateway_asked_for_is_accounted_and_hidden(
    replayer: Replayer, recording: Recording, cut: str
) -> None:
    call = openai_wire.asked(recording, compact=cut == "bytes", without_usage=True)
    answer = _send(replayer, recording, call, recordings.splits(recording.body)[cut])
    _assert_upstream_got(replayer.received(), call)
    _assert_client_got(answer, recording, openai_wire.shown(recording, call))
    _assert_accounted(replayer, answer, recording)
