"""A machine whose clock is fast begins nobody's budget window, and one whose clock is slow is told of it."""

from __future__ import annotations

import asyncio

import pytest

from penstock import clock, windows
from penstock.persistence import Database
from penstock.windows import AHEAD_MS, WindowClock
from tests.unit.scopes.rig import Rig, record

HOUR_MS = 3_600_000


@pytest.fixture
def ahead(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """By how many milliseconds this machine's clock is ahead; the last entry counts."""
    values = [0]
    monkeypatch.setattr(windows, "now_ms", lambda: clock.now_ms() + values[-1])
    return values


def _is_server(database: Database) -> bool:
    return database.dialect == "postgres"


async def test_a_fast_clock_begins_no_window_of_a_database_on_another_machine(rig: Rig, ahead: list[int]) -> None:
    await rig.put("team:t", max_budget=100, budget_duration="1h")
    async with rig.database.transaction() as tx:
        await tx.execute("UPDATE scopes SET budget_reset_at = ?", (clock.now_ms() + HOUR_MS,))
    before = await rig.scopes.find("team:t")
    assert before is not None
    await rig.charge(record(10, team_id="t", started_at=clock.now_ms()))
    ahead.append(2 * HOUR_MS)
    swept = await rig.another().sweep_windows()
    # What this machine charges began in the future by its clock, and counts in the window that everybody is in.
    await rig.charge(record(5, team_id="t", started_at=clock.now_ms() + 2 * HOUR_MS), service=rig.another())
    await rig.scopes.figures(["team:t"])
    after = await rig.scopes.find("team:t")
    assert after is not None
    if _is_server(rig.database):
        assert (swept, after.spend, after.budget_reset_at) == (0, 15, before.budget_reset_at)
    else:
        # The only clock that there is.
        assert (swept, after.spend) == (1, 5)
        assert (after.budget_reset_at or 0) > (before.budget_reset_at or 0)


async def test_a_slow_clock_does_not_begin_windows_either(rig: Rig, ahead: list[int]) -> None:
    await rig.put("team:t", max_budget=100, budget_duration="1h")
    async with rig.database.transaction() as tx:
        await tx.execute("UPDATE scopes SET budget_reset_at = ?", (clock.now_ms() - 1_000,))
    ahead.append(-HOUR_MS)
    assert await rig.another().sweep_windows() == 0
    ahead.append(0)
    assert await rig.scopes.sweep_windows() == 1


async def test_between_two_readings_the_time_goes_on_whatever_is_set(database: Database, ahead: list[int]) -> None:
    time = WindowClock(database)
    real = clock.now_ms()
    await time.read()
    ahead.append(HOUR_MS)
    first = await time.now_ms()
    await asyncio.sleep(0.05)
    second = await time.now_ms()
    assert 50 <= second - first < 20_000
    if _is_server(database):
        assert AHEAD_MS <= first - real < AHEAD_MS + 20_000
        assert abs((time.latest or 0) - second) < 20_000
    else:
        assert first - real >= HOUR_MS
        assert time.latest is None


async def test_a_difference_is_told_once(
    database: Database, ahead: list[int], caplog: pytest.LogCaptureFixture
) -> None:
    time = WindowClock(database)
    for offset in (0, HOUR_MS, HOUR_MS, 0, -HOUR_MS):
        ahead.append(offset)
        await time.read()
    told = [entry for entry in caplog.records if getattr(entry, "event", "") == "windows.clocks_differ"]
    expected = [HOUR_MS // 1000, -HOUR_MS // 1000] if _is_server(database) else []
    assert [round(entry.__dict__["ahead_s"], -1) for entry in told] == expected
