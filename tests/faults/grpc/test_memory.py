"""What gRPC calls leave behind in memory: nothing that grows with their number."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest

from tests.conftest import Gateway
from tests.faults.accounts import descriptors, gauge, idle, note, resident_mb, rows_of, usage
from tests.faults.grpc.callers import channels, request, streamed, unary
from tests.rig import until

pytestmark = pytest.mark.alone

CALLS = 10_000
WORKERS = 16


def _rest(gateway: Gateway) -> float:
    """Resident memory once every record is in the store."""
    idle(gateway)
    until(lambda: gauge(gateway, "penstock_usage_queue_records") == 0, "all records are stored", 60)
    return resident_mb(gateway.pid)


async def _calls(gateway: Gateway, key: str, count: int, *, stream: bool) -> list[grpc.StatusCode | None]:
    asked, left = request(tokens=3), iter(range(count))
    codes: list[grpc.StatusCode | None] = []

    async with channels(gateway, 1) as [channel]:

        async def work() -> None:
            for _ in left:
                made: Any = streamed if stream else unary
                codes.append((await made(channel, key, asked, {"tokens": 3})).code)

        await asyncio.gather(*(work() for _ in range(WORKERS)))
    return codes


@pytest.mark.slow
@pytest.mark.parametrize("stream", [False, True], ids=["unary", "streamed"])
async def test_ten_thousand_calls_on_one_channel(patient: Gateway, stream: bool) -> None:
    key = patient.new_key()
    assert set(await _calls(patient, key, CALLS // 2, stream=stream)) == {grpc.StatusCode.OK}
    warm, files = _rest(patient), descriptors(patient.pid)
    codes = await _calls(patient, key, CALLS, stream=stream)
    assert (len(codes), set(codes)) == (CALLS, {grpc.StatusCode.OK})
    after = _rest(patient)
    note(f"{warm:.1f} MB, {after:.1f} MB after {CALLS} more calls")
    # A leak of one kilobyte per call would show as 10 MB.
    assert after - warm < 8
    assert descriptors(patient.pid) - files < 20
    rows = rows_of(patient, key)
    assert len(rows) == CALLS + CALLS // 2
    assert {usage(row) for row in rows} == {(10, 3)}


@pytest.mark.slow
async def test_calls_that_fail_or_are_left_leave_nothing_either(patient: Gateway) -> None:
    key = patient.new_key()

    async def round_(count: int) -> None:
        async with channels(patient, 4) as opened:
            for at in range(0, count, 100):
                await asyncio.gather(
                    *(
                        streamed(
                            opened[n % 4], key if n % 3 else "sk-unknown", request(), {"tps": 200}, leave_after=0.05
                        )
                        for n in range(at, at + 100)
                    )
                )

    await round_(1_000)
    warm = _rest(patient)
    await round_(3_000)
    after = _rest(patient)
    note(f"{warm:.1f} MB, {after:.1f} MB after 3,000 calls that were left or refused")
    assert after - warm < 8
