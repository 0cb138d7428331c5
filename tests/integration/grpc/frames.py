"""gRPC by hand over HTTP/2: what grpcio would never send, and every byte of what comes back."""

from __future__ import annotations

import base64
import gzip
import struct
import urllib.parse
from collections.abc import Callable
from typing import Any

import h2.events
from google.protobuf.message import Message

from tests.conftest import Gateway
from tests.integration.grpc.calls import Details
from tests.integration.listener import wire
from tests.integration.listener.h2client import H2Client
from tests.integration.listener.wire import Broken

_GOAWAY = 7
Fields = list[tuple[str, str]]


def frame(message: bytes | Message, flag: int = 0) -> bytes:
    """A length-prefixed message."""
    data = message if isinstance(message, bytes) else message.SerializeToString()
    return struct.pack(">BI", flag, len(data)) + data


def zipped(message: bytes | Message) -> bytes:
    """A length-prefixed message, compressed."""
    data = message if isinstance(message, bytes) else message.SerializeToString()
    return frame(gzip.compress(data), 1)


def unframe(body: bytes) -> list[tuple[int, bytes]]:
    """Flag and payload of each message; fails on a rest."""
    found = []
    while body:
        assert len(body) >= 5, f"a prefix was cut: {body!r}"
        flag, size = struct.unpack(">BI", body[:5])
        assert len(body) >= 5 + size, f"a message was cut: {len(body) - 5} of {size} bytes"
        found.append((flag, body[5 : 5 + size]))
        body = body[5 + size :]
    return found


class Raw(H2Client):
    """One connection of a client that knows gRPC no better than the test."""

    def __init__(self, gateway: Gateway, *, receive_buffer: int | None = None, greedy: bool = True) -> None:
        self.trailers: dict[int, dict[str, str]] = {}
        self.pongs = 0
        self.goaways: list[tuple[int, int]] = []
        """Code and last stream of each GOAWAY."""
        self._unread = b""
        self.key = gateway.admin_key
        super().__init__(wire.connect(gateway.url, receive_buffer=receive_buffer).sock, greedy=greedy, validate=False)

    def pump(self) -> None:
        """Read once. GOAWAYs are kept from the library, which takes nothing more after one."""
        data = self.sock.recv(262_144)
        if not data:
            raise Broken("the server has closed")
        self._unread += data
        passed = b""
        while len(self._unread) >= 9:
            size = 9 + int.from_bytes(self._unread[:3], "big")
            if len(self._unread) < size:
                break
            whole, self._unread = self._unread[:size], self._unread[size:]
            if whole[3] == _GOAWAY:
                last, code = struct.unpack(">II", whole[9:17])
                self.goaways.append((code, last))
                self.goaway = code
            else:
                passed += whole
        for event in self.connection.receive_data(passed):
            self._take(event)
        self.flush()

    def _take(self, event: Any) -> None:
        if isinstance(event, h2.events.TrailersReceived):
            self.trailers[event.stream_id] = {str(name): str(value) for name, value in event.headers or ()}
        elif isinstance(event, h2.events.PingAckReceived):
            self.pongs += 1
        else:
            super()._take(event)

    def write(self, number: int, data: bytes, *, end: bool = True) -> None:
        """Sends as flow control allows; stops when the answer is there already."""
        stream = self.streams[number]
        sent = 0
        while sent < len(data) and not stream.ended and stream.reset is None:
            room = min(self.connection.local_flow_control_window(number), len(data) - sent, 16_384)
            if room == 0:
                self.pump()
                continue
            super().write(number, data[sent : sent + room], end=False)
            sent += room
        if end and stream.reset is None:
            super().write(number, b"")

    def begin(
        self,
        path: str,
        body: bytes | None = None,
        *,
        end: bool = True,
        method: str = "POST",
        content_type: str | None = "application/grpc",
        key: str | None = None,
        more: Fields | None = None,
        without: tuple[str, ...] = (),
    ) -> int:
        """Begins a call; an empty key sends none."""
        key = self.key if key is None else key
        fields: Fields = [("te", "trailers")]
        if content_type is not None:
            fields.append(("content-type", content_type))
        if key:
            fields.append(("authorization", f"Bearer {key}"))
        kept = [(name, value) for name, value in fields if name not in without]
        return self.open(method, path, body=body, end=end, extra=kept + (more or []))

    def end(self, number: int) -> Reply:
        """Reads to a call's end."""
        stream = self.answer(number)
        return Reply(stream.headers, stream.body, self.trailers.get(number, {}), stream.reset)

    def ask(self, path: str, body: bytes, **options: Any) -> Reply:
        """A call to its end; the options of :meth:`begin`."""
        return self.end(self.begin(path, body, **options))

    def wait(self, condition: Callable[[], Any]) -> None:
        """Reads until something is so."""
        while not condition():
            self.pump()


class Reply:
    """The answer to a call, as it came."""

    def __init__(self, headers: dict[str, str], body: bytes, trailers: dict[str, str], reset: int | None) -> None:
        self.headers = headers
        self.body = body
        self.trailers = trailers
        self.reset = reset

    def __repr__(self) -> str:
        return f"<{self.headers} {self.body[:200]!r} {self.trailers} reset={self.reset}>"

    @property
    def http_status(self) -> int:
        """Of HTTP."""
        return int(self.headers[":status"])

    @property
    def end(self) -> dict[str, str]:
        """Where the status is: the trailers, or the head of an answer that has nothing else."""
        return self.trailers or self.headers

    @property
    def status(self) -> int:
        """Of gRPC; -1 without one."""
        return int(self.end.get("grpc-status", -1))

    @property
    def message(self) -> str:
        """Decoded."""
        return urllib.parse.unquote(self.end.get("grpc-message", ""), errors="strict")

    @property
    def details(self) -> Details:
        """Of an error."""
        text = self.end.get("grpc-status-details-bin", "")
        return Details.read(base64.b64decode(text + "=" * (-len(text) % 4)))

    @property
    def messages(self) -> list[tuple[int, bytes]]:
        """Flag and payload of each."""
        return unframe(self.body)
