"""The client's deadline is the provider's; a call that ends early ends everywhere, and is settled to the token."""

from __future__ import annotations

import time
from typing import Any

import grpc
import pytest

from penstock.client import _calls as methods
from penstock.client import _messages as pb
from tests.conftest import Gateway
from tests.faults.accounts import Row, differences, idle, rows_of, settled
from tests.integration.grpc.calls import Ended, Rpc, dialled, ended
from tests.integration.grpc.frames import Raw, frame
from tests.integration.grpc.serving import entry_of, record_of
from tests.rig import Sim, until
from tests.stalls import Stopwatch

CREATE = "/penstock.v1.Chat/Create"
STREAM = "/penstock.v1.Chat/Stream"
PROMPTLY_S = 2.5
"""What a deadline ends would go on for much longer."""
LATE = (504, "deadline_exceeded", "deadline_exceeded")
"""Status, outcome and code of a call whose deadline passed."""


def _request(model: str = "sim") -> pb.ChatCreateRequest:
    return pb.ChatCreateRequest(model=model, max_tokens=5_000, messages=[{"role": "user", "text": "time river that"}])


def _last(sim: Sim, since: int) -> Row:
    """The one call since then, once the provider knows that nobody waits."""

    def probe() -> Row | None:
        entries = [entry for entry in sim.ledger(since) if entry["call_id"]]
        return entries[-1] if entries and entries[-1]["outcome"] != "open" else None

    found = until(probe, "the end of the provider's answer")
    assert found is not None
    return found


def _agree(gateway: Gateway, sim: Sim, key: str, since: int) -> list[Row]:
    idle(gateway)
    rows = rows_of(gateway, key)
    assert (
        differences(rows, [e for e in settled(sim, since) if e["call_id"] in {row["request_id"] for row in rows}]) == []
    )
    return rows


@pytest.mark.parametrize("model", ["sim", "claude"])
def test_a_unary_deadline_ends_the_provider_s_work(port: Gateway, rpc: Rpc, sim: Sim, model: str) -> None:
    since, watch = sim.mark(), Stopwatch()
    call = rpc.call(methods.CHAT_CREATE, _request(model), sim={"ttft": 20_000}, timeout=2.5)
    assert call.code is grpc.StatusCode.DEADLINE_EXCEEDED
    entry = _last(sim, since)
    assert watch.seconds > 2.4
    assert watch.ran_s < 2.5 + PROMPTLY_S
    assert entry["outcome"] == "cut"
    rows = _agree(port, sim, rpc.key, since)
    assert [row["prompt_tokens"] + row["completion_tokens"] for row in rows] == [0]
    assert _ending(rows[0]) == LATE


@pytest.mark.parametrize("model", ["sim", "claude"])
def test_a_stream_s_deadline_settles_what_was_made(port: Gateway, rpc: Rpc, sim: Sim, model: str) -> None:
    since, watch = sim.mark(), Stopwatch()
    call = rpc.call(methods.CHAT_STREAM, _request(model), sim={"tps": 100, "tokens": 5_000, "flush": 1}, timeout=2.5)
    assert call.code is grpc.StatusCode.DEADLINE_EXCEEDED
    assert len(call.answers) > 10
    entry = _last(sim, since)
    assert entry["outcome"] == "cut"
    assert entry["duration_us"] < (2.5 + PROMPTLY_S + watch.stood_s) * 1e6
    rows = _agree(port, sim, rpc.key, since)
    assert rows[0]["completion_tokens"] == entry["tokens_sent"] > 10
    assert _ending(rows[0]) == LATE


def _ending(row: Row) -> tuple[int, str, str]:
    told = row["metadata"]
    return told["http_status"], told["outcome"], told["error_code"]


def _deadline(raw: Raw, value: str, path: str = CREATE, **tell: Any) -> tuple[int, Stopwatch]:
    watch = Stopwatch()
    more = [("grpc-timeout", value), *((f"x-sim-{name}", str(told)) for name, told in tell.items())]
    reply = raw.ask(path, frame(_request()), more=more)
    assert reply.http_status == 200
    return reply.status, watch


