"""The same call over REST and over gRPC: the provider gets the same JSON, the books the same record."""

from __future__ import annotations

import json
import struct
from typing import Any

import pytest

from penstock.client import _calls as methods
from penstock.client import _messages as pb
from penstock.client._json import to_dict
from tests.integration.grpc import golden, requests
from tests.integration.grpc.calls import Ended, Rpc
from tests.integration.grpc.golden import Pair, both
from tests.integration.grpc.serving import upstream_of
from tests.rig import Sim

KINDS: dict[str, dict[str, dict[str, Any]]] = {
    "chat": requests.CHAT,
    "chat stream": requests.STREAMS,
    "completions": requests.COMPLETIONS,
    "completions stream": requests.COMPLETIONS,
    "embeddings": requests.EMBEDDINGS,
    "responses": requests.RESPONSES,
    "responses stream": requests.RESPONSES,
}
EVERY = [
    pytest.param(kind, body, id=f"{kind}: {name}") for kind, table in KINDS.items() for name, body in table.items()
]
TRANSLATED = [
    pytest.param(kind, body, id=f"{kind}: {name}")
    for kind in ("chat", "chat stream")
    for name, body in requests.CLAUDE.items()
]
WHOLE = [
    pytest.param(kind, body, id=f"{kind}: {name}")
    for kind in ("chat", "completions", "embeddings")
    for name, body in KINDS[kind].items()
]


def _agree(pair: Pair) -> None:
    assert golden.values(pair.grpc_upstream.body) == golden.values(pair.rest_upstream.body)
    assert (pair.grpc_upstream.method, pair.grpc_upstream.target) == (
        pair.rest_upstream.method,
        pair.rest_upstream.target,
    )
    assert pair.records[1] == pair.records[0]


@pytest.mark.parametrize("kind,body", EVERY)
def test_the_provider_and_the_books_see_no_difference(rpc: Rpc, sim: Sim, kind: str, body: dict[str, Any]) -> None:
    pair = both(rpc, sim, kind, {"model": "sim", **body}, {"tokens": 3})
    _agree(pair)
    sent = golden.values(json.dumps({**body, "model": "gpt-sim", **({"stream": True} if "stream" in kind else {})}))
    received = golden.values(pair.grpc_upstream.body)
    if kind in ("chat stream", "completions stream"):
        # Asked for on the gateway's own account, as over REST.
        received.pop("stream_options")
        sent.pop("stream_options", None)
    assert received == sent, "the provider gets what the application said"


@pytest.mark.parametrize("kind,body", TRANSLATED)
def test_nor_does_a_provider_on_another_wire(rpc: Rpc, sim: Sim, kind: str, body: dict[str, Any]) -> None:
    pair = both(rpc, sim, kind, {"model": "claude", **body}, {"tokens": 3})
    _agree(pair)
    assert golden.parsed(pair.grpc_upstream.body)["model"] == "claude-sim"


@pytest.mark.parametrize("kind,body", WHOLE)
def test_the_bytes_are_the_same_where_the_order_is(rpc: Rpc, sim: Sim, kind: str, body: dict[str, Any]) -> None:
    """What gRPC's JSON is, sent over REST with other white space, reaches the provider as the same bytes."""
    made = rpc.call(golden.ROUTES[kind][1], golden.request_of(kind, {"model": "sim", **body}))
    first = upstream_of(sim, made.call_id).body
    again = golden.spaced({**golden.parsed(first), "model": "sim"}).encode()
    answer = golden.rest(rpc.gateway, rpc.key, kind, again)
    second = upstream_of(sim, answer.headers["x-penstock-call-id"]).body
    assert golden.compact(second) == golden.compact(first)


