"""Streams that a provider breaks: what had come is there, and the call's status says that it is not all."""

from __future__ import annotations

import json
from typing import Any

import grpc
import pytest

from penstock.client import _calls as methods
from penstock.client import _messages as pb
from tests.conftest import Gateway
from tests.faults.accounts import usage, verdict
from tests.integration.grpc import golden
from tests.integration.grpc.calls import Ended, Rpc, words
from tests.integration.grpc.serving import record_of
from tests.rig import Sim

PROMPT_TOKENS = 10
AFTER = {"sim": 3, "claude": 5}
"""Events of the provider's wire that hold two words."""


def _request(model: str, **fields: Any) -> pb.ChatCreateRequest:
    return pb.ChatCreateRequest(
        model=model, max_tokens=500, messages=[{"role": "user", "text": "time river that"}], **fields
    )


@pytest.mark.parametrize("model", list(AFTER))
@pytest.mark.parametrize("fault", ["reset_after", "close_after", "bad_chunk"])
def test_a_stream_cut_short_never_ends_well(port: Gateway, rpc: Rpc, model: str, fault: str) -> None:
    call = rpc.call(methods.CHAT_STREAM, _request(model), sim={"fault": f"{fault}:{AFTER[model]}", "flush": 1})
    assert words(call.answers) == " time river"
    assert call.failed == "UNAVAILABLE upstream_protocol_error"
    assert (call.details.info["source"], call.details.info["status"]) == ("upstream", "502")
    row = record_of(port, call.call_id)
    assert (verdict(row), usage(row)) == (("upstream_cut", "counted"), (PROMPT_TOKENS, 2))


def test_a_stream_that_falls_silent_is_given_up(port: Gateway, rpc: Rpc) -> None:
    call = rpc.call(methods.CHAT_STREAM, _request("hasty"), sim={"fault": "hang_after:3", "flush": 1})
    assert words(call.answers) == " time river"
    assert call.failed == "DEADLINE_EXCEEDED upstream_timeout"
    row = record_of(port, call.call_id)
    assert (verdict(row), usage(row)) == (("upstream_cut", "counted"), (PROMPT_TOKENS, 2))


@pytest.mark.parametrize("model", list(AFTER))
def test_a_provider_s_own_error_is_the_status(port: Gateway, rpc: Rpc, model: str) -> None:
    tell = {"fault": f"error_event:{AFTER[model]}"}
    body = {"model": model, "max_tokens": 500, "messages": [{"role": "user", "content": "time river that"}]}
    rest = golden.events(golden.rest(port, rpc.key, "chat stream", body, tell))
    error = json.loads(rest[-1][1])["error"]
    call = rpc.call(methods.CHAT_STREAM, _request(model), sim=tell)
    assert words(call.answers) == " time river"
    assert call.code is not grpc.StatusCode.OK
    assert call.message == error["message"]
    assert call.details.info["source"] == "upstream"
    assert verdict(record_of(port, call.call_id)) == ("upstream_cut", "counted")


_SAID = b'data: {"id":"a","choices":[{"index":0,"delta":{"content":"x"}}]}\n\n'
_STOPPED = b'data: {"id":"a","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
_ERROR = b'"error":{"code":"server_error","message":"it broke"}'
_DONE = b"data: [DONE]\n\n"
TOLD = {
    "first in a chunk": _SAID + b"data: {" + _ERROR + b',"id":"a"}\n\n' + _DONE,
    # As aggregators tell it.
    "last in a chunk with a reason to stop": _SAID
    + b'data: {"id":"a","choices":[{"index":0,"delta":{"content":""},"finish_reason":"error"}],'
    + _ERROR + b"}\n\n" + _DONE,
    "after the reason to stop": _SAID + _STOPPED + b'data: {"id":"a",' + _ERROR + b"}\n\n" + _DONE,
    "by the event's name": _SAID + b'event: error\ndata: {"message":"it broke"}\n\n' + _DONE,
    "a text": _SAID + b'data: {"id":"a","error":"it broke"}\n\n' + _DONE,
    "on two lines": _SAID + b'data: {"id":"a",\ndata: ' + _ERROR + b"}\n\n" + _DONE,
    "without a blank line": _SAID + b'data: {"id":"a",' + _ERROR + b"}",
}  # fmt: skip


