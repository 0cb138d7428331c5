"""Waiting for answers with asyncio: what the asyncio client adds to the parts that both share."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

import grpc
import grpc.aio

from penstock.client._attempts import Attempts, aio_error_of, closed
from penstock.client._calls import Answer, Method, Options, Request
from penstock.client._retry import RetryBudget
from penstock.client._settings import Settings, text_metadata

T = TypeVar("T")


class AsyncCore:
    """A channel, and calls on it with retries and deadlines. Belongs to the loop that makes its first call."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._budget = RetryBudget()
        self._is_closed = False
        self._channel: grpc.aio.Channel | None = None

    @property
    def channel(self) -> grpc.aio.Channel:
        """Made at the first call: only then is it known which loop it belongs to."""
        if self._is_closed:
            raise closed()
        if self._channel is None:
            settings = self.settings
            make: Any = grpc.aio.secure_channel if settings.is_secure else grpc.aio.insecure_channel
            credentials = (settings.credentials,) if settings.is_secure else ()
            self._channel = make(
                settings.address, *credentials, options=settings.options, compression=settings.compression
            )
        assert self._channel is not None
        return self._channel

    async def unary(self, method: Method[Request, Answer], request: Request, options: Options) -> Answer:
        """One answer.

        Raises:
            CallError: The last attempt's.
        """
        attempts = Attempts(self._budget, options)
        while True:
            begin = self.channel.unary_unary(method.path, method.encode, method.decode)
            call: Any = begin(request, timeout=attempts.remaining, metadata=tuple(options.metadata))
            try:
                answer: Answer = await call
            except grpc.aio.AioRpcError as error:
                await asyncio.sleep(attempts.wait_after(aio_error_of(error)))
                continue
            attempts.succeeded()
            if options.on_metadata is not None:
                initial, trailing = await call.initial_metadata(), await call.trailing_metadata()
                options.on_metadata({**text_metadata(initial), **text_metadata(trailing)})
            return answer

    def stream(self, method: Method[Request, Answer], request: Request, options: Options) -> AsyncStream[Answer]:
        """Many answers. Nothing is sent before the first is asked for."""

        def start(timeout: float) -> Any:
            begin = self.channel.unary_stream(method.path, method.encode, method.decode)
            return begin(request, timeout=timeout, metadata=tuple(options.metadata))

        return AsyncStream(start, Attempts(self._budget, options), options)

    async def close(self) -> None:
        """Cancels what is in flight and closes the connections."""
        self._is_closed = True
        if self._channel is not None:
            await self._channel.close()


class AsyncStream(Generic[T]):
    """The answers of a streamed call, in order. Leaving its `async with` block, or `close`, cancels what is not yet
    read.

    A stream is tried again only until its first message; what breaks later is raised where the messages were read.
    """

    def __init__(self, start: Callable[[float], Any], attempts: Attempts, options: Options) -> None:
        self._start = start
        self._attempts = attempts
        self._options = options
        self._call: Any = None
        self._has_begun = False
        self._is_over = False
        self.metadata: dict[str, str] = {}
        """Initial metadata; empty before the first message."""
        self.trailing_metadata: dict[str, str] = {}
        """Trailing metadata; empty before the stream's end."""

    def __aiter__(self) -> AsyncIterator[T]:
        return self

    async def __anext__(self) -> T:
        while not self._is_over:
            if self._call is None:
                self._call = self._start(self._attempts.remaining)
            try:
                item: Any = await self._call.read()
            except grpc.aio.AioRpcError as error:
                if self._was_closed():
                    break
                failure = aio_error_of(error)
                if self._has_begun:
                    self._is_over = True
                    raise failure from error
                try:
                    wait = self._attempts.wait_after(failure)
                except type(failure):
                    self._is_over = True
                    raise
                self._call = None
                await asyncio.sleep(wait)
                continue
            except asyncio.CancelledError:
                if self._was_closed():
                    # grpcio reports a call that was cancelled locally as the task's own cancellation.
                    break
                self.close()
                raise
            if item is grpc.aio.EOF:
                await self._finish()
                break
            if not self._has_begun:
                self._has_begun = True
                self.metadata = text_metadata(await self._call.initial_metadata())
            done: T = item
            return done
        raise StopAsyncIteration

    def _was_closed(self) -> bool:
        """By another task, while this one waited."""
        return self._is_over

    async def _finish(self) -> None:
        self._is_over = True
        self._attempts.succeeded()
        self.metadata = text_metadata(await self._call.initial_metadata())
        self.trailing_metadata = text_metadata(await self._call.trailing_metadata())
        if self._options.on_metadata is not None:
            self._options.on_metadata({**self.metadata, **self.trailing_metadata})

    def close(self) -> None:
        """Cancels the call if it is still running. Iteration ends."""
        if not self._is_over:
            self._is_over = True
            if self._call is not None:
                self._call.cancel()

    cancel = close

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
