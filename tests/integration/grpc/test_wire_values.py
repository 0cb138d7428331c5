"""Protobuf as the format allows it and as it does not: unknown and repeated fields, bad text, nesting, broken lengths.

Written from the encoding's specification; what a parser of protobuf accepts there, the gateway accepts.
"""

from __future__ import annotations

import json
import random
import struct
from typing import Any

import grpc
import pytest
from google.protobuf.message import DecodeError

from penstock.client import _messages as pb
from tests.integration.grpc.frames import Raw, Reply, frame
from tests.integration.grpc.protobuf import BYTES, END_GROUP, FIXED32, FIXED64, GROUP, VARINT, held, number, tag, varint
from tests.integration.grpc.serving import upstream_of
from tests.rig import Sim

CREATE = "/penstock.v1.Chat/Create"
EMBED = "/penstock.v1.Embeddings/Create"
INVALID = grpc.StatusCode.INVALID_ARGUMENT.value[0]
# Fields of `ChatCreateRequest` and `ChatMessage`.
MODEL, MESSAGES, MAX_TOKENS, TEMPERATURE, STOP, LOGIT_BIAS, METADATA, EXTRA = 1, 2, 6, 8, 11, 19, 28, 100
ROLE, TEXT, PARTS, NULL_CONTENT, NAME = 1, 2, 3, 4, 5

MESSAGE = held(ROLE, "user") + held(TEXT, "time")
BASE = held(MODEL, "sim") + held(MESSAGES, MESSAGE)


def _sent(raw: Raw, sim: Sim, data: bytes, path: str = CREATE) -> dict[str, Any]:
    """What the provider got."""
    reply = raw.ask(path, frame(data), more=[("x-sim-tokens", "1")])
    assert reply.status == 0, reply
    return dict(json.loads(upstream_of(sim, reply.headers["x-penstock-call-id"]).body))


def _member(name: str, value: float) -> bytes:
    """An entry of a `Struct`."""
    return held(1, held(1, name) + held(2, tag(2, FIXED64) + struct.pack("<d", value)))


def _label(name: str, value: str) -> bytes:
    return held(METADATA, held(1, name) + held(2, value))


def _refused(raw: Raw, data: bytes, path: str = CREATE) -> Reply:
    reply = raw.ask(path, frame(data))
    assert reply.status == INVALID, reply
    assert reply.details.info["code"] == "invalid_request"
    assert reply.message
    return reply


PLAIN = {"model": "gpt-sim", "messages": [{"role": "user", "content": "time"}]}

UNKNOWN: dict[str, bytes] = {
    "varint": number(9_999, 7),
    "fixed64": tag(9_999, FIXED64) + b"12345678",
    "fixed32": tag(9_999, FIXED32) + b"1234",
    "bytes": held(9_999, b"\xff\xfe"),
    "empty": held(9_999, b""),
    "the largest number": held(2**29 - 1, "x"),
    "a group": tag(9_999, GROUP) + number(1, 5) + held(2, "x") + tag(9_999, END_GROUP),
    "groups in groups": tag(7_777, GROUP) * 20 + tag(7_777, END_GROUP) * 20,
    "a known number of another type": tag(NAME + 40, FIXED32) + b"abcd",
}


@pytest.mark.parametrize("name", list(UNKNOWN))
@pytest.mark.parametrize("place", ["request", "message", "part", "before"])
def test_unknown_fields_are_skipped(raw: Raw, sim: Sim, name: str, place: str) -> None:
    field = UNKNOWN[name]
    expected: dict[str, Any] = PLAIN
    if place == "request":
        data = BASE + field
    elif place == "before":
        data = field + BASE
    elif place == "message":
        data = held(MODEL, "sim") + held(MESSAGES, MESSAGE + field)
    else:
        part = held(1, "time") + field
        data = held(MODEL, "sim") + held(MESSAGES, held(ROLE, "user") + held(PARTS, held(1, part) + field))
        expected = {**PLAIN, "messages": [{"role": "user", "content": [{"type": "text", "text": "time"}]}]}
    assert _sent(raw, sim, data) == expected


