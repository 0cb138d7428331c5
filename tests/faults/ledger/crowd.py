"""Clients by the hundred that go on calling whatever happens to the gateway, on a thread with an event loop of its own.

Apart from the tests so that these stay on the main thread, where servers are stopped and started again.
"""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from tests.conftest import Gateway
from tests.faults.raw import Client, ask
from tests.faults.streams import SURFACES, body

TOKENS_PER_SECOND = 10
"""Of a stream."""
_END = b"0\r\n\r\n"
_AGAIN_S = 0.05
_PATIENCE_S = 30


@dataclass(frozen=True)
class Seen:
    """One call as its client saw it."""

    call_id: str
    """Empty: no answer began."""
    stream: bool
    status: int
    """0: no answer began."""
    whole: bool
    """The answer came to its proper end."""
    began: float
    """Monotonic seconds."""
    seconds: float
    overhead_s: float
    """Spent in the gateway before it asked the upstream, by its own word."""


class Crowd:
    """So many clients that stream and so many that do not; use it as a context manager, which waits for their last calls.

    Point it at another gateway with :attr:`gateway`; calls that begin from then on go there.
    """

    def __init__(
        self,
        gateway: Gateway,
        key: str,
        *,
        streams: int = 0,
        unary: int = 0,
        tokens: tuple[int, int] = (5, 35),
        model: str = "sim",
    ) -> None:
        """``model``: of calls that are not streamed; ``tokens``: the shortest and the longest stream."""
        self.gateway = gateway
        self.key = key
        self.seen: list[Seen] = []
        """Calls that are over."""
        self._streams, self._unary, self._tokens, self._model = streams, unary, tokens, model
        self._over = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), name="crowd")
        self._error: BaseException | None = None

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Begin no further call and wait for the end of those under way. Idempotent."""
        self._over.set()
        self._thread.join()
        if self._error is not None:
            raise self._error

    def whole(self, since: float = 0) -> list[Seen]:
        """Calls that began after ``since`` (monotonic) and were answered to the end with 200."""
        return [seen for seen in list(self.seen) if seen.whole and seen.status == 200 and seen.began >= since]

    def served(self, count: int) -> Callable[[], bool]:
        """A probe: so many more calls than now are answered to the end."""
        enough = len(self.whole()) + count
        return lambda: len(self.whole()) >= enough

    async def _run(self) -> None:
        clients = [self._streaming(number) for number in range(self._streams)]
        clients += [self._asking() for _ in range(self._unary)]
        try:
            await asyncio.gather(*clients)
        except BaseException as error:  # noqa: BLE001 - the thread that waits for the crowd gets it
            self._error = error
            self._over.set()

    async def _streaming(self, number: int) -> None:
        choose = random.Random(number)
        # They arrive within a second, so that at any moment some begin and some end.
        await asyncio.sleep(choose.random())
        while not self._over.is_set():
            surface = choose.choice(list(SURFACES))
            path, model = SURFACES[surface]
            control = {
                "x-sim-tps": str(TOKENS_PER_SECOND),
                "x-sim-tokens": str(choose.randint(*self._tokens)),
                "x-sim-ttft": str(choose.choice([0, 0, 50, 300])),
            }
            if choose.random() < 0.2:
                control["x-sim-fault"] = "no_usage"
            await self._call(ask(path, self.key, body(model, stream=True), control), stream=True)

    async def _asking(self) -> None:
        path, _ = SURFACES["chat"]
        while not self._over.is_set():
            await self._call(ask(path, self.key, body(self._model, max_tokens=3), {"x-sim-ttft": "30"}), stream=False)

    async def _connect(self) -> Client:
        return await Client.connect(self.gateway)

    async def _call(self, request: bytes, *, stream: bool) -> None:
        began = time.monotonic()
        try:
            client = await self._connect()
        except OSError:
            await asyncio.sleep(_AGAIN_S)
            return
        whole = False
        try:
            client.writer.write(request)
            async with asyncio.timeout(_PATIENCE_S):
                while not whole and (data := await client.reader.read(65_536)):
                    client.received += data
                    whole = _is_whole(client.received, stream=stream)
        except ConnectionError:
            pass
        finally:
            client.leave()
        took = time.monotonic() - began
        words = bytes(client.received[:20]).split()
        status = int(words[1]) if len(words) > 1 else 0
        overhead_s = int(_header(client.received, b"x-penstock-overhead-us") or 0) / 1e6
        self.seen.append(Seen(client.call_id or "", stream, status, whole, began, took, overhead_s))
        if not 200 <= status < 300:
            await asyncio.sleep(_AGAIN_S)


def _is_whole(received: bytearray, *, stream: bool) -> bool:
    if stream and received.startswith(b"HTTP/1.1 200"):
        last = received[-200:]
        return last.endswith(_END) and (b"[DONE]" in last or b"message_stop" in last)
    head, found, rest = bytes(received).partition(b"\r\n\r\n")
    if not found:
        return False
    length = _header(head, b"content-length")
    return len(rest) >= int(length) if length else rest.endswith(_END)


def _header(received: bytes | bytearray, name: bytes) -> bytes:
    """Of the answer; empty: it is not there."""
    for line in bytes(received).partition(b"\r\n\r\n")[0].lower().split(b"\r\n"):
        if line.startswith(name + b":"):
            return line.partition(b":")[2].strip()
    return b""
