"""What other processes charge to keys reaches this data plane, and only where it matters."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from penstock.clock import now_ms
from penstock.ledger.records import decode
from penstock.persistence import DatabaseUnavailable
from tests.conftest import FakeApp
from tests.unit.ledger.test_usage import record

pytestmark = pytest.mark.usefixtures("at_rest")


async def _charged_elsewhere(fake_app: FakeApp, token: str, cost: int, **fields: Any) -> None:
    (one,) = decode(msgspec.json.encode([list(record(1, token, cost=cost, **fields).values())]))
    async with fake_app.runtime.database.transaction() as tx:
        await fake_app.runtime.keys.charge(tx, [one])


async def test_charges_of_others_are_told_for_keys_with_a_budget(fake_app: FakeApp) -> None:
    keys = fake_app.runtime.keys
    assert fake_app.engine.bound is None, "SQLite's clock is this machine's"
    budgeted, free = (await fake_app.new_key(max_budget=1))["token"], (await fake_app.new_key())["token"]
    unknown = (await fake_app.new_key(max_budget=1))["token"]
    keys._drop([unknown])
    for token in (budgeted, free, unknown):
        await _charged_elsewhere(fake_app, token, 300)
    await keys.follow()
    assert fake_app.engine.keys[budgeted]["spend"] == 300
    assert fake_app.engine.keys[free]["spend"] == 0, "nobody asks what a key without a budget has spent"
    assert unknown not in fake_app.engine.keys

    fake_app.engine.keys[budgeted]["spend"] = -1
    await keys.follow()
    assert fake_app.engine.keys[budgeted]["spend"] == -1, "it is told once"
    await _charged_elsewhere(fake_app, budgeted, 5)
    await keys.follow()
    assert fake_app.engine.keys[budgeted]["spend"] == 305


async def test_a_key_that_gets_a_budget_is_followed_from_then_on(fake_app: FakeApp) -> None:
    token = (await fake_app.new_key())["token"]
    await _charged_elsewhere(fake_app, token, 300)
    await fake_app.client.post("/key/update", headers=fake_app.admin, json={"key": token, "max_budget": 1})
    await _charged_elsewhere(fake_app, token, 5)
    await fake_app.runtime.keys.follow()
    assert fake_app.engine.keys[token]["spend"] == 305


async def test_what_was_charged_while_the_database_was_away_is_followed(
    fake_app: FakeApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys, token = fake_app.runtime.keys, (await fake_app.new_key(max_budget=1))["token"]
    await keys.follow()
    await _charged_elsewhere(fake_app, token, 300)
    with monkeypatch.context() as away:

        async def fail(*_: object) -> list[Any]:
            raise DatabaseUnavailable("away")

        away.setattr(keys._store, "seeds", fail)
        with pytest.raises(DatabaseUnavailable):
            await keys.follow()
    assert fake_app.engine.keys[token]["spend"] == 0
    await keys.follow()
    assert fake_app.engine.keys[token]["spend"] == 300


async def test_a_key_that_changed_hands_is_told_with_its_new_owners(fake_app: FakeApp) -> None:
    token = (await fake_app.new_key(max_budget=1))["token"]
    await fake_app.client.post("/team/new", headers=fake_app.admin, json={"team_id": "t"})
    async with fake_app.runtime.database.transaction() as tx:
        await tx.execute("UPDATE keys SET team_id = 't', revision = revision + 1 WHERE token = ?", (token,))
    await _charged_elsewhere(fake_app, token, 7)
    await fake_app.runtime.keys.follow()
    told = fake_app.engine.keys[token]
    assert (told["spend"], told["team_id"], told["scopes"]) == (7, "t", ["team:t"])


async def test_the_sweep_begins_windows_without_telling_of_keys_nobody_uses_here(fake_app: FakeApp) -> None:
    keys = fake_app.runtime.keys
    tokens = [(await fake_app.new_key(max_budget=1, budget_duration="1h"))["token"] for _ in range(3)]
    keys._drop(tokens[1:])
    ended = now_ms() - 10
    async with fake_app.runtime.database.transaction() as tx:
        await tx.execute("UPDATE keys SET spend = 5, budget_reset_at = ?", (ended,))
    assert await keys.sweep_windows() == 3
    assert set(fake_app.engine.keys) == {tokens[0]}
    found = [await keys.find(token) for token in tokens]
    assert [(key.spend, key.budget_window_start, key.budget_reset_at) for key in found] == [
        (0, ended, ended + 3_600_000)
    ] * 3


async def test_a_spend_that_was_set_is_newer_than_the_charge_before(fake_app: FakeApp) -> None:
    token = (await fake_app.new_key(max_budget=1))["token"]
    await _charged_elsewhere(fake_app, token, 300)
    (before,) = await fake_app.runtime.keys._store.seeds([token], "")
    await fake_app.client.post("/key/update", headers=fake_app.admin, json={"key": token, "spend": 0})
    (after,) = await fake_app.runtime.keys._store.seeds([token], "")
    assert (after.key.spend, after.charged_at > before.charged_at) == (0, True)