def test_a_field_of_another_wire_type_is_unknown(raw: Raw, sim: Sim) -> None:
    """As every parser of protobuf has it: number and type together name a field."""
    wrong = tag(MAX_TOKENS, FIXED64) + b"\0" * 8 + number(TEMPERATURE, 1) + tag(MODEL, VARINT) + varint(3)
    reply = raw.ask(CREATE, frame(BASE + wrong), more=[("x-sim-tokens", "1")])
    if reply.status == 0:
        assert json.loads(upstream_of(sim, reply.headers["x-penstock-call-id"]).body) == PLAIN
    else:
        assert reply.status == INVALID


def test_the_last_scalar_counts(raw: Raw, sim: Sim) -> None:
    data = held(MODEL, "nowhere") + BASE + number(MAX_TOKENS, 5) + number(MAX_TOKENS, 6)
    assert _sent(raw, sim, data) == {**PLAIN, "max_tokens": 6}


def test_a_message_in_pieces_is_one(raw: Raw, sim: Sim) -> None:
    """Fields of messages that come twice are merged: an old way to write large ones."""
    data = BASE + held(EXTRA, _member("a", 1)) + number(MAX_TOKENS, 3) + held(EXTRA, _member("b", 2))
    assert _sent(raw, sim, data) == {**PLAIN, "max_tokens": 3, "a": 1, "b": 2}


def test_the_last_member_of_a_oneof_counts(raw: Raw, sim: Sim) -> None:
    message = held(ROLE, "user") + held(TEXT, "first") + held(PARTS, b"") + held(TEXT, "last")
    assert _sent(raw, sim, held(MODEL, "sim") + held(MESSAGES, message))["messages"] == [
        {"role": "user", "content": "last"}
    ]
    message = held(ROLE, "user") + held(TEXT, "first") + number(NULL_CONTENT, 0)
    assert _sent(raw, sim, held(MODEL, "sim") + held(MESSAGES, message))["messages"] == [
        {"role": "user", "content": None}
    ]
    message = held(ROLE, "user") + number(NULL_CONTENT, 0) + held(PARTS, b"")
    assert _sent(raw, sim, held(MODEL, "sim") + held(MESSAGES, message))["messages"] == [
        {"role": "user", "content": []}
    ]


def test_a_repeated_member_of_a_oneof_is_merged(raw: Raw, sim: Sim) -> None:
    """Parts that come in two pieces, without another member between them, are those of both."""
    parts = held(PARTS, held(1, held(1, "a"))) + held(PARTS, held(1, held(1, "b")))
    content = _sent(raw, sim, held(MODEL, "sim") + held(MESSAGES, held(ROLE, "user") + parts))["messages"][0]["content"]
    assert [part["text"] for part in content] == ["a", "b"]


def test_maps_keep_the_last_of_a_key(raw: Raw, sim: Sim) -> None:
    data = (
        BASE
        + _label("b", "1")
        + _label("a", "1")
        + _label("b", "2")
        + held(METADATA, held(2, "no key"))
        + held(METADATA, b"")
    )
    assert _sent(raw, sim, data)["metadata"] == {"": "", "a": "1", "b": "2"}


def test_entries_of_maps_may_be_written_in_any_order(raw: Raw, sim: Sim) -> None:
    entry = held(LOGIT_BIAS, tag(2, FIXED64) + struct.pack("<d", 0.5) + held(1, "7") + number(5, 1))
    assert _sent(raw, sim, BASE + entry + held(LOGIT_BIAS, held(1, "8")))["logit_bias"] == {"7": 0.5, "8": 0}


@pytest.mark.parametrize("packed", [True, False])
def test_numbers_may_be_packed_or_not(raw: Raw, sim: Sim, packed: bool) -> None:
    ids = held(1, varint(5) + varint(300) + varint(0)) if packed else number(1, 5) + number(1, 300) + number(1, 0)
    assert _sent(raw, sim, held(1, "sim") + held(4, ids), EMBED)["input"] == [5, 300, 0]
    mixed = held(1, varint(5) + varint(300)) + number(1, 0)
    assert _sent(raw, sim, held(1, "sim") + held(4, mixed), EMBED)["input"] == [5, 300, 0]


