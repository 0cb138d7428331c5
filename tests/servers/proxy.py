"""A TCP proxy that a test puts before a server in order to break the network between the two.

It runs on a thread with an event loop of its own, so that tests of either kind, and other processes, can be its clients.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from collections.abc import Coroutine
from types import TracebackType
from typing import Any, Self, TypeVar

_T = TypeVar("_T")
_CHUNK = 65_536
_RESET = struct.pack("ii", 1, 0)
"""`SO_LINGER` that makes closing a connection a reset of it."""


class Proxy:
    """Listens on :attr:`port` and passes bytes on to :attr:`target`; every fault lasts until :meth:`heal`.

    Use it as a context manager or call :meth:`close`.
    """

    def __init__(self, target_port: int, target_host: str = "127.0.0.1") -> None:
        self.target = (target_host, target_port)
        """Where new connections go; set it to fail over."""
        self.accepted = 0
        """Connections taken so far."""
        self.port = 0
        self._delay_s = 0.0
        self._pairs: set[_Pair] = set()
        self._listener: asyncio.Server | None = None
        self._loop = asyncio.new_event_loop()
        self._to_server = _Gate()
        self._to_client = _Gate()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)
        self._thread.start()
        self._do(self._listen())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def open(self) -> int:
        """Connections that are open now."""
        return len(self._pairs)

    def cut(self) -> int:
        """Reset every connection that is open; new ones are taken. How many there were."""
        return self._do(self._cut())

    def refuse(self) -> None:
        """Reset every connection and refuse new ones."""
        self._do(self._refuse())

    def hang(self, *, to_server: bool = True, to_client: bool = True) -> None:
        """Take connections and bytes and pass none on, in both directions or one: a partition.

        With ``to_server=False`` the server does what it is asked, and nobody learns of it.
        """
        self._do(self._hang(to_server, to_client))

    def delay(self, seconds: float) -> None:
        """Hold each piece of data back for so long, in either direction."""
        self._delay_s = seconds

    def heal(self) -> None:
        """Undo every fault; what was held back goes on."""
        self._delay_s = 0.0
        self._do(self._heal())

    def close(self) -> None:
        """Reset every connection and stop listening. Idempotent."""
        if self._loop.is_closed():
            return
        self._do(self._refuse())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _do(self, work: Coroutine[Any, Any, _T]) -> _T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    async def _listen(self) -> None:
        self._listener = await asyncio.start_server(self._accept, "127.0.0.1", self.port, backlog=512)
        self.port = int(self._listener.sockets[0].getsockname()[1])

    async def _cut(self) -> int:
        pairs = list(self._pairs)
        for pair in pairs:
            pair.reset()
        await asyncio.gather(*(pair.over.wait() for pair in pairs))
        return len(pairs)

    async def _refuse(self) -> None:
        if self._listener is not None:
            self._listener.close()
            self._listener = None
        await self._cut()

    async def _hang(self, to_server: bool, to_client: bool) -> None:
        if to_server:
            self._to_server.shut()
        if to_client:
            self._to_client.shut()

    async def _heal(self) -> None:
        self._to_server.open()
        self._to_client.open()
        if self._listener is None:
            await self._listen()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        pair = _Pair(writer)
        self._pairs.add(pair)
        try:
            await pair.while_open(self._serve(pair, reader, writer))
        finally:
            self._pairs.discard(pair)
            pair.over.set()

    async def _serve(self, pair: _Pair, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # A partition is one for those who come while it lasts, too: they reach nobody.
        await self._to_server.passed()
        try:
            far_reader, far_writer = await asyncio.open_connection(*self.target)
        except OSError:
            pair.reset()
            return
        pair.add(far_writer)
        await asyncio.gather(
            self._pass(reader, far_writer, self._to_server), self._pass(far_reader, writer, self._to_client)
        )

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, gate: _Gate) -> None:
        while data := await reader.read(_CHUNK):
            if self._delay_s:
                await asyncio.sleep(self._delay_s)
            await gate.passed()
            writer.write(data)
            await writer.drain()
        await gate.passed()
        if writer.can_write_eof():
            writer.write_eof()


class _Gate:
    """Open, or not."""

    def __init__(self) -> None:
        self._opened = asyncio.Event()
        self._opened.set()

    def shut(self) -> None:
        self._opened.clear()

    def open(self) -> None:
        self._opened.set()

    async def passed(self) -> None:
        await self._opened.wait()


class _Pair:
    """A connection and, once there is one, its other half."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self._writers = [writer]
        self._serving: asyncio.Task[None] | None = None
        self.over = asyncio.Event()

    def add(self, writer: asyncio.StreamWriter) -> None:
        self._writers.append(writer)

    async def while_open(self, work: Coroutine[Any, Any, None]) -> None:
        """Do ``work`` until both halves have ended or one of them breaks."""
        self._serving = asyncio.ensure_future(work)
        try:
            await asyncio.wait([self._serving])
            if not self._serving.cancelled() and isinstance(error := self._serving.exception(), Exception):
                # One half broke, and so does the other.
                self.reset()
                if not isinstance(error, OSError):
                    raise error
        finally:
            for writer in self._writers:
                writer.close()

    def reset(self) -> None:
        """End both halves at once, in the hard way."""
        for writer in self._writers:
            raw: socket.socket | None = writer.get_extra_info("socket")
            if raw is not None and raw.fileno() >= 0:
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            writer.transport.abort()
        if self._serving is not None and self._serving is not asyncio.current_task():
            self._serving.cancel()
