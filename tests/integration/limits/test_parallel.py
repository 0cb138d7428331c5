"""Calls in flight: of one key, and over all keys."""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any
from urllib.parse import urlsplit

import msgspec
import pytest

from tests.integration.managed import CONFIG, Managed, question, until
from tests.stalls import Stopwatch

PACED = {"tokens": 400, "tps": 4}
"""A stream that stays open for as long as a test takes."""


def hold(managed: Managed, stack: ExitStack, key: str) -> Any:
    """Open a stream and read its first piece. Whoever drops the iterator closes the stream."""
    answer = stack.enter_context(managed.stream(key, max_tokens=400, sim=PACED))
    assert answer.status_code == 200
    pieces = answer.iter_raw()
    next(pieces)
    stack.callback(pieces.close)
    return answer


def free_soon(managed: Managed, key: str) -> None:
    """A slot of the key is, within two seconds in which the machine does anything."""
    watch = Stopwatch()
    until(lambda: managed.chat(key).status_code == 200, seconds=20, what="a free slot")
    assert watch.ran_s < 2


def test_exactly_so_many_streams_are_open_at_once(managed: Managed) -> None:
    key = managed.key(max_parallel_requests=3)
    with ExitStack() as stack:
        for _ in range(3):
            hold(managed, stack, key)
        refused = managed.chat(key)
        assert refused.status_code == 429
        error = refused.json()["error"]
        assert (error["type"], error["code"]) == ("max_parallel_requests", "rate_limit_exceeded")
        assert "3 of 3" in error["message"]
        assert int(refused.headers["retry-after"]) >= 1
        # Another key is not held up.
        assert managed.chat(managed.key(max_parallel_requests=1)).status_code == 200


def test_fifty_at_once_get_exactly_the_slots_there_are(managed: Managed) -> None:
    key = managed.key(max_parallel_requests=7)
    # The last of them comes before the first ends, on a slow machine too.
    answers = managed.many(key, 50, sim={"ttft": 2_500})
    assert sorted(answer.status_code for answer in answers) == [200] * 7 + [429] * 43


def test_a_slot_is_free_again_when_the_call_ends(managed: Managed) -> None:
    key = managed.key(max_parallel_requests=1)
    for _ in range(10):
        assert managed.chat(key).status_code == 200
    for status in (400, 500):
        assert managed.chat(key, sim={"status": status}).status_code == status
    with managed.stream(key) as answer:
        answer.read()
    assert managed.chat(key).status_code == 200


def test_a_slot_is_free_soon_after_its_client_has_gone(managed: Managed) -> None:
    key = managed.key(max_parallel_requests=1)
    with ExitStack() as stack:
        hold(managed, stack, key)
        assert managed.chat(key).status_code == 429
    free_soon(managed, key)


@pytest.mark.parametrize("stream", [False, True])
def test_a_slot_is_free_after_a_reset_before_the_first_byte(managed: Managed, stream: bool) -> None:
    key = managed.key(max_parallel_requests=1)
    body = msgspec.json.encode(question(stream=stream))
    before = managed.simulator_totals()["requests"]
    address = urlsplit(managed.gateway.url)
    with socket.create_connection((address.hostname, address.port)) as client:
        head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: {address.netloc}\r\nAuthorization: Bearer {key}\r\n"
        head += f"x-sim-ttft: 20000\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        client.sendall(head.encode() + body)
        until(lambda: managed.simulator_totals()["requests"] > before, what="the call upstream")
        assert managed.chat(key).status_code == 429
        # Closing with unsent data discarded is an RST.
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    free_soon(managed, key)


def test_parallel_refusals_take_no_request_and_no_tokens(managed: Managed) -> None:
    key = managed.key(max_parallel_requests=1, rpm_limit=10, tpm_limit=100_000)
    with ExitStack() as stack:
        hold(managed, stack, key)
        refusals = [managed.chat(key, max_tokens=50_000) for _ in range(20)]
        assert {refused.json()["error"]["type"] for refused in refusals} == {"max_parallel_requests"}
        refused = refusals[-1]
        assert refused.headers["x-ratelimit-remaining-requests"] == "9"
        assert int(refused.headers["x-ratelimit-remaining-tokens"]) > 99_000


@pytest.mark.parametrize(
    "section",
    [
        "  limits: {max_parallel_requests: 4}\n",
        "general_settings: {global_max_parallel_requests: 4}\n",
    ],
)
def test_the_gateway_holds_all_keys_together_to_its_own_bound(
    start_managed: Callable[..., Managed], section: str
) -> None:
    managed = start_managed(config=CONFIG + section)
    keys = [managed.key(), managed.key(), managed.gateway.admin_key, managed.key()]
    with ExitStack() as stack:
        held = [hold(managed, stack, key) for key in keys]
        for key in keys:
            refused = managed.chat(key)
            assert refused.status_code == 429
            assert refused.json()["error"]["type"] == "max_parallel_requests"
            assert int(refused.headers["retry-after"]) >= 1
        # The control plane is not a call: it answers all the same.
        assert managed.get("/key/list").status_code == 200
        held[0].close()
        free_soon(managed, keys[0])
