"""Calls of a session that end before they are done: cancelled, out of time, with the session, with the gateway."""

from __future__ import annotations

import signal
from collections.abc import Callable

import grpc
import pytest

from tests.conftest import Gateway
from tests.faults.accounts import differences, idle, rows_of, settled
from tests.integration.grpc.calls import Rpc, dialled
from tests.integration.grpc.serving import configured, record_of
from tests.integration.grpc.sessions import Dialog
from tests.rig import Sim, until
from tests.stalls import Stopwatch


def test_a_cancelled_call_ends_alone_and_is_settled(port: Gateway, rpc: Rpc, sim: Sim) -> None:
    since = sim.mark()
    with Dialog(rpc) as session:
        for id in (1, 2, 3):
            # The one that is cancelled would go on for long.
            session.start(id, tokens=5_000 if id == 2 else 200, tps=100, flush=1)
        while session.count(2) < 10:
            session.next()
        session.cancel(2)
        details = session.error(2)
        assert details.code == grpc.StatusCode.CANCELLED.value[0]
        assert session.finish(1)[-1].WhichOneof("frame") == "done"
        assert session.finish(3)[-1].WhichOneof("frame") == "done"
        assert session.kinds(2).count("error") == 1
    idle(port)
    rows = {row["request_id"]: row for row in rows_of(port, rpc.key)}
    entries = settled(sim, since, set(rows))
    assert differences(list(rows.values()), entries) == []
    assert rows[session.call_id(2)]["metadata"]["outcome"] == "client_disconnect"
    assert sorted(entry["outcome"] for entry in entries) == ["completed", "completed", "cut"]


def test_a_call_can_be_cancelled_before_it_was_opened(rpc: Rpc, sim: Sim) -> None:
    since = sim.mark()
    with Dialog(rpc) as session:
        session.start(1, ttft=20_000)
        until(lambda: sim.mark() > since, "the call is upstream")
        session.cancel(1)
        assert session.error(1).code == grpc.StatusCode.CANCELLED.value[0]
        session.start(2, ttft=20_000)
        session.cancel(2)
        assert session.error(2).code == grpc.StatusCode.CANCELLED.value[0]
        until(lambda: all(e["outcome"] == "cut" for e in sim.ledger(since) if e["call_id"]), "the provider was told")


def test_a_call_has_a_deadline_of_its_own(port: Gateway, rpc: Rpc, sim: Sim) -> None:
    since = sim.mark()
    with Dialog(rpc) as session:
        watch = Stopwatch()
        session.start(1, tokens=1_000, tps=50, timeout=2.5, flush=1)
        session.start(2, tokens=180, tps=50)
        details = session.error(1)
        assert watch.seconds > 2.3
        assert watch.ran_s < 5
        assert details.code == grpc.StatusCode.DEADLINE_EXCEEDED.value[0]
        assert len(session.words(1)) > 5
        late = session.call_id(1)
        session.finish(2)
        assert len(session.words(2)) == 180
    idle(port)
    told = record_of(port, late)["metadata"]
    assert (told["http_status"], told["error_code"]) == (504, "deadline_exceeded")
    assert told["route"] == "/penstock.v1.Chat/Session"
    rows = rows_of(port, rpc.key)
    assert differences(rows, settled(sim, since, {row["request_id"] for row in rows})) == []


def test_a_deadline_runs_while_a_call_waits_for_credit(rpc: Rpc) -> None:
    with Dialog(rpc) as session:
        session.start(1, tokens=1_000, bytes=5_000, timeout=3, credit=1)
        assert session.error(1).code == grpc.StatusCode.DEADLINE_EXCEEDED.value[0]
        assert session.count(1) == 1


def test_the_session_s_deadline_is_that_of_its_calls(port: Gateway, rpc: Rpc, sim: Sim) -> None:
    since = sim.mark()
    with Dialog(rpc, timeout=3.5) as session:
        session.start(1, tokens=1_000, tps=50)
        session.start(2, ttft=20_000)
        assert session.ended().code is grpc.StatusCode.DEADLINE_EXCEEDED
    until(lambda: all(e["outcome"] == "cut" for e in sim.ledger(since) if e["call_id"]), "both were cut")
    idle(port)
    rows = rows_of(port, rpc.key)
    assert len(rows) == 2
    assert differences(rows, settled(sim, since, {row["request_id"] for row in rows})) == []


@pytest.mark.parametrize("how", ["cancel", "disconnect"])
def test_the_end_of_a_session_settles_all_its_calls(port: Gateway, sim: Sim, how: str) -> None:
    since, key = sim.mark(), port.new_key()
    with dialled(port, key) as rpc:
        session = Dialog(rpc)
        for id in range(1, 11):
            session.start(id, tokens=1_000, tps=50, flush=1)
        while min(session.count(id) for id in range(1, 11)) < 3:
            session.next()
        if how == "cancel":
            session.call.cancel()
        else:
            rpc.channel.close()
        session.close()
    until(lambda: all(e["outcome"] == "cut" for e in sim.ledger(since) if e["call_id"]), "all were cut")
    idle(port)
    rows = rows_of(port, key)
    assert len(rows) == 10
    assert differences(rows, settled(sim, since, {row["request_id"] for row in rows})) == []
    assert {row["metadata"]["outcome"] for row in rows} == {"client_disconnect"}


def test_a_draining_gateway_serves_the_session_s_calls_and_begins_no_more(start: Callable[..., Gateway]) -> None:
    gateway = start(config=configured("{grace: 20s}"))
    with dialled(gateway) as rpc, Dialog(rpc) as session:
        session.start(1, tokens=150, tps=50)
        session.until("delta", 1)
        gateway.process.process.send_signal(signal.SIGTERM)
        draining = session.until("draining").draining
        assert 0 < draining.grace.seconds <= 20
        session.start(2, tokens=1)
        assert session.error(2).code == grpc.StatusCode.UNAVAILABLE.value[0]
        assert session.finish(1)[-1].WhichOneof("frame") == "done"
        assert len(session.words(1)) == 150
        assert session.ended().code in (grpc.StatusCode.OK, grpc.StatusCode.UNAVAILABLE)
    assert gateway.process.wait() == 0


def test_an_idle_session_does_not_hold_up_a_drain(start: Callable[..., Gateway]) -> None:
    gateway = start(config=configured("{grace: 20s}"))
    with dialled(gateway) as rpc, Dialog(rpc) as session:
        session.start(1, tokens=1)
        session.finish(1)
        watch = Stopwatch()
        gateway.process.process.send_signal(signal.SIGTERM)
        session.ended()
        assert gateway.process.wait() == 0
        assert watch.ran_s < 8


def test_calls_of_a_session_that_outlive_the_grace_are_ended(start: Callable[..., Gateway]) -> None:
    gateway = start(config=configured("{grace: 500ms}"))
    with dialled(gateway) as rpc, Dialog(rpc) as session:
        session.start(1, tokens=1_000, tps=20)
        session.until("delta", 1)
        gateway.process.process.send_signal(signal.SIGTERM)
        over = session.ended()
        last = session.seen[1][-1]
        if last.WhichOneof("frame") == "error":
            assert session.error(1).info["code"] == "shutting_down"
        else:
            assert over.code is grpc.StatusCode.UNAVAILABLE
    assert gateway.process.wait() == 0
