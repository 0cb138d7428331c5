"""Both ends of a gateway's calls, in one thread and in step: neither says anything before the other has heard the last.

Apart from the simulator and the load generator because those two run at a pace of their own, so that how many frames a
gateway finds in its socket at once, and with that its instructions and system calls, differs from run to run. Here it
is always one.
"""

from __future__ import annotations

import json
import select
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

TIMEOUT_S = 20.0
"""For one step; a gateway under valgrind takes some milliseconds."""

PROMPT = "Which gate of the penstock closes first when the governor trips, and how long may it take?"
_CLIENT_HEADERS = {
    "accept": "application/json",
    "accept-encoding": "gzip, deflate",
    "connection": "keep-alive",
    "content-type": "application/json",
    "user-agent": "OpenAI/Python 2.11.0",
    "x-stainless-arch": "x64",
    "x-stainless-async": "false",
    "x-stainless-lang": "python",
    "x-stainless-os": "Linux",
    "x-stainless-package-version": "2.11.0",
    "x-stainless-read-timeout": "600",
    "x-stainless-retry-count": "0",
    "x-stainless-runtime": "CPython",
    "x-stainless-runtime-version": "3.12.4",
}
_UPSTREAM_HEADERS = {
    "date": "Thu, 09 Oct 2025 08:53:20 GMT",
    "openai-organization": "org-example",
    "openai-processing-ms": "412",
    "openai-version": "2020-10-01",
    "x-ratelimit-limit-requests": "10000",
    "x-ratelimit-limit-tokens": "2000000",
    "x-ratelimit-remaining-requests": "9999",
    "x-ratelimit-remaining-tokens": "1999742",
    "x-request-id": "req_5f1c2a7be6d94c0f",
    "strict-transport-security": "max-age=31536000; includeSubDomains; preload",
}
WORDS = "The intake gate, within twelve seconds."
ANSWER = {
    "id": "chatcmpl-9f3a",
    "object": "chat.completion",
    "created": 1760000000,
    "model": "gpt-4o-mini-2024-07-18",
    "choices": [
        {
            "index": 0,
            "message": {"role": "assistant", "content": WORDS, "refusal": None},
            "logprobs": None,
            "finish_reason": "stop",
        }
    ],
    "usage": {"prompt_tokens": 26, "completion_tokens": 9, "total_tokens": 35},
    "system_fingerprint": "fp_44709d6fcb",
}


class OutOfStepError(AssertionError):
    """The gateway closed, or sent something else than what had to come next."""


