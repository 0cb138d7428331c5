"""Clients on bare sockets: they can leave at any byte, politely or not, and see every byte they got."""

from __future__ import annotations

import asyncio
import json
import re
import socket
import struct
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from tests.conftest import Gateway


def ask(path: str, key: str, body: dict[str, Any], headers: dict[str, str] | None = None) -> bytes:
    """A request as bytes."""
    content = json.dumps(body).encode()
    lines = [
        f"POST {path} HTTP/1.1",
        "host: gateway",
        f"authorization: Bearer {key}",
        "content-type: application/json",
        f"content-length: {len(content)}",
        *(f"{name}: {value}" for name, value in (headers or {}).items()),
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + content


@dataclass
class Client:
    """One connection."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    received: bytearray = field(default_factory=bytearray)

    @classmethod
    async def connect(cls, gateway: Gateway) -> Client:
        """To the public port."""
        parts = urlsplit(gateway.url)
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
        return cls(reader, writer)

    async def read_for(self, seconds: float) -> bool:
        """Read for so long; true when the other side ended before."""
        deadline = asyncio.get_running_loop().time() + seconds
        while (left := deadline - asyncio.get_running_loop().time()) > 0:
            try:
                data = await asyncio.wait_for(self.reader.read(65_536), left)
            except TimeoutError:
                return False
            if not data:
                return True
            self.received += data
        return False

    async def read_until(self, mark: bytes, seconds: float = 20) -> None:
        """Read until the bytes have come."""

        async def enough() -> None:
            while mark not in self.received:
                data = await self.reader.read(65_536)
                assert data, f"the connection ended before {mark!r}: {bytes(self.received[-500:])!r}"
                self.received += data

        await asyncio.wait_for(enough(), seconds)

    async def read_answer(self, seconds: float = 20) -> None:
        """Read until a whole answer that says its length has come."""
        await self.read_until(b"\r\n\r\n", seconds)
        head, _, rest = bytes(self.received).partition(b"\r\n\r\n")
        found = re.search(rb"\r\ncontent-length: *(\d+)", head, re.I)
        assert found is not None, head

        async def enough() -> None:
            left = int(found[1]) - len(rest)
            if left > 0:
                self.received += await self.reader.readexactly(left)

        await asyncio.wait_for(enough(), seconds)

    @property
    def call_id(self) -> str | None:
        """The call's id, when the head of the answer has come."""
        for line in bytes(self.received).partition(b"\r\n\r\n")[0].split(b"\r\n"):
            name, _, value = line.partition(b":")
            if name.lower() == b"x-penstock-call-id":
                return value.strip().decode()
        return None

    def leave(self, *, reset: bool = False) -> None:
        """Close; with ``reset`` so that the other side gets an RST."""
        if reset:
            linger = struct.pack("ii", 1, 0)
            self.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.writer.transport.abort() if reset else self.writer.close()
