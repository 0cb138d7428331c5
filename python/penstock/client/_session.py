"""`Chat.Session` with threads: one that reads, and the callers' own."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Any, Final, Self, Unpack

import grpc

from penstock.client import _messages as pb
from penstock.client._attempts import closed, error_of
from penstock.client._calls import CHAT_SESSION, chat_request, session_timeout
from penstock.client._core import Core
from penstock.client._frames import DEFAULT_CREDIT, CallState, Done, Event, SessionState
from penstock.client._params import SessionParams
from penstock.client.errors import CallError, Unavailable

_JOIN_S: Final = 5.0
"""How long `close` waits for the reading thread, which has nothing left to do."""


class Session:
    """Many streamed calls on one HTTP/2 stream. Made by `client.chat.session()`; may be used by many threads.

    Calls of a session are not tried again. When it ends, so do they.
    """

    def __init__(self, core: Core) -> None:
        self._core = core
        self._state: SessionState[queue.SimpleQueue[Event]] = SessionState(core.settings.max_start)
        self._frames: queue.SimpleQueue[pb.ChatSessionRequest | None] = queue.SimpleQueue()
        self._order = threading.Lock()
        begin = core.channel.stream_stream(CHAT_SESSION.path, CHAT_SESSION.encode, CHAT_SESSION.decode)
        # Without a deadline of its own: each call has one.
        metadata = tuple(core.settings.metadata(None))
        self._call: Any = core.begin(begin, iter(self._frames.get, None), metadata=metadata)
        self._reader = threading.Thread(target=self._read, name="penstock-session", daemon=True)
        self._reader.start()

    def stream(
        self, *, model: str, messages: Iterable[object], credit: int = DEFAULT_CREDIT, **params: Unpack[SessionParams]
    ) -> SessionCall:
        """Begins a call. ``credit`` is how many of its chunks may wait here unread before the server pauses it.
        A call has no metadata of its own, the client's goes with the session; that of its answer is in the call's `metadata`.

        Raises:
            ConfigurationError: `timeout` cannot be used, or an option was given that only other calls have.
            InvalidRequest: The request is too large for a session, whose other calls go on.
            CallError: The session has ended or is about to.
        """
        arguments: dict[str, Any] = dict(params)
        timeout = session_timeout(self._core.settings, arguments)
        request = chat_request(model, messages, arguments)
        with self._order:
            call, frame = self._state.begin(request, queue.SimpleQueue(), max(1, credit), timeout)
            self._frames.put(frame)
        return SessionCall(self, call)

    def _read(self) -> None:
        ended: CallError = Unavailable(grpc.StatusCode.UNAVAILABLE, "The gateway closed the session.")
        try:
            for frame in self._call:
                self._state.receive(frame)
        except grpc.RpcError as error:
            ended = error_of(error)
        finally:
            self._state.end(ended)
            self._frames.put(None)

    def _send(self, frame: pb.ChatSessionRequest) -> None:
        self._frames.put(frame)

    def _abandon(self, call: CallState[queue.SimpleQueue[Event]]) -> None:
        if self._state.forget(call):
            self._send(call.cancel())

    def close(self) -> None:
        """Cancels the calls in flight and ends the session."""
        self._state.end(closed("session"))
        # Before the end of the frames: that would half-close the stream and ask the server to serve the calls to their end.
        self._call.cancel()
        self._frames.put(None)
        self._reader.join(_JOIN_S)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


class SessionCall:
    """One call of a session: its chunks, in order."""

    def __init__(self, session: Session, state: CallState[queue.SimpleQueue[Event]]) -> None:
        self._session = session
        self._state = state

    @property
    def metadata(self) -> dict[str, str]:
        """`x-penstock-*` and `x-ratelimit-*`; complete when the call has ended."""
        return dict(self._state.metadata)

    def __iter__(self) -> Iterator[pb.ChatStreamResponse]:
        return self

    def __next__(self) -> pb.ChatStreamResponse:
        if self._state.has_ended:
            raise StopIteration
        try:
            event = self._state.inbox.get(timeout=self._state.patience)
        except queue.Empty:
            self.cancel()
            raise self._state.silent() from None
        if isinstance(event, pb.ChatStreamResponse):
            credit = self._state.read()
            if credit is not None:
                self._session._send(credit)
            return event
        self._state.has_ended = True
        if isinstance(event, CallError):
            raise event
        raise StopIteration

    def cancel(self) -> None:
        """Ends the call early. Iteration ends."""
        if not self._state.has_ended:
            self._state.has_ended = True
            self._session._abandon(self._state)
            # Wakes a thread that waits for the next chunk.
            self._state.inbox.put_nowait(Done())

    close = cancel

    def __del__(self) -> None:
        # Nobody can read it any more: the provider need not go on, nor a parallel slot stay taken.
        if not self._state.has_ended:
            self._session._abandon(self._state)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.cancel()
