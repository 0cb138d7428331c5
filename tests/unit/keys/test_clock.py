"""Budget windows of keys over the ends of months, the change to summer time and clocks that jump."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from penstock import windows
from tests.conftest import FakeApp
from tests.unit.ledger.test_usage import record

pytestmark = pytest.mark.usefixtures("at_rest")

HOUR = 3_600_000


def at(text: str) -> int:
    """Unix milliseconds of a moment in UTC."""
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


class Rig:
    """One key under a clock that the test sets."""

    def __init__(self, app: FakeApp) -> None:
        self.app = app
        self.now = 0
        self.token = ""
        self._seq = 0

    async def begin(self, moment: str, duration: str) -> None:
        """A key that is made then."""
        self.now = at(moment)
        self.token = (await self.app.new_key(max_budget=1, budget_duration=duration))["token"]

    async def call(self, cost: int, started_at: int) -> None:
        """A call that is settled and charged now."""
        self._seq += 1
        self.app.engine.usage = [record(self._seq, self.token, cost=cost, started_at=started_at)]
        await self.app.runtime.usage.flush()

    async def spent(self) -> tuple[int, int]:
        """In the window and ever."""
        key = await self.app.runtime.keys.find(self.token)
        return key.spend, key.total_spend

    async def ends(self) -> int:
        """The end of the window."""
        return int((await self.app.runtime.keys.find(self.token)).budget_reset_at)

    async def sweep(self) -> int:
        """What the leader does each second."""
        return int(await self.app.runtime.keys.sweep_windows())


@pytest.fixture
def rig(fake_app: FakeApp, monkeypatch: pytest.MonkeyPatch) -> Rig:
    """Without a key yet."""
    made = Rig(fake_app)
    monkeypatch.setattr(windows, "now_ms", lambda: made.now)
    return made


@pytest.fixture(params=["UTC", "America/New_York", "Pacific/Apia"])
def zone(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The machine's time zone."""
    with monkeypatch.context() as patch:
        patch.setenv("TZ", request.param)
        time.tzset()
        yield request.param
    time.tzset()


@pytest.mark.parametrize(
    "made, duration, ends",
    [
        ("2026-01-31T12:00", "1mo", ["2026-02-28T12:00", "2026-03-31T12:00", "2026-04-30T12:00"]),
        ("2028-01-31T23:59:59", "1mo", ["2028-02-29T23:59:59", "2028-03-31T23:59:59"]),
        ("2026-12-31T23:59:59.999", "1mo", ["2027-01-31T23:59:59.999", "2027-02-28T23:59:59.999"]),
        # The clocks of New York go forward on March 8, and back on November 1.
        ("2026-03-07T12:00", "1d", ["2026-03-08T12:00", "2026-03-09T12:00", "2026-03-10T12:00"]),
        ("2026-10-31T05:30", "1d", ["2026-11-01T05:30", "2026-11-02T05:30", "2026-11-03T05:30"]),
        ("2026-03-08T06:30", "1h", ["2026-03-08T07:30", "2026-03-08T08:30", "2026-03-08T09:30"]),
    ],
)
async def test_every_window_is_reset_once_at_its_end(
    rig: Rig, zone: str, made: str, duration: str, ends: list[str]
) -> None:
    await rig.begin(made, duration)
    ever = 0
    for end in map(at, ends):
        assert await rig.ends() == end, zone
        rig.now = end - 1
        await rig.call(5, rig.now)
        ever += 5
        before, _ = await rig.spent()
        assert before % 100 == 5
        assert await rig.sweep() == 0
        # Somebody looks two seconds late: what began in between belongs to the new window.
        rig.now = end + 2_000
        await rig.call(3, end - 1)
        await rig.call(100, end)
        await rig.call(100, end + 1_999)
        ever += 203
        assert await rig.spent() == (200, ever)
        assert await rig.sweep() == 0
    assert await rig.ends() > rig.now


async def test_a_clock_that_jumps_on_ends_each_window_once(rig: Rig) -> None:
    await rig.begin("2026-11-20T12:10", "1h")
    await rig.call(7, rig.now)
    rig.now += 5 * HOUR
    assert await rig.sweep() == 1
    assert await rig.sweep() == 0
    assert await rig.spent() == (0, 7)
    assert await rig.ends() == at("2026-11-20T18:10")
    await rig.call(9, rig.now)
    assert await rig.spent() == (9, 16)


async def test_a_clock_that_jumps_back_resets_nothing_again(rig: Rig) -> None:
    await rig.begin("2026-11-20T12:10", "1d")
    rig.now = at("2026-11-21T15:00")
    assert await rig.sweep() == 1
    await rig.call(9, rig.now)
    ends = await rig.ends()
    await rig.app.runtime.keys.follow()
    for _ in range(3):
        rig.now -= HOUR
        assert await rig.sweep() == 0
        await rig.app.runtime.keys.follow()
    assert await rig.spent() == (9, 9)
    assert await rig.ends() == ends
    # Before the beginning of the window by this clock, and not free.
    rig.now = at("2026-11-21T11:00")
    await rig.call(5, rig.now)
    assert await rig.spent() == (14, 14)
    rig.now = ends
    assert await rig.sweep() == 1
    assert await rig.spent() == (0, 14)
