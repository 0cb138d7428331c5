"""Who pays for a call, and in which budget window."""

from __future__ import annotations

import time
from datetime import UTC, datetime

import msgspec
import pytest

from penstock.scopes.models import ModelLimit
from penstock.windows import WindowClock
from tests.unit.scopes.rig import Rig, record

DAY = 86_400_000


def _at(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The time that the service sees; the last entry counts."""
    times = [_at("2026-11-20T12:00:00")]

    async def now_ms(*_: object) -> int:
        return times[-1]

    monkeypatch.setattr(WindowClock, "now_ms", now_ms)
    return times


async def test_every_level_pays_and_others_do_not(rig: Rig) -> None:
    levels = ["team:t", "member:t/u", "user:u", "org:o", "customer:c", "tag:blue", "tag:red", "global:proxy"]
    for name in [*levels, "team:other", "member:t/other", "tag:green"]:
        await rig.put(name)
    call = record(7, token="k", team_id="t", user_id="u", org_id="o", end_user="c", tags='["blue","red","blue"]')
    await rig.charge(call, record(5, token="k2", team_id="t", user_id="u2"), record(0, token="k", team_id="t"))
    assert {name: (await rig.spent(name))[0] for name in levels} == {
        "team:t": 12,
        "member:t/u": 7,
        "user:u": 7,
        "org:o": 7,
        "customer:c": 7,
        "tag:blue": 7,
        "tag:red": 7,
        "global:proxy": 12,
    }
    assert [await rig.spent(name) for name in ("team:other", "member:t/other", "tag:green")] == [(0, 0)] * 3


async def test_limits_per_model_pay_for_their_model_only(rig: Rig) -> None:
    await rig.put("key:tok", {"gpt/4o": ModelLimit(max_budget=100), "group": ModelLimit(rpm=1)})
    await rig.charge(
        record(3, token="tok", model="gpt/4o", model_group="group"),
        record(4, token="tok", model="group", model_group="group"),
        record(8, token="tok", model="else", model_group="else"),
        record(16, token="tik", model="gpt/4o", model_group="group"),
    )
    assert await rig.spent("model:key:tok/gpt/4o") == (3, 3)
    assert await rig.spent("model:key:tok/group") == (7, 7)
    assert await rig.spent("key:tok") == (15, 15)


async def test_calls_with_a_former_token_are_charged_to_the_key(rig: Rig) -> None:
    await rig.put("key:old", {"m": ModelLimit(max_budget=100)})
    await rig.charge(record(1, token="old"))
    async with rig.database.transaction() as tx:
        await tx.execute("INSERT INTO key_predecessors (old_token, token, retired_at) VALUES ('old', 'new', 1)")
        await rig.scopes.rename_key(tx, "old", "new")
    await rig.charge(record(2, token="old"), record(4, token="new"))
    assert await rig.spent("model:key:new/m") == (7, 7)
    assert await rig.scopes.find("key:old") is None


async def test_a_window_is_reset_once_whoever_sees_its_end_first(rig: Rig, clock: list[int]) -> None:
    await rig.put("team:t", max_budget=100, budget_duration="1d")
    scope = await rig.scopes.find("team:t")
    assert scope is not None
    assert scope.budget_reset_at == _at("2026-11-21T00:00:00")
    await rig.charge(record(10, team_id="t", started_at=clock[-1]))
    clock.append(_at("2026-11-21T00:00:01"))
    # A charge comes before anybody has looked: what began in the old window counts ever, and not in the new one.
    await rig.charge(
        record(1, team_id="t", started_at=_at("2026-11-20T23:59:59")),
        record(2, team_id="t", started_at=_at("2026-11-21T00:00:00")),
    )
    assert await rig.spent("team:t") == (2, 13)
    other = rig.another()
    assert await other.sweep_windows() == 0
    await rig.charge(record(4, team_id="t", started_at=clock[-1]), service=other)
    assert await rig.spent("team:t") == (6, 17)
    scope = await rig.scopes.find("team:t")
    assert scope is not None
    assert (scope.budget_window_start, scope.budget_reset_at) == (_at("2026-11-21"), _at("2026-11-22"))


async def test_two_that_read_the_same_window_charge_the_next_one_rightly(rig: Rig, clock: list[int]) -> None:
    from penstock.scopes import charging

    await rig.put("team:t", max_budget=100, budget_duration="1mo")
    await rig.charge(record(10, team_id="t", started_at=clock[-1]))
    (before,) = await rig.scopes._store.among(rig.database, ["team:t"])
    clock.append(_at("2026-12-03"))
    late = [record(1, team_id="t", started_at=_at("2026-11-30")), record(2, team_id="t", started_at=_at("2026-12-02"))]
    for _ in range(2):
        # Both have read the row before either wrote, as two transactions of PostgreSQL may.
        async with rig.database.transaction() as tx:
            await rig.scopes._store.payers.add(tx, [charging.addition(before, late, clock[-1])])
    assert await rig.spent("team:t") == (4, 16)


async def test_the_sweep_resets_what_nobody_uses(rig: Rig, clock: list[int]) -> None:
    await rig.put("user:u", max_budget=100, budget_duration="7d")
    await rig.charge(record(10, user_id="u", started_at=clock[-1]))
    clock.append(clock[-1] + 40 * DAY)
    assert await rig.scopes.sweep_windows() == 1
    assert await rig.scopes.sweep_windows() == 0
    scope = await rig.scopes.find("user:u")
    assert scope is not None
    assert (scope.spend, scope.total_spend) == (0, 10)
    assert scope.budget_window_start == _at("2026-12-28")
    assert scope.budget_reset_at == _at("2027-01-04")
    await rig.scopes.follow()
    assert rig.told["user:u"]["spend"] == 0
    assert rig.told["user:u"]["budget_reset_at"] == _at("2027-01-04")


async def test_a_budget_gives_its_limits_to_all_who_refer_to_it(rig: Rig) -> None:
    async with rig.database.transaction() as tx:
        await tx.execute(
            "INSERT INTO budgets (budget_id, max_budget, rpm, budget_duration, model_limits, created_at, created_by,"
            " updated_at, updated_by) VALUES ('b', 100, 9, '30d', ?, 0, '', 0, '')",
            (msgspec.json.encode({"m": ModelLimit(max_budget=50)}).decode(),),
        )
    await rig.put("customer:a", budget_id="b")
    await rig.put("customer:b", budget_id="b", rpm=2)
    now = 10**14
    await rig.charge(
        record(10, end_user="a", started_at=now), record(1, end_user="b", model="n", model_group="n", started_at=now)
    )
    first, second = rig.told["customer:a"], rig.told["customer:b"]
    assert (first["max_budget"], first["rpm"], second["max_budget"], second["rpm"]) == (100, 9, 100, 2)
    assert first["budget_reset_at"] > time.time() * 1000
    assert rig.told["model:customer:a/m"]["max_budget"] == 50
    assert [await rig.spent(f"customer:{name}") for name in "ab"] == [(10, 10), (1, 1)]
    assert await rig.spent("model:customer:a/m") == (10, 10)
    async with rig.database.transaction() as tx:
        await tx.execute("UPDATE budgets SET max_budget = 7, model_limits = '{}', budget_duration = NULL")
        touched = await rig.scopes.renew_windows(tx, "b")
    await rig.scopes.publish(touched)
    assert rig.told["customer:a"]["max_budget"] == 7
    assert rig.told["customer:a"]["budget_reset_at"] is None
    assert "model:customer:a/m" in rig.dropped


async def test_revisions_rise_with_every_change_and_every_charge(rig: Rig) -> None:
    seen = []
    await rig.put("tag:x", max_budget=5)
    seen.append(rig.told["tag:x"]["revision"])
    await rig.charge(record(1, tags='["x"]'))
    await rig.scopes.follow()
    seen.append(rig.told["tag:x"]["revision"])
    await rig.put("tag:x", max_budget=6)
    seen.append(rig.told["tag:x"]["revision"])
    assert seen == sorted(set(seen))
    assert rig.told["tag:x"]["spend"] == 1


async def test_setting_the_spend_counts_what_is_more_and_never_less(rig: Rig) -> None:
    await rig.put("team:t")
    await rig.charge(record(10, team_id="t"))
    await rig.put("team:t", spend=25)
    assert await rig.spent("team:t") == (25, 25)
    await rig.put("team:t", spend=0)
    assert await rig.spent("team:t") == (0, 25)


async def test_a_scope_that_is_created_again_is_newer_than_the_one_before(rig: Rig) -> None:
    await rig.put("tag:x", max_budget=1)
    for _ in range(5):
        await rig.put("tag:x", rpm=1)
    before = rig.told["tag:x"]["revision"]
    async with rig.database.transaction() as tx:
        await rig.scopes.remove(tx, "tag:x")
    await rig.scopes.publish(["tag:x"])
    await rig.put("tag:x", max_budget=2)
    assert rig.dropped == ["tag:x"]
    assert rig.told["tag:x"]["revision"] > before