def test_long_varints_are_cut_to_the_field_s_bits(raw: Raw, sim: Sim) -> None:
    """Ten bytes are the most; what a 32-bit field does not hold is dropped, as in every parser."""
    long = tag(MAX_TOKENS, VARINT) + b"\x85\x80\x80\x80\x80\x80\x80\x80\x80\x00"
    assert _sent(raw, sim, BASE + long)["max_tokens"] == 5
    negative = tag(16, VARINT) + b"\xff" * 9 + b"\x01"
    assert _sent(raw, sim, BASE + negative)["seed"] == -1
    wide = tag(21, VARINT) + varint(2**32 + 7)
    assert _sent(raw, sim, BASE + wide)["top_logprobs"] == 7
    true = tag(20, VARINT) + varint(2**40)
    assert _sent(raw, sim, BASE + true)["logprobs"] is True


BROKEN: dict[str, bytes] = {
    "a tag alone": BASE + tag(MAX_TOKENS, VARINT),
    "a varint of eleven bytes": BASE + tag(MAX_TOKENS, VARINT) + b"\xff" * 10 + b"\x01",
    "a varint without an end": BASE + tag(MAX_TOKENS, VARINT) + b"\x80",
    "field zero": BASE + b"\x00\x01",
    "a tag beyond 32 bits": BASE + varint(2**35 | 2) + b"\x01x",
    "wire type six": BASE + varint(9_999 << 3 | 6) + b"x",
    "wire type seven": BASE + varint(9_999 << 3 | 7) + b"x",
    "a length beyond the end": BASE + tag(NAME, BYTES) + varint(10) + b"short",
    "a huge length": BASE + tag(MESSAGES, BYTES) + varint(2**62) + b"x",
    "a negative length": BASE + tag(MESSAGES, BYTES) + varint(2**64 - 1) + b"x",
    "half a fixed64": BASE + tag(TEMPERATURE, FIXED64) + b"1234",
    "half a fixed32": BASE + tag(9_999, FIXED32) + b"12",
    "an open group": BASE + tag(9_999, GROUP) + number(1, 2),
    "a group that ends as another": BASE + tag(9_999, GROUP) + tag(9_998, END_GROUP),
    "the end of no group": BASE + tag(9_999, END_GROUP),
    "a message cut inside": held(MODEL, "sim")
    + held(MESSAGES, held(ROLE, "user") + tag(TEXT, BYTES) + varint(99) + b"x"),
    "packed numbers cut inside": BASE + held(STOP, b"\xff"),
    "a cut map entry": BASE + held(METADATA, tag(1, BYTES) + varint(4) + b"ab"),
}


@pytest.mark.parametrize("name", list(BROKEN))
def test_what_is_no_protobuf_is_refused(raw: Raw, sim: Sim, name: str) -> None:
    since = sim.mark()
    _refused(raw, BROKEN[name])
    assert sim.mark() == since


BAD_TEXT = [b"\xff", b"a\xc3", b"\xc0\xaf", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"ok \x80 ok", b"\xe4\xb8"]
PLACES: dict[str, tuple[Any, str]] = {
    "model": (lambda text: held(MODEL, text) + held(MESSAGES, MESSAGE), "model"),
    "role": (lambda text: held(MODEL, "sim") + held(MESSAGES, held(ROLE, text)), "role"),
    "content": (lambda text: held(MODEL, "sim") + held(MESSAGES, MESSAGE + held(TEXT, text)), "messages[0].content"),
    "part": (lambda text: BASE + held(MESSAGES, held(PARTS, held(1, held(1, text)))), "text"),
    "map key": (lambda text: BASE + held(METADATA, held(1, text)), "metadata"),
    "map value": (lambda text: BASE + held(METADATA, held(2, text)), "metadata"),
    "extra key": (lambda text: BASE + held(EXTRA, held(1, held(1, text))), "extra"),
    "extra value": (lambda text: BASE + held(EXTRA, held(1, held(1, "k") + held(2, held(3, text)))), "k"),
    "stop": (lambda text: BASE + held(STOP, held(1, text)), "stop"),
    "json": (lambda text: BASE + held(3, held(1, held(1, "f") + held(3, b'"' + text + b'"'))), "parameters"),
}


