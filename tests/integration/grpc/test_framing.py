"""Length-prefixed messages and their sizes: whole, in pieces, broken, compressed, too many, too large."""

from __future__ import annotations

import gzip
import json
import struct
import zlib
from collections.abc import Callable
from typing import Any

import grpc
import pytest

from penstock.client import _calls as methods
from penstock.client import _messages as pb
from penstock.client._json import to_dict
from tests.conftest import Gateway
from tests.integration.grpc.calls import Ended, Rpc
from tests.integration.grpc.frames import Raw, frame, zipped
from tests.integration.grpc.serving import configured, upstream_of
from tests.rig import Sim

CREATE = "/penstock.v1.Chat/Create"
STREAM = "/penstock.v1.Chat/Stream"
LIMIT = 2 << 20
"""Of the gateway's configuration."""
REQUEST = pb.ChatCreateRequest(model="sim", max_tokens=2, messages=[{"role": "user", "text": "time river that"}])


def _status(name: str) -> int:
    return int(grpc.StatusCode[name].value[0])


def _request(size: int) -> pb.ChatCreateRequest:
    """One that is exactly so many bytes long as JSON, which is a little more than as a message."""
    request = pb.ChatCreateRequest(model="sim", max_tokens=2, messages=[{"role": "user", "text": ""}])
    empty = len(json.dumps(to_dict(request), separators=(",", ":")))
    request.messages[0].text = "r" * (size - empty)
    return request


def test_an_answer_is_grpc_s(raw: Raw) -> None:
    reply = raw.ask(CREATE, frame(REQUEST))
    assert (reply.http_status, reply.headers["content-type"].partition("+")[0]) == (200, "application/grpc")
    assert (reply.trailers["grpc-status"], reply.trailers.get("grpc-message", "")) == ("0", "")
    assert "grpc-status" not in reply.headers
    [(flag, message)] = reply.messages
    assert flag == 0
    assert pb.ChatCreateResponse.FromString(message).choices[0].message.content == " time river"
    assert not {"content-length", "transfer-encoding", "connection"} & reply.headers.keys()


def test_an_error_is_an_answer_that_has_nothing_else(raw: Raw) -> None:
    reply = raw.ask(CREATE, frame(pb.ChatCreateRequest(model="nowhere")))
    assert (reply.http_status, reply.body, reply.trailers) == (200, b"", {}), reply
    assert reply.headers["content-type"].startswith("application/grpc")
    assert reply.status == _status("NOT_FOUND")
    assert reply.message == reply.details.message
    assert reply.headers["x-penstock-call-id"]


@pytest.mark.parametrize("size", [1, 2, 5, 6, 7])
def test_a_message_may_come_in_any_pieces(raw: Raw, size: int) -> None:
    data = frame(REQUEST)
    number = raw.begin(CREATE, end=False)
    for at in range(0, len(data), size):
        raw.write(number, data[at : at + size], end=False)
    raw.write(number, b"")
    assert raw.end(number).status == 0


def test_the_end_may_come_with_the_message_or_after_it(raw: Raw) -> None:
    for together in (True, False):
        number = raw.begin(CREATE, end=False)
        raw.write(number, frame(REQUEST), end=together)
        if not together:
            raw.write(number, b"")
        assert raw.end(number).status == 0


BROKEN: dict[str, bytes] = {
    "nothing": b"",
    "half a prefix": b"\0\0\0",
    "a prefix alone": b"\0\0\0\0\x05",
    "half a message": frame(REQUEST)[:-1],
    "two messages": frame(REQUEST) * 2,
    "a message and half a prefix": frame(REQUEST) + b"\0",
    "an unknown flag": frame(REQUEST, 2),
    "every flag": frame(REQUEST, 255),
    "compressed without saying how": zipped(REQUEST),
    "not framed at all": REQUEST.SerializeToString(),
    "not protobuf": frame(b"\xff\xff\xff\xff"),
    "HTML": b"<html></html>",
}


EMPTY_REQUESTS = ["/penstock.v1.Models/List", "/penstock.v1.Gateway/Info"]
"""Methods whose request has no fields: any message at all is one, so its bytes are not looked at."""


