"""Recordings on Anthropic's wire: which there are, how they are asked for, and what their answers hold."""

from __future__ import annotations

import json
import re
from typing import Any

import msgspec

from tests.conformance.replay import recordings
from tests.conformance.replay.recordings import Recording

_MODEL = re.compile(r'(?m)^(  "model": )"(?:[^"\\]|\\.)*"')
_MADE_UP = json.dumps(
    {"model": "lost", "max_tokens": 1024, "stream": True, "messages": [{"role": "user", "content": "Hi"}]}, indent=2
)


def every() -> list[Recording]:
    """All recordings of the Messages API."""
    return [one for one in recordings.of("anthropic-messages") if one.path.startswith("/v1/messages")]


def is_mended(recording: Recording) -> bool:
    """Put together by hand, perhaps to show a malformed stream."""
    return recording.name.startswith("reconstructed-")


def body(recording: Recording, model: str) -> bytes:
    """The stored request for another model; one of the same kind where it is lost."""
    return _MODEL.sub(lambda found: found[1] + json.dumps(model), recording.request_text or _MADE_UP, count=1).encode()


class Answer(msgspec.Struct):
    """What a Messages answer holds, put together here without any code of the gateway."""

    text: str = ""
    thinking: list[dict[str, Any]] = []
    """`thinking` and `redacted_thinking` blocks, whole."""
    calls: list[tuple[str, str, Any]] = []
    """Id, name and input of each `tool_use`."""
    others: list[str] = []
    """Types of all other blocks."""
    stop_reason: str | None = None
    complete: bool = False
    restarts: int = 0
    """How often a stream began anew."""


def answer(recording: Recording) -> Answer:
    """The answer of a recording that is no error."""
    if not recording.is_stream:
        message = json.loads(recording.body)
        return _collect(message["content"], message["stop_reason"], complete=True)
    blocks: list[dict[str, Any]] = []
    opened: dict[int, dict[str, Any]] = {}
    stop_reason, complete, starts = None, False, 0
    for event in recordings.events(recording.body):
        match event.get("type"):
            case "message_start":
                starts += 1
            case "content_block_start":
                opened[event["index"]] = {**event["content_block"], "_json": ""}
                blocks.append(opened[event["index"]])
            case "content_block_delta":
                _apply(opened[event["index"]], event["delta"])
            case "message_delta":
                stop_reason = event["delta"].get("stop_reason") or stop_reason
            case "message_stop":
                complete = True
    for block in blocks:
        partial = block.pop("_json")
        if partial and (starts == 1 or partial.endswith("}")):
            block["input"] = json.loads(partial)
    found = _collect(blocks, stop_reason, complete=complete)
    found.restarts = max(0, starts - 1)
    return found


def _apply(block: dict[str, Any], delta: dict[str, Any]) -> None:
    match delta["type"]:
        case "text_delta":
            block["text"] = block.get("text", "") + delta["text"]
        case "thinking_delta":
            block["thinking"] = block.get("thinking", "") + delta["thinking"]
        case "signature_delta":
            block["signature"] = delta["signature"]
        case "input_json_delta":
            block["_json"] += delta["partial_json"]


def _collect(blocks: list[dict[str, Any]], stop_reason: str | None, *, complete: bool) -> Answer:
    found = Answer(stop_reason=stop_reason, complete=complete)
    for block in blocks:
        match block["type"]:
            case "text":
                found.text += block["text"]
            case "thinking" | "redacted_thinking":
                found.thinking.append(block)
            case "tool_use":
                found.calls.append((block["id"], block["name"], block["input"]))
            case other:
                found.others.append(other)
    return found
