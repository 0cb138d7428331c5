"""Streams and sessions: order, ends, cancellation, credits."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import grpc
import pytest

from penstock.client import (
    AsyncClient,
    CallError,
    Cancelled,
    Client,
    DeadlineExceeded,
    NotFound,
    ServerError,
    Unavailable,
)
from penstock.client import _calls as calls
from tests.unit.client.gateway import Gateway, chunk, fail, retry_info

MESSAGES = [{"role": "user", "content": "hi"}]
STREAM = calls.CHAT_STREAM.path


def _text(item: Any) -> str:
    return str(item.choices[0].delta.content)


def _three(request: Any, context: Any) -> Any:
    context.send_initial_metadata((("x-penstock-call-id", "c1"),))
    for text in "abc":
        yield chunk(text)
    context.set_trailing_metadata((("x-penstock-cost-usd", "0.25"),))


def test_chunks_in_order_and_metadata(gateway: Gateway, client: Client) -> None:
    gateway.behaviours[STREAM] = _three
    seen: dict[str, str] = {}
    stream = client.chat.stream(model="m", messages=MESSAGES, on_metadata=seen.update)
    assert stream.metadata == {}
    assert "".join(map(_text, stream)) == "abc"
    assert stream.metadata["x-penstock-call-id"] == "c1"
    assert stream.trailing_metadata["x-penstock-cost-usd"] == "0.25"
    assert seen.keys() >= {"x-penstock-call-id", "x-penstock-cost-usd"}
    assert next(stream, None) is None


async def test_chunks_in_order_and_metadata_of_the_twin(gateway: Gateway, aclient: AsyncClient) -> None:
    gateway.behaviours[STREAM] = _three
    stream = aclient.chat.stream(model="m", messages=MESSAGES)
    assert "".join([_text(item) async for item in stream]) == "abc"
    assert stream.metadata["x-penstock-call-id"] == "c1"
    assert stream.trailing_metadata["x-penstock-cost-usd"] == "0.25"
    assert await anext(stream, None) is None


def _endless(gateway: Gateway) -> Any:
    def behave(request: Any, context: Any) -> Any:
        yield chunk("a")
        gateway.cancelled.wait(20)

    return behave


def test_leaving_the_block_cancels(gateway: Gateway, client: Client) -> None:
    gateway.behaviours[STREAM] = _endless(gateway)
    with client.chat.stream(model="m", messages=MESSAGES) as stream:
        assert _text(next(stream)) == "a"
    assert gateway.cancelled.wait(15)
    assert next(stream, None) is None


def test_closing_wakes_the_reader(gateway: Gateway, client: Client) -> None:
    gateway.behaviours[STREAM] = _endless(gateway)
    stream = client.chat.stream(model="m", messages=MESSAGES)
    next(stream)
    threading.Timer(0.1, stream.close).start()
    assert next(stream, None) is None
    assert gateway.cancelled.wait(15)


async def test_leaving_the_block_cancels_for_the_twin(gateway: Gateway, aclient: AsyncClient) -> None:
    gateway.behaviours[STREAM] = _endless(gateway)
    async with aclient.chat.stream(model="m", messages=MESSAGES) as stream:
        assert _text(await anext(stream)) == "a"
        asyncio.get_running_loop().call_later(0.1, stream.close)
        assert await anext(stream, None) is None
    assert await asyncio.to_thread(gateway.cancelled.wait, 15)


async def test_a_cancelled_task_cancels_the_call(gateway: Gateway, aclient: AsyncClient) -> None:
    gateway.behaviours[STREAM] = _endless(gateway)
    began = asyncio.Event()

    async def read() -> None:
        async for _ in aclient.chat.stream(model="m", messages=MESSAGES):
            began.set()

    task = asyncio.create_task(read())
    await began.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await asyncio.to_thread(gateway.cancelled.wait, 15)


def test_a_stream_is_tried_again_before_its_first_chunk(gateway: Gateway, client: Client) -> None:
    def behave(request: Any, context: Any) -> Any:
        if len(gateway.requests) == 1:
            fail(context, grpc.StatusCode.RESOURCE_EXHAUSTED, "busy", retry_info(1))
        yield chunk("a")

    gateway.behaviours[STREAM] = behave
    assert [_text(item) for item in client.chat.stream(model="m", messages=MESSAGES)] == ["a"]
    assert len(gateway.requests) == 2


def _broken(request: Any, context: Any) -> Any:
    yield chunk("a")
    fail(context, grpc.StatusCode.INTERNAL, "broke off", retry_info(1))


def test_a_stream_is_not_tried_again_after_it(gateway: Gateway, client: Client) -> None:
    gateway.behaviours[STREAM] = _broken
    stream = client.chat.stream(model="m", messages=MESSAGES)
    next(stream)
    with pytest.raises(ServerError, match="broke off"):
        next(stream)
    assert len(gateway.requests) == 1
    assert next(stream, None) is None


async def test_a_stream_is_not_tried_again_after_it_by_the_twin(gateway: Gateway, aclient: AsyncClient) -> None:
    gateway.behaviours[STREAM] = _broken
    stream = aclient.chat.stream(model="m", messages=MESSAGES)
    await anext(stream)
    with pytest.raises(ServerError, match="broke off"):
        await anext(stream)
    assert len(gateway.requests) == 1


def test_a_stream_keeps_its_deadline(gateway: Gateway, client: Client) -> None:
    gateway.behaviours[STREAM] = _endless(gateway)
    stream = client.chat.stream(model="m", messages=MESSAGES, timeout=3.5)
    next(stream)
    with pytest.raises(DeadlineExceeded):
        next(stream)


# ---- sessions -----------------------------------------------------------------------------------


def test_calls_of_a_session_are_interleaved(gateway: Gateway, client: Client) -> None:
    with client.chat.session() as session:
        first = session.stream(model="m", messages=MESSAGES, timeout=5)
        second = session.stream(model="m", messages=MESSAGES)
        assert [_text(item) for item in second] == ["2:0", "2:1", "2:2"]
        assert [_text(item) for item in first] == ["1:0", "1:1", "1:2"]
    assert first.metadata == {"x-penstock-call-id": "call-1", "x-penstock-cost-usd": "0.5"}
    assert [start.id for start in gateway.session.opened] == [1, 2]
    assert gateway.session.opened[0].timeout.seconds == 5
    assert gateway.session.opened[1].timeout.seconds == 10


def test_a_session_pauses_what_nobody_reads(gateway: Gateway, client: Client) -> None:
    gateway.session.chunks = 50
    with client.chat.session() as session:
        slow = session.stream(model="m", messages=MESSAGES, credit=4)
        assert gateway.session.paused.wait(30)
        assert len(list(session.stream(model="m", messages=MESSAGES))) == 50
        assert gateway.session.sent[1] == 4
        assert [_text(item) for item in slow] == [f"1:{at}" for at in range(50)]


def test_one_call_fails_alone(gateway: Gateway, client: Client) -> None:
    gateway.session.fail = {"bad"}
    with client.chat.session() as session:
        bad = session.stream(model="bad", messages=MESSAGES)
        good = session.stream(model="m", messages=MESSAGES)
        with pytest.raises(NotFound) as caught:
            next(bad)
        assert caught.value.code == "model_not_found"
        assert next(bad, None) is None
        assert len(list(good)) == 3


def test_one_call_is_cancelled_alone(gateway: Gateway, client: Client) -> None:
    gateway.session.chunks = 50
    with client.chat.session() as session:
        with session.stream(model="m", messages=MESSAGES, credit=2) as first:
            next(first)
        assert next(first, None) is None
        assert len(list(session.stream(model="m", messages=MESSAGES))) == 50
        assert gateway.session.cancels == [1]
        assert gateway.session.sent[1] < 50


def test_the_end_of_a_session_ends_its_calls(gateway: Gateway, client: Client) -> None:
    gateway.session.stall = {"m"}
    with client.chat.session() as session:
        call = session.stream(model="m", messages=MESSAGES)
        gateway.stop()
        with pytest.raises(CallError):
            next(call)
        with pytest.raises(CallError):
            session.stream(model="m", messages=MESSAGES)


def test_a_closed_session(gateway: Gateway, client: Client) -> None:
    gateway.session.stall = {"m"}
    session = client.chat.session()
    call = session.stream(model="m", messages=MESSAGES)
    session.close()
    with pytest.raises(Cancelled):
        next(call)
    with pytest.raises(Cancelled, match="The session is closed"):
        session.stream(model="m", messages=MESSAGES)


async def test_sessions_of_the_twin(gateway: Gateway, aclient: AsyncClient) -> None:
    gateway.session.chunks = 20
    gateway.session.fail = {"bad"}
    gateway.session.stall = {"stall"}
    async with aclient.chat.session() as session:
        slow = session.stream(model="m", messages=MESSAGES, credit=4)
        bad = session.stream(model="bad", messages=MESSAGES)
        async with session.stream(model="m", messages=MESSAGES, credit=2) as cut:
            assert _text(await anext(cut)) == "3:0"
        assert await anext(cut, None) is None
        with pytest.raises(NotFound):
            await anext(bad)
        assert [_text(item) async for item in slow] == [f"1:{at}" for at in range(20)]
        assert slow.metadata["x-penstock-cost-usd"] == "0.5"
        stalled = session.stream(model="stall", messages=MESSAGES)
        waiting = asyncio.ensure_future(anext(stalled))
        await asyncio.sleep(0)
    with pytest.raises(Cancelled):
        await waiting
    with pytest.raises(Cancelled, match="The session is closed"):
        session.stream(model="m", messages=MESSAGES)
    assert gateway.session.cancels == [3]


async def test_the_end_of_a_session_of_the_twin(gateway: Gateway, aclient: AsyncClient) -> None:
    gateway.session.stall = {"m"}
    async with aclient.chat.session() as session:
        call = session.stream(model="m", messages=MESSAGES)
        await asyncio.to_thread(gateway.stop)
        with pytest.raises(CallError):
            await anext(call)


def test_a_session_that_drains_takes_no_more() -> None:
    import queue

    from penstock.client import _messages as pb
    from penstock.client._frames import Event, SessionState

    state: SessionState[queue.SimpleQueue[Event]] = SessionState()
    call, _ = state.begin(pb.ChatCreateRequest(), queue.SimpleQueue(), 1, 10)
    state.receive(pb.ChatSessionResponse(draining={}))
    with pytest.raises(Unavailable):
        state.begin(pb.ChatCreateRequest(), queue.SimpleQueue(), 1, 10)
    state.receive(pb.ChatSessionResponse(delta={"id": call.id, "chunk": chunk("x")}))
    state.receive(pb.ChatSessionResponse(delta={"id": 99, "chunk": chunk("x")}))
    assert call.inbox.qsize() == 1