ORDERED = pb.ChatCreateRequest(
    model="sim",
    messages=[
        {
            "role": "user",
            "parts": {
                "parts": [
                    {"text": "a", "extra": {"z": 1, "cache_control": {"type": "ephemeral", "a": 0.5}}},
                    {"extra": {"b": 1, "type": "x", "a": 2}},
                ]
            },
            "name": "n",
        },
        {"role": "assistant", "null_content": 0, "extra": {"b": None, "a": ""}},
    ],
    tools=[{"function": {"name": "f", "parameters_json": ' {"b" : 1.0 , "a":\n[1e2,{"b":2,"a":1}]} '}}],
    tool_choice={"mode": "none"},
    temperature=1,
    stop={"sequences": {"values": ["x"]}},
    logit_bias={"9": 1, "10": 2, "1": 0.1},
    metadata={"b": "1", "a": "2"},
    extra={"zeta": True, "alpha": {"y": 1, "x": 2}},
)
IN_ORDER = (
    '{"model":"gpt-sim","messages":[{"role":"user","content":[{"type":"text","text":"a","cache_control":{"type":"ephemeral",'
    '"a":0.5},"z":1},{"type":"x","a":2,"b":1}],"name":"n"},{"role":"assistant","content":null,"a":"","b":null}],'
    '"tools":[{"type":"function","function":{"name":"f","parameters":{"b":1.0,"a":[1e2,{"b":2,"a":1}]}}}],'
    '"tool_choice":"none","temperature":1,"stop":["x"],"logit_bias":{"1":0.1,"10":2,"9":1},"metadata":{"a":"2","b":"1"},'
    '"alpha":{"x":2,"y":1},"zeta":true}'
)


def test_members_are_written_in_the_documented_order(rpc: Rpc, sim: Sim) -> None:
    call = rpc.call(methods.CHAT_CREATE, ORDERED)
    assert call.ok
    # Numbers of JSON text that is passed on are as they were written: 1.0 and 1e2.
    assert golden.compact(upstream_of(sim, call.call_id).body) == golden.compact(IN_ORDER.encode())


def test_stream_stands_between_the_fields_and_the_extra_members(rpc: Rpc, sim: Sim) -> None:
    request = pb.ChatCreateRequest(
        model="sim", messages=[{"role": "user", "text": "a"}], user="u", stream_options={"include_usage": True}
    )
    request.extra["a"] = 1
    call = rpc.call(methods.CHAT_STREAM, request, sim={"tokens": 2})
    assert call.ok
    names = list(golden.parsed(upstream_of(sim, call.call_id).body))
    assert names == ["model", "messages", "stream_options", "user", "stream", "a"]


def test_a_call_in_a_message_says_what_it_calls(rpc: Rpc, sim: Sim) -> None:
    request = pb.ChatCreateRequest(model="sim", messages=[{"role": "user", "text": "a"}])
    message = request.messages.add(role="assistant", null_content=0)
    message.tool_calls.add(id="1", function={"name": "f", "arguments": "{}"})
    message.tool_calls.add(id="2", custom={"name": "c", "input": "i"})
    message.tool_calls.add(id="3", type="other", function={"name": "f", "arguments": ""})
    call = rpc.call(methods.CHAT_CREATE, request)
    received = json.loads(upstream_of(sim, call.call_id).body)["messages"][1]["tool_calls"]
    assert received == [
        {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}},
        {"id": "2", "type": "custom", "custom": {"name": "c", "input": "i"}},
        {"id": "3", "type": "other", "function": {"name": "f", "arguments": ""}},
    ]


def test_presence_decides_what_is_written(rpc: Rpc, sim: Sim) -> None:
    """Unset is absent, zero is there; required members and `messages` always are."""
    request = pb.ChatCreateRequest(model="sim", max_tokens=0, temperature=0, logprobs=False, user="")
    request.messages.add()
    call = rpc.call(methods.CHAT_CREATE, request, sim={"tokens": 1})
    received = json.loads(upstream_of(sim, call.call_id).body)
    assert received == {
        "model": "gpt-sim",
        "messages": [{"role": ""}],
        "max_tokens": 0,
        "temperature": 0,
        "logprobs": False,
        "user": "",
    }


