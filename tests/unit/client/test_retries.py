"""What retries are charged for: failures of calls, not the ends of gateways and connections."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest

from penstock.client import AsyncClient, Client, Unavailable
from penstock.client import _calls as calls
from tests.unit.client.gateway import Behaviour, Gateway, answer, error_info, fail, retry_info

MESSAGES = [{"role": "user", "content": "hi"}]
UNAVAILABLE = grpc.StatusCode.UNAVAILABLE
CALLS = 30
"""Several times what the budget would let through."""


def _stopping(context: Any) -> Any:
    info = error_info("SHUTTING_DOWN", code="shutting_down", source="gateway", status="503")
    trailing = (("x-penstock-call-id", "c1"), ("grpc-retry-pushback-ms", "20"))
    return fail(context, UNAVAILABLE, "the gateway is shutting down", info, retry_info(20), trailing=trailing)


def _proxied(context: Any) -> Any:
    return fail(context, UNAVAILABLE, "upstream connect error", trailing=(("server", "envoy"), ("date", "today")))


def _broken_off(context: Any) -> Any:
    context.send_initial_metadata((("x-penstock-call-id", "c1"),))
    return fail(context, UNAVAILABLE, "Socket closed")


def _each_once(end: Any, last: Any) -> Behaviour:
    """The first attempt of each model ends; others are answered."""
    seen: set[str] = set()
    lock = threading.Lock()

    def behave(request: Any, context: Any) -> Any:
        with lock:
            is_first = request.model not in seen
            seen.add(request.model)
        return end(context) if is_first else last

    return behave


ENDS = pytest.mark.parametrize("end", [_stopping, _proxied, _broken_off])


@ENDS
def test_all_calls_of_a_gateway_that_goes_are_sent_again(gateway: Gateway, client: Client, end: Any) -> None:
    gateway.behaviours[calls.CHAT_CREATE.path] = _each_once(end, answer("yes"))
    with ThreadPoolExecutor(10) as pool:
        answers = pool.map(lambda at: client.chat.create(model=f"m{at}", messages=MESSAGES), range(CALLS))
        assert len(list(answers)) == CALLS
    assert len(gateway.requests) == 2 * CALLS


@ENDS
async def test_all_streams_of_a_gateway_that_goes_are_sent_again(
    gateway: Gateway, aclient: AsyncClient, end: Any
) -> None:
    gateway.behaviours[calls.CHAT_STREAM.path] = _each_once(end, iter(()))

    async def read(at: int) -> int:
        return len([item async for item in aclient.chat.stream(model=f"m{at}", messages=MESSAGES)])

    assert await asyncio.gather(*map(read, range(CALLS))) == [0] * CALLS
    assert len(gateway.requests) == 2 * CALLS


def test_what_providers_do_is_charged(gateway: Gateway, client: Client) -> None:
    def end(context: Any) -> Any:
        info = error_info("X", code="upstream_unreachable", source="upstream", status="503")
        return fail(context, UNAVAILABLE, "the provider is gone", info, retry_info(1))

    gateway.behaviours[calls.CHAT_CREATE.path] = _each_once(end, answer("yes"))
    failed = 0
    for at in range(CALLS):
        try:
            client.chat.create(model=f"m{at}", messages=MESSAGES)
        except Unavailable:
            failed += 1
    assert failed > CALLS / 2
