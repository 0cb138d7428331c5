"""How large a call of a session may be: one that is larger fails by itself, whatever its frame looks like."""

from __future__ import annotations

import gzip
import itertools
import secrets
import struct
import time
from collections.abc import Callable
from functools import partial

import grpc
import pytest

from penstock.client import _calls as methods
from penstock.client import _messages as pb
from tests.conftest import Gateway
from tests.faults.accounts import resident_mb
from tests.integration.grpc.calls import Details, Rpc, dialled
from tests.integration.grpc.frames import Raw, frame, unframe
from tests.integration.grpc.protobuf import held, number
from tests.integration.grpc.serving import configured, record_of
from tests.integration.grpc.sessions import Dialog
from tests.rig import Sim
from tests.stalls import again_after_a_stall

LIMIT = 2 << 20
"""Of the gateway's configuration."""
MOST = 64 << 20
"""A frame beyond this is not read to its end."""
EXHAUSTED = grpc.StatusCode.RESOURCE_EXHAUSTED.value[0]
SMALL = pb.ChatCreateRequest(model="sim", max_tokens=2, messages=[{"role": "user", "text": "time"}])
PACKED = [("grpc-encoding", "gzip")]


def _large(size: int = LIMIT, *, noise: bool = False) -> bytes:
    """A request beyond the limit; ``noise``: also when it is compressed."""
    text = secrets.token_hex(size) if noise else "r" * size
    return pb.ChatCreateRequest(model="sim", messages=[{"role": "user", "text": text}]).SerializeToString()


def _start(id: int, request: bytes | None = None) -> bytes:
    return held(1, number(1, id) + held(2, SMALL.SerializeToString() if request is None else request))


def _backwards(id: int, request: bytes) -> bytes:
    """With every other field, known or not, before the id."""
    start = held(2, request) + number(4, 7) + held(3, number(1, 9)) + b"\x7d\0\0\0\0" + b"\x79" + bytes(8)
    return held(15, b"unknown") + number(9, 1) + held(1, start + number(1, id)) + held(14, b"")


def _frames(body: bytes) -> list[pb.ChatSessionResponse]:
    return [pb.ChatSessionResponse.FromString(message) for _, message in unframe(body)]


def _ends(body: bytes) -> dict[int, str]:
    """How each call ended: `done`, or Penstock's code of its failure."""
    found: dict[int, str] = {}
    for said in _frames(body):
        if said.WhichOneof("frame") == "done":
            found[said.done.id] = "done"
        elif said.WhichOneof("frame") == "error":
            details = Details.read(said.error.status.SerializeToString())
            assert details.code == EXHAUSTED
            assert str(LIMIT) in details.message
            found[said.error.id] = details.info["code"]
    return found


def test_a_call_too_large_fails_alone(port: Gateway, rpc: Rpc, sim: Sim) -> None:
    with Dialog(rpc) as session:
        session.start(1, tokens=60, tps=60)
        session.until("delta", 1)
        since = sim.mark()
        session.start(2, text="r" * LIMIT)
        details = session.error(2)
        assert (details.code, details.info["code"]) == (EXHAUSTED, "request_too_large")
        assert session.kinds(2) == ["error"]
        assert sim.mark() == since
        session.start(3, tokens=2)
        assert session.finish(3)[-1].WhichOneof("frame") == "done"
        assert session.finish(1)[-1].WhichOneof("frame") == "done"
        assert len(session.words(1)) == 60
        session.half_close()
        assert session.ended().code is grpc.StatusCode.OK


def test_it_is_in_the_books_as_a_call_of_its_own_would_be(port: Gateway, rpc: Rpc) -> None:
    request = pb.ChatCreateRequest(model="sim", messages=[{"role": "user", "text": "r" * LIMIT}])
    alone = rpc.call(methods.CHAT_STREAM, request)
    assert alone.failed == "RESOURCE_EXHAUSTED request_too_large"
    with Dialog(rpc) as session:
        session.start(1, text="r" * LIMIT)
        details = session.error(1)
        assert (details.message, details.info, details.kinds) == (
            alone.details.message,
            alone.details.info,
            alone.details.kinds,
        )
        mine, other = (record_of(port, id)["metadata"] for id in (session.call_id(1), alone.call_id))
    for name in ("http_status", "outcome", "error_code"):
        assert mine[name] == other[name]
    assert mine["route"] == "/penstock.v1.Chat/Session"


