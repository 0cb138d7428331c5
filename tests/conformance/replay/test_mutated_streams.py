"""Recorded streams, damaged at random (with a fixed seed): every call ends soon, with one usage record, and the gateway lives."""

from __future__ import annotations

import json
import random
from collections.abc import Callable

import pytest

from tests.conformance.replay import messages_wire, openai_wire, recordings
from tests.conformance.replay.recordings import Recording
from tests.conformance.replay.replayer import Replayer
from tests.servers.child import pause
from tests.stalls import Stopwatch

BATCHES, CASES = 10, 10
_LONGEST_S = 5.0
_SMALL = 12_000


@pytest.fixture(scope="module", autouse=True)
def nothing_under_way(replayer: Replayer) -> None:
    """Calls of the tests before this module are settled, too."""
    before = -1
    while (settled := replayer.settled()) != before:
        before = settled
        pause(0.5)


def _small(found: list[Recording]) -> list[Recording]:
    return [one for one in found if one.status < 400 and one.is_stream and len(one.body) < _SMALL]


OPENAI = [one for one in _small(openai_wire.every()) if "chat/completions" in one.path]
ANTHROPIC = _small(messages_wire.every())
_NEEDS = pytest.mark.skipif(not (OPENAI and ANTHROPIC), reason=f"no recordings in {recordings.ROOT.name}")


def _cut(dice: random.Random, body: bytes) -> bytes:
    return body[: dice.randrange(len(body))]


def _bytes(dice: random.Random, body: bytes) -> bytes:
    damaged = bytearray(body)
    for _ in range(dice.randint(1, 12)):
        damaged[dice.randrange(len(damaged))] = dice.choice(b'\x00\n\r"{}[]:,\\\xff' + bytes([dice.randrange(256)]))
    return bytes(damaged)


def _frames(dice: random.Random, body: bytes) -> bytes:
    frames = recordings.frames(body)
    for _ in range(dice.randint(1, 4)):
        one, other = dice.randrange(len(frames)), dice.randrange(len(frames))
        match dice.randrange(4):
            case 0:
                frames[one], frames[other] = frames[other], frames[one]
            case 1:
                frames.insert(one, frames[other])
            case 2 if len(frames) > 1:
                del frames[one]
            case _:
                frames[one] = frames[one].rstrip(b"\r\n") + dice.choice([b"\n", b"\r\n\r\n", b"\n\n\n\n", b"\r\r", b""])
    return b"".join(frames)


def _splice(dice: random.Random, body: bytes) -> bytes:
    at, size = dice.randrange(len(body)), dice.randint(1, 400)
    if dice.random() < 0.5:
        return body[:at] + body[at + size :]
    inserts = [b"\xf0\x9f", b"\xef\xbb\xbf", b"data: [DONE]\n\n", b'data: {"error":{"message":"x"}}\n\n', b"\n" * size,
               b"event: error\ndata: {}\n\n", b'data: {"type":"message_start"}\n\n', b"[" * 2_000, body[at : at + size]]  # fmt: skip
    return body[:at] + dice.choice(inserts) + body[at:]


_MUTATIONS: list[Callable[[random.Random, bytes], bytes]] = [_cut, _bytes, _frames, _splice]


def _mutated(dice: random.Random, body: bytes) -> tuple[bytes, list[int]]:
    for mutate in dice.choices(_MUTATIONS, k=dice.randint(1, 2)):
        body = mutate(dice, body) or b"data: {\n\n"
    sizes: list[int] = []
    while sum(sizes) < len(body):
        sizes.append(dice.choice([1, 3, 64, 512, 4096]))
    return body, sizes


def _call(
    replayer: Replayer, path: str, request: bytes, recording: Recording, dice: random.Random
) -> tuple[bytes, bytes]:
    """What was sent by the upstream and what the client got; one usage record is asserted."""
    body, sizes = _mutated(dice, recording.body)
    headers = replayer.put(body, "text/event-stream", split=sizes)
    watch = Stopwatch()
    answer = replayer.post(path, request, headers)
    # Looking for stalls takes a moment, which nearly always can be saved.
    assert watch.seconds < _LONGEST_S or watch.ran_s < _LONGEST_S
    assert answer.status_code == 200
    record = replayer.usage(answer.headers["x-penstock-call-id"])
    assert record.outcome in {"ok", "upstream_cut", "error"}
    return body, answer.content


def _assert_nothing_lost(sent: bytes, got: bytes) -> None:
    """All events are there, and nothing but an error event was added."""
    events = recordings.frames(sent)
    whole = b"".join(frame for frame in events if frame.endswith((b"\n\n", b"\r\n\r\n", b"\r\r")))
    assert got.startswith(whole)
    if got != sent:
        assert b'"error"' in recordings.frames(got)[-1]


@_NEEDS
@pytest.mark.parametrize("batch", range(BATCHES))
def test_damaged_openai_streams_are_passed_on(replayer: Replayer, batch: int) -> None:
    dice, before = random.Random(f"openai-{batch}"), replayer.settled()
    for _ in range(CASES):
        recording = dice.choice(OPENAI)
        call = openai_wire.asked(recording)
        request = json.dumps({**json.loads(call.body), "stream": True, "stream_options": {"include_usage": True}})
        sent, got = _call(replayer, "/v1/chat/completions", request.encode(), recording, dice)
        _assert_nothing_lost(sent, got)
    assert replayer.settled() == before + CASES


@_NEEDS
@pytest.mark.parametrize("batch", range(BATCHES))
def test_damaged_anthropic_streams_are_passed_on(replayer: Replayer, batch: int) -> None:
    dice, before = random.Random(f"anthropic-{batch}"), replayer.settled()
    for _ in range(CASES):
        recording = dice.choice(ANTHROPIC)
        sent, got = _call(replayer, "/v1/messages", messages_wire.body(recording, "claude"), recording, dice)
        _assert_nothing_lost(sent, got)
    assert replayer.settled() == before + CASES


@_NEEDS
@pytest.mark.parametrize("batch", range(BATCHES))
def test_damaged_anthropic_streams_are_translated_or_end_in_an_error(replayer: Replayer, batch: int) -> None:
    dice, before = random.Random(f"translated-{batch}"), replayer.settled()
    request = {"model": "claude", "stream": True, "messages": [{"role": "user", "content": "Hi"}]}
    for _ in range(CASES):
        _, got = _call(replayer, "/v1/chat/completions", json.dumps(request).encode(), dice.choice(ANTHROPIC), dice)
        *chunks, last = recordings.frames(got)
        for chunk in chunks:
            assert json.loads(recordings.data_of(chunk))["object"] == "chat.completion.chunk"
        assert recordings.data_of(last) == "[DONE]" or json.loads(recordings.data_of(last))["error"]["message"]
    assert replayer.settled() == before + CASES


@_NEEDS
def test_gateway_serves_as_before_after_all_that(replayer: Replayer) -> None:
    assert replayer.gateway.process.process.poll() is None
    recording = OPENAI[0]
    call = openai_wire.asked(recording)
    answer = replayer.post(call.path, call.body, replayer.put(recording.body, recording.content_type))
    assert answer.content == openai_wire.shown(recording, call)
