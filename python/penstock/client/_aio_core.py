"""Waiting for answers with asyncio: what the asyncio client adds to the parts that both share."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
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
        self._pauses: set[asyncio.Event] = set()
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
                await self.pause(attempts.wait_after(aio_error_of(error)), asyncio.Event())
                continue
            except asyncio.CancelledError as error:
                self.check_cancelled(error)
                raise
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

        return AsyncStream(start, self, Attempts(self._budget, options), options)

    async def pause(self, seconds: float, over: asyncio.Event) -> None:
        """Waits; less long when ``over`` is set, which closing the client does too."""
        if self._is_closed:
            return
        self._pauses.add(over)
        try:
            async with asyncio.timeout(seconds):
                await over.wait()
        except TimeoutError:
            return
        finally:
            self._pauses.discard(over)

    def check_cancelled(self, error: asyncio.CancelledError) -> None:
        """Tells the end of the client from that of the task, which grpcio reports alike.

        Raises:
            CallError: The client was closed under a call.
        """
        if self._is_closed and not is_cancelled():
            raise closed() from error

    async def close(self) -> None:
        """Cancels what is in flight and closes the connections."""
        self._is_closed = True
        for over in self._pauses:
            over.set()
        if self._channel is not None:
            await self._channel.close()


def is_cancelled() -> bool:
    """Whether somebody asked the running task to end."""
    task = asyncio.current_task()
    return task is None or task.cancelling() > 0


def call_from_anywhere(loop: asyncio.AbstractEventLoop, call: Callable[..., Any], *arguments: Any) -> None:
    """Calls what belongs to ``loop`` from a finalizer, which may run in any thread. Not if the loop is over: so is the call."""
    with suppress(RuntimeError):
        loop.call_soon_threadsafe(call, *arguments)


class AsyncStream(Generic[T]):
    """The answers of a streamed call, in order. Leaving its `async with` block, or `close`, cancels what is not yet
    read.

    A stream is tried again only until its first message; what breaks later is raised where the messages were read.
    """

    def __init__(self, start: Callable[[float], Any], core: AsyncCore, attempts: Attempts, options: Options) -> None:
        self._start = start
        self._core = core
        self._attempts = attempts
        self._options = options
        self._call: Any = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._has_begun = False
        self._is_over = False
        self._wake = asyncio.Event()
        """Ends the pause before another attempt."""
        self.metadata: dict[str, str] = {}
        """Initial metadata; empty before the first message."""
        self.trailing_metadata: dict[str, str] = {}
        """Trailing metadata; empty before the stream's end."""

    def __aiter__(self) -> AsyncIterator[T]:
        return self

    async def __anext__(self) -> T:
        while not self._is_over:
            if self._call is None:
                self._loop = asyncio.get_running_loop()
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
                await self._core.pause(wait, self._wake)
                continue
            except asyncio.CancelledError as error:
                if self._was_closed() and not is_cancelled():
                    # grpcio reports a call that was cancelled locally as the task's own cancellation.
                    break
                self.close()
                self._core.check_cancelled(error)
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
            self._wake.set()
            if self._call is not None:
                self._call.cancel()

    cancel = close

    def __del__(self) -> None:
        # Nobody can read it any more: the provider need not go on, nor a parallel slot stay taken.
        if not self._is_over and self._call is not None and self._loop is not None:
            call_from_anywhere(self._loop, self._call.cancel)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