@pytest.mark.parametrize(
    "value,seconds",
    [("300m", 0.3), ("300000u", 0.3), ("30000000n", 0.03), ("1S", 1.0), ("99999999n", 0.1), ("0m", 0), ("1n", 0)],
)
def test_the_server_keeps_time_itself(raw: Raw, sim: Sim, value: str, seconds: float) -> None:
    """A client that waits for the server's word gets it, in each unit."""
    since = sim.mark()
    for _ in range(5):
        status, watch = _deadline(raw, value, ttft=20_000)
        took, ran = watch.seconds, watch.ran_s
        assert status == grpc.StatusCode.DEADLINE_EXCEEDED.value[0]
        assert seconds - 0.02 <= took
        assert ran < seconds + PROMPTLY_S
        # On a slow machine the call may be over before it is sent upstream.
        if seconds <= 0.05 or sim.mark() > since:
            break
    if seconds > 0.05:
        assert _last(sim, since)["outcome"] == "cut"


@pytest.mark.parametrize("value", ["1H", "5M", "10S", "99999999H", "99999999S", "20000m"])
def test_a_deadline_that_is_far_away_changes_nothing(raw: Raw, value: str) -> None:
    assert _deadline(raw, value, tokens=2)[0] == 0


@pytest.mark.parametrize("value", ["", "5", "m", "-1S", "1.5S", "5 S", "123456789S", "5s", "5X", "S5", "+5S"])
def test_a_deadline_that_cannot_be_read_is_refused(raw: Raw, sim: Sim, value: str) -> None:
    since = sim.mark()
    status, watch = _deadline(raw, value, ttft=20_000)
    assert status in (grpc.StatusCode.INVALID_ARGUMENT.value[0], grpc.StatusCode.INTERNAL.value[0])
    assert watch.ran_s < 5
    assert sim.mark() == since, "nothing was sent upstream"


def test_the_server_s_own_word_has_details(port: Gateway, raw: Raw) -> None:
    reply = raw.ask(
        STREAM, frame(_request()), more=[("grpc-timeout", "2500m"), ("x-sim-tps", "50"), ("x-sim-tokens", "900")]
    )
    assert reply.details.reason == "DEADLINE_EXCEEDED"
    assert reply.details.info["status"] == "504"
    call_id = reply.trailers["x-penstock-call-id"]
    assert record_of(port, call_id)["metadata"]["route"] == STREAM
    assert reply.status == grpc.StatusCode.DEADLINE_EXCEEDED.value[0]
    assert reply.message
    assert reply.details.domain == "penstock"
    assert len(reply.messages) > 5
    assert "grpc-status" in reply.trailers, "after messages the status stands in the trailers"


def test_a_call_that_nobody_answered_in_time_has_its_id(port: Gateway, raw: Raw) -> None:
    reply = raw.ask(CREATE, frame(_request()), more=[("grpc-timeout", "1500m"), ("x-sim-ttft", "20000")])
    assert reply.status == grpc.StatusCode.DEADLINE_EXCEEDED.value[0]
    row = record_of(port, {**reply.headers, **reply.trailers}["x-penstock-call-id"])
    assert _ending(row) == LATE


def test_the_request_s_own_time_counts(raw: Raw) -> None:
    """The deadline runs while the message still comes."""
    watch = Stopwatch()
    number = raw.begin(CREATE, b"\0\0\0\1\0", end=False, more=[("grpc-timeout", "300m")])
    reply = raw.end(number)
    assert reply.status == grpc.StatusCode.DEADLINE_EXCEEDED.value[0]
    assert watch.ran_s < 0.3 + PROMPTLY_S


