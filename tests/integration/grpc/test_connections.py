"""Connections that live long: pings, age with grace, and what a load balancer in front sees of both."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import h2.exceptions
import h2.settings
import pytest

from penstock.client import CallError, Client
from penstock.client import _calls as methods
from penstock.client import _messages as pb
from tests.conftest import Gateway, at_once
from tests.faults.accounts import differences, gauge, idle, rows_of, settled
from tests.integration.grpc.calls import UNAIDED, address, dialled, words
from tests.integration.grpc.frames import Raw, frame
from tests.integration.grpc.serving import configured
from tests.integration.grpc.sessions import Dialog
from tests.integration.listener.wire import Broken, pause
from tests.rig import Sim, until
from tests.stalls import Stopwatch

CREATE = "/penstock.v1.Chat/Create"
STREAM = "/penstock.v1.Chat/Stream"
REQUEST = pb.ChatCreateRequest(model="sim", max_tokens=2, messages=[{"role": "user", "text": "time"}])
LONG = pb.ChatCreateRequest(model="sim", max_tokens=200, messages=[{"role": "user", "text": "time"}])


def _aged(start: Callable[..., Gateway], age: str, grace: str) -> Gateway:
    return start(config=configured(grpc=f"{{max_connection_age: {age}, max_connection_age_grace: {grace}}}"))


@pytest.fixture(scope="module")
def aged(simulator_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """Its connections are asked to go after 400 ms, and have ten seconds for it."""
    config = configured(grpc="{max_connection_age: 400ms, max_connection_age_grace: 10s}")
    running = Gateway(tmp_path_factory.mktemp("aged"), simulator_url, config=config)
    yield running
    running.close()


@pytest.fixture(scope="module")
def pinging(simulator_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """It asks its clients whether they are there, and waits for longer than a busy machine keeps them from answering."""
    config = configured(grpc="{keepalive: 200ms, keepalive_timeout: 4s}")
    running = Gateway(tmp_path_factory.mktemp("pinging"), simulator_url, config=config)
    yield running
    running.close()


def test_a_reader_that_pauses_gets_the_end_of_its_answer_when_the_connection_is_to_go(aged: Gateway) -> None:
    """The call is long over for the gateway, and the last of its answer is more than the sockets hold."""
    with Raw(aged, receive_buffer=65_536) as raw:
        raw.connection.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: 1 << 30})
        raw.connection.increment_flow_control_window(1 << 30)
        long = [("x-sim-tokens", "200"), ("x-sim-bytes", "20000")]
        number = raw.begin(CREATE, frame(LONG), more=long)
        raw.wait(lambda: raw.goaways)
        while gauge(aged, "penstock_in_flight_requests"):
            for _ in range(20):
                raw.pump()
        pause(4)
        reply = raw.end(number)
        assert reply.status == 0
        assert len(reply.messages[0][1]) > 4_000_000


@pytest.mark.parametrize("calls", [True, False])
def test_pings_at_the_pace_of_clients_are_answered(port: Gateway, calls: bool) -> None:
    """Twenty in two seconds, ten minutes of a client's at its usual thirty seconds."""
    with Raw(port) as raw:
        number = raw.begin(STREAM, frame(LONG), more=[("x-sim-tps", "50"), ("x-sim-tokens", "120")]) if calls else 0
        for count in range(1, 21):
            raw.connection.ping(count.to_bytes(8, "big"))
            raw.flush()
            while raw.pongs < count:
                raw.pump()
            threading.Event().wait(0.1)
        assert raw.goaway is None
        if calls:
            assert raw.end(number).status == 0
        assert raw.ask(CREATE, frame(REQUEST)).status == 0


def test_grpcio_s_keepalive_is_put_up_with(port: Gateway) -> None:
    options: dict[str, Any] = {
        "keepalive_time_ms": 100,
        "keepalive_timeout_ms": 10_000,
        "keepalive_permit_without_calls": 1,
        "http2.max_pings_without_data": 0,
    }
    with dialled(port, port.new_key(), **options) as rpc:
        call = rpc.call(methods.CHAT_CREATE, REQUEST, sim={"ttft": 2_000})
        assert call.ok
        threading.Event().wait(1)
        assert rpc.call(methods.CHAT_CREATE, REQUEST).ok


