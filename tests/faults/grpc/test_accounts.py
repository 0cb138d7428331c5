"""Calls that end in every way at once: completed, cancelled, out of time, disconnected; both books agree to the token."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import grpc
import grpc.aio
import pytest

from penstock.client import _calls as methods
from penstock.client import _messages as pb
from tests.conftest import Gateway
from tests.faults.accounts import Row, idle, never_differ, note, rows_of, settled, usage
from tests.faults.grpc.callers import Seen, channels, request, streamed, unary
from tests.rig import Sim, until
from tests.stalls import again_after_a_stall

pytestmark = pytest.mark.alone

PROMPTLY_S = 1.0
_STOOD_S = 0.2
"""A machine that stands still for so long ends calls later, and others than were meant."""


def _books(gateway: Gateway, sim: Sim, key: str, since: int) -> tuple[list[Row], list[Row]]:
    """Ours and theirs, once all has ended."""
    until(lambda: not any(e["outcome"] == "open" for e in sim.ledger(since)), "no answer is open", 20)
    idle(gateway)
    rows = rows_of(gateway, key)
    entries = settled(sim, since)
    never_differ(rows, entries)
    theirs = sum(e["completion_tokens"] if e["outcome"] == "completed" else e["tokens_sent"] for e in entries)
    assert sum(usage(row)[1] for row in rows) == theirs
    return rows, entries


@again_after_a_stall(_STOOD_S)
async def test_five_hundred_calls_that_end_in_every_way(patient: Gateway, sim: Sim) -> None:
    choose = random.Random(4711)
    key, since = patient.new_key(), sim.mark()

    async def one(channel: grpc.aio.Channel) -> Seen:
        model = choose.choice(["sim", "sim", "sim-claude"])
        tell = {
            "tokens": choose.choice([5, 20, 400]),
            "tps": choose.choice([20, 100, 300]),
            "ttft": choose.choice([0, 0, 30, 400]),
        }
        how, seconds = choose.choice(["wait", "cancel", "deadline", "deadline"]), choose.uniform(0.01, 1.5)
        if choose.random() < 0.3:
            return await unary(channel, key, request(model), tell, deadline=seconds)
        if how == "deadline":
            return await streamed(channel, key, request(model), tell, deadline=seconds)
        return await streamed(channel, key, request(model), tell, leave_after=seconds if how == "cancel" else None)

    async with channels(patient, 10) as opened:
        seen = await asyncio.gather(*(one(opened[at % 10]) for at in range(500)))
    rows, entries = await asyncio.to_thread(_books, patient, sim, key, since)
    codes = [call.code for call in seen]
    note(
        f"{ {str(code): codes.count(code) for code in set(codes)} }, {len(rows)} records, {len(entries)} upstream calls"
    )
    assert set(codes) == {grpc.StatusCode.OK, grpc.StatusCode.CANCELLED, grpc.StatusCode.DEADLINE_EXCEEDED}
    assert min(codes.count(code) for code in set(codes)) > 30
    ended = {entry["call_id"]: entry["at_ms"] + entry["duration_us"] / 1000 for entry in entries}
    late = [ended[one.call_id] - one.left_at_ms for one in seen if one.left_at_ms and one.call_id in ended]
    assert late
    assert max(late) < PROMPTLY_S * 1000


@again_after_a_stall(_STOOD_S)
async def test_connections_that_break_under_calls(patient: Gateway, sim: Sim) -> None:
    key, since = patient.new_key(), sim.mark()

    async def broken(at: int) -> None:
        async with channels(patient, 1) as [channel]:
            calls = [
                asyncio.create_task(
                    streamed(channel, key, request("sim" if n % 2 else "sim-claude"), {"tps": 100, "tokens": 400})
                )
                for n in range(10)
            ]
            await asyncio.wait(calls, timeout=0.2 + at * 0.04)
            await channel.close()
            await asyncio.gather(*calls, return_exceptions=True)

    await asyncio.gather(*(broken(at) for at in range(15)))
    rows, entries = await asyncio.to_thread(_books, patient, sim, key, since)
    assert {entry["outcome"] for entry in entries} == {"cut"}
    assert len(rows) == len(entries)
    assert len(rows) > 100


@again_after_a_stall(_STOOD_S)
async def test_sessions_whose_calls_end_in_every_way(patient: Gateway, sim: Sim) -> None:
    choose = random.Random(99)
    key, since = patient.new_key(), sim.mark()

    async def session(channel: grpc.aio.Channel) -> list[str]:
        begin: Any = channel.stream_stream(
            methods.CHAT_SESSION.path, methods.CHAT_SESSION.encode, methods.CHAT_SESSION.decode
        )
        call = begin(metadata=(("authorization", f"Bearer {key}"),))
        open_, ends = set(range(1, 26)), []

        async def say(frame: pb.ChatSessionRequest) -> None:
            await call.write(frame)

        for id in range(1, 26):
            start = pb.SessionStart(id=id, request=request(tokens=choose.choice([5, 40, 400])), credit=8)
            start.request.model = choose.choice(["sim", "sim", "sim-claude"])
            if id % 5 == 0:
                start.timeout.FromMilliseconds(choose.randint(1, 60))
            await say(pb.ChatSessionRequest(start=start))
        while open_:
            frame = await call.read()
            if frame is grpc.aio.EOF:
                break
            kind = frame.WhichOneof("frame")
            id = getattr(frame, kind).id
            if kind == "delta":
                if id % 7 == 0 and choose.random() < 0.3:
                    await say(pb.ChatSessionRequest(cancel=pb.SessionCancel(id=id)))
                await say(pb.ChatSessionRequest(credit=pb.SessionCredit(id=id, credit=1)))
            elif kind in ("done", "error"):
                open_.discard(id)
                ends.append(kind)
        if choose.random() < 0.5:
            call.cancel()
        else:
            await call.done_writing()
        return ends

    async with channels(patient, 4) as opened:
        ends = await asyncio.gather(*(session(opened[at % 4]) for at in range(8)))
    rows, _ = await asyncio.to_thread(_books, patient, sim, key, since)
    assert [len(one) for one in ends] == [25] * 8
    assert {kind for one in ends for kind in one} == {"done", "error"}
    assert 150 < len(rows) <= 200


async def test_calls_that_are_waited_for_in_vain_cost_no_other_call_its_connection(patient: Gateway) -> None:
    """A provider that hangs: hundreds of calls are given up, or out of time, on a connection that carries a healthy answer."""
    key, hangs = patient.new_key(), {"tokens": 5, "ttft": 10_000}
    async with channels(patient, 1) as (channel,):
        healthy = asyncio.create_task(streamed(channel, key, request(), {"tokens": 150, "tps": 50}))
        for _ in range(2):
            late = [unary(channel, key, request(), hangs, deadline=0.4) for _ in range(40)]
            left = [streamed(channel, key, request(), hangs, leave_after=0.4) for _ in range(120)]
            ended = await asyncio.gather(*late, *left)
            assert {call.code for call in ended} == {grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.CANCELLED}
        answer = await healthy
    assert (answer.code, answer.words) == (grpc.StatusCode.OK, 150), answer.message
