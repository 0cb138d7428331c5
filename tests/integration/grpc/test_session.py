"""Many calls on one stream: each by itself, side by side, at its own pace, and each in the books."""

from __future__ import annotations

import time
from typing import Any

import grpc
import pytest

from penstock.client import _calls as methods
from penstock.client import _messages as pb
from tests.conftest import Gateway
from tests.faults.accounts import differences, gauge, idle, rows_of, settled, usage
from tests.integration.grpc.calls import Rpc, dialled
from tests.integration.grpc.frames import Raw, frame
from tests.integration.grpc.serving import record_of
from tests.integration.grpc.sessions import Dialog
from tests.rig import Sim, until
from tests.stalls import Stopwatch

PROMPT_TOKENS = 10


def test_a_call_is_opened_answered_and_done(port: Gateway, rpc: Rpc) -> None:
    with Dialog(rpc) as session:
        session.start(1, tokens=5, usage=True)
        frames = session.finish(1)
        assert session.kinds(1) == ["opened", *["delta"] * (len(frames) - 2), "done"]
        assert session.words(1) == [" time", " river", " that", " this", " with"]
        opened, done = frames[0].opened.metadata, frames[-1].done.metadata
        assert {"x-penstock-call-id", "x-penstock-model", "x-penstock-deployment"} <= opened.keys()
        row = record_of(port, session.call_id(1))
        assert usage(row) == (PROMPT_TOKENS, 5)
        assert done["x-penstock-cost-usd"] == f"{row['spend']:.9f}"
        assert frames[-2].delta.chunk.usage.completion_tokens == 5


def test_chunks_are_those_of_a_call_of_its_own(rpc: Rpc) -> None:
    request = pb.ChatCreateRequest(
        model="wild/sim/tokens=7", max_tokens=7, messages=[{"role": "user", "text": "time river that"}]
    )
    alone = rpc.call(methods.CHAT_STREAM, request).ok
    with Dialog(rpc) as session:
        session.send(pb.ChatSessionRequest(start=pb.SessionStart(id=9, request=request)))
        shown = [frame.delta.chunk for frame in session.finish(9) if frame.WhichOneof("frame") == "delta"]
    assert [chunk.choices for chunk in shown] == [chunk.choices for chunk in alone]
    assert [chunk.HasField("usage") for chunk in shown] == [chunk.HasField("usage") for chunk in alone]


def test_calls_are_interleaved_and_each_is_whole(port: Gateway, rpc: Rpc, sim: Sim) -> None:
    since = sim.mark()
    with Dialog(rpc) as session:
        for id in range(1, 41):
            # Longer than it takes to begin all of them.
            session.start(id, tokens=10 + id % 5, tps=5)
        for id in range(1, 41):
            session.finish(id)
            assert len(session.words(id)) == 10 + id % 5
            assert session.kinds(id)[0] == "opened"
            assert session.kinds(id)[-1] == "done"
        first_done = session.order.index(("done", next(id for kind, id in session.order if kind == "done")))
        assert len({id for _, id in session.order[:first_done]}) == 40, "no call waited for another"
    idle(port)
    rows = rows_of(port, rpc.key)
    assert len(rows) == 40
    assert differences(rows, settled(sim, since, {row["request_id"] for row in rows})) == []


def test_half_a_session_is_served_to_its_end(rpc: Rpc) -> None:
    with Dialog(rpc) as session:
        for id in range(1, 6):
            session.start(id, tokens=20, tps=100)
        session.half_close()
        assert session.ended().code is grpc.StatusCode.OK
        assert [len(session.words(id)) for id in range(1, 6)] == [20] * 5
        assert all(session.kinds(id)[-1] == "done" for id in range(1, 6))


def test_a_session_without_calls_ends_well(rpc: Rpc) -> None:
    with Dialog(rpc) as session:
        session.half_close()
        assert session.ended().code is grpc.StatusCode.OK


def test_a_session_s_head_does_not_wait_for_a_call(rpc: Rpc) -> None:
    """A client may wait for the head before it says anything."""
    with Dialog(rpc) as session:
        watch = Stopwatch()
        assert session.call.initial_metadata() is not None
        assert watch.ran_s < 5


# ---- errors -----------------------------------------------------------------------------------