def test_an_old_connection_is_asked_to_go_and_its_calls_are_served(aged: Gateway) -> None:
    watch = Stopwatch()
    with Raw(aged) as raw:
        number = raw.begin(STREAM, frame(LONG), more=[("x-sim-tps", "30"), ("x-sim-tokens", "100")])
        raw.wait(lambda: raw.goaways)
        assert watch.seconds > 0.3
        assert watch.ran_s < 2.5
        reply = raw.end(number)
        assert reply.status == 0
        assert watch.seconds > 3, "the call was served to its end"
        assert raw.closed_with() == 0, "an end without an error"
        assert watch.ran_s < 8, "and then the connection is closed"


def test_calls_that_cross_the_goaway_are_served(aged: Gateway) -> None:
    """What a client began before it could know is not lost: the last GOAWAY names all of it."""
    for _ in range(5):
        with Raw(aged) as raw:
            numbers: list[int] = []
            while not raw.goaways:
                numbers.append(raw.begin(CREATE, frame(REQUEST), more=[("x-sim-ttft", "20")]))
                raw.pump()
            # Sent after the first was read, as a client does whose calls were on their way.
            replies = [raw.end(number) for number in numbers]
            assert {reply.status for reply in replies} == {0}
            assert raw.closed_with() == 0
            assert raw.goaways[-1][1] >= numbers[-1]


@pytest.mark.parametrize("ended", ["age", "drain"])
def test_a_call_too_late_and_its_window_update_harm_no_other(
    aged: Gateway, start: Callable[..., Gateway], ended: str
) -> None:
    """grpcio answers the shutdown's ping and then still sends what was queued: a call's head, and a window update."""
    gateway = aged if ended == "age" else start(config=configured(grpc="{}"))
    with Raw(gateway) as raw:
        served = raw.begin(STREAM, frame(LONG), more=[("x-sim-tps", "40"), ("x-sim-tokens", "120")])
        raw.wait(lambda: raw.streams[served].headers)
        if ended == "drain":
            gateway.process.process.send_signal(signal.SIGTERM)
        raw.wait(lambda: raw.goaways)
        late = []
        for _ in range(5):
            late.append(raw.begin(CREATE, frame(REQUEST)))
            raw.connection.increment_flow_control_window(5, late[-1])
            raw.flush()
        reply = raw.end(served)
        assert reply.status == 0
        assert {code for code, _ in raw.goaways} == {0}
        raw.closed_with()
        last = raw.goaways[-1][1]
        assert {raw.streams[number].ended for number in late if number <= last} <= {True}, "what it took it served"


def test_an_old_connection_without_calls_is_closed(aged: Gateway) -> None:
    with Raw(aged) as raw:
        assert raw.ask(CREATE, frame(REQUEST)).status == 0
        watch = Stopwatch()
        assert raw.closed_with() == 0
        assert watch.ran_s < 5


def test_calls_that_outlive_the_grace_of_age_are_ended_and_settled(start: Callable[..., Gateway], sim: Sim) -> None:
    gateway = _aged(start, "300ms", "500ms")
    since = sim.mark()
    with dialled(gateway) as rpc:
        call: Any = rpc.begin(methods.CHAT_STREAM, LONG, sim={"tps": 10, "tokens": 200, "flush": 1})
        with pytest.raises(grpc.RpcError):
            list(call)
        assert call.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)
        assert call.trailing_metadata() is not None
        until(lambda: all(e["outcome"] == "cut" for e in sim.ledger(since) if e["call_id"]), "the provider was told")
        idle(gateway)


