"""The standard health service: what load balancers and orchestrators ask, and what they are told when it ends."""

from __future__ import annotations

import queue
import signal
import threading
from collections.abc import Callable
from typing import Any

import grpc
import httpx
import pytest

from penstock.client import _calls as methods
from penstock.client import _messages as pb
from tests.conftest import Gateway
from tests.faults.accounts import gauge
from tests.integration.grpc.calls import Rpc, dialled
from tests.integration.grpc.frames import Raw, frame, unframe
from tests.integration.grpc.protobuf import fields, held
from tests.integration.grpc.serving import configured
from tests.rig import until
from tests.stalls import Stopwatch

SERVING, NOT_SERVING, SERVICE_UNKNOWN = 1, 2, 3
CHECK = "/grpc.health.v1.Health/Check"
WATCH = "/grpc.health.v1.Health/Watch"


def _as_is(data: bytes) -> bytes:
    return data


def _status(data: bytes) -> int:
    return int(dict(fields(data)).get(1, 0))


def _check(rpc: Rpc, service: str = "") -> int:
    """Without a key: whoever can reach the port may ask."""
    call = rpc.channel.unary_unary(CHECK, _as_is, _status)
    return int(call(held(1, service) if service else b"", timeout=20))


class Watch:
    """A watch; what it says is kept until it is asked for."""

    def __init__(self, rpc: Rpc, service: str = "") -> None:
        self.call: Any = rpc.channel.unary_stream(WATCH, _as_is, _status)(held(1, service) if service else b"")
        self._said: queue.SimpleQueue[int | None] = queue.SimpleQueue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        try:
            for status in self.call:
                self._said.put(status)
        except grpc.RpcError:
            pass
        self._said.put(None)

    def next(self, seconds: float = 20) -> int | None:
        """The next status, None at the end."""
        return self._said.get(timeout=seconds)

    def is_quiet(self, seconds: float = 0.3) -> bool:
        """Nothing is said."""
        try:
            self._said.get(timeout=seconds)
        except queue.Empty:
            return True
        return False


SERVICES = [
    "", "penstock.v1.Chat", "penstock.v1.Embeddings", "penstock.v1.Completions", "penstock.v1.Responses",
    "penstock.v1.Models", "penstock.v1.Tokens", "penstock.v1.Gateway", "grpc.health.v1.Health",
]  # fmt: skip


@pytest.mark.parametrize("service", SERVICES)
def test_a_ready_gateway_serves(rpc: Rpc, service: str) -> None:
    assert _check(rpc, service) == SERVING
    watch = Watch(rpc, service)
    assert watch.next() == SERVING
    assert watch.is_quiet(), "a status is told when it changes"
    watch.call.cancel()


@pytest.mark.parametrize("service", ["nothing", "penstock.v1.Nothing", "penstock.v1", "x" * 2_000, "é"])
def test_a_service_that_is_not_there(rpc: Rpc, service: str) -> None:
    with pytest.raises(grpc.RpcError) as failed:
        _check(rpc, service)
    error: Any = failed.value
    assert error.code() is grpc.StatusCode.NOT_FOUND
    watch = Watch(rpc, service)
    assert watch.next() == SERVICE_UNKNOWN
    assert watch.is_quiet(), "the call stays: the service may come"
    watch.call.cancel()


def test_bytes_that_are_no_request(rpc: Rpc) -> None:
    for path in (CHECK, WATCH):
        call: Any = rpc.channel.unary_stream(path, _as_is, _status)(b"\xff\xff", timeout=20)
        with pytest.raises(grpc.RpcError):
            list(call)
        assert call.code() in (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.INTERNAL)


def test_health_is_no_call_in_the_books(port: Gateway, rpc: Rpc) -> None:
    def settled() -> int:
        with port.client() as client:
            return int(client.get("/global/spend", headers=port.admin).json()["calls"])

    before = settled()
    for _ in range(20):
        _check(rpc)
    watches = [Watch(rpc) for _ in range(5)]
    assert [watch.next() for watch in watches] == [SERVING] * 5
    assert gauge(port, "penstock_in_flight_requests") == 0
    for watch in watches:
        watch.call.cancel()
    assert settled() == before