@pytest.mark.parametrize("stream", [False, True])
def test_a_cancelled_call_is_cancelled_everywhere(port: Gateway, rpc: Rpc, sim: Sim, stream: bool) -> None:
    since = sim.mark()
    method: Any = methods.CHAT_STREAM if stream else methods.CHAT_CREATE
    tell = {"tps": 50, "tokens": 5_000, "flush": 1} if stream else {"ttft": 20_000}
    call = rpc.begin(method, _request(), sim=tell)
    if stream:
        for _ in range(10):
            next(call)
    else:
        until(lambda: sim.mark() > since, "the call is upstream")
    cancelled, watch = time.time() * 1000, Stopwatch()
    call.cancel()
    assert call.code() is grpc.StatusCode.CANCELLED
    entry = _last(sim, since)
    assert entry["outcome"] == "cut"
    assert entry["at_ms"] + entry["duration_us"] / 1000 < cancelled + (PROMPTLY_S + watch.stood_s) * 1000
    rows = _agree(port, sim, rpc.key, since)
    assert len(rows) == 1
    assert rows[0]["metadata"]["outcome"] == "client_disconnect"
    assert rows[0]["completion_tokens"] == (entry["tokens_sent"] if stream else 0)


@pytest.mark.parametrize("code", [0, 2, 5, 7, 8, 11])
def test_a_reset_of_any_kind_is_a_cancel(port: Gateway, sim: Sim, code: int) -> None:
    since = sim.mark()
    with Raw(port) as raw:
        raw.key = port.new_key()
        number = raw.begin(STREAM, frame(_request()), more=[("x-sim-tps", "50"), ("x-sim-tokens", "900")])
        raw.wait(lambda: len(raw.streams[number].body) > 500)
        raw.connection.reset_stream(number, code)
        raw.flush()
        assert _last(sim, since)["outcome"] == "cut"
        _agree(port, sim, raw.key, since)
        assert raw.ask(CREATE, frame(_request()), more=[("x-sim-tokens", "2")]).status == 0


def test_a_connection_that_is_lost_cancels_its_calls(port: Gateway, sim: Sim) -> None:
    since, key = sim.mark(), port.new_key()
    with Raw(port) as raw:
        raw.key = key
        numbers = [
            raw.begin(
                STREAM, frame(_request()), more=[("x-sim-tps", "50"), ("x-sim-tokens", "900"), ("x-sim-flush", "1")]
            )
            for _ in range(8)
        ]
        raw.wait(lambda: all(len(raw.streams[number].body) > 500 for number in numbers))
    until(lambda: all(e["outcome"] == "cut" for e in sim.ledger(since) if e["call_id"]), "all are cut")
    assert len(_agree(port, sim, key, since)) == 8


def test_a_call_cancelled_before_its_message_is_whole_reaches_no_provider(raw: Raw, sim: Sim) -> None:
    since = sim.mark()
    number = raw.begin(CREATE, frame(_request())[:-3], end=False)
    raw.connection.ping(b"12345678")
    raw.flush()
    raw.wait(lambda: raw.pongs)
    raw.connection.reset_stream(number, 8)
    raw.flush()
    assert raw.ask(CREATE, frame(_request()), more=[("x-sim-tokens", "2")]).status == 0
    assert len([entry for entry in sim.ledger(since) if entry["call_id"]]) == 1


def test_a_slow_reader_holds_the_provider_back_and_a_deadline_still_ends_it(port: Gateway, sim: Sim) -> None:
    since = sim.mark()
    with dialled(port, port.new_key()) as rpc:
        call = rpc.begin(
            methods.CHAT_STREAM, _request(), sim={"tokens": 5_000, "bytes": 20_000}, timeout=3, metadata=()
        )
        next(call)
        # Not read any further: the provider must not be read to its end either.
        entry = until(
            lambda: next((e for e in sim.ledger(since) if e["call_id"] and e["outcome"] == "cut"), None), "the end"
        )
        assert entry is not None
        assert entry["tokens_sent"] < 5_000
        with pytest.raises(grpc.RpcError):
            for _ in call:
                pass
        over: Ended[Any] = ended(call)
        assert over.code is grpc.StatusCode.DEADLINE_EXCEEDED
        idle(port)
        assert entry_of(sim, over.call_id)["outcome"] == "cut"
