"""A gateway that must stop now ends what is in flight with an error, and records it once."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import Callable

from tests.conftest import Gateway
from tests.faults.accounts import rows_of, usage, verdict
from tests.faults.conftest import CONFIG
from tests.faults.raw import Client, ask
from tests.faults.streams import PROMPT_TOKENS, SURFACES, body
from tests.rig import Sim, until
from tests.stalls import Stopwatch

QUIET = CONFIG % (2, "60s", "60s")
PER_SECOND = 4
"""Words of a stream: few, so that a gateway that stands still for a moment misses none."""


async def test_streams_in_flight_are_ended_and_recorded_when_the_grace_is_cut(
    start_gateway: Callable[..., Gateway], sim: Sim
) -> None:
    gateway = start_gateway(config=QUIET)
    key, since = gateway.new_key(), sim.mark()
    clients: list[Client] = []
    waiting: list[Client] = []
    for path, model in SURFACES.values():
        request = ask(path, key, body(model, stream=True), {"x-sim-tps": str(PER_SECOND), "x-sim-tokens": "400"})
        for _ in range(20):
            clients.append(await Client.connect(gateway))
            clients[-1].writer.write(request)
        waiting.append(await Client.connect(gateway))
        waiting[-1].writer.write(ask(path, key, body(model), {"x-sim-ttft": "60000"}))
    everybody = [*clients, *waiting]
    await asyncio.gather(*(client.read_until(b" that") for client in clients))
    await asyncio.to_thread(until, lambda: len(sim.ledger(since)) == len(everybody), "all are upstream")
    watch = Stopwatch()
    # The first signal waits for them, the second does not.
    gateway.process.process.send_signal(signal.SIGTERM)
    await asyncio.to_thread(until, lambda: "draining" in gateway.process.output(), "it drains")
    gateway.process.process.send_signal(signal.SIGTERM)
    await asyncio.gather(*(client.read_for(10) for client in everybody))
    await asyncio.to_thread(gateway.process.wait)
    # A word may have been on its way when the gateway ended, which it does not wait for, and more if nothing ran.
    on_the_way = 1 + round(PER_SECOND * watch.stood_s)
    for client in everybody:
        client.leave()
    for client in clients:
        # The last chunk carries the error, and the body is framed to its end.
        text = bytes(client.received).decode()
        assert text.endswith("\r\n0\r\n\r\n"), text[-200:]
        last = next(line for line in reversed(text.splitlines()) if line.startswith("data: "))
        assert "error" in json.loads(last[6:])
        assert "[DONE]" not in text
        assert "message_stop" not in text
    assert [client.received[:12] for client in waiting] == [b"HTTP/1.1 503"] * len(waiting)
    again = start_gateway(
        directory=gateway.directory, config=QUIET, environment={"PENSTOCK_MASTER_KEY": gateway.admin_key}
    )
    again.admin_key = gateway.admin_key
    rows = await asyncio.to_thread(rows_of, again, key)
    streamed = [row for row in rows if row["metadata"]["stream"]]
    assert len(rows) == len(everybody)
    assert sorted(row["request_id"] for row in streamed) == sorted(client.call_id or "" for client in clients)
    assert {verdict(row) for row in streamed} == {("shutdown", "counted")}
    assert {verdict(row) for row in rows if row not in streamed} == {("shutdown", "none")}
    sent = {entry["call_id"]: entry["tokens_sent"] for entry in sim.ledger(since)}
    for row in streamed:
        prompt, completion = usage(row)
        assert prompt == PROMPT_TOKENS
        assert 3 <= completion <= sent[row["request_id"]] <= completion + on_the_way


def test_calls_are_taken_while_load_balancers_go_elsewhere_and_a_second_signal_does_not_wait(
    start_gateway: Callable[..., Gateway],
) -> None:
    gateway = start_gateway(config=QUIET + "  listener: {shutdown_delay: 60s}\n")
    key = gateway.new_key()
    with gateway.client() as client:
        assert client.get("/_health/ready").status_code == 200
        gateway.process.process.send_signal(signal.SIGTERM)
        until(lambda: client.get("/_health/ready").status_code == 503, "it is about to go")
    # Over a new connection, as of somebody who has not heard of it.
    with gateway.client() as client:
        headers = {"authorization": f"Bearer {key}"}
        answer = client.post("/v1/chat/completions", headers=headers, json=body("sim", max_tokens=3))
        assert answer.status_code == 200, answer.text
    assert "draining" not in gateway.process.output()
    gateway.process.stop()
    assert "drained" in gateway.process.output()


async def test_calls_that_were_on_their_way_when_it_was_told_to_stop_are_answered(
    start_gateway: Callable[..., Gateway],
) -> None:
    gateway = start_gateway(config=QUIET)
    request = ask("/v1/chat/completions", gateway.new_key(), body("sim", max_tokens=3))
    # One that has been used before, as a pool's.
    used = [await Client.connect(gateway) for _ in range(20)]
    for client in used:
        client.writer.write(request)
        await client.read_answer()
        client.received.clear()
    process = gateway.process.process
    # While it does not run the kernel takes connections and bytes for it, and the signal comes behind them.
    process.send_signal(signal.SIGSTOP)
    waiting = [await Client.connect(gateway) for _ in range(300)]
    for client in [*used, *waiting]:
        client.writer.write(request)
        await client.writer.drain()
    process.send_signal(signal.SIGTERM)
    process.send_signal(signal.SIGCONT)
    await asyncio.gather(*(client.read_for(20) for client in [*used, *waiting]))
    await asyncio.to_thread(gateway.process.wait)
    for client in [*used, *waiting]:
        client.leave()
    for clients in (used, waiting):
        statuses = [bytes(client.received[9:12]) for client in clients]
        assert statuses == [b"200"] * len(clients), statuses