class Upstream:
    """The provider's end. It listens; who answers it is told by :class:`Caller`."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(TIMEOUT_S)
        self._connection: socket.socket | None = None
        self.port: int = self._listener.getsockname()[1]
        self.connections = 0
        """Accepted so far."""
        self.closes = False
        """Answer with `connection: close`: the next call finds no connection to reuse."""

    def close(self) -> None:
        """Close everything."""
        if self._connection is not None:
            self._connection.close()
        self._listener.close()

    def receive(self) -> bytes:
        """The body of the next request, on the connection that exists or a new one."""
        while True:
            known = [self._listener] if self._connection is None else [self._listener, self._connection]
            ready, _, _ = select.select(known, [], [], TIMEOUT_S)
            if not ready:
                raise OutOfStepError("the gateway did not call the upstream")
            if self._listener in ready:
                if self._connection is not None:
                    self._connection.close()
                self._connection = _accepted(self._listener)
                self.connections += 1
            assert self._connection is not None
            begun = self._connection.recv(65536)
            if begun:
                return _whole(self._connection, begun)
            self._connection.close()
            self._connection = None

    def send(self, data: bytes) -> None:
        """A piece of the answer, in one write."""
        assert self._connection is not None
        self._connection.sendall(data)

    def done(self) -> None:
        """The answer is complete."""
        if self.closes and self._connection is not None:
            self._connection.close()
            self._connection = None

    def head(self, **headers: str) -> bytes:
        """The head of an answer."""
        fields = {**_UPSTREAM_HEADERS, **headers, "connection": "close" if self.closes else "keep-alive"}
        return _head("HTTP/1.1 200 OK", fields)


class Caller:
    """The client's end of one connection, and with it what the upstream does meanwhile."""

    def __init__(self, port: int, key: str, upstream: Upstream, model: str = "guarded") -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), TIMEOUT_S)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._upstream = upstream
        self._port = port
        self._key = key
        self._model = model

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()

    def unary(self) -> None:
        """One call whose answer is one document."""
        self._request()
        self._upstream.receive()
        body = json.dumps(ANSWER).encode()
        head = self._upstream.head(**{"content-type": "application/json", "content-length": str(len(body))})
        self._upstream.send(head + body)
        self._upstream.done()
        answer = _whole(self._socket, b"")
        if answer != body:
            raise OutOfStepError(f"the answer is not the upstream's: {answer[:400]!r}")

    def refused(self, status: int) -> None:
        """One call that the gateway refuses by itself, with this status."""
        self._request()
        answer = self._read_until(b"\r\n\r\n", b"}")
        if not answer.startswith(b"HTTP/1.1 %d " % status):
            raise OutOfStepError(f"not refused with {status}: {answer[:400]!r}")

    def stream(self, frames: int) -> None:
        """One call whose answer is a stream: `frames` deltas, each read before the next one is sent, and the end."""
        self._request(stream=True)
        self._upstream.receive()
        head = self._upstream.head(**{"content-type": "text/event-stream", "transfer-encoding": "chunked"})
        self._upstream.send(head + chunk(delta(0)))
        seen = self._read_until(b'" word0"')
        if not seen.startswith(b"HTTP/1.1 200 "):
            raise OutOfStepError(f"not a stream: {seen[:400]!r}")
        for number in range(1, frames):
            self._upstream.send(chunk(delta(number)))
            self._read_until(b'" word%d"' % number)
        usage = {"prompt_tokens": 26, "completion_tokens": frames, "total_tokens": 26 + frames}
        ending = [event(finish="stop"), event(usage=usage), b"data: [DONE]\n\n"]
        self._upstream.send(b"".join(chunk(event) for event in ending) + b"0\r\n\r\n")
        self._upstream.done()
        self._read_until(b"data: [DONE]", b"\r\n0\r\n\r\n")

    def _request(self, **fields: Any) -> None:
        body = json.dumps(
            {
                "model": self._model,
                "messages": [
                    {"role": "system", "content": "You answer in one sentence."},
                    {"role": "user", "content": PROMPT},
                ],
                "max_tokens": 256,
                "temperature": 0.2,
                **fields,
            }
        ).encode()
        headers = {
            "host": f"127.0.0.1:{self._port}",
            "authorization": f"Bearer {self._key}",
            **_CLIENT_HEADERS,
            "content-length": str(len(body)),
        }
        self._socket.sendall(_head("POST /v1/chat/completions HTTP/1.1", headers) + body)

    def _read_until(self, mark: bytes, end: bytes = b"\n\n\r\n") -> bytes:
        """Read what contains ``mark`` and then ends so."""
        read = b""
        while mark not in read or not read.endswith(end):
            piece = self._socket.recv(65536)
            if not piece:
                raise OutOfStepError(f"closed while waiting for {mark!r}: {read[-400:]!r}")
            read += piece
        return read


@contextmanager
def upstream() -> Iterator[Upstream]:
    """An upstream for the time of a test."""
    opened = Upstream()
    try:
        yield opened
    finally:
        opened.close()


@contextmanager
def caller(port: int, key: str, upstream: Upstream) -> Iterator[Caller]:
    """A connection for the time of a test."""
    connected = Caller(port, key, upstream)
    try:
        yield connected
    finally:
        connected.close()


def _accepted(listener: socket.socket) -> socket.socket:
    connection, _ = listener.accept()
    connection.settimeout(TIMEOUT_S)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def _head(first_line: str, headers: dict[str, str]) -> bytes:
    lines = [first_line, *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode()


def _whole(connection: socket.socket, read: bytes) -> bytes:
    """The body of a message with a content length, of which some was read already."""
    while b"\r\n\r\n" not in read:
        read += _more(connection, read)
    head, _, body = read.partition(b"\r\n\r\n")
    fields = dict(line.split(": ", 1) for line in head.decode("latin-1").split("\r\n")[1:])
    length = int({name.lower(): value for name, value in fields.items()}["content-length"])
    while len(body) < length:
        body += _more(connection, body)
    return body


def _more(connection: socket.socket, read: bytes) -> bytes:
    piece = connection.recv(65536)
    if not piece:
        raise OutOfStepError(f"closed in the middle of a message: {read[-400:]!r}")
    return piece


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


def delta(number: int) -> bytes:
    return event(delta={"content": f" word{number}"})


def event(delta: dict[str, str] | None = None, finish: str | None = None, usage: dict[str, int] | None = None) -> bytes:
    choice = {"index": 0, "delta": delta or {}, "logprobs": None, "finish_reason": finish}
    event = {
        "id": "chatcmpl-9f3a",
        "object": "chat.completion.chunk",
        "created": 1760000000,
        "model": "gpt-4o-mini-2024-07-18",
        "system_fingerprint": "fp_44709d6fcb",
        "choices": [] if usage else [choice],
        "usage": usage,
    }
    return b"data: %s\n\n" % json.dumps(event, separators=(",", ":")).encode()
