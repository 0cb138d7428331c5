"""Budget windows that another process began, and keys that are told ahead."""

from __future__ import annotations

import pytest

from tests.conftest import FakeApp
from tests.unit.ledger.test_usage import NOW, record

pytestmark = pytest.mark.usefixtures("at_rest")


async def test_a_window_that_another_process_began_reaches_the_data_plane(fake_app: FakeApp) -> None:
    key = await fake_app.new_key(max_budget=1, budget_duration="1h")
    token, keys = key["token"], fake_app.runtime.keys
    fake_app.engine.usage = [record(1, token, cost=500)]
    await fake_app.runtime.usage.flush()
    await keys.follow()
    revision = "SELECT revision FROM keys WHERE token = ?"
    before = await fake_app.runtime.database.fetch_one(revision, (token,))
    end = await _end(fake_app, token)
    async with fake_app.runtime.database.transaction() as tx:
        assert await keys._store.payers.roll(tx, token, end, (NOW + 5, NOW + 3_600_005))
        assert not await keys._store.payers.roll(tx, token, end, (NOW + 5, NOW + 3_600_005))
    await keys.follow()
    told = fake_app.engine.keys[token]
    assert (told["spend"], told["budget_reset_at"]) == (0, NOW + 3_600_005)
    after = await fake_app.runtime.database.fetch_one(revision, (token,))
    assert after["revision"] == before["revision"] + 1


async def _end(fake_app: FakeApp, token: str) -> int:
    return int((await fake_app.runtime.keys.find(token)).budget_reset_at)


async def test_the_keys_used_last_are_told_ahead(fake_app: FakeApp) -> None:
    keys = [(await fake_app.new_key())["token"] for _ in range(12)]
    fake_app.engine.usage = [record(place, token, started_at=NOW + place) for place, token in enumerate(keys[2:], 1)]
    await fake_app.runtime.usage.flush()
    fake_app.engine.keys.clear()
    assert await fake_app.runtime.keys.warm_up(9) == 9
    assert set(fake_app.engine.keys) == set(keys[3:])
    assert all(one["spend"] == 1_000 for one in fake_app.engine.keys.values())


async def test_a_change_raises_the_revision(fake_app: FakeApp) -> None:
    token = (await fake_app.new_key())["token"]
    rows = []
    for body in ({"rpm_limit": 3}, {"rpm_limit": 4}):
        await fake_app.client.post("/key/update", headers=fake_app.admin, json={"key": token, **body})
        rows += await fake_app.runtime.database.fetch_all("SELECT revision FROM keys WHERE token = ?", (token,))
    assert rows[0]["revision"] < rows[1]["revision"]
