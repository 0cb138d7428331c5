"""Many calls at once from one asyncio client, and how each of them ended."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
import grpc.aio

from penstock.client import _calls as methods
from penstock.client import _messages as pb
from tests.conftest import Gateway
from tests.integration.grpc.calls import OPTIONS, address, told


@dataclass
class Seen:
    """One call as its client saw it."""

    code: grpc.StatusCode | None = None
    chunks: int = 0
    words: int = 0
    call_id: str | None = None
    message: str = ""
    left_at_ms: float = 0
    """When the client gave it up, Unix milliseconds; 0: it did not."""
    answers: list[Any] = field(default_factory=list)


def request(model: str = "sim", tokens: int = 500, text: str = "time river that") -> pb.ChatCreateRequest:
    """A request whose prompt has ten tokens."""
    made = pb.ChatCreateRequest(model=model, max_tokens=tokens, messages=[{"role": "user", "text": text}])
    made.stream_options.include_usage = True
    return made


@asynccontextmanager
async def channels(gateway: Gateway, count: int) -> AsyncIterator[list[grpc.aio.Channel]]:
    """So many connections of their own."""
    made = [grpc.aio.insecure_channel(address(gateway), options=list(OPTIONS.items())) for _ in range(count)]
    try:
        yield made
    finally:
        await asyncio.gather(*(channel.close() for channel in made))


async def streamed(
    channel: grpc.aio.Channel,
    key: str,
    asked: pb.ChatCreateRequest,
    tell: dict[str, Any],
    *,
    deadline: float | None = None,
    leave_after: float | None = None,
) -> Seen:
    """A streamed call; given up after so many seconds if it is not over by then."""
    begin: Any = channel.unary_stream(methods.CHAT_STREAM.path, methods.CHAT_STREAM.encode, methods.CHAT_STREAM.decode)
    metadata = (("authorization", f"Bearer {key}"), *told(tell))
    call, seen = begin(asked, timeout=deadline, metadata=metadata), Seen()

    async def read() -> None:
        async for chunk in call:
            seen.chunks += 1
            seen.words += sum(len(choice.delta.content.split()) for choice in chunk.choices)

    try:
        if leave_after is None:
            await read()
        else:
            async with asyncio.timeout(leave_after):
                await read()
    except TimeoutError:
        seen.left_at_ms = time.time() * 1000
        call.cancel()
    except grpc.aio.AioRpcError as error:
        seen.message = error.details() or ""
    except asyncio.CancelledError:
        # grpcio cancels the reader when the call was.
        seen.left_at_ms = seen.left_at_ms or time.time() * 1000
    seen.code = await call.code()
    for name, value in (await call.initial_metadata()) or ():
        if name == "x-penstock-call-id":
            seen.call_id = str(value)
    return seen


async def unary(
    channel: grpc.aio.Channel,
    key: str,
    asked: pb.ChatCreateRequest,
    tell: dict[str, Any],
    *,
    deadline: float | None = None,
) -> Seen:
    """A call with one answer."""
    begin: Any = channel.unary_unary(methods.CHAT_CREATE.path, methods.CHAT_CREATE.encode, methods.CHAT_CREATE.decode)
    call, seen = begin(asked, timeout=deadline, metadata=(("authorization", f"Bearer {key}"), *told(tell))), Seen()
    try:
        answer = await call
        seen.words = len(answer.choices[0].message.content.split())
    except grpc.aio.AioRpcError as error:
        seen.message = error.details() or ""
    seen.code = await call.code()
    return seen
