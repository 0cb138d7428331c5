"""A proxy leaves no socket behind, whatever its connections are doing when it is cut, refuses or is closed."""

from __future__ import annotations

import gc
import selectors
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

from tests.servers.child import until
from tests.servers.proxy import Proxy

CLIENTS = 6
PIECE = b"x" * 200_000


class Server:
    """Sends back what it gets, sends without being asked, or ends what it is given; on a thread of its own."""

    def __init__(self) -> None:
        self._listening = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.port = int(self._listening.getsockname()[1])
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        taken: list[socket.socket] = []
        with selectors.DefaultSelector() as selector:
            self._listening.setblocking(False)
            selector.register(self._listening, selectors.EVENT_READ)
            while not self._over.is_set():
                for key, _ in selector.select(0.02):
                    with suppress(OSError):
                        self._serve(selector, taken, key.fileobj)
        for each in taken:
            each.close()

    def _serve(self, selector: selectors.BaseSelector, taken: list[socket.socket], ready: object) -> None:
        if ready is self._listening:
            each, _ = self._listening.accept()
            each.setblocking(False)
            taken.append(each)
            kind = len(taken) % 3
            if kind == 0:
                selector.register(each, selectors.EVENT_READ)
            elif kind == 1:
                # More than its client takes: the rest waits in the proxy when this end is closed.
                each.send(PIECE)
                each.shutdown(socket.SHUT_WR)
            else:
                each.close()
        elif isinstance(ready, socket.socket):
            data = ready.recv(65_536)
            if data:
                ready.send(data)
            else:
                selector.unregister(ready)
                ready.close()

    def close(self) -> None:
        """End every connection. Idempotent."""
        self._over.set()
        self._thread.join()
        self._listening.close()


@pytest.fixture
def server() -> Iterator[Server]:
    running = Server()
    yield running
    running.close()


def _come_and_go(port: Callable[[], int], over: threading.Event) -> int:
    """Connect, say something, leave in one of several ways, until it is over; how often a connection was made."""
    made = 0
    while not over.is_set():
        try:
            with socket.create_connection(("127.0.0.1", port()), timeout=1) as client:
                made += 1
                client.settimeout(0.05)
                if made % 3:
                    client.sendall(PIECE if made % 4 == 0 else b"hello")
                if made % 5:
                    client.recv(10)
        except OSError:
            continue
    return made


def _sockets() -> int:
    return sum(1 for each in Path("/proc/self/fd").iterdir() if _is_socket(each))


def _is_socket(descriptor: Path) -> bool:
    try:
        return str(descriptor.readlink()).startswith("socket:")
    except OSError:
        return False


@pytest.mark.parametrize("hung", [False, True])
@pytest.mark.parametrize("end", [Proxy.close, Proxy.refuse])
def test_nothing_is_left_open(server: Server, hung: bool, end: Callable[[Proxy], None]) -> None:
    gc.collect()
    before = _sockets()
    with ThreadPoolExecutor(CLIENTS) as pool:
        for _ in range(5):
            proxy, over = Proxy(server.port), threading.Event()
            clients = [pool.submit(_come_and_go, lambda proxy=proxy: proxy.port, over) for _ in range(CLIENTS)]  # type: ignore[misc]
            until(lambda proxy=proxy: proxy.accepted > 18, "connections come")  # type: ignore[misc]
            if hung:
                proxy.hang()
            end(proxy)
            left = proxy.open
            over.set()
            assert sum(client.result() for client in clients) > 0
            proxy.close()
            assert left == 0
    # What asyncio has to say about sockets that nobody closed is an error here.
    gc.collect()
    server.close()
    assert _sockets() <= before - 1, "only the server's are missing"
