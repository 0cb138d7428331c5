"""The data plane alone in this process, between scripted providers and hand-written clients.

Apart from the gateway as a process, because these promises need a provider that does one odd thing at one moment, or a
look at what crosses the boundary to Python.
"""

from __future__ import annotations

import contextlib
import json
import select
import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import msgspec

from penstock import _core
from penstock.engine.events import UsageRecord
from penstock.engine.snapshot import (
    Deployment,
    EngineOptions,
    KeyRecord,
    ModelGroup,
    Price,
    PriceTier,
    Settings,
    Snapshot,
)
from tests.integration.listener import wire
from tests.integration.listener.wire import Broken, Message, Wire

MASTER = "sk-master-of-these-tests"
_PEPPER = "5a" * 32

USAGE = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}
COMPLETION = {
    "id": "c",
    "object": "chat.completion",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}],
    "usage": USAGE,
}

Script = Callable[[Wire, Message], bool | None]
"""Answers one request; False: close the connection after it."""


def answering(body: object, status: int = 200, content_type: str = "application/json") -> Script:
    """Always the same answer."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    head = f"HTTP/1.1 {status} X\r\nContent-Type: {content_type}\r\nContent-Length: {len(content)}\r\n\r\n"

    def script(peer: Wire, request: Message) -> None:
        peer.send(head.encode() + content)

    return script


class Provider:
    """A provider that does what the script says; remembers what it was asked."""

    def __init__(self, script: Script, tls: ssl.SSLContext | None = None) -> None:
        self.requests: list[Message] = []
        self._script = script
        self._tls = tls
        self._over = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self._open: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    @property
    def url(self) -> str:
        """Base URL of a deployment."""
        port = self._listener.getsockname()[1]
        return f"{'http' if self._tls is None else 'https'}://127.0.0.1:{port}/v1"

    def deployment(self, **fields: Any) -> Deployment:
        """A deployment that asks this provider."""
        standard = {"id": "d", "provider": "x", "wire": "openai", "model": "m", "base_url": self.url}
        return Deployment(**{**standard, **fields})

    def models(self) -> list[str]:
        """The model of each request so far."""
        return [request.json()["model"] for request in self.requests]

    def is_over(self, seconds: float) -> bool:
        """Waits; True when the test has ended meanwhile."""
        return self._over.wait(seconds)

    def close(self) -> None:
        """Stop."""
        self._over.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for peer in list(self._open):
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
            peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._open.append(peer)
            self._threads.append(threading.Thread(target=self._serve, args=(peer,), daemon=True))
            self._threads[-1].start()

    def _serve(self, peer: socket.socket) -> None:
        # What a test provokes here is seen by the client, whose side asserts.
        with contextlib.suppress(Broken, OSError):
            if self._tls is not None:
                peer.settimeout(30)
                peer = self._tls.wrap_socket(peer, server_side=True)
                self._open.append(peer)
            with peer:
                end = Wire(peer)
                peer.settimeout(60)
                while (request := end.read()) is not None:
                    self.requests.append(request)
                    if self._script(end, request) is False:
                        return


def digest(key: str) -> str:
    """What a key is known by."""
    return _core.key_digest(bytes.fromhex(_PEPPER), key)


def price(**fields: int) -> Price:
    """One tier; nano-dollars per million tokens, `request` per call."""
    return Price(version="test", tiers=[PriceTier(**fields)])


class Plane:
    """A data plane with these deployments and groups."""

    def __init__(
        self,
        deployments: Sequence[Deployment],
        groups: Sequence[ModelGroup] | None = None,
        settings: Settings | None = None,
        **options: Any,
    ) -> None:
        fields = EngineOptions(port=0, pepper=_PEPPER)
        self.core = _core.Engine(msgspec.json.encode(msgspec.structs.replace(fields, **options)))
        found = list(groups or [ModelGroup(name="m", deployments=list(range(len(deployments))))])
        snapshot = Snapshot(
            version=1,
            deployments=list(deployments),
            groups=found,
            settings=settings or Settings(retries=0),
            master_token=digest(MASTER),
        )
        self.core.apply_snapshot(msgspec.json.encode(snapshot))
        self.url = f"{'https' if options.get('tls') else 'http'}://127.0.0.1:{self.core.start()}"

    def key(self, **fields: Any) -> str:
        """A virtual key in the key table."""
        key = _core.generate_key()
        self.put(key, **fields)
        return key

    def put(self, key: str, **fields: Any) -> None:
        """Insert or replace a key's record."""
        self.core.put_keys(msgspec.json.encode([KeyRecord(token=digest(key), **fields)]))

    def spend(self, key: str) -> int:
        """Nano-dollars that the data plane holds spent."""
        return self.core.key_usage(digest(key))[0]

    def connect(self) -> Wire:
        """A client of the port."""
        return wire.connect(self.url)

    def ask(self, body: dict[str, Any] | bytes, *fields: str, key: str = MASTER, path: str | None = None) -> Message:
        """POST and the answer."""
        with self.connect() as client:
            return client.send(wire.chat(key, body, *fields, path=path or "/v1/chat/completions")).answer()

    def get(self, path: str, *fields: str, key: str = MASTER, method: str = "GET") -> Message:
        """A request without a body and its answer."""
        lines = [f"{method} {path} HTTP/1.1", "Host: gateway", f"Authorization: Bearer {key}", *fields]
        with self.connect() as client:
            return client.send("\r\n".join(lines) + "\r\n\r\n").answer()

    def in_flight(self) -> int:
        """Calls that have not been settled."""
        return int(json.loads(self.core.status())["in_flight"])

    def take(self) -> list[dict[str, Any]]:
        """Usage records waiting, by the names of their fields; they are acknowledged."""
        rows = json.loads(self.core.take_usage(100_000))
        if rows:
            self.core.ack_usage(rows[-1][UsageRecord.__struct_fields__.index("seq")])
        return [dict(zip(UsageRecord.__struct_fields__, row, strict=True)) for row in rows]

    def records(self, count: int = 1, seconds: float = 30) -> list[dict[str, Any]]:
        """So many usage records, once they are there; no more may be."""
        found: list[dict[str, Any]] = []

        def are_there() -> bool:
            found.extend(self.take())
            return len(found) >= count

        wire.until(are_there, seconds, f"fewer than {count} records")
        assert len(found) == count, found
        return found