@pytest.mark.parametrize("ids", [[0], [1, 1], [5, 4], [2**64 - 1, 1], [3, 3]])
def test_ids_that_do_not_rise_end_the_session(port: Gateway, rpc: Rpc, sim: Sim, ids: list[int]) -> None:
    since = sim.mark()
    with Dialog(rpc) as session:
        for id in ids:
            session.start(id, tokens=500, tps=20)
        over = session.ended()
        assert over.code is grpc.StatusCode.INVALID_ARGUMENT
        assert over.details.domain == "penstock"
        assert "id" in over.message
    until(lambda: all(e["outcome"] != "open" for e in sim.ledger(since) if e["call_id"]), "its calls were cancelled")
    idle(port)


def test_what_was_said_before_a_mistake_arrives_whole(port: Gateway) -> None:
    request = pb.ChatCreateRequest(
        model="wild/sim/tokens=2000", max_tokens=2_000, messages=[{"role": "user", "text": "time river that"}]
    )
    start = pb.ChatSessionRequest(start=pb.SessionStart(id=1, request=request))
    with Raw(port, greedy=False) as raw:
        number = raw.begin(methods.CHAT_SESSION.path, frame(start), end=False)
        stream = raw.streams[number]
        raw.wait(lambda: len(stream.body) == 65_535)
        raw.write(number, frame(start), end=False)
        time.sleep(0.3)
        raw.greedy = True
        raw.connection.acknowledge_received_data(65_535, number)
        raw.flush()
        reply = raw.end(number)
    assert reply.status == grpc.StatusCode.INVALID_ARGUMENT.value[0]
    said = [pb.ChatSessionResponse.FromString(data).WhichOneof("frame") for _, data in reply.messages]
    assert said[0] == "opened"
    assert set(said[1:]) <= {"delta", "done"}


def test_an_id_that_was_used_is_not_used_again(rpc: Rpc) -> None:
    with Dialog(rpc) as session:
        session.start(3, tokens=1)
        session.finish(3)
        session.start(3, tokens=1)
        assert session.ended().code is grpc.StatusCode.INVALID_ARGUMENT


def test_ids_may_be_large_and_far_apart(rpc: Rpc) -> None:
    with Dialog(rpc) as session:
        for id in (1, 1_000, 2**32, 2**63, 2**64 - 1):
            session.start(id, tokens=1)
            assert session.finish(id)[-1].WhichOneof("frame") == "done"


def test_calls_fail_one_by_one(port: Gateway, rpc: Rpc) -> None:
    with Dialog(rpc) as session:
        session.start(1, tokens=40, tps=100)
        session.start(2, model="nowhere")
        session.start(3, status=503)
        session.start(4, fault="reset_after:3", flush=1)
        session.start(5, model="")
        failures = {id: session.error(id) for id in (2, 3, 4, 5)}
        session.finish(1)
        assert len(session.words(1)) == 40
    assert [failures[id].info["code"] for id in (2, 4, 5)] == [
        "model_not_found",
        "upstream_protocol_error",
        "invalid_request",
    ]
    assert failures[3].info["status"] == "503"
    assert all(found.domain == "penstock" and found.message for found in failures.values())
    assert session.kinds(2) == ["error"]
    assert session.kinds(4)[0] == "opened"
    assert record_of(port, session.call_id(4))["metadata"]["outcome"] == "upstream_cut"


def test_limits_hold_for_each_call(port: Gateway) -> None:
    key = port.new_key(rpm_limit=3)
    with dialled(port, key) as rpc, Dialog(rpc) as session:
        for id in range(1, 6):
            session.start(id, tokens=1)
        for id in range(1, 6):
            session.finish(id)
        refused = [id for id in range(1, 6) if session.kinds(id)[-1] == "error"]
        assert refused == [4, 5]
        details = session.error(4)
        assert details.code == grpc.StatusCode.RESOURCE_EXHAUSTED.value[0]
        assert details.retry_s
        assert len(details.quota) == 1
        metadata = session.seen[4][-1].error.metadata
        assert metadata["grpc-retry-pushback-ms"].isdecimal()
        assert metadata["x-penstock-call-id"]


@pytest.mark.parametrize("key", ["", "sk-unknown"])
def test_a_session_needs_a_key(port: Gateway, key: str) -> None:
    with dialled(port, key) as rpc, Dialog(rpc) as session:
        session.start(1)
        over = session.ended()
        if over.code is grpc.StatusCode.OK:
            assert session.error(1).code == grpc.StatusCode.UNAUTHENTICATED.value[0]
        else:
            assert over.code is grpc.StatusCode.UNAUTHENTICATED


