"""HTTP/2 with prior knowledge over a socket, with flow control in the test's hands."""

from __future__ import annotations

import socket
from dataclasses import dataclass, field
from typing import Any, Self

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions

from tests.integration.listener.wire import Broken


@dataclass
class Stream:
    """What was received on a stream."""

    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    ended: bool = False
    reset: int | None = None

    @property
    def status(self) -> int:
        """Of the answer."""
        return int(self.headers[":status"])


class H2Client:
    """One connection. ``greedy``: received data is acknowledged at once."""

    def __init__(self, sock: socket.socket, *, greedy: bool = True, validate: bool = True) -> None:
        self.sock = sock
        self.sock.settimeout(30)
        config = h2.config.H2Configuration(
            header_encoding="utf-8", validate_outbound_headers=validate, normalize_outbound_headers=validate
        )
        self.connection = h2.connection.H2Connection(config)
        self.streams: dict[int, Stream] = {}
        self.greedy = greedy
        self.goaway: int | None = None
        self.settings: dict[int, int] = {}
        self.connection.initiate_connection()
        self.flush()

    def flush(self) -> None:
        """Send what is due."""
        self.sock.sendall(self.connection.data_to_send())

    def open(
        self,
        method: str,
        path: str,
        *,
        body: bytes | None = None,
        end: bool = True,
        authority: str = "gateway",
        extra: list[tuple[str, str]] | None = None,
    ) -> int:
        """Begin a request; with ``end`` it is complete."""
        number = self.connection.get_next_available_stream_id()
        self.streams[number] = Stream()
        pseudo = [(":method", method), (":scheme", "http"), (":path", path)]
        if authority:
            pseudo.append((":authority", authority))
        self.connection.send_headers(number, [*pseudo, *(extra or [])], end_stream=end and body is None)
        self.flush()
        if body is not None:
            self.write(number, body, end=end)
        return number

    def write(self, number: int, data: bytes, *, end: bool = True) -> None:
        """Send a body as flow control allows."""
        while data:
            room = min(
                self.connection.local_flow_control_window(number), self.connection.max_outbound_frame_size, len(data)
            )
            if room == 0:
                self.pump()
                continue
            self.connection.send_data(number, data[:room])
            self.flush()
            data = data[room:]
        if end:
            self.connection.end_stream(number)
            self.flush()

    def pump(self) -> None:
        """Read once and take in what it says."""
        data = self.sock.recv(262_144)
        if not data:
            raise Broken("the server has closed")
        for event in self.connection.receive_data(data):
            self._take(event)
        self.flush()

    def _take(self, event: Any) -> None:
        match event:
            case h2.events.ResponseReceived():
                self.streams[event.stream_id].headers = {str(name): str(value) for name, value in event.headers}
            case h2.events.DataReceived():
                self.streams[event.stream_id].body += event.data
                if self.greedy and event.flow_controlled_length:
                    self.connection.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            case h2.events.StreamEnded():
                self.streams[event.stream_id].ended = True
            case h2.events.StreamReset():
                self.streams[event.stream_id].reset = int(event.error_code)
            case h2.events.ConnectionTerminated():
                self.goaway = int(event.error_code or 0)
            case h2.events.RemoteSettingsChanged():
                self.settings |= {int(code): change.new_value for code, change in event.changed_settings.items()}

    def answer(self, number: int) -> Stream:
        """Read until a stream has ended or was reset."""
        stream = self.streams[number]
        while not stream.ended and stream.reset is None:
            self.pump()
        return stream

    def closed_with(self) -> int | None:
        """Read until the server closes; the code of its GOAWAY."""
        try:
            while True:
                self.pump()
        except (Broken, ConnectionError, h2.exceptions.ProtocolError):
            return self.goaway

    def close(self) -> None:
        """Leave."""
        self.sock.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
