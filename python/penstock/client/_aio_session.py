"""`Chat.Session` with asyncio: one task that reads, one that writes, and the callers' own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from types import TracebackType
from typing import Any, Self, Unpack

import grpc
import grpc.aio

from penstock.client import _messages as pb
from penstock.client._aio_core import AsyncCore, call_from_anywhere
from penstock.client._attempts import aio_error_of, closed
from penstock.client._calls import CHAT_SESSION, chat_request, session_timeout
from penstock.client._frames import DEFAULT_CREDIT, CallState, Done, Event, SessionState
from penstock.client._params import SessionParams
from penstock.client.errors import CallError, Unavailable


class AsyncSession:
    """Many streamed calls on one HTTP/2 stream: `async with client.chat.session() as session`.

    Calls of a session are not tried again. When it ends, so do they.
    """

    def __init__(self, core: AsyncCore) -> None:
        self._core = core
        self._state: SessionState[asyncio.Queue[Event]] = SessionState(core.settings.max_start)
        self._frames: asyncio.Queue[pb.ChatSessionRequest] = asyncio.Queue()
        self._call: Any = None
        self._tasks: list[asyncio.Task[None]] = []

    def stream(
        self, *, model: str, messages: Iterable[object], credit: int = DEFAULT_CREDIT, **params: Unpack[SessionParams]
    ) -> AsyncSessionCall:
        """Begins a call. ``credit`` is how many of its chunks may wait here unread before the server pauses it.
        A call has no metadata of its own, the client's goes with the session; that of its answer is in the call's `metadata`.

        Raises:
            ConfigurationError: `timeout` cannot be used, or an option was given that only other calls have.
            InvalidRequest: The request is too large for a session, whose other calls go on.
            CallError: The session has ended or is about to.
            RuntimeError: The session was not entered.
        """
        if self._call is None:
            raise RuntimeError("enter the session first: `async with client.chat.session() as session`")
        arguments: dict[str, Any] = dict(params)
        timeout = session_timeout(self._core.settings, arguments)
        request = chat_request(model, messages, arguments)
        call, frame = self._state.begin(request, asyncio.Queue(), max(1, credit), timeout)
        self._frames.put_nowait(frame)
        return AsyncSessionCall(self, call)

    async def _read(self) -> None:
        ended: CallError = Unavailable(grpc.StatusCode.UNAVAILABLE, "The gateway closed the session.")
        try:
            while (frame := await self._call.read()) is not grpc.aio.EOF:
                self._state.receive(frame)
        except grpc.aio.AioRpcError as error:
            ended = aio_error_of(error)
        except asyncio.CancelledError:
            # grpcio reports a call that was cancelled locally as the task's own cancellation. It is not the session that
            # did: who closes that has said so.
            ended = closed()
            raise
        finally:
            self._state.end(ended)

    async def _write(self) -> None:
        while True:
            frame = await self._frames.get()
            try:
                await self._call.write(frame)
            except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
                # The reader knows why, and tells the calls.
                return

    def _send(self, frame: pb.ChatSessionRequest) -> None:
        self._frames.put_nowait(frame)

    def _abandon(self, call: CallState[asyncio.Queue[Event]]) -> None:
        if self._state.forget(call):
            self._send(call.cancel())

    async def close(self) -> None:
        """Cancels the calls in flight and ends the session."""
        self._state.end(closed("session"))
        if self._call is not None:
            self._call.cancel()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def __aenter__(self) -> Self:
        begin = self._core.channel.stream_stream(CHAT_SESSION.path, CHAT_SESSION.encode, CHAT_SESSION.decode)
        # Without a deadline of its own: each call has one.
        self._call = begin(metadata=tuple(self._core.settings.metadata(None)))
        self._tasks = [asyncio.create_task(self._read()), asyncio.create_task(self._write())]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()


class AsyncSessionCall:
    """One call of a session: its chunks, in order."""

    def __init__(self, session: AsyncSession, state: CallState[asyncio.Queue[Event]]) -> None:
        self._session = session
        self._state = state
        self._loop = asyncio.get_running_loop()

    @property
    def metadata(self) -> dict[str, str]:
        """`x-penstock-*` and `x-ratelimit-*`; complete when the call has ended."""
        return dict(self._state.metadata)

    def __aiter__(self) -> AsyncIterator[pb.ChatStreamResponse]:
        return self

    async def __anext__(self) -> pb.ChatStreamResponse:
        if self._state.has_ended:
            raise StopAsyncIteration
        try:
            async with asyncio.timeout(self._state.patience):
                event = await self._state.inbox.get()
        except TimeoutError:
            self.cancel()
            raise self._state.silent() from None
        except asyncio.CancelledError:
            self.cancel()
            raise
        if isinstance(event, pb.ChatStreamResponse):
            credit = self._state.read()
            if credit is not None:
                self._session._send(credit)
            return event
        self._state.has_ended = True
        if isinstance(event, CallError):
            raise event
        raise StopAsyncIteration

    def cancel(self) -> None:
        """Ends the call early. Iteration ends."""
        if not self._state.has_ended:
            self._state.has_ended = True
            self._session._abandon(self._state)
            # Wakes a task that waits for the next chunk.
            self._state.inbox.put_nowait(Done())

    close = cancel

    def __del__(self) -> None:
        # Nobody can read it any more: the provider need not go on, nor a parallel slot stay taken.
        if not self._state.has_ended:
            call_from_anywhere(self._loop, self._session._abandon, self._state)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.cancel()