def test_a_key_that_is_revoked_begins_no_more_calls(port: Gateway) -> None:
    key = port.new_key()
    with dialled(port, key) as rpc, Dialog(rpc) as session:
        session.start(1, tokens=1)
        session.finish(1)
        with port.client() as client:
            assert client.post("/key/block", headers=port.admin, json={"key": key}).status_code == 200
        session.start(2, tokens=1)
        assert session.error(2).info["code"] == "blocked_api_key"


@pytest.mark.parametrize("data", [b"\xff\xff\xff", b""], ids=["not protobuf", "empty"])
def test_a_frame_that_says_nothing(raw: Raw, data: bytes) -> None:
    """What is no frame ends the session; a frame of a later version may be one that this server does not know."""
    number = raw.begin(methods.CHAT_SESSION.path, frame(data), end=False)
    if data:
        assert raw.end(number).status == grpc.StatusCode.INVALID_ARGUMENT.value[0]
        return
    raw.write(number, b"")
    assert raw.end(number).status in (0, grpc.StatusCode.INVALID_ARGUMENT.value[0])


def test_frames_that_are_cut_end_the_session(raw: Raw) -> None:
    number = raw.begin(methods.CHAT_SESSION.path, b"\0\0\0\1\0half", end=True)
    assert raw.end(number).status in (grpc.StatusCode.INVALID_ARGUMENT.value[0], grpc.StatusCode.INTERNAL.value[0])


def test_frames_may_be_compressed(port: Gateway, rpc: Rpc) -> None:
    begin: Any = rpc.channel.stream_stream(
        methods.CHAT_SESSION.path, methods.CHAT_SESSION.encode, methods.CHAT_SESSION.decode
    )
    request = pb.ChatCreateRequest(model="sim", max_tokens=2, messages=[{"role": "user", "text": "river " * 2_000}])
    frames = [pb.ChatSessionRequest(start=pb.SessionStart(id=id, request=request)) for id in (1, 2)]
    call = begin(iter(frames), metadata=tuple(rpc.metadata()), compression=grpc.Compression.Gzip, timeout=20)
    kinds = [answer.WhichOneof("frame") for answer in call]
    assert kinds.count("done") == 2


# ---- under load -------------------------------------------------------------------------------


def test_hundreds_of_calls_on_one_session(port: Gateway, rpc: Rpc, sim: Sim) -> None:
    since = sim.mark()
    with Dialog(rpc) as session:
        for id in range(1, 401):
            session.start(id, tokens=10, credit=4)
        ends: dict[int, str] = {}
        while len(ends) < 400:
            assert session.next() is not None
            kind, id = session.order[-1]
            if kind == "delta" and session.count(id) % 2 == 0:
                session.credit(id, 2)
            if kind in ("done", "error"):
                assert id not in ends
                ends[id] = kind
    if "error" in ends.values():
        # The server may bound how many calls are in flight on one session; then it says so.
        errors = [session.error(id) for id, kind in ends.items() if kind == "error"]
        assert {details.code for details in errors} == {grpc.StatusCode.RESOURCE_EXHAUSTED.value[0]}
    assert list(ends.values()).count("done") >= 100
    idle(port)
    rows = rows_of(port, rpc.key)
    assert differences(rows, settled(sim, since, {row["request_id"] for row in rows})) == []


def test_sessions_are_counted_like_the_calls_they_carry(port: Gateway, rpc: Rpc) -> None:
    with Dialog(rpc) as session:
        session.start(1, tokens=1_000, tps=50)
        session.until("delta", 1)
        assert gauge(port, "penstock_in_flight_requests") == 1
        session.cancel(1)
        session.error(1)
        idle(port)


def test_an_idempotency_key_among_the_metadata_means_nothing(rpc: Rpc) -> None:
    """It would be that of all calls of the session, which are not the same."""
    with Dialog(rpc, metadata=[("idempotency-key", "one-for-all")]) as session:
        for id in (1, 2, 3):
            session.start(id, text=f"question {id}", credit=0)
        for id in (1, 2, 3):
            session.credit(id, 100)
        for id in (1, 2, 3):
            assert session.finish(id)[-1].WhichOneof("frame") == "done"
