"""Requests and streams that nobody thought of: random JSON both ways, the same over gRPC as over REST.

Seeded, so that a failure can be had again.
"""

from __future__ import annotations

import copy
import json
import random
from typing import Any

import pytest

from penstock.client import _calls as methods
from penstock.client import _messages as pb
from penstock.client._json import fill, to_dict
from tests.integration.grpc import requests
from tests.integration.grpc.calls import Rpc
from tests.integration.grpc.compare import differences
from tests.integration.grpc.golden import events, rest, values
from tests.integration.grpc.serving import upstream_of
from tests.rig import Sim

_TEXTS = [
    "", " ", "a", "time", '"', "\\", '\\"', '"}', "}]}", "\n\r\t", "\x00\x1f", "é", "世界", "🦀", "\u2028", "\ufeff", "\ud7ff\ue000",
    "data: x\n\ndata: [DONE]\n\n", "[DONE]", "null", '{"content":"x"}', "content", "\\u0041", "/", "</script>", "x" * 300, "é" * 200,
]  # fmt: skip
_NUMBERS = [0, 1, -1, 7, 2**31, -(2**31), 2**53, 0.5, -0.25, 1e-9, 1.5e300, 123456.789, -1e21]


class Choices:
    """What is random here."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self.choose, self.count = self._random.choice, self._random.randint

    def maybe(self, odds: float) -> bool:
        """True in so many of one."""
        return self._random.random() < odds

    def text(self) -> str:
        """One of the odd ones, or several."""
        return "".join(self.choose(_TEXTS) for _ in range(self.count(1, 3)))

    def json(self, depth: int = 0) -> Any:
        """A value."""
        kind = self.count(0, 5 if depth > 3 else 7)
        if kind <= 1:
            return self.text()
        if kind == 2:
            return self.choose(_NUMBERS)
        if kind <= 5:
            return self.choose([None, True, False])
        if kind == 6:
            return [self.json(depth + 1) for _ in range(self.count(0, 3))]
        return {self.text(): self.json(depth + 1) for _ in range(self.count(0, 3))}


def _mixed(choices: Choices) -> dict[str, Any]:
    """Members of the requests of the table, some with another value, some unknown."""
    known = [body for body in requests.CHAT.values() if "river " * 100 not in str(body)]
    body: dict[str, Any] = copy.deepcopy(choices.choose(known))
    for _ in range(choices.count(0, 4)):
        other = choices.choose(known)
        name = choices.choose(list(other))
        body[name] = copy.deepcopy(other[name])
    # What the simulator itself reads must be of its types.
    read = {
        "messages",
        "n",
        "stop",
        "max_tokens",
        "max_completion_tokens",
        "tools",
        "tool_choice",
        "response_format",
        "stream_options",
    }
    for _ in range(choices.count(0, 3)):
        name = choices.choose(["user", "temperature", "metadata", "prediction", "audio", "seed", choices.text()])
        if name and name not in read | {"model", "stream"}:
            body[name] = choices.json()
    return body


@pytest.mark.parametrize("seed", range(20))
def test_requests(rpc: Rpc, sim: Sim, seed: int) -> None:
    choices = Choices(seed)
    for _ in range(15):
        body = {"model": "sim", **_mixed(choices)}
        if len(body.get("tools") or []) == 0 or "tool_choice" not in body:
            body.pop("tools", None)
        body.pop("stream_options", None)
        try:
            request = fill(pb.ChatCreateRequest(), body)
        except (TypeError, ValueError):
            continue
        call = rpc.call(methods.CHAT_CREATE, request, sim={"tokens": 1})
        assert call.ok, body
        received = values(upstream_of(sim, call.call_id).body)
        assert received == values(json.dumps({**to_dict(request), "model": "gpt-sim"}))


def _chunk(choices: Choices) -> dict[str, Any]:
    """The first chunk of a stream, in one provider's style or another's."""
    chunk: dict[str, Any] = {
        "id": choices.choose(["chatcmpl-1", "", choices.text()]),
        "object": choices.choose(["chat.completion.chunk"] * 3 + ["chat.completion", ""]),
        "created": choices.choose([0, 1_700_000_000]),
        "model": choices.choose(["m", "", choices.text()]),
        "choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": None}],
    }
    for name in ("service_tier", "system_fingerprint", "usage", "obfuscation", "provider", choices.text()):
        if name and choices.maybe(0.3):
            chunk[name] = choices.choose([None, "x", choices.json()])
    if choices.maybe(0.3):
        names = list(chunk)
        names.sort(key=lambda _: choices.count(0, 99))
        chunk = {name: chunk[name] for name in names}
    return chunk


def _changed(choices: Choices, chunk: dict[str, Any]) -> dict[str, Any]:
    """The next one: most differ in the text alone, as they do."""
    chunk = copy.deepcopy(chunk)
    choice = chunk["choices"][0] if chunk["choices"] else {"index": 0, "delta": {}, "finish_reason": None}
    delta: dict[str, Any] = {"content": choices.text()}
    match choices.count(0, 19):
        case 0:
            delta = {"reasoning_content": choices.text()}
        case 1:
            delta = {"role": "assistant", "content": choices.text()}
        case 2:
            delta = {"content": None}
        case 3:
            delta = {"content": choices.text(), "refusal": choices.choose([None, "no"])}
        case 4:
            call = {"index": 0, "id": "c", "type": "function", "function": {"name": "f", "arguments": choices.text()}}
            delta = {"tool_calls": [call]}
        case 5:
            delta = {"tool_calls": [{"index": 0, "function": {"arguments": choices.text()}}]}
        case 6:
            delta["thinking_blocks"] = [choices.json()]
        case 7:
            choice["logprobs"] = choices.choose(
                [None, {"content": [{"token": choices.text(), "logprob": -0.5, "bytes": [1, 255], "top_logprobs": []}]}]
            )
        case 8:
            choice.pop("logprobs", None)
        case 9:
            choice["index"] = choices.count(0, 3)
        case 10:
            chunk["created"] = choices.choose([1_700_000_000, 1_700_000_001])
        case 11:
            chunk["usage"] = {"prompt_tokens": 3, "completion_tokens": choices.count(0, 9), "x": choices.json()}
        case 12:
            chunk.pop("usage", None)
        case 13:
            delta = {}
        case _:
            pass
    choice["delta"] = delta
    chunk["choices"] = [] if choices.maybe(0.03) else [choice]
    return chunk


def _stream(choices: Choices) -> bytes:
    """A stream, its JSON written in one of the ways in which JSON can be written."""
    spaced, ascii_only = choices.maybe(0.3), choices.maybe(0.5)
    separators = (", ", ": ") if spaced else (",", ":")
    chunk = _chunk(choices)
    chunks = [chunk]
    for _ in range(choices.count(1, 40)):
        chunk = _changed(choices, chunk)
        chunks.append(chunk)
    last = copy.deepcopy(chunks[0])
    last["choices"] = [{"index": 0, "delta": {}, "finish_reason": "stop"}]
    lines = [json.dumps(one, ensure_ascii=ascii_only, separators=separators) for one in [*chunks, last]]
    return "".join(f"data: {line}\n\n" for line in [*lines, "[DONE]"]).encode("utf-8", "surrogatepass")


def _cut(choices: Choices, size: int) -> list[int]:
    """Sizes of pieces."""
    pieces = []
    while size:
        pieces.append(min(size, choices.count(1, 400)))
        size -= pieces[-1]
    return pieces


@pytest.mark.parametrize("seed", range(40))
def test_streams(rpc: Rpc, sim: Sim, seed: int) -> None:
    choices = Choices(seed)
    body = {"model": "sim", "messages": [{"role": "user", "content": "a"}], "stream_options": {"include_usage": True}}
    for turn in range(4):
        data = _stream(choices)
        sim.record("random", data, "text/event-stream", split=_cut(choices, len(data)) if turn % 2 else None)
        expected = [
            json.loads(text)
            for _, text in events(rest(rpc.gateway, rpc.key, "chat stream", body, {"replay": "random"}))
        ]
        call = rpc.call(methods.CHAT_STREAM, fill(pb.ChatCreateRequest(), body), sim={"replay": "random"})
        found = [to_dict(chunk) for chunk in call.ok]
        assert len(found) == len(expected)
        for at, (theirs, ours) in enumerate(zip(expected, found, strict=True)):
            assert differences(theirs, ours, f"chunk {at}") == []


@pytest.mark.parametrize("seed", range(20))
def test_answers(rpc: Rpc, sim: Sim, seed: int) -> None:
    choices = Choices(seed)
    for _ in range(10):
        answer = _changed(choices, _chunk(choices))
        for choice in answer["choices"]:
            choice["message"] = {"role": "assistant", "content": None, **choice.pop("delta")}
            if choices.maybe(0.5):
                choice["message"][choices.text() or "x"] = choices.json()
        answer["object"] = "chat.completion"
        text = json.dumps(answer, ensure_ascii=choices.maybe(0.5), indent=choices.choose([None, 1]))
        sim.record("random", text.encode("utf-8", "surrogatepass"), "application/json")
        call = rpc.call(
            methods.CHAT_CREATE,
            pb.ChatCreateRequest(model="sim", messages=[{"role": "user", "text": "a"}]),
            sim={"replay": "random"},
        )
        assert differences(json.loads(text), to_dict(call.answer)) == []