def test_ages_differ_so_that_clients_do_not_return_together(start: Callable[..., Gateway]) -> None:
    gateway = _aged(start, "600ms", "5s")
    ends: list[float] = []
    whole: list[float] = []

    def work() -> None:
        # An age counts from when the connection was accepted, which is between the two.
        before = time.monotonic()
        with Raw(gateway) as raw:
            begun = time.monotonic()
            while True:
                try:
                    raw.pump()
                except (Broken, ConnectionError, TimeoutError, h2.exceptions.ProtocolError):
                    break
            over = time.monotonic()
            ends.append(over - begun)
            whole.append(over - before)

    watch = Stopwatch()
    threads = [threading.Thread(target=work) for _ in range(24)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(ends) == 24
    assert min(whole) > 0.45
    assert max(ends) < 3 + watch.stood_s
    assert max(ends) - min(ends) > 0.03, "there is some jitter"


def test_a_session_on_an_old_connection_is_told_and_its_calls_go_on(aged: Gateway) -> None:
    with dialled(aged) as rpc, Dialog(rpc) as session:
        session.start(1, tokens=80, tps=50)
        draining = session.until("draining").draining
        assert 0 < draining.grace.ToSeconds() <= 10
        assert session.finish(1)[-1].WhichOneof("frame") == "done"
        assert len(session.words(1)) == 80


def test_a_client_outlives_its_connections(start: Callable[..., Gateway], sim: Sim) -> None:
    """Calls one after the other and side by side, over many connections of a short life: none fails or is made twice."""
    gateway = _aged(start, "150ms", "10s")
    key, since = gateway.new_key(), sim.mark()
    failures: list[str] = []
    made: list[str] = []
    asked: dict[str, Any] = {"model": "sim", "max_tokens": 2, "messages": [{"role": "user", "content": "time"}]}

    def work(client: Client, number: int) -> None:
        begun = time.monotonic()
        # On a slow machine until there were as many as there are to be.
        while time.monotonic() - begun < (3 if len(made) > 300 else 60):
            tell = {"x-sim-ttft": str(number * 7 % 40)}
            try:
                if (number + len(made)) % 3:
                    made.append(client.chat.create(**asked, metadata=tell).choices[0].message.content)
                else:
                    made.append(words(client.chat.stream(**asked, metadata=tell)))
            except CallError as error:
                failures.append(f"{error.status} {error}")

    with Client(address(gateway), api_key=key, timeout=20, **UNAIDED) as client:
        threads = [threading.Thread(target=work, args=(client, number)) for number in range(12)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert failures == []
    assert set(made) == {" time river"}
    assert len(made) > 300
    idle(gateway)
    rows = rows_of(gateway, key)
    assert len(rows) == len(made)
    assert differences(rows, settled(sim, since, {row["request_id"] for row in rows})) == []


def test_idle_connections_live_as_long_as_rest_s(start: Callable[..., Gateway]) -> None:
    gateway = start(config=configured("{idle_timeout: 1s}"))
    with Raw(gateway) as raw:
        watch = Stopwatch()
        assert raw.ask(CREATE, frame(REQUEST)).status == 0
        assert raw.closed_with() == 0
        assert watch.seconds > 0.8
        assert watch.ran_s < 5
    with Raw(gateway) as raw:
        # A call that is silent for longer is not idle.
        assert raw.ask(CREATE, frame(REQUEST), more=[("x-sim-ttft", "2200")]).status == 0


def test_a_client_that_does_not_answer_pings_is_gone(pinging: Gateway, sim: Sim) -> None:
    """A peer that vanished without a word holds neither its calls nor the provider."""
    since = sim.mark()
    with Raw(pinging) as raw:
        watch = Stopwatch()
        raw.begin(CREATE, frame(LONG), more=[("x-sim-ttft", "20000")])
        # Nothing is read meanwhile, so nothing is acknowledged.
        until(lambda: [e for e in sim.ledger(since) if e["outcome"] == "cut"], "the provider was told")
        assert watch.seconds > 3.5
        assert watch.ran_s < 8
    idle(pinging)


def test_a_client_that_answers_pings_stays(pinging: Gateway) -> None:
    def by_hand() -> None:
        with Raw(pinging) as raw:
            assert raw.ask(CREATE, frame(REQUEST), more=[("x-sim-ttft", "5500")]).status == 0

    def by_library() -> None:
        with dialled(pinging) as rpc:
            assert rpc.call(methods.CHAT_CREATE, REQUEST, sim={"ttft": 5_500}).ok

    at_once(by_hand, by_library)


def test_reflection_can_be_switched_off_and_what_is_configured_is_told(start: Callable[..., Gateway]) -> None:
    gateway = start(
        config=configured(grpc="{reflection: false, max_connection_age: 90s, max_connection_age_grace: 5s}")
    )
    with Raw(gateway) as raw:
        for version in ("v1", "v1alpha"):
            reply = raw.ask(f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo", frame(b"\x3a\0"))
            assert reply.status == grpc.StatusCode.UNIMPLEMENTED.value[0]
        info = pb.GatewayInfoResponse.FromString(raw.ask("/penstock.v1.Gateway/Info", frame(b"")).messages[0][1])
    assert not [name for name in info.services if "reflection" in name]
    with dialled(gateway) as rpc:
        info = rpc.call(methods.GATEWAY_INFO, pb.GatewayInfoRequest()).answer
    assert (info.max_connection_age.ToSeconds(), info.max_connection_age_grace.ToSeconds()) == (90, 5)
