"""The same events, spelled in another way that JSON and SSE allow, mean the same to the gateway."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import pytest

from tests.conformance.replay import accounting, messages_wire, openai_wire, recordings
from tests.conformance.replay.recordings import Recording
from tests.conformance.replay.replayer import Replayer

_OPENAI = [
    one
    for one in openai_wire.every()
    if one.status < 400 and one.is_stream and len(one.body) < 30_000 and "completions" in one.path
]
# The last of each provider: they differ in spelling, which is changed here anyway, and in where they put usage.
OPENAI = list({one.provider: one for one in _OPENAI if openai_wire.is_complete(one)}.values())
ANTHROPIC = [one for one in messages_wire.every() if one.status < 400 and one.is_stream and len(one.body) < 30_000]

Spelling = Callable[[str, str, Any], str]


def _written(name: str, data: str, *, end: str = "\n", field: str = ": ") -> str:
    lines = [f"event{field}{name}"] if name else []
    lines += [f"data{field}{line}" for line in data.split("\n")]
    return end.join(lines) + end + end


SPELLINGS: dict[str, Spelling] = {
    "spaced": lambda name, data, event: _written(name, json.dumps(event) if event is not None else data),
    "dense": lambda name, data, event: _written(
        name, json.dumps(event, separators=(",", ":"), ensure_ascii=False) if event is not None else data, field=":"
    ),
    "indented": lambda name, data, event: _written(
        name, json.dumps(event, indent=1, separators=(" ,", " :\t")) if event is not None else data
    ),
    "tabbed": lambda name, data, event: _written(
        name, json.dumps(event, separators=(" ,", " :\t")) if event is not None else data
    ),
    "crlf": lambda name, data, _event: _written(name, data, end="\r\n"),
    "cr": lambda name, data, _event: _written(name, data, end="\r"),
    "reversed": lambda name, data, event: _written(
        name, json.dumps(_reversed(event), separators=(",", ":")) if event is not None else data
    ),
    "commented": lambda name, data, _event: ": ping\n\n\n" + _written(name, data) + "id: 7\n\n",
}


def _reversed(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _reversed(member) for key, member in reversed(value.items())}
    return [_reversed(item) for item in value] if isinstance(value, list) else value


def _spelled(body: bytes, spelling: str) -> bytes:
    out = []
    for frame in recordings.frames(body):
        data = recordings.data_of(frame)
        name = re.search(rb"(?m)^event: ?(.*?)\r?$", frame)
        try:
            event = json.loads(data)
        except ValueError:
            event = None
        if data:
            out.append(SPELLINGS[spelling](name[1].decode() if name else "", data, event))
    return "".join(out).encode()


def _visible(body: bytes) -> list[Any]:
    """What a client reads that is no stickler for bytes."""
    return [data.strip() if data.strip() == "[DONE]" else json.loads(data) for data in _data(body)]


def _data(body: bytes) -> list[str]:
    return [data for frame in recordings.frames(body) if (data := recordings.data_of(frame))]


def _without_usage(events: list[Any]) -> list[Any]:
    kept = []
    for event in events:
        if isinstance(event, dict) and "usage" in event:
            if isinstance(event["usage"], dict) and event.get("choices") == []:
                continue
            if event["usage"] is None:
                event = {name: value for name, value in event.items() if name != "usage"}
        kept.append(event)
    return kept


@pytest.mark.parametrize("spelling", [spelling for spelling in SPELLINGS if spelling != "indented"])
@pytest.mark.parametrize("recording", recordings.cases(OPENAI))
def test_openai_stream_is_accounted_and_passed_however_it_is_spelled(
    replayer: Replayer, recording: Recording, spelling: str
) -> None:
    _assert_understood(replayer, recording, spelling)


@pytest.mark.parametrize("recording", recordings.cases(OPENAI[:2]))
def test_json_over_several_lines_is_understood_on_openais_wire(replayer: Replayer, recording: Recording) -> None:
    _assert_understood(replayer, recording, "indented")


def _assert_understood(replayer: Replayer, recording: Recording, spelling: str) -> None:
    call = openai_wire.asked(recording, without_usage=True)
    body = _spelled(recording.body, spelling)
    answer = replayer.post(
        call.path, call.body, replayer.put(body, "text/event-stream", split=[50] * (len(body) // 50))
    )
    if call.hides_usage:
        found = _visible(answer.content)
        if spelling == "indented":
            # `"usage": null` may stay there: it says nothing, and taking it out of several lines is not worth a risk.
            assert not any(isinstance(event, dict) and event.get("usage") for event in found)
            found = _without_usage(found)
        assert found == _without_usage(_visible(body))
    else:
        assert answer.content == body
    record = replayer.usage(answer.headers["x-penstock-call-id"])
    assert record.outcome == "ok"
    stated = accounting.openai(recording)
    if stated is not None:
        assert (record.tokens, record.source) == (stated, "upstream")
    else:
        assert record.source == "counted"
        assert record.tokens.completion > 0


@pytest.mark.parametrize("spelling", [*SPELLINGS, "nameless"])
@pytest.mark.parametrize("recording", recordings.cases(ANTHROPIC))
def test_messages_stream_is_translated_alike_however_it_is_spelled(
    replayer: Replayer, recording: Recording, spelling: str
) -> None:
    request = {"model": "claude", "stream": True, "stream_options": {"include_usage": True}}
    body = json.dumps({**request, "messages": [{"role": "user", "content": "Hi"}]}).encode()
    if spelling == "nameless":
        respelled = re.sub(rb"(?m)^event:.*\n", b"", recording.body)
    else:
        respelled = _spelled(recording.body, spelling)
    found = []
    for upstream in (recording.body, respelled):
        answer = replayer.post("/v1/chat/completions", body, replayer.put(upstream, "text/event-stream"))
        events = _visible(answer.content)
        for event in events:
            if isinstance(event, dict):
                event.pop("created", None)
        found.append(events)
        record = replayer.usage(answer.headers["x-penstock-call-id"])
        assert (record.tokens, record.outcome) == (accounting.anthropic(recording.body, stream=True), "ok")
    assert found[0] == found[1]


@pytest.mark.parametrize("spelling", [*SPELLINGS, "nameless"])
@pytest.mark.parametrize("recording", recordings.cases(ANTHROPIC[:6]))
def test_messages_stream_is_accounted_however_it_is_spelled(
    replayer: Replayer, recording: Recording, spelling: str
) -> None:
    if spelling == "nameless":
        body = re.sub(rb"(?m)^event:.*\n", b"", recording.body)
    else:
        body = _spelled(recording.body, spelling)
    headers = replayer.put(body, "text/event-stream", split=[50] * (len(body) // 50))
    answer = replayer.post("/v1/messages", messages_wire.body(recording, "claude"), headers)
    assert answer.content == body
    record = replayer.usage(answer.headers["x-penstock-call-id"])
    assert (record.tokens, record.outcome) == (accounting.anthropic(recording.body, stream=True), "ok")
