"""Frames of `Chat.Session` without the waiting: ids, credits and which frame belongs to which call."""

from __future__ import annotations

import copy
import itertools
import threading
import time
from typing import Final, Generic, Protocol, TypeVar

import grpc

from penstock.client import _messages as pb
from penstock.client._settings import MAX_SEND
from penstock.client.errors import CallError, DeadlineExceeded, InvalidRequest, Unavailable, from_session

DEFAULT_CREDIT: Final = 64
"""Chunks of a call that may wait here unread."""
_GRACE_S: Final = 2.0
"""How much longer than its deadline a call waits for the server to say so itself."""


class Done:
    """A call ended well."""


Event = pb.ChatStreamResponse | CallError | Done


class Inbox(Protocol):
    """Where the events of a call wait."""

    def put_nowait(self, item: Event, /) -> None:
        """Adds one."""
        ...


I = TypeVar("I", bound=Inbox)  # noqa: E741


class CallState(Generic[I]):
    """One call of a session."""

    def __init__(self, id: int, inbox: I, credit: int, timeout: float) -> None:
        self.id = id
        self.inbox = inbox
        self.metadata: dict[str, str] = {}
        """Of the answer; complete when the call has ended."""
        self.has_ended = False
        self._credit = credit
        self._read = 0
        self._deadline = time.monotonic() + timeout + _GRACE_S

    @property
    def patience(self) -> float:
        """Seconds until the call is given up without a word from the server."""
        return max(0.0, self._deadline - time.monotonic())

    def read(self) -> pb.ChatSessionRequest | None:
        """A chunk was read; the frame that gives credit back, once half of it is used up."""
        self._read += 1
        if self._read * 2 < self._credit:
            return None
        frame = pb.ChatSessionRequest(credit=pb.SessionCredit(id=self.id, credit=self._read))
        self._read = 0
        return frame

    def cancel(self) -> pb.ChatSessionRequest:
        """The frame that ends the call early."""
        return pb.ChatSessionRequest(cancel=pb.SessionCancel(id=self.id))

    def silent(self) -> CallError:
        """What the call ends with when the server does not say anything in time."""
        return DeadlineExceeded(grpc.StatusCode.DEADLINE_EXCEEDED, "The session said nothing before the deadline.")


class SessionState(Generic[I]):
    """The calls of a session. Safe to use from the thread that reads frames and those that begin calls.

    ``max_start``: bytes that the first frame of a call may have; None: any number.
    """

    def __init__(self, max_start: int | None = None) -> None:
        self._max_start = max_start
        self._calls: dict[int, CallState[I]] = {}
        self._ids = itertools.count(1)
        # Calls that nobody reads are forgotten as they are collected, which may be while this thread has the lock.
        self._lock = threading.RLock()
        self._failure: CallError | None = None
        """Never raised itself: each call has a copy, or their tracebacks would be one and keep all of them alive."""
        self._is_over = False

    def begin(
        self, request: pb.ChatCreateRequest, inbox: I, credit: int, timeout: float
    ) -> tuple[CallState[I], pb.ChatSessionRequest]:
        """A new call and its first frame. Frames must be sent in the order of their ids, so callers hold a lock.

        Raises:
            InvalidRequest: The frame is larger than the gateway takes, which is known without sending it.
            CallError: The session has ended or is about to.
        """
        with self._lock:
            if self._failure is not None:
                raise copy.copy(self._failure)
            call = CallState(next(self._ids), inbox, credit, timeout)
            self._calls[call.id] = call
        start = pb.SessionStart(id=call.id, request=request, credit=credit)
        start.timeout.FromNanoseconds(int(timeout * 1e9))
        frame = pb.ChatSessionRequest(start=start)
        if self._max_start is not None and (size := frame.ByteSize()) > self._max_start:
            self.forget(call)
            raise _too_large(size, self._max_start)
        return call, frame

    def receive(self, frame: pb.ChatSessionResponse) -> None:
        """Puts a frame into the inbox of its call. Frames of calls that ended here already are dropped."""
        match frame.WhichOneof("frame"):
            case "opened":
                call = self._calls.get(frame.opened.id)
                if call is not None:
                    call.metadata.update(frame.opened.metadata)
            case "delta":
                call = self._calls.get(frame.delta.id)
                if call is not None:
                    call.inbox.put_nowait(frame.delta.chunk)
            case "done":
                self._end(frame.done.id, Done(), dict(frame.done.metadata))
            case "error":
                known = self._calls.get(frame.error.id)
                metadata = {**(known.metadata if known else {}), **frame.error.metadata}
                self._end(frame.error.id, from_session(frame.error.status, metadata), metadata)
            case "draining":
                with self._lock:
                    self._failure = Unavailable(
                        grpc.StatusCode.UNAVAILABLE, "The gateway is closing the session; open a new one."
                    )
            case _:
                # A frame of a later version: nothing that a call of this version waits for.
                return

    def _end(self, id: int, event: Event, metadata: dict[str, str]) -> None:
        with self._lock:
            call = self._calls.pop(id, None)
        if call is not None:
            call.metadata.update(metadata)
            call.inbox.put_nowait(event)

    def forget(self, call: CallState[I]) -> bool:
        """What still comes for this call is dropped. False: it was over already."""
        with self._lock:
            return self._calls.pop(call.id, None) is not None

    def end(self, error: CallError) -> None:
        """The session is over; so are its calls. The first to say so knows why."""
        with self._lock:
            if not self._is_over:
                self._is_over, self._failure = True, error
            calls = list(self._calls.values())
            self._calls.clear()
        for call in calls:
            call.inbox.put_nowait(copy.copy(error))


def _too_large(size: int, most: int) -> CallError:
    return InvalidRequest(
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        f"The request has {size} bytes, larger than max ({most}) of a session; use `chat.stream` or `chat.create`, or, where "
        f"the gateway's `max_body_mb` is larger, set `{MAX_SEND}` in `channel_options`.",
    )
