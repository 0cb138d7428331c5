"""HTTP/1.x by hand over a socket: no client library sends, or would show, what these tests are about."""

from __future__ import annotations

import contextlib
import json
import select
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from typing import Any, Self
from urllib.parse import urlsplit

_PATIENCE_S = 30.0


def pause(seconds: float) -> None:
    """Let other processes run between two looks at a condition."""
    select.select([], [], [], seconds)


def until(condition: Callable[[], Any], seconds: float = 30, what: str = "did not come about") -> Any:
    """The first truthy answer of ``condition``; fails after ``seconds``."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, what
        pause(0.01)
    return value


def settled(read: Callable[[], int], quiet: float = 0.7, seconds: float = 20) -> int:
    """The value of a counter once it has stood still for ``quiet`` seconds."""
    deadline, last, since = time.monotonic() + seconds, read(), time.monotonic()
    while time.monotonic() - since < quiet:
        assert time.monotonic() < deadline, f"still moving at {last}"
        pause(0.02)
        if (now := read()) != last:
            last, since = now, time.monotonic()
    return last


class Broken(Exception):
    """The other end left inside a message."""


class Message:
    """One request or answer: its start line, header lines in order, and body."""

    def __init__(self, start: str, fields: list[tuple[str, str]], body: bytes = b"") -> None:
        self.start = start
        self.fields = fields
        self.body = body

    @property
    def status(self) -> int:
        """Of an answer."""
        return int(self.start.split(" ", 2)[1])

    def all(self, name: str) -> list[str]:
        """Values of a field."""
        return [value for key, value in self.fields if key.lower() == name]

    def get(self, name: str) -> str | None:
        """First value of a field."""
        return next(iter(self.all(name)), None)

    def json(self) -> Any:
        """The body."""
        return json.loads(self.body)

    def __repr__(self) -> str:
        return f"<{self.start} {self.fields} {self.body[:200]!r}>"


class Wire:
    """One end of a connection, with what was read and not yet taken."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.sock.settimeout(_PATIENCE_S)
        self.buffer = b""

    def send(self, data: bytes | str) -> Wire:
        """All of it; an end that has closed already is not an error here but where its answer is missed."""
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self.sock.sendall(data.encode("latin-1") if isinstance(data, str) else data)
        return self

    def fill(self) -> bool:
        """Read once; False when the other end has closed."""
        try:
            data = self.sock.recv(262_144)
        except (ConnectionResetError, ssl.SSLEOFError):
            return False
        self.buffer += data
        return bool(data)

    def take(self, count: int) -> bytes:
        """Exactly so many bytes."""
        pieces, have = [self.buffer], len(self.buffer)
        while have < count:
            self.buffer = b""
            if not self.fill():
                raise Broken(f"wanted {count} bytes, got {have}: {b''.join(pieces)[:300]!r}")
            pieces.append(self.buffer)
            have += len(self.buffer)
        whole = b"".join(pieces)
        self.buffer = whole[count:]
        return whole[:count]

    def take_line(self, end: bytes = b"\r\n") -> bytes:
        """Up to ``end``, which is taken too and not returned."""
        while end not in self.buffer:
            if not self.fill():
                raise Broken(f"no end of line in {self.buffer[:300]!r}")
        line, _, self.buffer = self.buffer.partition(end)
        return line

    def head(self) -> Message | None:
        """The next message without its body; None when the other end closed before one."""
        while not self.buffer:
            if not self.fill():
                return None
        lines = self.take_line(b"\r\n\r\n").decode("latin-1").split("\r\n")
        fields = [(name, value.strip()) for name, _, value in (line.partition(":") for line in lines[1:])]
        return Message(lines[0], fields)

    def chunks(self) -> Iterator[bytes]:
        """The pieces of a chunked body as the other end cut them."""
        while size := int(self.take_line().split(b";")[0], 16):
            yield self.take(size)
            assert self.take(2) == b"\r\n"
        assert self.take(2) == b"\r\n"

    def read(self, *, bodiless: bool = False) -> Message | None:
        """The next message with its body. ``bodiless``: the answer to HEAD."""
        message = self.head()
        if message is None:
            return None
        is_answer = message.start.startswith("HTTP/")
        if bodiless or (is_answer and (message.status < 200 or message.status in (204, 304))):
            return message
        if message.get("transfer-encoding") == "chunked":
            message.body = b"".join(self.chunks())
        elif (length := message.get("content-length")) is not None:
            message.body = self.take(int(length))
        elif is_answer:
            message.body = self.rest()
        return message

    def answer(self, *, bodiless: bool = False) -> Message:
        """The next answer, which must come."""
        message = self.read(bodiless=bodiless)
        assert message is not None, "closed without an answer"
        return message

    def rest(self) -> bytes:
        """Everything until the other end closes."""
        while self.fill():
            pass
        taken, self.buffer = self.buffer, b""
        return taken

    def answers(self) -> list[Message]:
        """All answers until the other end closes, which it must."""
        found = []
        while (message := self.read()) is not None:
            found.append(message)
        return found

    def is_closed(self) -> bool:
        """The other end closes, with nothing more to say."""
        return self.buffer == b"" and not self.fill()

    def close(self) -> None:
        """Leave."""
        self.sock.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def connect(url: str, *, source: str | None = None, receive_buffer: int | None = None) -> Wire:
    """A plain connection to the port of a base URL."""
    parts = urlsplit(url)
    assert parts.hostname is not None
    sock = socket.socket()
    if receive_buffer is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    if source is not None:
        sock.bind((source, 0))
    sock.settimeout(_PATIENCE_S)
    sock.connect((parts.hostname, parts.port))
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return Wire(sock)


def chat(
    key: str, body: dict[str, Any] | bytes, *fields: str, path: str = "/v1/chat/completions", version: str = "1.1"
) -> bytes:
    """A whole request with a `Content-Length`."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = [
        f"POST {path} HTTP/{version}",
        "Host: gateway",
        f"Authorization: Bearer {key}",
        "Content-Type: application/json",
        f"Content-Length: {len(content)}",
        *fields,
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + content


def chunked(*pieces: bytes) -> bytes:
    """A chunked body."""
    return b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"
