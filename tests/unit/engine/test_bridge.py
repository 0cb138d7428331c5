"""The ASGI door: bytes and order kept, backpressure, disconnects, broken answers."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from penstock.engine.bridge import Bridge, BrokenAnswer
from tests.fake_core import Engine


class Exchange:
    """One ASGI request with a client that takes pieces when it is told to."""

    def __init__(self, body: list[bytes]) -> None:
        self.scope: Any = {
            "type": "http",
            "method": "POST",
            "path": "/v1/models/a/b",
            "raw_path": b"/v1/models/a%2Fb",
            "query_string": b"x=1",
            "headers": [(b"b", b"2"), (b"a", b"1"), (b"b", b"3")],
            "client": ("1.2.3.4", 5),
        }
        self._incoming: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        for index, part in enumerate(body):
            self._incoming.put_nowait({"type": "http.request", "body": part, "more_body": index < len(body) - 1})
        self.sent: list[dict[str, Any]] = []
        self.may_send = asyncio.Event()
        self.may_send.set()

    async def receive(self) -> Any:
        return await self._incoming.get()

    async def send(self, message: Any) -> None:
        await self.may_send.wait()
        self.sent.append(message)

    def disconnect(self) -> None:
        self._incoming.put_nowait({"type": "http.disconnect"})


def _parts() -> tuple[Engine, Bridge]:
    engine = Engine(b'{"port": null}')
    return engine, Bridge(engine, 100)


def _deliver(engine: Engine, bridge: Bridge) -> None:
    for id, kind, payload in engine.drain_events():
        if kind.startswith("call."):
            bridge.deliver(id, kind, payload)


async def _settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_bytes_and_order_are_kept() -> None:
    engine, bridge = _parts()
    engine.answer = lambda engine, id: engine.reply(id, 201, [b"one", b"two"])
    exchange = Exchange([b"bo", b"dy"])
    task = asyncio.create_task(bridge.run(exchange.scope, exchange.receive, exchange.send))
    await _settle()
    _deliver(engine, bridge)
    await task
    assert engine.submitted == [("POST", "/v1/models/a%2Fb?x=1", exchange.scope["headers"], b"body", "1.2.3.4")]
    assert exchange.sent[0]["status"] == 201
    assert [name for name, _ in exchange.sent[0]["headers"]] == [b"X-First", b"content-type", b"X-First"]
    assert [message["body"] for message in exchange.sent[1:]] == [b"one", b"two", b""]
    assert engine.cancelled == []
    assert bridge.in_flight == 0


async def test_credit_is_granted_only_for_what_the_client_took() -> None:
    engine, bridge = _parts()
    engine.answer = lambda engine, id: engine.reply(id, 200, [b"x"] * 16, end="hook.key")
    exchange = Exchange([b""])
    task = asyncio.create_task(bridge.run(exchange.scope, exchange.receive, exchange.send))
    await _settle()
    exchange.may_send.clear()
    _deliver(engine, bridge)
    await _settle()
    assert engine.credits == {}
    exchange.may_send.set()
    async with asyncio.timeout(30):
        while engine.credits.get(1, 0) < 16:  # noqa: ASYNC110 - the bridge tells nobody else
            await asyncio.sleep(0)
    assert engine.credits[1] == 16
    exchange.disconnect()
    await task


async def test_a_client_that_leaves_cancels_the_call() -> None:
    engine, bridge = _parts()
    engine.answer = lambda engine, id: None
    exchange = Exchange([b""])
    task = asyncio.create_task(bridge.run(exchange.scope, exchange.receive, exchange.send))
    await _settle()
    exchange.disconnect()
    await task
    assert engine.cancelled == [1]
    assert exchange.sent == []
    bridge.deliver(1, "call.data", b"late")


async def test_a_client_that_leaves_cancels_a_call_that_keeps_talking() -> None:
    engine, bridge = _parts()
    engine.answer = lambda engine, id: engine.reply(id, 200, [b"x"] * 8, end="hook.key")
    exchange = Exchange([b""])
    task = asyncio.create_task(bridge.run(exchange.scope, exchange.receive, exchange.send))
    await _settle()
    exchange.may_send.clear()
    _deliver(engine, bridge)
    await _settle()
    exchange.disconnect()
    await _settle()
    exchange.may_send.set()
    await task
    assert engine.cancelled == [1]
    assert len(exchange.sent) == 1


async def test_an_answer_that_is_cut_breaks_the_connection() -> None:
    engine, bridge = _parts()
    engine.answer = lambda engine, id: engine.reply(id, 200, [b"x"], end="call.abort")
    exchange = Exchange([b""])
    task = asyncio.create_task(bridge.run(exchange.scope, exchange.receive, exchange.send))
    await _settle()
    _deliver(engine, bridge)
    with pytest.raises(BrokenAnswer):
        await task
    assert exchange.sent[-1] == {"type": "http.response.body", "body": b"x", "more_body": True}


async def test_a_body_that_is_too_large_is_refused_before_the_call() -> None:
    engine, bridge = _parts()
    exchange = Exchange([b"x" * 60, b"x" * 60, b"x" * 60])
    await bridge.run(exchange.scope, exchange.receive, exchange.send)
    assert exchange.sent[0]["status"] == 413
    assert engine.submitted == []
