"""Waiting for answers with threads: what the sync client adds to the parts that both share."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any, Generic, Protocol, Self, TypeVar

import grpc

from penstock.client._attempts import Attempts, closed, error_of
from penstock.client._calls import Answer, Method, Options, Request
from penstock.client._retry import RetryBudget
from penstock.client._settings import Settings, text_metadata

T = TypeVar("T")


class StreamingCall(Protocol):
    """A call of grpcio with many answers."""

    def __next__(self) -> Any: ...
    def cancel(self) -> bool: ...
    def initial_metadata(self) -> Any: ...
    def trailing_metadata(self) -> Any: ...


class Core:
    """A channel, and calls on it with retries and deadlines."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._budget = RetryBudget()
        self._is_closed = False
        self._pauses: set[threading.Event] = set()
        self._lock = threading.Lock()
        make: Any = grpc.secure_channel if settings.is_secure else grpc.insecure_channel
        credentials = (settings.credentials,) if settings.is_secure else ()
        self.channel: grpc.Channel = make(
            settings.address, *credentials, options=settings.options, compression=settings.compression
        )

    def unary(self, method: Method[Request, Answer], request: Request, options: Options) -> Answer:
        """One answer.

        Raises:
            CallError: The last attempt's.
        """
        call = self.channel.unary_unary(method.path, method.encode, method.decode)
        attempts = Attempts(self._budget, options)
        while True:
            try:
                answer, done = self.begin(
                    call.with_call, request, timeout=attempts.remaining, metadata=tuple(options.metadata)
                )
            except grpc.RpcError as error:
                self.pause(attempts.wait_after(error_of(error)), threading.Event())
                continue
            attempts.succeeded()
            if options.on_metadata is not None:
                options.on_metadata(
                    {**text_metadata(done.initial_metadata()), **text_metadata(done.trailing_metadata())}
                )
            whole: Answer = answer
            return whole

    def stream(self, method: Method[Request, Answer], request: Request, options: Options) -> Stream[Answer]:
        """Many answers. Nothing is sent before the first is asked for."""
        call = self.channel.unary_stream(method.path, method.encode, method.decode)

        def start(timeout: float) -> StreamingCall:
            begun: StreamingCall = self.begin(call, request, timeout=timeout, metadata=tuple(options.metadata))
            return begun

        return Stream(start, self.pause, Attempts(self._budget, options), options)

    def begin(self, call: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
        """Makes a call of grpcio's.

        Raises:
            CallError: The client is closed, or is being closed by another thread.
        """
        if self._is_closed:
            raise closed()
        try:
            return call(*arguments, **named)
        except ValueError as error:
            # grpcio's word for a channel that was closed. It has the same for arguments.
            if self._is_closed:
                raise closed() from error
            raise

    def pause(self, seconds: float, over: threading.Event) -> None:
        """Waits; less long when ``over`` is set, which closing the client does too."""
        with self._lock:
            if self._is_closed:
                return
            self._pauses.add(over)
        try:
            over.wait(seconds)
        finally:
            with self._lock:
                self._pauses.discard(over)

    def close(self) -> None:
        """Cancels what is in flight and closes the connections."""
        with self._lock:
            self._is_closed = True
            for over in self._pauses:
                over.set()
        self.channel.close()


class Stream(Generic[T]):
    """The answers of a streamed call, in order. Leaving its `with` block, or `close`, cancels what is not yet read.

    A stream is tried again only until its first message; what breaks later is raised where the messages were read.
    """

    def __init__(
        self,
        start: Callable[[float], StreamingCall],
        pause: Callable[[float, threading.Event], None],
        attempts: Attempts,
        options: Options,
    ) -> None:
        self._start = start
        self._pause = pause
        self._attempts = attempts
        self._options = options
        self._call: StreamingCall | None = None
        self._has_begun = False
        self._is_over = False
        self._wake = threading.Event()
        """Ends the pause before another attempt."""

    def __iter__(self) -> Iterator[T]:
        return self

    def __next__(self) -> T:
        while not self._is_over:
            if self._call is None:
                self._call = self._start(self._attempts.remaining)
                if self._was_closed():
                    # While it was begun: who closed the stream saw no call to cancel.
                    self._call.cancel()
                    break
            try:
                item: T = next(self._call)
            except StopIteration:
                self._is_over = True
                self._attempts.succeeded()
                self._tell()
                break
            except grpc.RpcError as error:
                if self._was_closed():
                    break
                failure = error_of(error)
                if self._has_begun:
                    self._is_over = True
                    raise failure from error
                try:
                    wait = self._attempts.wait_after(failure)
                except type(failure):
                    self._is_over = True
                    raise
                self._call = None
                self._pause(wait, self._wake)
                continue
            self._has_begun = True
            return item
        raise StopIteration

    def _was_closed(self) -> bool:
        """By another thread, while this one waited."""
        return self._is_over

    def _tell(self) -> None:
        if self._options.on_metadata is not None:
            self._options.on_metadata({**self.metadata, **self.trailing_metadata})

    @property
    def metadata(self) -> dict[str, str]:
        """Initial metadata; empty before the first message."""
        return text_metadata(self._call.initial_metadata()) if self._call is not None and self._is_known else {}

    @property
    def trailing_metadata(self) -> dict[str, str]:
        """Trailing metadata; empty before the stream's end."""
        return text_metadata(self._call.trailing_metadata()) if self._call is not None and self._is_over else {}

    @property
    def _is_known(self) -> bool:
        # grpcio's accessor waits for what has not come yet.
        return self._has_begun or self._is_over

    def close(self) -> None:
        """Cancels the call if it is still running. Iteration ends."""
        if not self._is_over:
            self._is_over = True
            self._wake.set()
            call = self._call
            if call is not None:
                call.cancel()

    cancel = close

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