@pytest.mark.parametrize("kind", ["chat", "chat stream"])
def test_no_messages_are_an_empty_array(rpc: Rpc, sim: Sim, kind: str) -> None:
    call = rpc.call(golden.ROUTES[kind][1], pb.ChatCreateRequest(model="sim"), sim={"tokens": 1})
    assert json.loads(upstream_of(sim, call.call_id).body)["messages"] == []


@pytest.mark.parametrize(
    "value,text",
    [
        (0.1, "0.1"),
        (1.0, "1"),
        (-0.5, "-0.5"),
        (100.0, "100"),
        (2.0**53 - 1, "9007199254740991"),
        (5e-324, "5e-324"),
        (1.7976931348623157e308, "1.7976931348623157e308"),
        (0.30000000000000004, "0.30000000000000004"),
        (123456.789, "123456.789"),
    ],
)
def test_a_double_reads_back_as_itself(rpc: Rpc, sim: Sim, value: float, text: str) -> None:
    request = pb.ChatCreateRequest(model="sim", messages=[{"role": "user", "text": "a"}], temperature=value)
    request.extra["also"] = value
    call = rpc.call(methods.CHAT_CREATE, request, sim={"tokens": 1})
    received = golden.parsed(upstream_of(sim, call.call_id).body)
    for name in ("temperature", "also"):
        written = str.__str__(received[name])
        assert float(written) == value
        assert ("." in written or "e" in written) == ("." in text or "e" in text), written
        assert len(written) <= len(text) + 1, "not the shortest form"


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("place", ["temperature", "extra", "logit_bias"])
def test_what_json_has_no_number_for_is_refused(rpc: Rpc, place: str, value: float) -> None:
    request = pb.ChatCreateRequest(model="sim", messages=[{"role": "user", "text": "a"}])
    if place == "temperature":
        request.temperature = value
    elif place == "logit_bias":
        request.logit_bias["1"] = value
    else:
        request.extra["x"] = value
    call = rpc.call(methods.CHAT_CREATE, request)
    assert call.failed == "INVALID_ARGUMENT invalid_request"


@pytest.mark.parametrize(
    "text", ["", "{", "nul", "{} {}", "{'a': 1}", '{"a": 1,}', '{"a": "\x01"}', "[1, 2", '"\\ud800"x']
)
@pytest.mark.parametrize("place", ["parameters", "schema", "body"])
def test_json_as_text_must_be_json(rpc: Rpc, place: str, text: str) -> None:
    chat = pb.ChatCreateRequest(model="sim", messages=[{"role": "user", "text": "a"}])
    if place == "parameters":
        chat.tools.add(function={"name": "f", "parameters_json": text})
        field = "parameters"
    else:
        chat.response_format.type = "json_schema"
        chat.response_format.json_schema.name = "n"
        chat.response_format.json_schema.schema_json = text
        field = "schema"
    if place == "body":
        call: Any = rpc.call(methods.RESPONSES_CREATE, pb.ResponsesCreateRequest(body_json=text))
        assert call.failed == "INVALID_ARGUMENT invalid_request"
        return
    call = rpc.call(methods.CHAT_CREATE, chat)
    assert call.failed == "INVALID_ARGUMENT invalid_request"
    assert field in call.details.info["param"]
    assert [name for name, _ in call.details.fields] == [call.details.info["param"]]


@pytest.mark.parametrize("text", ['{"a":1}', "true", "[]", "null", '"text"', " \n{ }\t", "12345678901234567890", "1.0"])
def test_json_as_text_goes_in_as_it_is(rpc: Rpc, sim: Sim, text: str) -> None:
    request = pb.ChatCreateRequest(model="sim", messages=[{"role": "user", "text": "a"}])
    request.tools.add(function={"name": "f", "parameters_json": text})
    request.tool_choice.mode = "none"
    call = rpc.call(methods.CHAT_CREATE, request, sim={"tokens": 1})
    received = upstream_of(sim, call.call_id).body
    assert golden.parsed(received)["tools"][0]["function"]["parameters"] == golden.parsed(text)


