"""A TCP proxy that a test puts before a server in order to break the network between the two.

It runs on a thread with an event loop of its own, so that tests of either kind, and other processes, can be its clients.
It has sockets and not asyncio's streams: a server of streams that is closed forgets connections that it has taken and not
handed over yet, and leaves them open.
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
_MOST_ON_THE_WAY = 64
"""Pieces between the halves; more wait before the proxy."""
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
        # Bound for as long as this lives, and never listening: whoever asks for a port while connections are refused gets another.
        self._place = socket.socket()
        self._place.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        self._place.bind(("127.0.0.1", 0))
        self.port = int(self._place.getsockname()[1])
        self._delay_s = 0.0
        self._pairs: dict[_Pair, asyncio.Task[None]] = {}
        self._listener: socket.socket | None = None
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
        """Reset every connection and stop listening; no socket is open afterwards. Idempotent."""
        if self._loop.is_closed():
            return
        self._do(self._refuse())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self._place.close()

    def _do(self, work: Coroutine[Any, Any, _T]) -> _T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(30)

    async def _listen(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", self.port), backlog=512, reuse_port=True)
        self._listener.setblocking(False)
        self._loop.add_reader(self._listener, self._take, self._listener)

    async def _cut(self) -> int:
        pairs = dict(self._pairs)
        for pair, serving in pairs.items():
            pair.break_off()
            serving.cancel()
        if pairs:
            await asyncio.wait(pairs.values())
        return len(pairs)

    async def _refuse(self) -> None:
        if self._listener is not None:
            self._loop.remove_reader(self._listener)
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

    def _take(self, listener: socket.socket) -> None:
        try:
            client, _ = listener.accept()
        except OSError:
            # Whoever it was has left.
            return
        self.accepted += 1
        pair = _Pair(client)
        self._pairs[pair] = serving = self._loop.create_task(self._serve(pair))
        # However it ends, and also when it never begins.
        serving.add_done_callback(lambda _: self._over(pair))

    def _over(self, pair: _Pair) -> None:
        pair.close()
        del self._pairs[pair]

    async def _serve(self, pair: _Pair) -> None:
        # A partition is one for those who come while it lasts, too: they reach nobody.
        await self._to_server.passed()
        try:
            await self._loop.sock_connect(pair.server, self.target)
            async with asyncio.TaskGroup() as ways:
                ways.create_task(self._pass(pair.client, pair.server, self._to_server))
                ways.create_task(self._pass(pair.server, pair.client, self._to_client))
        except* OSError:
            # One half broke, and so does the other.
            pair.break_off()

    async def _pass(self, source: socket.socket, sink: socket.socket, gate: _Gate) -> None:
        """A delay makes the way longer and not narrower: each piece arrives so long after it was sent, whatever is before it."""
        on_the_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(_MOST_ON_THE_WAY)

        async def receive() -> None:
            data = b"?"
            while data:
                data = await self._loop.sock_recv(source, _CHUNK)
                await on_the_way.put((self._loop.time() + self._delay_s, data))

        async with asyncio.TaskGroup() as ends:
            ends.create_task(receive())
            while True:
                due, data = await on_the_way.get()
                await asyncio.sleep(max(0.0, due - self._loop.time()))
                await gate.passed()
                if not data:
                    break
                await self._loop.sock_sendall(sink, data)
        sink.shutdown(socket.SHUT_WR)


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
    """A connection and the one that goes on from here."""

    def __init__(self, client: socket.socket) -> None:
        self.client = client
        self.server = socket.socket()
        for half in (self.client, self.server):
            half.setblocking(False)
            half.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def break_off(self) -> None:
        """Let closing be a reset."""
        for half in (self.client, self.server):
            half.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)

    def close(self) -> None:
        """End both halves."""
        self.client.close()
        self.server.close()
