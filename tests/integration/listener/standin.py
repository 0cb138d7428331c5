"""A stand-in for the app behind the control socket, so that what the relay sends can be looked at byte by byte."""

from __future__ import annotations

import contextlib
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from penstock import _core
from penstock.engine.snapshot import EngineOptions, Snapshot
from tests.integration.listener.wire import Broken, Message, Wire

Script = Callable[[Wire], None]


class StandIn:
    """Listens on a unix socket; each connection is a thread that runs the script."""

    def __init__(self, path: str) -> None:
        self.requests: list[Message] = []
        self.failures: list[BaseException] = []
        self._script: Script = self.answer_empty
        self._open: list[socket.socket] = []
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(path)
        self._listener.listen(64)
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def does(self, script: Script) -> None:
        """What the next connections are answered with; forgets what was seen."""
        self._script = script
        self.requests.clear()

    def answers(self, raw: bytes) -> None:
        """Read a whole request, record it, write these bytes and close."""

        def script(peer: Wire) -> None:
            self.record(peer)
            peer.send(raw)

        self.does(script)

    def record(self, peer: Wire) -> Message:
        """Read a whole request and keep it."""
        request = peer.read()
        assert request is not None
        self.requests.append(request)
        return request

    def answer_empty(self, peer: Wire) -> None:
        """Record and answer 204."""
        self.record(peer)
        peer.send(b"HTTP/1.1 204 No Content\r\n\r\n")

    def close(self) -> None:
        """Stop listening and end what is open."""
        # Closing alone does not wake a thread that is in accept.
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for peer in self._open:
            with contextlib.suppress(OSError):
                peer.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(10)
            assert not thread.is_alive()

    def _accept(self) -> None:
        while True:
            try:
                peer, _ = self._listener.accept()
            except OSError:
                return
            self._open.append(peer)
            self._threads.append(threading.Thread(target=self._serve, args=(peer,)))
            self._threads[-1].start()

    def _serve(self, peer: socket.socket) -> None:
        with peer:
            try:
                self._script(Wire(peer))
            except (Broken, OSError):
                return
            except BaseException as error:
                self.failures.append(error)
                raise


@contextlib.contextmanager
def socket_path() -> Iterator[str]:
    """A path short enough for a unix socket."""
    with tempfile.TemporaryDirectory(prefix="pen-") as directory:
        yield str(Path(directory) / "control.sock")


@contextlib.contextmanager
def engine(control_socket: str, **options: object) -> Iterator[str]:
    """The data plane alone, in this process, relaying to a control socket; the base URL of its port."""
    fields = EngineOptions(port=0, control_socket=control_socket, pepper="5a" * 32)
    running = _core.Engine(msgspec.json.encode(msgspec.structs.replace(fields, **options)))
    running.apply_snapshot(msgspec.json.encode(Snapshot(version=1, deployments=[], groups=[])))
    port = running.start()
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        running.stop()