@pytest.mark.parametrize(
    "made, size",
    [(_start, LIMIT + 1), (_start, MOST), (_backwards, LIMIT + 1), (_backwards, LIMIT * 4)],
    ids=["id first", "id first, as large as is read", "id last", "id last, larger"],
)
def test_the_id_is_found_wherever_it_is(raw: Raw, made: Callable[[int, bytes], bytes], size: int) -> None:
    over = len(frame(made(2, b"")))
    asked = [frame(_start(1)), frame(made(2, _large(max(LIMIT, size - over - 60)))), frame(_start(3))]
    assert LIMIT < len(asked[1]) - 5 <= MOST
    reply = raw.ask(methods.CHAT_SESSION.path, b"".join(asked))
    assert _ends(reply.body) == {1: "done", 2: "request_too_large", 3: "done"}
    assert reply.status == 0


@pytest.mark.parametrize("size", [1, 5, 4_099])
def test_it_may_come_in_any_pieces(raw: Raw, size: int) -> None:
    """What is around its beginning and its end is cut anyhow; the middle comes as it is."""
    asked = frame(_start(1)) + frame(_start(2, _large())) + frame(_start(3))
    cuts = [*range(0, 200, size), *range(len(asked) - 200, len(asked), size), len(asked)]
    path = raw.begin(methods.CHAT_SESSION.path, end=False)
    for begin, end in itertools.pairwise(cuts):
        raw.write(path, asked[begin:end], end=False)
    raw.write(path, b"")
    reply = raw.end(path)
    assert _ends(reply.body) == {1: "done", 2: "request_too_large", 3: "done"}


@pytest.mark.parametrize("noise", [True, False], ids=["as it comes", "when it is inflated"])
def test_compressed_frames_are_no_different(raw: Raw, noise: bool) -> None:
    packed = gzip.compress(_start(2, _large(noise=noise)), 1)
    assert (len(packed) > LIMIT) == noise
    asked = frame(_start(1)) + frame(packed, 1) + frame(gzip.compress(_start(3)), 1)
    reply = raw.ask(methods.CHAT_SESSION.path, asked, more=PACKED)
    assert _ends(reply.body) == {1: "done", 2: "request_too_large", 3: "done"}
    assert reply.status == 0


LOST: dict[str, tuple[bytes, int]] = {
    "no call": (frame(held(9, b"r" * LIMIT)), 0),
    "a cancellation": (frame(held(2, number(1, 1) + held(9, b"r" * LIMIT))), 0),
    "no protobuf": (frame(b"\xff" * (LIMIT + 1)), 0),
    "longer than its frame": (frame(held(1, number(1, 2) + held(2, _large()))[:-1]), 0),
    "a request longer than its call": (frame(held(1, number(1, 2) + b"\x12\xff\xff\xff\x07" + b"r" * LIMIT)), 0),
    "the id behind a compressed request": (frame(gzip.compress(_backwards(2, _large(noise=True)), 1), 1), 0),
    "compressed without saying how": (frame(gzip.compress(_start(2, _large(noise=True)), 1), 1), 1),
    "more than is read": (struct.pack(">BI", 0, MOST + 1) + _start(2, b""), 0),
    "as much as can be said": (struct.pack(">BI", 0, 2**32 - 1) + _start(2, b""), 0),
}


@pytest.mark.parametrize("name", LOST)
def test_whose_call_cannot_be_told_ends_the_session(raw: Raw, name: str) -> None:
    """And says why."""
    data, plain = LOST[name]
    path = raw.begin(methods.CHAT_SESSION.path, data, end=False, more=[] if plain else PACKED)
    reply = raw.end(path)
    assert reply.status == EXHAUSTED, reply
    assert reply.details.info["code"] == "request_too_large"
    assert str(LIMIT) in reply.message


