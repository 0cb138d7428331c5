"""Two thousand streams at once over twenty connections, and what is left of them afterwards."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest

from tests.conftest import Gateway
from tests.faults.accounts import (
    descriptors,
    differences,
    gauge,
    idle,
    note,
    resident_mb,
    rows_of,
    settled,
    usage,
    verdict,
)
from tests.faults.grpc.callers import Seen, channels, request, streamed
from tests.rig import Sim, until

pytestmark = pytest.mark.alone

STREAMS = 2_000
CONNECTIONS = 20
WORDS = 12


async def _all(gateway: Gateway, key: str, model: str) -> list[Seen]:
    async with channels(gateway, CONNECTIONS) as opened:
        # Long enough that the last begins before the first ends, on a slow machine too.
        tell = {"tokens": WORDS, "tps": 2}
        return await asyncio.gather(
            *(streamed(opened[at % CONNECTIONS], key, request(model), tell) for at in range(STREAMS))
        )


@pytest.mark.slow
@pytest.mark.parametrize("model", ["sim", "sim-claude"])
def test_two_thousand_streams_over_twenty_connections(patient: Gateway, sim: Sim, model: str) -> None:
    key, since = patient.new_key(), sim.mark()
    idle(patient)
    before, files = resident_mb(patient.pid), descriptors(patient.pid)
    highest, most = before, 0
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(asyncio.run, _all(patient, key, model))

        def all_open() -> bool:
            nonlocal highest, most
            highest = max(highest, resident_mb(patient.pid))
            most = max(most, gauge(patient, "penstock_in_flight_requests"))
            return most == STREAMS or running.done()

        until(all_open, "two thousand streams in flight", 30)
        assert most == STREAMS, f"{most} were in flight together"
        assert gauge(patient, "penstock_connections") <= CONNECTIONS + 2
        highest = max(highest, resident_mb(patient.pid))
        seen = running.result()
    assert {one.code for one in seen} == {grpc.StatusCode.OK}
    assert {one.words for one in seen} == {WORDS}
    idle(patient)
    until(lambda: gauge(patient, "penstock_connections") <= 1, "no client connection is open")
    rows = rows_of(patient, key)
    assert len(rows) == STREAMS
    assert {(verdict(row), usage(row)) for row in rows} == {(("ok", "upstream"), (10, WORDS))}
    assert differences(rows, settled(sim, since, {row["request_id"] for row in rows})) == []
    after = resident_mb(patient.pid)
    note(
        f"{model}: {before:.0f} MB before, {highest:.0f} MB with {STREAMS} streams "
        f"({(highest - before) * 1000 / STREAMS:.0f} kB each), {after:.0f} MB after"
    )
    assert highest - before < 240
    assert descriptors(patient.pid) - files <= STREAMS
