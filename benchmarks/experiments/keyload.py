"""A load in which every request may have another key, which the load generator, with its one request, cannot send.

Slower than that one, which does not matter to who measures CPU per request: all sides are measured with it.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator, Sequence
from itertools import cycle

from penstock.bench.load import LoadError

CONNECTIONS = 32


class KeyLoad:
    """Connections to a gateway, each with one request at a time, sent together and then awaited together."""

    def __init__(self, port: int, body: str) -> None:
        self._sockets = [socket.create_connection(("127.0.0.1", port), timeout=30) for _ in range(CONNECTIONS)]
        for connection in self._sockets:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._before = (
            f"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\ncontent-type: application/json\r\n"
            f"content-length: {len(body)}\r\nauthorization: Bearer "
        ).encode()
        self._after = f"\r\n\r\n{body}".encode()

    def close(self) -> None:
        """Closes the connections."""
        for connection in self._sockets:
            connection.close()

    def once(self, keys: Sequence[str]) -> int:
        """One request per key; how many.

        Raises:
            LoadError: one was not answered with 200.
        """
        return self._drive(iter(keys), None)

    def during(self, seconds: float, keys: Sequence[str]) -> int:
        """Requests for so many seconds, with each key in turn, over and over; how many.

        Raises:
            LoadError: one was not answered with 200.
        """
        return self._drive(cycle(keys), time.perf_counter() + seconds)

    def _drive(self, keys: Iterator[str], until: float | None) -> int:
        answered = 0
        while until is None or time.perf_counter() < until:
            asked = []
            for connection in self._sockets:
                key = next(keys, None)
                if key is None:
                    break
                connection.sendall(b"%b%b%b" % (self._before, key.encode(), self._after))
                asked.append(connection)
            for connection in asked:
                _receive(connection)
            answered += len(asked)
            if len(asked) < len(self._sockets):
                break
        return answered


def _receive(connection: socket.socket) -> None:
    """Reads one whole answer."""
    data = connection.recv(65_536)
    while (end := data.find(b"\r\n\r\n")) < 0:
        data += _more(connection, data)
    head = data[:end].lower()
    if not head.startswith(b"http/1.1 200"):
        raise LoadError(f"a call with one of many keys was answered {data[:300].decode(errors='replace')}")
    _, found, rest = head.partition(b"content-length:")
    if not found:
        raise LoadError("an answer without content-length")
    whole = end + 4 + int(rest.partition(b"\r\n")[0])
    while len(data) < whole:
        data += _more(connection, data)


def _more(connection: socket.socket, data: bytes) -> bytes:
    piece = connection.recv(65_536)
    if not piece:
        raise LoadError(f"a connection was closed after {len(data)} bytes of an answer")
    return piece
