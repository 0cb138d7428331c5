"""The second door: calls that arrived at an ASGI server are run by the data plane and their answers sent back.

Bytes and header order are kept. The data plane may be at most a few pieces ahead of the client: credit is
granted only after the server has taken a piece, so that a slow reader slows the upstream down.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from penstock.errors import error_body

if TYPE_CHECKING:
    from litestar.types import HTTPScope, Receive, Send

_CREDIT_STEP = 4


class CallRunner(Protocol):
    """The part of `penstock._core.Engine` that runs calls from another listener."""

    def submit(self, method: str, target: str, headers: list[tuple[bytes, bytes]], body: bytes, client: str) -> int:
        """Begin a call."""

    def credit(self, id: int, count: int) -> None:
        """Allow more pieces."""

    def cancel(self, id: int) -> None:
        """The client has gone."""


class _Head(msgspec.Struct):
    status: int
    headers: list[tuple[str, str]]


class BrokenAnswer(Exception):
    """The answer was cut after it had begun; the server must break the connection off."""


_head_decoder = msgspec.json.Decoder(_Head)


class _Call:
    """One call's events, from the pump to the coroutine that sends them."""

    __slots__ = ("_events", "_waiter")

    def __init__(self) -> None:
        self._events: deque[tuple[str, bytes]] = deque()
        self._waiter: asyncio.Future[None] | None = None

    def put(self, kind: str, payload: bytes) -> None:
        self._events.append((kind, payload))
        self.wake()

    def wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def next(self) -> tuple[str, bytes] | None:
        """The next event; None when something else woke the call."""
        if not self._events:
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
            self._waiter = None
        return self._events.popleft() if self._events else None


class Bridge:
    """Runs calls on the data plane for an ASGI server."""

    def __init__(self, runner: CallRunner, max_body_bytes: int) -> None:
        self._runner = runner
        self._max_body = max_body_bytes
        self._calls: dict[int, _Call] = {}

    @property
    def in_flight(self) -> int:
        """Calls whose answers are not complete."""
        return len(self._calls)

    def deliver(self, id: int, kind: str, payload: bytes) -> None:
        """Take a `call.*` event from the pump; events of calls given up are dropped."""
        call = self._calls.get(id)
        if call is not None:
            call.put(kind, payload)

    async def run(self, scope: HTTPScope, receive: Receive, send: Send) -> None:
        """Answer one HTTP request.

        Raises:
            BrokenAnswer: the answer was cut; its head had been sent.
        """
        body = await self._read_body(receive, send)
        if body is None:
            return
        call = _Call()
        id = self._runner.submit(
            str(scope["method"]),
            _target(scope),
            [(bytes(n), bytes(v)) for n, v in scope["headers"]],
            body,
            _peer(scope),
        )
        self._calls[id] = call
        disconnect = asyncio.ensure_future(receive())
        disconnect.add_done_callback(lambda _: call.wake())
        finished = False
        try:
            finished = await self._relay(id, call, disconnect, send)
        finally:
            del self._calls[id]
            if not finished:
                self._runner.cancel(id)
            disconnect.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await disconnect

    async def _relay(self, id: int, call: _Call, disconnect: asyncio.Future[Any], send: Send) -> bool:
        """Send events until the end; True when the data plane has nothing more to say."""
        has_begun = False
        taken = 0
        while True:
            event = await call.next()
            if disconnect.done():
                return False
            if event is None:
                continue
            kind, payload = event
            if kind == "call.data":
                await send({"type": "http.response.body", "body": payload, "more_body": True})
                taken += 1
                if taken == _CREDIT_STEP:
                    self._runner.credit(id, taken)
                    taken = 0
            elif kind == "call.head":
                head = _head_decoder.decode(payload)
                headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in head.headers]
                await send({"type": "http.response.start", "status": head.status, "headers": headers})
                has_begun = True
            elif kind == "call.end":
                await send({"type": "http.response.body", "body": b"", "more_body": False})
                return True
            else:
                if has_begun:
                    raise BrokenAnswer
                await _refuse(send, 502, "The call ended without an answer.", "internal_server_error")
                return True

    async def _read_body(self, receive: Receive, send: Send) -> bytes | None:
        """The whole body; None when the client has gone or was refused."""
        parts: list[bytes] = []
        size = 0
        while True:
            message: Any = await receive()
            if message["type"] == "http.disconnect":
                return None
            part = message.get("body", b"")
            size += len(part)
            if size > self._max_body:
                await _refuse(
                    send, 413, f"The request body is larger than {self._max_body} bytes.", "invalid_request_error"
                )
                return None
            if part:
                parts.append(part)
            if not message.get("more_body", False):
                return parts[0] if len(parts) == 1 else b"".join(parts)


def _target(scope: HTTPScope) -> str:
    raw: bytes = scope.get("raw_path") or scope["path"].encode()
    query = scope["query_string"]
    return (raw + b"?" + query if query else raw).decode("latin-1")


def _peer(scope: HTTPScope) -> str:
    client = scope.get("client")
    return str(client[0]) if client else ""


async def _refuse(send: Send, status: int, message: str, type: str) -> None:
    body = msgspec.json.encode(error_body(status, message, type))
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})