@pytest.mark.parametrize("text", BAD_TEXT)
@pytest.mark.parametrize("place", list(PLACES))
def test_text_that_is_not_utf_8_is_refused_by_field(raw: Raw, sim: Sim, place: str, text: bytes) -> None:
    since = sim.mark()
    make, field = PLACES[place]
    reply = _refused(raw, make(text))
    assert field in reply.details.info["param"], reply.details
    assert reply.details.fields[0][0] == reply.details.info["param"]
    assert sim.mark() == since


def test_the_field_is_named_by_its_whole_path(raw: Raw) -> None:
    data = BASE + held(MESSAGES, held(ROLE, "user") + held(PARTS, held(1, held(1, "ok")) + held(1, held(1, b"\xff"))))
    param = _refused(raw, data).details.info["param"]
    assert param.startswith("messages[1]."), param
    assert "[1]" in param.removeprefix("messages[1]."), param


def _nested(depth: int) -> bytes:
    """A value of `extra` inside so many lists."""
    value = held(3, "x")
    for _ in range(depth):
        value = held(6, held(1, value))
    return BASE + held(EXTRA, held(1, held(1, "deep") + held(2, value)))


def test_nesting_is_bounded(raw: Raw, sim: Sim) -> None:
    assert _sent(raw, sim, _nested(20))["deep"] == json.loads("[" * 20 + '"x"' + "]" * 20)
    for depth in (101, 5_000, 20_000):
        _refused(raw, _nested(depth))
    groups = BASE + tag(9_999, GROUP) * 300_000 + tag(9_999, END_GROUP) * 300_000
    _refused(raw, groups)
    deep = '{"a":' * 5_000 + "1" + "}" * 5_000
    reply = raw.ask(CREATE, frame(BASE + held(3, held(1, held(1, "f") + held(3, deep)))), more=[("x-sim-tokens", "1")])
    assert reply.status in (0, INVALID)


def test_an_empty_message_is_a_request_without_a_model(raw: Raw) -> None:
    reply = raw.ask(CREATE, frame(b""))
    assert reply.status == INVALID
    assert reply.details.info["code"] == "invalid_request"


def test_values_of_extra_of_every_kind(raw: Raw, sim: Sim) -> None:
    request = pb.ChatCreateRequest(model="sim", messages=[{"role": "user", "text": "time"}])
    everything: dict[str, Any] = {
        "null": None,
        "true": True,
        "text": "é\0",
        "list": [],
        "object": {},
        "nested": [{"a": [None]}],
        "f": -0.5,
    }
    request.extra.update(everything)
    assert _sent(raw, sim, request.SerializeToString()) == {**PLAIN, **everything}
    # A value that holds nothing has no kind: JSON has no word for it.
    reply = raw.ask(CREATE, frame(BASE + held(EXTRA, held(1, held(1, "k")))), more=[("x-sim-tokens", "1")])
    assert reply.status in (0, INVALID)


def test_random_bytes_never_harm(raw: Raw) -> None:
    """Whatever comes, the answer is a status of gRPC, and what protobuf cannot read the gateway does not serve."""
    choose = random.Random(20_240_607)
    whole = bytes(pb.ChatCreateRequest(
        model="nowhere", messages=[{"role": "user", "text": "time"}], tools=[{"function": {"name": "f"}}],
        logit_bias={"1": 2}, temperature=1, stop={"sequences": {"values": ["a"]}}, extra={"a": [1, {"b": None}]},
    ).SerializeToString())  # fmt: skip
    for _ in range(400):
        data = bytearray(whole)
        for _ in range(choose.randint(1, 6)):
            at = choose.randrange(len(data))
            match choose.randrange(3):
                case 0:
                    data[at] = choose.randrange(256)
                case 1:
                    del data[at : at + choose.randint(1, 4)]
                case _:
                    data[at:at] = choose.randbytes(choose.randint(1, 4))
            if not data:
                break
        reply = raw.ask(CREATE, frame(bytes(data)))
        assert reply.http_status == 200
        assert reply.reset is None
        try:
            pb.ChatCreateRequest.FromString(bytes(data))
        except DecodeError:
            assert reply.status == INVALID, bytes(data)
        else:
            assert reply.status in (INVALID, grpc.StatusCode.NOT_FOUND.value[0]), (bytes(data), reply)