def test_an_id_that_may_not_be_ends_the_session_as_ever(raw: Raw) -> None:
    asked = frame(_start(5)) + frame(_start(5, _large()))
    reply = raw.ask(methods.CHAT_SESSION.path, asked)
    assert reply.status == grpc.StatusCode.INVALID_ARGUMENT.value[0]


def test_the_end_in_the_middle_of_one_is_told(raw: Raw) -> None:
    reply = raw.ask(methods.CHAT_SESSION.path, frame(_start(2, _large()))[:-1])
    assert reply.status == grpc.StatusCode.INVALID_ARGUMENT.value[0]


@pytest.mark.parametrize("whole", [0, 3])
@pytest.mark.parametrize(
    "begun", [b"\0", b"\0\0\x10\0\0half", b"\0\x02\0\0\0too large"], ids=["prefix", "half", "too large"]
)
@again_after_a_stall(0.3)
def test_one_that_is_begun_must_go_on(start: Callable[..., Gateway], begun: bytes, whole: int) -> None:
    """Or it would be kept, as large as it says it is, for as long as its client likes."""
    hurried = start(config=configured("{max_body_mb: 1, body_timeout: 1s}"))
    with Raw(hurried) as raw:
        data = b"".join(frame(_start(id)) for id in range(1, whole + 1))
        reply = raw.end(raw.begin(methods.CHAT_SESSION.path, data + begun, end=False))
        assert reply.status == grpc.StatusCode.DEADLINE_EXCEEDED.value[0]
        assert reply.details.info["code"] == "request_timeout"
        assert len(_ends(reply.body)) == whole


@again_after_a_stall(1.0)
def test_one_that_goes_on_has_time_and_none_is_needed_between_them(start: Callable[..., Gateway]) -> None:
    with Raw(start(config=configured("{body_timeout: 2s}"))) as raw:
        path = raw.begin(methods.CHAT_SESSION.path, end=False)
        for id in (1, 2):
            # Longer than a pause within a message may be.
            time.sleep(2.2)
            data = frame(_start(id))
            for begin in range(0, len(data), 4):
                raw.write(path, data[begin : begin + 4], end=False)
                time.sleep(0.1)
        raw.write(path, b"")
        reply = raw.end(path)
    assert reply.status == 0
    assert len(_ends(reply.body)) == 2


def _is_heard(raw: Raw) -> bool:
    return raw.pongs == 1


@pytest.fixture
def small(start: Callable[..., Gateway]) -> Gateway:
    """It has one thread, and a session may have seven calls in flight."""
    return start(config=configured("{max_body_mb: 2, max_streams: 7, threads: 1, grace: 2s}"))


def test_a_session_says_how_many_calls_it_may_have(small: Gateway) -> None:
    with dialled(small) as rpc, Dialog(rpc) as session:
        info = rpc.call(methods.GATEWAY_INFO, pb.GatewayInfoRequest()).answer
        assert info.max_session_calls == 7
        for id in range(1, info.max_session_calls + 2):
            session.start(id, credit=0)
        assert session.error(8).code == EXHAUSTED
        assert session.kinds(7) in ([], ["opened"])


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "compressed"])
def test_what_is_too_large_is_not_kept(small: Gateway, packed: bool) -> None:
    """Of six sessions that are in the middle of one."""
    start = _start(1, _large(4 << 20 if packed else 16 << 20, noise=packed))
    data = frame(gzip.compress(start, 1), 1) if packed else frame(start)
    with Raw(small) as raw:
        assert _ends(raw.ask(methods.CHAT_SESSION.path, data, more=PACKED).body) == {1: "request_too_large"}
    before = resident_mb(small.pid)
    open_ones = [Raw(small) for _ in range(6)]
    for raw in open_ones:
        path = raw.begin(methods.CHAT_SESSION.path, data[: len(data) - 1], end=False, more=PACKED)
        raw.connection.ping(bytes(8))
        raw.flush()
        raw.wait(partial(_is_heard, raw))
        assert raw.streams[path].reset is None
    kept = resident_mb(small.pid) - before
    for raw in open_ones:
        raw.write(1, data[-1:])
        assert _ends(raw.end(1).body) == {1: "request_too_large"}
        raw.close()
    # A window of a stream for each is in there.
    assert kept < 12
