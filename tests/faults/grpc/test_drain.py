"""Gateways that end under load: nobody's call fails, neither those in flight nor those that come later."""

from __future__ import annotations

import secrets
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import grpc
import pytest

from penstock.client import CallError, Client
from penstock.client import _calls as methods
from tests.conftest import Gateway, at_once
from tests.faults.accounts import gauge, idle, note, rows_of
from tests.faults.conftest import CONFIG
from tests.faults.grpc.callers import request
from tests.integration.grpc.calls import UNAIDED, Ended, Rpc, address, ended, words
from tests.rig import until
from tests.servers.proxy import Proxy

pytestmark = pytest.mark.alone

ASKED: dict[str, Any] = {"messages": [{"role": "user", "content": "time"}], "max_tokens": 8, "model": "sim"}
PATIENT = CONFIG % (2, "60s", "60s")


def test_what_is_in_flight_is_served(start_gateway: Callable[..., Gateway]) -> None:
    gateway = start_gateway(config=PATIENT)
    rpcs = [Rpc(gateway) for _ in range(5)]
    # Each lasts for longer than a slow machine takes to begin them all.
    streams: list[Any] = []
    whole: list[Any] = []
    for rpc in rpcs:
        streams += [
            rpc.begin(methods.CHAT_STREAM, request(tokens=40), sim={"tokens": 40, "tps": 13}) for _ in range(20)
        ]
        whole += [
            rpc.begin(methods.CHAT_CREATE, request(tokens=40), sim={"tokens": 40, "ttft": 3_000}) for _ in range(5)
        ]
    calls = [*streams, *whole]
    until(lambda: gauge(gateway, "penstock_in_flight_requests") == len(calls), "all are in flight")
    gateway.process.process.send_signal(signal.SIGTERM)

    def finish(call: Any) -> Ended[Any]:
        return ended(call, [call.result()] if call in whole else list(call))

    with ThreadPoolExecutor(len(calls)) as pool:
        done = list(pool.map(finish, calls))
    assert {one.code for one in done} == {grpc.StatusCode.OK}
    assert {len(words(one.answers).split()) for one in done if len(one.answers) > 1} == {40}
    for rpc in rpcs:
        rpc.close()
    assert gateway.process.wait() == 0


@pytest.mark.slow
def test_a_rolling_restart_fails_no_call(start_gateway: Callable[..., Gateway]) -> None:
    """Three gateways behind one name, of which two end one after the other while sixteen threads call."""
    key = f"sk-{secrets.token_hex(24)}"
    gateways = at_once(*[partial(start_gateway, config=PATIENT, environment={"PENSTOCK_MASTER_KEY": key})] * 3)
    target = "ipv4:" + ",".join(address(gateway) for gateway in gateways)
    failures: list[str] = []
    made = [0]
    over = threading.Event()
    # The authority would be the list of addresses otherwise.
    options = {"grpc.default_authority": "gateway"}
    with Client(target, api_key=key, timeout=20, max_retries=4, channel_options=options) as client:

        def work(number: int) -> None:
            while not over.is_set():
                try:
                    if number % 2:
                        text = words(client.chat.stream(**ASKED, metadata={"x-sim-tps": "100"}))
                    else:
                        text = client.chat.create(**ASKED).choices[0].message.content
                    if len(text.split()) != 8:
                        failures.append(f"cut: {text}")
                except CallError as error:
                    failures.append(f"{error.status} {error}")
                made[0] += 1

        threads = [threading.Thread(target=work, args=(number,)) for number in range(16)]
        for thread in threads:
            thread.start()

        def more() -> None:
            before = made[0]
            until(lambda: made[0] > before + 200, "calls are made", 30)

        for gateway in gateways[:2]:
            more()
            gateway.process.process.send_signal(signal.SIGTERM)
            assert gateway.process.wait() == 0
        more()
        over.set()
        for thread in threads:
            thread.join()
    note(f"{made[0]} calls over two shutdowns")
    assert failures == []


def test_a_connection_that_breaks_under_many_calls_fails_none_of_them(
    start_gateway: Callable[..., Gateway], start_proxy: Callable[[int], Proxy]
) -> None:
    """Far more than a client may try again of what gateways refuse."""
    gateway = start_gateway(config=PATIENT)
    way = start_proxy(int(address(gateway).rpartition(":")[2]))
    with Client(f"127.0.0.1:{way.port}", api_key=gateway.admin_key, timeout=20) as client:

        def one(number: int) -> str:
            tell = {"x-sim-tokens": "5", "x-sim-ttft": "2500"}
            if number % 2:
                return words(client.chat.stream(**ASKED, metadata=tell))
            return client.chat.create(**ASKED, metadata=tell).choices[0].message.content

        with ThreadPoolExecutor(60) as pool:
            answers = [pool.submit(one, number) for number in range(60)]
            until(lambda: gauge(gateway, "penstock_in_flight_requests") == 60, "all are in flight")
            way.cut()
            assert {len(answer.result().split()) for answer in answers} == {5}


@pytest.mark.slow
@pytest.mark.timeout(500)
def test_short_lived_connections_under_load_fail_no_call(start_gateway: Callable[..., Gateway]) -> None:
    aged = PATIENT.rstrip() + "\n  grpc: {max_connection_age: 200ms, max_connection_age_grace: 10s}\n"
    gateway = start_gateway(config=aged)
    key = gateway.new_key()
    failures: list[str] = []
    made: list[str] = []
    end = time.monotonic() + 10
    enough = 1_000

    def work(client: Client, number: int) -> None:
        # A slow machine makes as many in a longer time.
        while (now := time.monotonic()) < end or (len(made) <= enough and now < end + 30):
            try:
                if number % 2:
                    tell = {"x-sim-tokens": "5", "x-sim-ttft": str(number % 30)}
                    text = client.chat.create(**ASKED, metadata=tell).choices[0].message.content
                else:
                    text = words(client.chat.stream(**ASKED, metadata={"x-sim-tokens": "5", "x-sim-tps": "60"}))
                made.append(text)
            except CallError as error:
                failures.append(f"{error.status} {error}")

    clients = [Client(address(gateway), api_key=key, timeout=20, **UNAIDED) for _ in range(4)]
    threads = [threading.Thread(target=work, args=(clients[number % 4], number)) for number in range(32)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for client in clients:
        client.close()
    note(f"{len(made)} calls on connections that live 200 ms")
    assert failures == []
    assert {len(text.split()) for text in made} == {5}
    assert len(made) > enough
    idle(gateway)
    assert len(rows_of(gateway, key)) == len(made), "each was made once"
