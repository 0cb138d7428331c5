"""The client's end of a gRPC connection, in step with the upstream as :mod:`tests.guards.lockstep` is over REST."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import h2.config
import h2.connection
import h2.events

from penstock.client import ChatCreateRequest
from tests.guards.lockstep import ANSWER, PROMPT, TIMEOUT_S, WORDS, OutOfStepError, Upstream, chunk, delta, event

_METADATA = [
    ("te", "trailers"),
    ("content-type", "application/grpc"),
    ("user-agent", "grpc-python/1.80.0 grpc-c/51.0.0 (linux)"),
]
_UNACKNOWLEDGED = 32 * 1024
"""Bytes after which the client lets the gateway send more, as gRPC's libraries do: not after each message."""


class GrpcCaller:
    """One HTTP/2 connection with one call at a time."""

    def __init__(self, port: int, key: str, upstream: Upstream, model: str = "guarded") -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), TIMEOUT_S)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._connection = h2.connection.H2Connection(h2.config.H2Configuration())
        self._connection.initiate_connection()
        self._upstream = upstream
        self._authority = f"127.0.0.1:{port}"
        self._key = key
        request = ChatCreateRequest(model=model, max_tokens=256, temperature=0.2)
        request.messages.add(role="system", text="You answer in one sentence.")
        request.messages.add(role="user", text=PROMPT)
        message = request.SerializeToString()
        self._message = b"\0" + len(message).to_bytes(4, "big") + message
        self._unacknowledged = 0
        self._status: str | None = None
        self._ended = True

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()

    def unary(self) -> None:
        """One `Chat.Create`."""
        self._call("Create")
        self._upstream.receive()
        body = json.dumps(ANSWER).encode()
        head = self._upstream.head(**{"content-type": "application/json", "content-length": str(len(body))})
        self._upstream.send(head + body)
        self._upstream.done()
        self._until(WORDS.encode())
        self._end()

    def stream(self, messages: int) -> None:
        """One `Chat.Stream`: `messages` deltas, each read before the next one is sent, and the end."""
        self._call("Stream")
        self._upstream.receive()
        head = self._upstream.head(**{"content-type": "text/event-stream", "transfer-encoding": "chunked"})
        self._upstream.send(head + chunk(delta(0)))
        self._until(b" word0")
        for number in range(1, messages):
            self._upstream.send(chunk(delta(number)))
            self._until(b" word%d" % number)
        usage = {"prompt_tokens": 26, "completion_tokens": messages, "total_tokens": 26 + messages}
        ending = [event(finish="stop"), event(usage=usage), b"data: [DONE]\n\n"]
        self._upstream.send(b"".join(chunk(e) for e in ending) + b"0\r\n\r\n")
        self._upstream.done()
        self._end()

    def _call(self, method: str) -> None:
        stream = self._connection.get_next_available_stream_id()
        self._status, self._ended = None, False
        self._connection.send_headers(
            stream,
            [
                (":method", "POST"),
                (":scheme", "http"),
                (":path", f"/penstock.v1.Chat/{method}"),
                (":authority", self._authority),
                ("authorization", f"Bearer {self._key}"),
                ("grpc-timeout", "60S"),
                *_METADATA,
            ],
        )
        self._connection.send_data(stream, self._message, end_stream=True)
        self._socket.sendall(self._connection.data_to_send())

    def _until(self, mark: bytes) -> None:
        """Read until the message that has ``mark`` was heard."""
        read = b""
        while mark not in read:
            read += self._more()
            if self._ended and mark not in read:
                raise OutOfStepError(f"status {self._status} while waiting for {mark!r}: {read[-400:]!r}")

    def _end(self) -> None:
        """Read until the call has its status, which must be OK."""
        while not self._ended:
            self._more()
        if self._status != "0":
            raise OutOfStepError(f"the call ended with status {self._status}")

    def _more(self) -> bytes:
        """What of messages is in the next piece."""
        piece = self._socket.recv(65536)
        if not piece:
            raise OutOfStepError("the gateway closed the connection")
        data = b""
        for happened in self._connection.receive_data(piece):
            if isinstance(happened, h2.events.DataReceived):
                data += happened.data
                self._unacknowledged += happened.flow_controlled_length
                if self._unacknowledged > _UNACKNOWLEDGED:
                    self._connection.increment_flow_control_window(self._unacknowledged)
                    self._unacknowledged = 0
            elif isinstance(happened, h2.events.ResponseReceived | h2.events.TrailersReceived):
                for name, value in happened.headers or []:
                    if name == b"grpc-status":
                        self._status = value.decode()
            elif isinstance(happened, h2.events.StreamEnded):
                self._ended = True
        if answer := self._connection.data_to_send():
            self._socket.sendall(answer)
        return data


@contextmanager
def grpc_caller(port: int, key: str, upstream: Upstream) -> Iterator[GrpcCaller]:
    """A connection for the time of a test."""
    connected = GrpcCaller(port, key, upstream)
    try:
        yield connected
    finally:
        connected.close()
