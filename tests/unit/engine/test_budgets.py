"""What is read of payers reaches whoever holds their money, and what is held for nobody is let go of."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from penstock.clock import now_ms
from penstock.engine.budgets import SharedBudgets
from penstock.ledger.records import decode
from penstock.payers import Figure
from penstock.persistence import DatabaseUnavailable
from tests.conftest import FakeApp
from tests.unit.ledger.test_usage import record

pytestmark = pytest.mark.usefixtures("at_rest")


class Quota:
    """The part of the quota service that budgets need."""

    def __init__(self) -> None:
        self.held: list[str] = []
        self.told: list[tuple[str, Figure, int]] = []
        self.back: list[tuple[str, str, int]] = []

    def holds_budget(self, scope: str) -> bool:
        return scope in self.held

    def held_budgets(self) -> list[str]:
        return self.held

    def tell_spent(self, scope: str, figure: Figure, freed: int) -> None:
        self.told.append((scope, figure, freed))

    def give_back(self, scope: str, kind: str, units: int) -> None:
        self.back.append((scope, kind, units))


@pytest.fixture
def quota(fake_app: FakeApp) -> Quota:
    """Attached to the app's budgets."""
    found = Quota()
    fake_app.runtime._budgets.attach(found)
    return found


def budgets(fake_app: FakeApp) -> SharedBudgets:
    found: SharedBudgets = fake_app.runtime._budgets
    return found


async def charged(fake_app: FakeApp, token: str, cost: int, **fields: Any) -> None:
    (one,) = decode(msgspec.json.encode([list(record(1, token, cost=cost, **fields).values())]))
    async with fake_app.runtime.database.transaction() as tx:
        await fake_app.runtime.keys.charge(tx, [one])
        await fake_app.runtime.entities.scopes.charge(tx, [one])


async def test_a_charge_is_told_to_whom_it_frees_something(fake_app: FakeApp, quota: Quota) -> None:
    await fake_app.client.post("/team/new", headers=fake_app.admin, json={"team_id": "t", "max_budget": 1})
    key = (await fake_app.new_key(max_budget=1, team_id="t"))["token"]
    other = (await fake_app.new_key(max_budget=1))["token"]
    quota.held = [f"own:{key}", "team:t"]
    fake_app.engine.held = {f"own:{key}": 250, "team:t": 300}
    await charged(fake_app, key, 300, team_id="t")
    await charged(fake_app, other, 300)
    await fake_app.runtime.keys.follow()
    await fake_app.runtime.entities.scopes.follow()
    assert [(scope, figure.spent, freed) for scope, figure, freed in quota.told] == [
        (f"own:{key}", 300, 250),
        ("team:t", 300, 300),
    ]
    assert all(figure.version > 0 and figure.until == 0 for _, figure, _ in quota.told)
    # Nothing more is freed, so that nothing more is told.
    await charged(fake_app, key, 5, team_id="t")
    await fake_app.runtime.keys.follow()
    assert len(quota.told) == 2
    assert f"own:{other}" not in dict(fake_app.engine.told)


async def test_what_is_held_for_nobody_is_let_go_of(
    fake_app: FakeApp, quota: Quota, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 100.0
    monkeypatch.setattr("penstock.engine.budgets.time.monotonic", lambda: now)
    key = (await fake_app.new_key(max_budget=1))["token"]
    quota.held = [f"own:{key}", "own:" + "0" * 64, "team:gone"]
    fake_app.engine.held = {"own:" + "0" * 64: 7, "team:gone": 8, f"own:{key}": 9}
    shared = budgets(fake_app)
    await shared.look_after()
    assert fake_app.engine.told == []
    now += 6
    await shared.look_after()
    assert [(scope, freed) for scope, _, freed in quota.told] == [(f"own:{key}", 9)]
    assert quota.back == [("own:" + "0" * 64, "budget", 7), ("team:gone", "budget", 8)]
    told = len(fake_app.engine.told)
    await shared.look_after()
    assert len(fake_app.engine.told) == told, "not again so soon"


async def test_a_window_that_is_over_for_the_asker_is_begun_for_all(fake_app: FakeApp, quota: Quota) -> None:
    await fake_app.client.post(
        "/team/new", headers=fake_app.admin, json={"team_id": "t", "max_budget": 1, "budget_duration": "1d"}
    )
    key = (await fake_app.new_key(max_budget=1, budget_duration="1h", team_id="t"))["token"]
    await charged(fake_app, key, 300, team_id="t", started_at=now_ms())
    shared = budgets(fake_app)
    for scope in (f"own:{key}", "team:t"):
        before = await shared.read(scope, 0)
        assert before is not None
        assert before.spent == 300
        # The asker's clock is a little ahead.
        after = await shared.read(scope, before.until)
        assert after is not None
        assert (after.spent, after.version > before.version, after.until > before.until) == (0, True, True)
        assert await shared.read(scope, before.until) == after
    assert await shared.read("team:none", 0) is None


async def test_a_budget_given_to_a_key_makes_its_figure_a_later_one(fake_app: FakeApp, quota: Quota) -> None:
    key = (await fake_app.new_key(max_budget=1))["token"]
    first = await budgets(fake_app).read(f"own:{key}", 0)
    await fake_app.client.post("/key/update", headers=fake_app.admin, json={"key": key, "max_budget": None})
    await charged(fake_app, key, 300)
    await fake_app.client.post("/key/update", headers=fake_app.admin, json={"key": key, "max_budget": 2})
    second = await budgets(fake_app).read(f"own:{key}", 0)
    assert first is not None
    assert second is not None
    assert (second.spent, second.version > first.version > 0) == (300, True)
    assert fake_app.engine.keys[key]["spend_at"] == second.version


async def test_a_gateway_that_ends_says_whether_everything_was_told(
    fake_app: FakeApp, quota: Quota, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = (await fake_app.new_key(max_budget=1))["token"]
    quota.held = [f"own:{key}"]
    fake_app.engine.held = {f"own:{key}": 9}
    assert await budgets(fake_app).settle()
    assert [freed for *_, freed in quota.told] == [9]

    async def fail(*_: object) -> None:
        raise DatabaseUnavailable("away")

    monkeypatch.setattr(fake_app.runtime.keys._store, "seeds", fail)
    assert not await budgets(fake_app).settle()