class Door:
    """Another listener's side of :meth:`_core.Engine.submit`."""

    def __init__(self, core: _core.Engine) -> None:
        self.core = core
        self.events: list[tuple[int, str, bytes]] = []

    def submit(self, body: dict[str, Any]) -> int:
        """One chat call of the master key; its id."""
        headers = [(b"host", b"gateway"), (b"authorization", f"Bearer {MASTER}".encode())]
        content = json.dumps(body).encode()
        headers += [(b"content-type", b"application/json"), (b"content-length", str(len(content)).encode())]
        return self.core.submit("POST", "/v1/chat/completions", headers, content, "127.0.0.1")

    def of(self, call: int, kind: str) -> list[bytes]:
        """Payloads of a call's events so far."""
        if select.select([self.core.event_fd()], [], [], 0)[0]:
            self.events += self.core.drain_events()
        return [payload for id, name, payload in self.events if (id, name) == (call, kind)]


class Rig:
    """Makes providers and planes, and stops them all."""

    def __init__(self, stack: contextlib.ExitStack) -> None:
        self._stack = stack

    def provider(self, script: Script, tls: ssl.SSLContext | None = None) -> Provider:
        """A running provider."""
        made = Provider(script, tls)
        self._stack.callback(made.close)
        return made

    def plane(
        self,
        deployments: Sequence[Deployment],
        groups: Sequence[ModelGroup] | None = None,
        settings: Settings | None = None,
        **options: Any,
    ) -> Plane:
        """A running data plane."""
        made = Plane(deployments, groups, settings, **options)
        self._stack.callback(made.core.stop)
        return made


def rigged() -> Iterator[Rig]:
    """A rig for one test."""
    with contextlib.ExitStack() as stack:
        yield Rig(stack)


def messages(text: str = "hello there", model: str = "m", **more: Any) -> dict[str, Any]:
    """A chat request."""
    return {"model": model, "messages": [{"role": "user", "content": text}], **more}