@pytest.mark.parametrize(
    "name, path",
    [
        (name, path)
        for name in BROKEN
        for path in [CREATE, STREAM, *EMPTY_REQUESTS]
        if name != "not protobuf" or path not in EMPTY_REQUESTS
    ],
)
def test_what_is_no_message_is_an_error_and_reaches_nobody(raw: Raw, sim: Sim, name: str, path: str) -> None:
    since = sim.mark()
    reply = raw.ask(path, BROKEN[name])
    assert reply.http_status == 200
    assert reply.reset is None
    # What is not framed at all may look like the prefix of a very large message.
    refused = ("INVALID_ARGUMENT", "INTERNAL", "UNIMPLEMENTED", "RESOURCE_EXHAUSTED")
    assert reply.status in map(_status, refused), reply
    assert reply.message
    assert reply.body == b""
    assert sim.mark() == since
    assert raw.ask(CREATE, frame(REQUEST)).status == 0, "the connection goes on"


@pytest.mark.parametrize("size", [LIMIT - 1, LIMIT])
def test_a_message_up_to_the_limit_is_served(rpc: Rpc, size: int) -> None:
    assert rpc.call(methods.CHAT_CREATE, _request(size)).ok


@pytest.mark.parametrize("method", [methods.CHAT_CREATE, methods.CHAT_STREAM])
def test_the_limit_is_that_of_rest(rpc: Rpc, sim: Sim, method: Any) -> None:
    """A body that REST refuses is not let in as a message."""
    since = sim.mark()
    call: Ended[Any] = rpc.call(method, _request(LIMIT + 1))
    assert call.failed == "RESOURCE_EXHAUSTED request_too_large"
    assert sim.mark() == since


@pytest.mark.parametrize("size", [LIMIT + 1, LIMIT * 2, 2**31, 2**32 - 1])
def test_a_prefix_beyond_the_limit_is_refused_at_once(raw: Raw, sim: Sim, size: int) -> None:
    since = sim.mark()
    number = raw.begin(CREATE, struct.pack(">BI", 0, size) + b"begin", end=False)
    reply = raw.end(number)
    assert reply.status == _status("RESOURCE_EXHAUSTED")
    assert reply.details.info["code"] == "request_too_large"
    assert str(LIMIT) in reply.message
    assert sim.mark() == since


