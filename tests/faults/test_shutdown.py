"""A gateway that must stop now ends what is in flight with an error, and records it once."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Gateway
from tests.faults.accounts import rows_of, usage, verdict
from tests.faults.conftest import CONFIG
from tests.faults.raw import Client, ask
from tests.faults.streams import PROMPT_TOKENS, SURFACES, body
from tests.rig import Sim, until

QUIET = CONFIG % (2, "60s", "60s")


@pytest.mark.parametrize("surface", list(SURFACES))
async def test_streams_in_flight_are_ended_and_recorded_when_the_grace_is_cut(
    start_gateway: Callable[..., Gateway], sim: Sim, tmp_path: Path, surface: str
) -> None:
    data = tmp_path / "shared"
    gateway = start_gateway(config=QUIET, arguments=["--data-dir", str(data)])
    key, since = gateway.new_key(), sim.mark()
    path, model = SURFACES[surface]
    request = ask(path, key, body(model, stream=True), {"x-sim-tps": "10", "x-sim-tokens": "400"})
    clients = [await Client.connect(gateway) for _ in range(20)]
    for client in clients:
        client.writer.write(request)
    await asyncio.gather(*(client.read_until(b" that") for client in clients))
    waiting = await Client.connect(gateway)
    waiting.writer.write(ask(path, key, body(model), {"x-sim-ttft": "60000"}))
    await asyncio.to_thread(until, lambda: len(sim.ledger(since)) == 21, "all are upstream")
    # The first signal waits for them, the second does not.
    gateway.process.process.send_signal(signal.SIGTERM)
    await asyncio.to_thread(until, lambda: "draining" in gateway.process.output(), "it drains")
    gateway.process.process.send_signal(signal.SIGTERM)
    await asyncio.gather(*(client.read_for(10) for client in [*clients, waiting]))
    await asyncio.to_thread(gateway.process.wait)
    for client in [*clients, waiting]:
        client.leave()
    for client in clients:
        # The last chunk carries the error, and the body is framed to its end.
        text = bytes(client.received).decode()
        assert text.endswith("\r\n0\r\n\r\n"), text[-200:]
        last = next(line for line in reversed(text.splitlines()) if line.startswith("data: "))
        assert "error" in json.loads(last[6:])
        assert "[DONE]" not in text
        assert "message_stop" not in text
    assert waiting.received.startswith(b"HTTP/1.1 503")
    again = start_gateway(
        config=QUIET,
        arguments=["--data-dir", str(data)],
        environment={"PENSTOCK_MASTER_KEY": gateway.admin_key},
    )
    again.admin_key = gateway.admin_key
    rows = await asyncio.to_thread(rows_of, again, key)
    streamed = [row for row in rows if row["metadata"]["stream"]]
    assert len(rows) == 21
    assert sorted(row["request_id"] for row in streamed) == sorted(client.call_id or "" for client in clients)
    assert {verdict(row) for row in streamed} == {("shutdown", "counted")}
    assert {verdict(row) for row in rows if row not in streamed} == {("shutdown", "none")}
    sent = {entry["call_id"]: entry["tokens_sent"] for entry in sim.ledger(since)}
    for row in streamed:
        prompt, completion = usage(row)
        assert prompt == PROMPT_TOKENS
        # A word may have been on its way when the gateway ended; it does not wait for it.
        assert 3 <= completion <= sent[row["request_id"]] <= completion + 1