@pytest.mark.parametrize("how", list(TOLD))
def test_an_error_is_one_however_it_is_told(port: Gateway, rpc: Rpc, sim: Sim, how: str) -> None:
    sim.record("told-error", TOLD[how], "text/event-stream")
    tell = {"replay": "told-error"}
    call = rpc.call(methods.CHAT_STREAM, _request("sim"), sim=tell)
    assert words(call.answers) == "x"
    assert (call.code, call.message) == (grpc.StatusCode.INTERNAL, "it broke")
    assert call.details.info["source"] == "upstream"
    body = {"model": "sim", "max_tokens": 500, "messages": [{"role": "user", "content": "time river that"}]}
    answer = golden.rest(port, rpc.key, "chat stream", body, tell)
    assert answer.text.count("it broke") == 1
    for call_id in (call.call_id, answer.headers["x-penstock-call-id"]):
        assert verdict(record_of(port, call_id))[0] == "upstream_cut"


def test_an_error_is_not_what_only_has_the_word(port: Gateway, rpc: Rpc, sim: Sim) -> None:
    said = (
        b'data: {"id":"a","choices":[{"index":0,"delta":{"content":"{\\"error\\":{}}","error":{}}}],"error":null}\n\n'
    )
    sim.record("word-error", said + _STOPPED + _DONE, "text/event-stream")
    call = rpc.call(methods.CHAT_STREAM, _request("sim"), sim={"replay": "word-error"})
    assert words(call.ok) == '{"error":{}}'
    assert verdict(record_of(port, call.call_id))[0] == "ok"


def test_an_error_in_a_stream_of_a_response_is_one(port: Gateway, rpc: Rpc, sim: Sim) -> None:
    begun = b'event: response.created\ndata: {"type":"response.created","response":{"id":"r","error":null}}\n\n'
    told = b'event: error\ndata: {"type":"error","code":"server_error","message":"it broke","sequence_number":1}\n\n'
    sim.record("told-response", begun + told, "text/event-stream")
    body = {"model": "sim", "input": "time"}
    tell = {"replay": "told-response"}
    call: Ended[Any] = rpc.call(methods.RESPONSES_STREAM, methods.response_request(body), sim=tell)
    assert (call.code, call.message) == (grpc.StatusCode.INTERNAL, "it broke")
    answer = golden.rest(port, rpc.key, "responses stream", body, tell)
    assert answer.text.count("it broke") == 1
    for call_id in (call.call_id, answer.headers["x-penstock-call-id"]):
        assert verdict(record_of(port, call_id))[0] == "upstream_cut"


@pytest.mark.parametrize("model", list(AFTER))
def test_an_event_that_is_no_json_is_an_error(port: Gateway, rpc: Rpc, model: str) -> None:
    """REST passes such bytes on; there is no message that could."""
    call = rpc.call(methods.CHAT_STREAM, _request(model), sim={"fault": f"malformed:{AFTER[model]}", "tokens": 6})
    assert words(call.answers) == " time river"
    # Where it is translated, REST has a code of its own for it.
    assert call.failed == f"UNAVAILABLE {'upstream_error' if model == 'claude' else 'upstream_protocol_error'}"
    assert record_of(port, call.call_id)["metadata"]["outcome"] == "upstream_cut"


@pytest.mark.parametrize("model", list(AFTER))
def test_a_stream_without_usage_is_whole_and_counted(port: Gateway, rpc: Rpc, model: str) -> None:
    call = rpc.call(methods.CHAT_STREAM, _request(model), sim={"fault": "no_usage", "tokens": 37})
    assert len(words(call.ok).split()) == 37
    assert usage(record_of(port, call.call_id)) == (PROMPT_TOKENS, 37)


def test_a_missing_done_after_a_finish_reason_is_no_error(rpc: Rpc) -> None:
    assert rpc.call(methods.CHAT_STREAM, _request("sim"), sim={"fault": "no_done", "tokens": 6}).ok