def test_json_that_grows_beyond_the_limit_is_refused(rpc: Rpc, sim: Sim) -> None:
    """Escapes can make the JSON six times as large as the message."""
    since = sim.mark()
    text = "\x01" * (LIMIT // 2)
    request = pb.ChatCreateRequest(model="sim", max_tokens=2, messages=[{"role": "user", "text": text}])
    call = rpc.call(methods.CHAT_CREATE, request)
    assert call.failed == "RESOURCE_EXHAUSTED request_too_large"
    assert sim.mark() == since


# ---- compression ------------------------------------------------------------------------------


def _gzip(*pieces: bytes) -> bytes:
    return b"".join(gzip.compress(piece) for piece in pieces)


@pytest.mark.parametrize("path", [CREATE, STREAM])
@pytest.mark.parametrize("level", [0, 1, 9])
def test_a_compressed_message_is_read(raw: Raw, path: str, level: int) -> None:
    data = frame(gzip.compress(REQUEST.SerializeToString(), level), 1)
    reply = raw.ask(path, data, more=[("grpc-encoding", "gzip")])
    assert reply.status == 0
    assert reply.messages


def test_a_message_that_is_not_compressed_may_come_with_an_encoding(raw: Raw) -> None:
    assert raw.ask(CREATE, frame(REQUEST), more=[("grpc-encoding", "gzip")]).status == 0
    assert raw.ask(CREATE, frame(REQUEST), more=[("grpc-encoding", "identity")]).status == 0


@pytest.mark.parametrize("encoding", ["deflate", "snappy", "zstd", "br", "GZIP?"])
def test_an_encoding_that_is_not_offered_is_unimplemented(raw: Raw, encoding: str) -> None:
    """And the answer says which ones are."""
    data = frame(zlib.compress(REQUEST.SerializeToString()), 1)
    reply = raw.ask(CREATE, data, more=[("grpc-encoding", encoding)])
    assert reply.status == _status("UNIMPLEMENTED")
    assert "gzip" in reply.headers["grpc-accept-encoding"]
    assert reply.body == b""


@pytest.mark.parametrize(
    "data",
    [b"", b"\x1f\x8b", b"not gzip at all", _gzip(REQUEST.SerializeToString())[:-6], b"\0" * 40,
     _gzip(REQUEST.SerializeToString())[:-8] + b"\0" * 8],
    ids=["empty", "magic", "text", "cut", "zeros", "wrong checksum"],
)  # fmt: skip
def test_what_does_not_inflate_is_refused(raw: Raw, sim: Sim, data: bytes) -> None:
    since = sim.mark()
    reply = raw.ask(CREATE, frame(data, 1), more=[("grpc-encoding", "gzip")])
    assert reply.status in (_status("INVALID_ARGUMENT"), _status("INTERNAL"))
    assert sim.mark() == since


def test_the_limit_counts_what_is_inflated(raw: Raw) -> None:
    served = raw.ask(CREATE, zipped(_request(LIMIT)), more=[("grpc-encoding", "gzip")])
    assert served.status == 0
    refused = raw.ask(CREATE, zipped(_request(LIMIT + 1)), more=[("grpc-encoding", "gzip")])
    assert refused.status == _status("RESOURCE_EXHAUSTED")
    assert refused.details.info["code"] == "request_too_large"


@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_is_compressed_for_clients_that_compress(port: Gateway, stream: bool) -> None:
    """Nearly every client says that it could read gzip; those that use it themselves mean it."""
    path, more = (STREAM if stream else CREATE), [("x-sim-tokens", "900"), ("x-sim-bytes", "60")]
    request = pb.ChatCreateRequest(model="sim", max_tokens=900, messages=[{"role": "user", "text": "time"}])
    gzipped = [*more, ("grpc-encoding", "gzip")]
    with Raw(port) as raw:
        plain = raw.ask(path, frame(request), more=more)
        small = raw.ask(path, zipped(request), more=[*gzipped, ("grpc-accept-encoding", "identity,deflate, gzip")])
        other = raw.ask(path, zipped(request), more=[*gzipped, ("grpc-accept-encoding", "snappy")])
    assert {flag for flag, _ in plain.messages} == {flag for flag, _ in other.messages} == {0}
    assert plain.headers.get("grpc-encoding", "identity") == "identity"
    assert small.headers["grpc-encoding"] == "gzip"
    whole = [gzip.decompress(message) if flag else message for flag, message in small.messages]
    if not stream:
        assert [flag for flag, _ in small.messages] == [1], "54 kB of text are worth it"
        assert len(small.body) < len(plain.body) / 2
    read: Any = pb.ChatStreamResponse if stream else pb.ChatCreateResponse
    first, second = ([read.FromString(m).choices for m in found] for found in ([m for _, m in plain.messages], whole))
    assert first == second


def test_grpcio_compresses_both_ways(port: Gateway, rpc: Rpc, sim: Sim) -> None:
    request = pb.ChatCreateRequest(model="sim", max_tokens=500, messages=[{"role": "user", "text": "river " * 5_000}])
    for method in (methods.CHAT_CREATE, methods.CHAT_STREAM):
        chosen: Any = method
        call: Any = rpc.call(chosen, request, compression=grpc.Compression.Gzip, sim={"tokens": 500})
        assert call.ok
        assert b"river river" in upstream_of(sim, call.call_id).body


def test_joined_gzip_members_are_refused_and_not_cut_off(raw: Raw) -> None:
    """A gzip file may be many joined ones; a message is one."""
    request = REQUEST.SerializeToString()
    for members in ([b""] * 3_000 + [request], [request, request], [b"\0" * 1_000_000] * 8):
        reply = raw.ask(CREATE, frame(_gzip(*members), 1), more=[("grpc-encoding", "gzip")])
        assert reply.status == _status("INVALID_ARGUMENT")
        assert "gzip" in reply.message


def test_a_small_window_of_the_client_is_respected(port: Gateway) -> None:
    """A message larger than the flow control window comes in pieces, whole."""
    request = pb.ChatCreateRequest(model="sim", max_tokens=100, messages=[{"role": "user", "text": "time"}])
    with Raw(port, receive_buffer=4096) as raw:
        reply = raw.ask(CREATE, frame(request), more=[("x-sim-tokens", "100"), ("x-sim-bytes", "20000")])
        assert reply.status == 0
        [(_, message)] = reply.messages
        assert len(message) > 2_000_000


def test_configured_limits_hold(start: Callable[..., Gateway]) -> None:
    gateway = start(config=configured("{max_body_mb: 1}"))
    with Raw(gateway) as raw:
        assert raw.ask(CREATE, frame(_request(1 << 20))).status == 0
        assert raw.ask(CREATE, frame(_request((1 << 20) + 1))).status == _status("RESOURCE_EXHAUSTED")
        info = raw.ask("/penstock.v1.Gateway/Info", frame(b""))
    assert pb.GatewayInfoResponse.FromString(info.messages[0][1]).max_request_bytes == 1 << 20
