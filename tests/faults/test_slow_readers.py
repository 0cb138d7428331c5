"""Clients that take their answers slowly, or not at all: the upstream waits with them, and memory does not grow."""

from __future__ import annotations

import asyncio

import pytest

from tests.conftest import Gateway
from tests.faults.accounts import differences, gauge, idle, note, resident_mb, rows_of, settled, verdict
from tests.faults.raw import Client, ask
from tests.faults.streams import SURFACES, body, stream
from tests.rig import Sim, until

pytestmark = pytest.mark.alone

STALLED = 30
# Anthropic's wire is passed on by the same code as OpenAI's.
SAME = pytest.param("messages", marks=[pytest.mark.slow, pytest.mark.long])


@pytest.mark.parametrize("surface", ["chat", SAME, "translated"])
async def test_readers_that_stall_hold_the_upstream_and_cost_no_memory(
    patient: Gateway, sim: Sim, surface: str
) -> None:
    path, model = SURFACES[surface]
    key, since = patient.new_key(), sim.mark()
    await asyncio.to_thread(idle, patient)
    before = resident_mb(patient.pid)
    # A quarter of a gigabyte each, as fast as it can be written.
    request = ask(path, key, body(model, stream=True) | {"max_tokens": 1_000_000}, {"x-sim-tokens": "1000000"})
    clients = [await Client.connect(patient) for _ in range(STALLED)]
    for client in clients:
        client.writer.transport.pause_reading()  # type: ignore[attr-defined]
        client.writer.write(request)
    await asyncio.to_thread(until, lambda: gauge(patient, "penstock_in_flight_requests") == STALLED, "all in flight")
    # Another client is served meanwhile, more than once.
    for _ in range(3):
        seen = await asyncio.to_thread(stream, patient, patient.new_key(), "chat", {"tokens": "50", "tps": "200"})
        assert (len(seen.words.split()), seen.done) == (50, True)
        assert seen.ran_s < 2
    grown = resident_mb(patient.pid) - before
    assert gauge(patient, "penstock_in_flight_requests") == STALLED, "none of them is through"
    for client in clients:
        client.leave(reset=True)
    await asyncio.sleep(0)
    await asyncio.to_thread(idle, patient)
    rows = await asyncio.to_thread(rows_of, patient, key)
    calls = {row["request_id"] for row in rows}
    entries = await asyncio.to_thread(settled, sim, since, calls)
    sent = sum(entry["tokens_sent"] for entry in entries)
    note(f"{surface}: {grown:+.1f} MB with {STALLED} stalled readers, {sent} tokens were written")
    assert grown < 60
    assert {entry["outcome"] for entry in entries} == {"cut"}
    assert len(entries) == len(rows) == STALLED
    assert {verdict(row)[0] for row in rows} == {"client_disconnect"}
    assert differences(rows, entries) == []