@pytest.mark.parametrize("model", list(AFTER))
def test_one_byte_at_a_time_makes_the_same_stream(rpc: Rpc, model: str) -> None:
    calls = [
        rpc.call(methods.CHAT_STREAM, _request(model), sim={"tokens": 5, **more}) for more in ({"fault": "drip:0"}, {})
    ]
    shown = [[choice for chunk in call.ok for choice in chunk.choices] for call in calls]
    assert shown[0] == shown[1]


@pytest.mark.parametrize("model", list(AFTER))
def test_a_large_event_is_one_large_message(rpc: Rpc, model: str) -> None:
    call = rpc.call(methods.CHAT_STREAM, _request(model), sim={"fault": "huge:5", "tokens": 3})
    assert len(words(call.ok)) == 5_000_000 + len(" river that")
    assert words(call.ok).endswith("... river that")


SHAPES: dict[str, tuple[bytes, str]] = {
    "no event at all": (b"", "UNAVAILABLE upstream_protocol_error"),
    "comments only": (b": hi\n\n: ho\n\n", "UNAVAILABLE upstream_protocol_error"),
    "cut in a line": (b'data: {"id":"a","choices":[{"index":0,"delta":{"con', "UNAVAILABLE upstream_protocol_error"),
    "an array": (b"data: []\n\ndata: [DONE]\n\n", "UNAVAILABLE upstream_protocol_error"),
    "not UTF-8": (b'data: {"id":"\xff\xfe"}\n\ndata: [DONE]\n\n', "UNAVAILABLE upstream_protocol_error"),
}


@pytest.mark.parametrize("name", list(SHAPES))
def test_streams_that_are_none(rpc: Rpc, sim: Sim, name: str) -> None:
    body, expected = SHAPES[name]
    sim.record("odd-stream", body, "text/event-stream")
    call = rpc.call(methods.CHAT_STREAM, _request("sim"), sim={"replay": "odd-stream"})
    assert call.failed == expected


ENDS = [
    b'data: {"id":"a","choices":[{"index":0,"delta":{"content":"x"},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n',
    b'data:{"id":"a","choices":[{"index":0,"delta":{"content":"x"},"finish_reason":"stop"}]}\r\n\r\ndata:[DONE]\r\n\r\n',
    (b': ping\n\ndata: {"id":"a",\ndata: "choices":[{"index":0,"delta":{"content":"x"},"finish_reason":"stop"}]}\n\n'
    b"event: x\n\ndata: [DONE]\n\n"),
    b'id: 7\nretry: 5\ndata: {"id":"a","choices":[{"index":0,"delta":{"content":"x"},"finish_reason":"stop"}]}\n\n',
    (b'data: {"id":"a","choices":[{"index":0,"delta":{"content":"x"},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'
    b'data: {"id":"after the end","choices":[]}\n\n'),
]  # fmt: skip


@pytest.mark.parametrize("body", ENDS)
def test_every_way_to_write_an_event_is_understood(rpc: Rpc, sim: Sim, body: bytes) -> None:
    sim.record("spelling", body, "text/event-stream")
    call = rpc.call(methods.CHAT_STREAM, _request("sim"), sim={"replay": "spelling"})
    assert words(call.ok) == "x"


@pytest.mark.parametrize("fault", ["reset_after:3", "close_after:3"])
def test_other_streams_break_no_better(rpc: Rpc, fault: str) -> None:
    call: Ended[Any]
    for method, request in (
        (methods.COMPLETIONS_STREAM, pb.CompletionsCreateRequest(model="sim", text="time", max_tokens=50)),
        (methods.RESPONSES_STREAM, methods.response_request({"model": "sim", "input": "time"})),
    ):
        broken: Any = method
        call = rpc.call(broken, request, sim={"fault": fault, "flush": 1})
        assert call.answers
        assert call.failed == "UNAVAILABLE upstream_protocol_error"


def test_a_stream_answered_in_one_piece_is_an_error_or_an_answer_but_not_empty(rpc: Rpc, sim: Sim) -> None:
    """A provider that does not stream although it was asked to."""
    answer = {"id": "a", "choices": [{"index": 0, "message": {"role": "assistant", "content": "whole"}}]}
    sim.record("whole", json.dumps(answer).encode(), "application/json")
    call = rpc.call(methods.CHAT_STREAM, _request("sim"), sim={"replay": "whole"})
    assert call.code is not grpc.StatusCode.OK or "whole" in str(call.answers)