@pytest.mark.parametrize(
    "place,name",
    [("request", "model"), ("request", "temperature"), ("message", "role"), ("message", "content"), ("part", "type"),
     ("part", "text"), ("function", "parameters"), ("request", "stream"), ("request", "messages")],
)  # fmt: skip
def test_a_member_is_in_its_field_or_in_extra_and_not_in_both(rpc: Rpc, place: str, name: str) -> None:
    request = pb.ChatCreateRequest(model="sim", temperature=1, messages=[{"role": "user", "text": "a"}])
    part = request.messages.add(role="user").parts.parts.add(text="b")
    function = request.tools.add(function={"name": "f", "parameters_json": "{}"}).function
    holder: Any = {"request": request, "message": request.messages[0], "part": part, "function": function}[place]
    holder.extra[name] = "twice"
    method: Any = methods.CHAT_STREAM if name == "stream" else methods.CHAT_CREATE
    call: Ended[Any] = rpc.call(method, request)
    assert call.failed == "INVALID_ARGUMENT invalid_request"
    assert name in call.message


def test_a_number_that_a_field_does_not_hold_goes_through_extra(rpc: Rpc, sim: Sim) -> None:
    request = pb.ChatCreateRequest(model="sim", messages=[{"role": "user", "text": "a"}])
    request.extra["seed"] = 1.5
    request.extra["max_tokens"] = None
    call = rpc.call(methods.CHAT_CREATE, request, sim={"tokens": 1})
    received = json.loads(upstream_of(sim, call.call_id).body)
    assert (received["seed"], received["max_tokens"]) == (1.5, None)


def test_bounds_count_wherever_they_stand(rpc: Rpc, sim: Sim) -> None:
    """The output bound in a field and in `extra` is the same to admission."""
    key = rpc.gateway.new_key(tpm_limit=1_000)
    field = pb.ChatCreateRequest(model="sim", messages=[{"role": "user", "text": "time"}], max_tokens=2_000)
    extra = pb.ChatCreateRequest(model="sim", messages=[{"role": "user", "text": "time"}])
    extra.extra["max_tokens"] = 2_000
    for request in (field, extra):
        call = rpc.call(methods.CHAT_CREATE, request, key=key)
        assert call.failed == "RESOURCE_EXHAUSTED rate_limit_exceeded"


@pytest.mark.parametrize("asked", ["float", "base64", None])
def test_vectors_are_the_same_numbers_however_they_were_asked_for(rpc: Rpc, sim: Sim, asked: str | None) -> None:
    body = {"model": "sim", "input": ["time", "river"], "dimensions": 300}
    if asked is not None:
        body["encoding_format"] = asked
    floats = golden.rest(rpc.gateway, rpc.key, "embeddings", {**body, "encoding_format": "float"}).json()
    call = rpc.call(methods.EMBEDDINGS_CREATE, golden.request_of("embeddings", body))
    assert [list(item.embedding) for item in call.answer.data] == [
        list(struct.unpack("300f", struct.pack("300f", *item["embedding"]))) for item in floats["data"]
    ]
    assert [item.index for item in call.answer.data] == [0, 1]
    assert to_dict(call.answer.usage) == floats["usage"]


@pytest.mark.parametrize("said", [True, False])
def test_the_method_says_whether_a_response_streams(rpc: Rpc, said: bool) -> None:
    """A body that says otherwise is refused."""
    request = methods.response_request({"model": "sim", "input": "a", "stream": said})
    right: Any = methods.RESPONSES_STREAM if said else methods.RESPONSES_CREATE
    wrong: Any = methods.RESPONSES_CREATE if said else methods.RESPONSES_STREAM
    agreed: Ended[Any] = rpc.call(right, request)
    assert agreed.ok
    refused: Ended[Any] = rpc.call(wrong, request)
    assert refused.failed == "INVALID_ARGUMENT invalid_request"
    assert "stream" in refused.message
