"""Clients that mean harm: what is small on the wire and large in memory, what never ends, what is never read."""

from __future__ import annotations

import socket
import struct
import time
import zlib
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from typing import Any

import grpc
import pytest

from penstock.client import _messages as pb
from tests.conftest import Gateway
from tests.faults.accounts import idle, note, resident_mb
from tests.integration.grpc.frames import Raw, frame
from tests.integration.listener.wire import Broken
from tests.stalls import Stopwatch

pytestmark = pytest.mark.alone

CREATE = "/penstock.v1.Chat/Create"
STREAM = "/penstock.v1.Chat/Stream"
GZIP = [("grpc-encoding", "gzip")]
REQUEST = pb.ChatCreateRequest(model="sim", max_tokens=2, messages=[{"role": "user", "text": "time"}])
REFUSED = {
    grpc.StatusCode.RESOURCE_EXHAUSTED.value[0],
    grpc.StatusCode.INVALID_ARGUMENT.value[0],
}


def _bomb(size: int) -> bytes:
    """A message of zeros, a thousandth as large."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    block = b"\0" * (1 << 20)
    data = b"".join(packer.compress(block) for _ in range(size >> 20)) + packer.flush()
    return struct.pack(">BI", 1, len(data)) + data


@pytest.fixture(scope="module")
def bomb() -> bytes:
    """A gigabyte in a megabyte."""
    made = _bomb(1 << 30)
    assert len(made) < 1_200_000
    return made


def _watched(gateway: Gateway, work: Sequence[Future[Any]]) -> float:
    """The most memory that the gateway had while the work was under way."""
    highest = resident_mb(gateway.pid)
    while wait(work, timeout=0.002).not_done:
        highest = max(highest, resident_mb(gateway.pid))
    return highest


@pytest.mark.parametrize("path", [CREATE, STREAM, "/penstock.v1.Embeddings/Create", "/penstock.v1.Chat/Session"])
def test_a_gigabyte_from_a_megabyte_is_refused_in_bounded_memory(patient: Gateway, bomb: bytes, path: str) -> None:
    idle(patient)
    before = resident_mb(patient.pid)
    watch = Stopwatch()
    with ThreadPoolExecutor(1) as pool, Raw(patient) as raw:
        future = pool.submit(lambda: raw.ask(path, bomb, more=GZIP))
        highest = _watched(patient, [future])
        reply = future.result()
    took = watch.ran_s
    assert reply.status in REFUSED
    note(f"{path}: {highest - before:+.1f} MB, {took * 1000:.0f} ms")
    # It is measured before it is kept: nothing of it is.
    assert highest - before < 25
    assert took < 3


def test_bombs_from_many_sides_do_not_add_up(patient: Gateway, bomb: bytes) -> None:
    idle(patient)
    before = resident_mb(patient.pid)

    def throw() -> int:
        with Raw(patient) as raw:
            return raw.ask(CREATE, bomb, more=GZIP).status

    with ThreadPoolExecutor(8) as pool:
        futures = [pool.submit(throw) for _ in range(16)]
        highest = _watched(patient, futures)
        assert {future.result() for future in futures} <= REFUSED
    note(f"16 bombs: {highest - before:+.1f} MB")
    # Eight at a time, of which nothing is kept but what was sent.
    assert highest - before < 60
    idle(patient)
    with Raw(patient) as raw:
        assert raw.ask(CREATE, frame(REQUEST), more=[("x-sim-tokens", "2")]).status == 0


def test_messages_that_are_just_small_enough_are_inflated_one_after_another(patient: Gateway) -> None:
    """Each within the bound of a request; together half a gigabyte."""
    packed = _bomb(31 << 20)
    idle(patient)
    before = resident_mb(patient.pid)

    def throw() -> int:
        with Raw(patient) as raw:
            numbers = [raw.begin(CREATE, packed, more=GZIP) for _ in range(2)]
            return sum(raw.end(number).status for number in numbers)

    with ThreadPoolExecutor(8) as pool:
        futures = [pool.submit(throw) for _ in range(8)]
        highest = _watched(patient, futures)
        # Zeros are no fields.
        assert {future.result() for future in futures} == {2 * grpc.StatusCode.INVALID_ARGUMENT.value[0]}
    note(f"16 messages of 31 MiB: {highest - before:+.1f} MB")
    # One for each thread of the gateway, and what its allocator has not given back yet.
    assert highest - before < 5 * 31
    idle(patient)


def test_an_unknown_caller_s_bomb_is_not_even_inflated(patient: Gateway, bomb: bytes) -> None:
    before = resident_mb(patient.pid)
    with Raw(patient) as raw:
        number = raw.begin(CREATE, end=False, key="sk-unknown", more=GZIP)
        with suppress(Exception):
            raw.write(number, bomb[:60_000], end=False)
        assert raw.end(number).status == grpc.StatusCode.UNAUTHENTICATED.value[0]
    assert resident_mb(patient.pid) - before < 10


def test_prefixes_that_promise_much_reserve_nothing(patient: Gateway) -> None:
    idle(patient)
    before = resident_mb(patient.pid)
    clients = [Raw(patient) for _ in range(10)]
    try:
        for raw in clients:
            for _ in range(50):
                # 30 MiB are allowed and announced; five bytes come.
                raw.begin(CREATE, struct.pack(">BI", 0, 30 << 20), end=False)
        raw = clients[0]
        raw.connection.ping(b"12345678")
        raw.flush()
        raw.wait(lambda: raw.pongs)
        grown = resident_mb(patient.pid) - before
        note(f"500 calls that announce 30 MiB each: {grown:+.1f} MB")
        assert grown < 60
    finally:
        for raw in clients:
            raw.close()
    idle(patient)


def test_a_session_that_is_never_read_is_bounded(patient: Gateway) -> None:
    """Calls begun on a session whose answers nobody takes."""
    idle(patient)
    before = resident_mb(patient.pid)
    with Raw(patient, receive_buffer=4096, greedy=False) as raw:
        number = raw.begin("/penstock.v1.Chat/Session", end=False)
        request = pb.ChatCreateRequest(model="sim", max_tokens=400, messages=[{"role": "user", "text": "time"}])
        raw.sock.settimeout(1)
        with suppress(TimeoutError, Broken, OSError, KeyError):
            for id in range(1, 400):
                start = pb.ChatSessionRequest(start=pb.SessionStart(id=id, request=request))
                raw.write(number, frame(start), end=False)
        end = time.monotonic() + 2
        highest = 0.0
        while time.monotonic() < end:
            highest = max(highest, resident_mb(patient.pid))
        note(f"unread session: {highest - before:+.1f} MB")
        assert highest - before < 60
    idle(patient)


def test_a_flood_of_credits_and_cancels_is_bounded(patient: Gateway) -> None:
    idle(patient)
    before = resident_mb(patient.pid)
    with Raw(patient) as raw:
        number = raw.begin("/penstock.v1.Chat/Session", end=False)
        frames = [
            frame(pb.ChatSessionRequest(credit=pb.SessionCredit(id=at, credit=2**32 - 1))) for at in range(1, 500)
        ] + [frame(pb.ChatSessionRequest(cancel=pb.SessionCancel(id=at))) for at in range(1, 500)]
        data = b"".join(frames)
        for _ in range(40):
            raw.write(number, data, end=False)
        raw.write(number, b"")
        assert raw.end(number).status == 0
    assert resident_mb(patient.pid) - before < 20


def test_calls_that_are_reset_as_soon_as_they_begin(patient: Gateway) -> None:
    """Rapid reset: bounded, and others are served meanwhile."""
    with Raw(patient) as raw:
        with suppress(Broken, OSError, Exception):
            for _ in range(2_000):
                number = raw.begin(CREATE, frame(REQUEST))
                raw.connection.reset_stream(number, 8)
                raw.flush()
        with Raw(patient) as other:
            assert other.ask(CREATE, frame(REQUEST), more=[("x-sim-tokens", "2")]).status == 0
    idle(patient, 20)


def test_a_reader_that_stalls_does_not_grow_the_gateway(patient: Gateway) -> None:
    idle(patient)
    before = resident_mb(patient.pid)
    request = pb.ChatCreateRequest(model="sim", max_tokens=2_000, messages=[{"role": "user", "text": "time"}])
    with Raw(patient, receive_buffer=4096, greedy=False) as raw:
        for _ in range(20):
            raw.begin(STREAM, frame(request), more=[("x-sim-tokens", "2000"), ("x-sim-bytes", "10000")])
        raw.sock.settimeout(1)
        end, highest = time.monotonic() + 2, 0.0
        while time.monotonic() < end:
            highest = max(highest, resident_mb(patient.pid))
        note(f"20 stalled streams of 20 MB: {highest - before:+.1f} MB")
        assert highest - before < 60
        raw.sock.shutdown(socket.SHUT_RDWR)
    idle(patient)
