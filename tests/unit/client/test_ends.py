"""Ends that the caller makes: a client closed under its calls, streams that are left, tasks that are cancelled."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import grpc
import pytest

from penstock.client import AsyncClient, Cancelled, Client, Stream
from penstock.client import _calls as calls
from penstock.client._aio_core import call_from_anywhere
from tests.stalls import Stopwatch
from tests.unit.client.gateway import Gateway, answer, chunk, fail, retry_info, until

MESSAGES = [{"role": "user", "content": "hi"}]
CREATE = calls.CHAT_CREATE.path
STREAM = calls.CHAT_STREAM.path


def _waits(gateway: Gateway) -> None:
    def behave(request: Any, context: Any) -> Any:
        gateway.cancelled.wait(20)
        yield chunk("late")

    gateway.behaviours[CREATE] = lambda request, context: gateway.cancelled.wait(20) and answer("late")
    gateway.behaviours[STREAM] = behave


# ---- asyncio: the client is closed, or the task cancelled ---------------------------------------


async def _unary(client: AsyncClient) -> None:
    await client.chat.create(model="m", messages=MESSAGES)


async def _stream(client: AsyncClient) -> None:
    async for _ in client.chat.stream(model="m", messages=MESSAGES):
        pass


BOTH = pytest.mark.parametrize("call", [_unary, _stream])


@BOTH
async def test_closing_the_client_ends_calls_with_its_own_error(
    gateway: Gateway, aclient: AsyncClient, call: Any
) -> None:
    _waits(gateway)
    task = asyncio.create_task(call(aclient))
    await until(lambda: gateway.requests)
    await aclient.close()
    with pytest.raises(Cancelled, match="The client is closed"):
        await task


@BOTH
async def test_closing_the_client_ends_pauses(gateway: Gateway, aclient: AsyncClient, call: Any) -> None:
    def busy(request: Any, context: Any) -> Any:
        return fail(context, grpc.StatusCode.RESOURCE_EXHAUSTED, "busy", retry_info(5_000))

    gateway.behaviours[CREATE] = gateway.behaviours[STREAM] = busy
    task = asyncio.create_task(call(aclient))
    await until(lambda: aclient._core._pauses)
    await aclient.close()
    async with asyncio.timeout(30):
        with pytest.raises(Cancelled, match="The client is closed"):
            await task


@BOTH
async def test_a_cancelled_task_is_cancelled_whatever_else_ends(
    gateway: Gateway, aclient: AsyncClient, call: Any
) -> None:
    _waits(gateway)
    task = asyncio.create_task(call(aclient))
    await until(lambda: gateway.requests)
    task.cancel()
    await aclient.close()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_task_cancelled_as_its_stream_is_closed_does_not_run_on(gateway: Gateway, aclient: AsyncClient) -> None:
    _waits(gateway)
    stream = aclient.chat.stream(model="m", messages=MESSAGES)

    async def read() -> str:
        async for _ in stream:
            pass
        return "ran on"

    task = asyncio.create_task(read())
    await until(lambda: gateway.requests)
    stream.close()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_timeout_of_the_caller_is_a_timeout(gateway: Gateway, aclient: AsyncClient) -> None:
    _waits(gateway)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.3):
            await _unary(aclient)


# ---- streams that are left ----------------------------------------------------------------------


def _endless(gateway: Gateway) -> Any:
    def behave(request: Any, context: Any) -> Any:
        yield chunk("a")
        gateway.cancelled.wait(20)

    return behave


async def test_a_stream_that_is_left_is_cancelled(gateway: Gateway, aclient: AsyncClient) -> None:
    gateway.behaviours[STREAM] = _endless(gateway)
    async for _ in aclient.chat.stream(model="m", messages=MESSAGES):
        break
    assert await asyncio.to_thread(gateway.cancelled.wait, 15)


def test_what_outlives_its_loop_is_left_alone() -> None:
    """grpcio cancels what it has on a loop that is over; a finalizer must not fail on it."""
    called: list[int] = []
    loop = asyncio.new_event_loop()
    call_from_anywhere(loop, called.append, 1)
    loop.call_soon(loop.stop)
    loop.run_forever()
    loop.close()
    call_from_anywhere(loop, called.append, 2)
    assert called == [1]


# ---- threads ------------------------------------------------------------------------------------


def test_a_stream_closed_as_it_begins_is_cancelled(gateway: Gateway, client: Client) -> None:
    _waits(gateway)
    stream: Stream[Any] = client.chat.stream(model="m", messages=MESSAGES)
    start = stream._start

    def close_first(timeout: float) -> Any:
        # Another thread, between the reader's look at whether the stream is closed and the call.
        closer = threading.Thread(target=stream.close)
        closer.start()
        closer.join()
        return start(timeout)

    stream._start = close_first
    watch = Stopwatch()
    assert next(stream, None) is None
    assert watch.ran_s < 5


def test_a_session_on_a_closed_client(gateway: Gateway) -> None:
    client = Client(gateway.target, api_key="k")
    client.close()
    with pytest.raises(Cancelled, match="The client is closed"):
        client.chat.session()


@pytest.mark.parametrize(
    "call",
    [
        lambda client: client.chat.create(model="m", messages=MESSAGES),
        lambda client: next(client.chat.stream(model="m", messages=MESSAGES)),
        lambda client: client.chat.session(),
    ],
)
def test_a_client_closed_as_a_call_begins(
    gateway: Gateway, call: Callable[[Client], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """By another thread, between the look at whether it is closed and the call."""
    client = Client(gateway.target, api_key="k")
    channel = client._core.channel

    def closing(call: Callable[..., Any]) -> Callable[..., Any]:
        def made(*given: Any, **named: Any) -> Any:
            client.close()
            return call(*given, **named)

        return made

    def wrapped(make: Callable[..., Any]) -> Callable[..., Any]:
        def made(*given: Any) -> Any:
            multi = make(*given)
            wrapper = closing(multi)
            if hasattr(multi, "with_call"):
                wrapper.with_call = closing(multi.with_call)  # type: ignore[attr-defined]
            return wrapper

        return made

    for name in ("unary_unary", "unary_stream", "stream_stream"):
        monkeypatch.setattr(channel, name, wrapped(getattr(channel, name)))
    with pytest.raises(Cancelled, match="The client is closed"):
        call(client)


# ---- pauses before another attempt -------------------------------------------------------------


def test_closing_a_stream_ends_its_pause(gateway: Gateway, client: Client) -> None:
    def busy(request: Any, context: Any) -> Any:
        yield fail(context, grpc.StatusCode.RESOURCE_EXHAUSTED, "busy", retry_info(20_000))

    gateway.behaviours[calls.CHAT_STREAM.path] = busy
    stream = client.chat.stream(model="m", messages=MESSAGES, timeout=60)
    ended = threading.Event()

    def read() -> None:
        assert next(stream, None) is None
        ended.set()

    reader = threading.Thread(target=read)
    reader.start()
    while not client._core._pauses:
        assert not ended.wait(0.01)
    stream.close()
    assert ended.wait(15)
    reader.join()
    assert len(gateway.requests) == 1


async def test_closing_a_stream_of_the_twin_ends_its_pause(gateway: Gateway, aclient: AsyncClient) -> None:
    def busy(request: Any, context: Any) -> Any:
        yield fail(context, grpc.StatusCode.RESOURCE_EXHAUSTED, "busy", retry_info(20_000))

    gateway.behaviours[calls.CHAT_STREAM.path] = busy
    stream = aclient.chat.stream(model="m", messages=MESSAGES, timeout=60)
    reader = asyncio.ensure_future(anext(stream, chunk("none")))
    await until(lambda: aclient._core._pauses)
    stream.close()
    async with asyncio.timeout(30):
        assert await reader == chunk("none")
    assert len(gateway.requests) == 1