def test_a_drain_is_told_while_calls_go_on(start: Callable[..., Gateway]) -> None:
    gateway = start(config=configured("{grace: 20s}"))
    request = pb.ChatCreateRequest(model="sim", max_tokens=120, messages=[{"role": "user", "text": "time"}])
    with dialled(gateway) as rpc, dialled(gateway) as other:
        watches = [Watch(rpc), Watch(rpc, "penstock.v1.Chat"), Watch(other)]
        assert [watch.next() for watch in watches] == [SERVING] * 3
        call = rpc.begin(methods.CHAT_STREAM, request, sim={"tokens": 120, "tps": 40})
        next(call)
        gateway.process.process.send_signal(signal.SIGTERM)
        clock = Stopwatch()
        assert [watch.next() for watch in watches] == [NOT_SERVING] * 3
        assert clock.ran_s < 2
        assert len([chunk for chunk in call if chunk.choices]) > 110
        assert call.code() is grpc.StatusCode.OK
        assert gateway.process.wait() == 0


def test_a_watch_does_not_hold_up_the_end(start: Callable[..., Gateway]) -> None:
    gateway = start(config=configured("{grace: 20s}"))
    with dialled(gateway) as rpc:
        watches = [Watch(rpc) for _ in range(10)]
        assert [watch.next() for watch in watches] == [SERVING] * 10
        clock = Stopwatch()
        gateway.process.process.send_signal(signal.SIGTERM)
        assert gateway.process.wait() == 0
        assert clock.ran_s < 8
        assert {watch.next() for watch in watches} <= {NOT_SERVING, None}


def test_grpcio_s_own_health_checking_keeps_a_channel_in_use(port: Gateway) -> None:
    """A channel that is told to watch a service sends calls once it serves."""
    config = '{"loadBalancingConfig":[{"round_robin":{}}],"healthCheckConfig":{"serviceName":"penstock.v1.Chat"}}'
    request = pb.ChatCreateRequest(model="sim", max_tokens=2, messages=[{"role": "user", "text": "time"}])
    with dialled(port, port.new_key(), service_config=config) as rpc:
        until(lambda: rpc.call(methods.CHAT_CREATE, request).code is grpc.StatusCode.OK, "calls are sent")


def test_all_services_at_once(rpc: Rpc) -> None:
    """`List`, which came to the protocol later."""
    call = rpc.channel.unary_unary("/grpc.health.v1.Health/List", _as_is, fields)
    entries = [dict(fields(bytes(item))) for _, item in call(b"", timeout=20)]
    statuses = {bytes(entry[1]).decode() if 1 in entry else "": _status(bytes(entry[2])) for entry in entries}
    assert set(SERVICES) <= statuses.keys()
    assert set(statuses.values()) == {SERVING}


@pytest.mark.parametrize("version", ["HTTP/1.1", "HTTP/2"])
def test_a_watch_over_grpc_web_ends_when_nothing_happens(start: Callable[..., Gateway], version: str) -> None:
    """A browser that vanished is not noticed there; one that is still there asks again."""
    gateway = start(config=configured("{idle_timeout: 1s}"))
    kind = "application/grpc-web+proto"
    with Raw(gateway) as raw:
        native = raw.begin(WATCH, frame(b""), key="")
        clock = Stopwatch()
        if version == "HTTP/1.1":
            body = httpx.post(
                gateway.url + WATCH, content=frame(b""), headers={"content-type": kind}, timeout=30
            ).content
        else:
            body = raw.ask(WATCH, frame(b""), key="", content_type=kind).body
        assert clock.seconds > 0.8
        assert clock.ran_s < 5
        assert not raw.streams[native].ended, "gRPC's own watch goes on"
    (_, message), (flag, trailers) = unframe(body)
    assert _status(message) == SERVING
    assert flag == 0x80
    assert b"grpc-status: 0\r\n" in trailers


def test_a_connection_has_so_many_streams_without_a_key(port: Gateway) -> None:
    most = 32
    with Raw(port) as raw, Raw(port) as other:
        watches = [raw.begin(WATCH, frame(b""), key="") for _ in range(most)]
        raw.wait(lambda: all(raw.streams[number].body for number in watches))
        refused = raw.ask(WATCH, frame(b""), key="")
        assert refused.status == grpc.StatusCode.RESOURCE_EXHAUSTED.value[0]
        assert refused.details.retry_s
        assert raw.ask(CHECK, frame(b""), key="").status == 0, "what ends by itself is not counted"
        elsewhere = other.begin(WATCH, frame(b""), key="")
        other.wait(lambda: other.streams[elsewhere].body)
        raw.connection.reset_stream(watches[0])
        raw.flush()

        def again() -> bool:
            number = raw.begin(WATCH, frame(b""), key="")
            stream = raw.streams[number]
            raw.wait(lambda: stream.body or stream.ended)
            return bool(stream.body)

        until(again, "the place of the one that left")
