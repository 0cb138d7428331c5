"""A data plane hears of what other processes charged, also when it could not ask for a while or when it is much."""

from __future__ import annotations

import pytest

from penstock import payers
from penstock.clock import now_ms
from penstock.payers import Charged
from penstock.persistence import DatabaseUnavailable
from tests.unit.scopes.rig import Rig


async def _charged_elsewhere(rig: Rig, ago_ms: int) -> None:
    async with rig.database.transaction() as tx:
        await tx.execute(
            "UPDATE scopes SET spend = spend + 5, charged_at = ?, revision = revision + 1", (now_ms() - ago_ms,)
        )


async def test_what_was_charged_while_the_database_was_away_is_followed(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    await rig.put("team:t", max_budget=10)
    rig.scopes._follower._followed = now_ms() - 160_000
    await _charged_elsewhere(rig, 130_000)
    with monkeypatch.context() as away:

        async def fail(place: tuple[int, str], limit: int) -> list[Charged]:
            raise DatabaseUnavailable("away")

        away.setattr(rig.scopes._store.payers, "charged_after", fail)
        with pytest.raises(DatabaseUnavailable):
            await rig.scopes.follow()
    assert rig.told["team:t"]["spend"] == 0
    await rig.scopes.follow()
    assert rig.told["team:t"]["spend"] == 5


async def test_more_than_one_page_is_followed(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(payers, "FOLLOW_BATCH", 2)
    for number in range(5):
        await rig.put(f"team:{number}", max_budget=10)
    await _charged_elsewhere(rig, 0)
    await rig.scopes.follow()
    assert [rig.told[f"team:{number}"]["spend"] for number in range(5)] == [5] * 5


async def test_a_customer_made_elsewhere_is_asked_for_again(rig: Rig) -> None:
    other = rig.another()
    async with rig.database.transaction() as tx:
        await other.put(tx, "customer:c", {"blocked": True})
        await other.put(tx, "team:t", {"blocked": True})
    await rig.scopes.refresh(["customer:c", "team:t"])
    assert rig.dropped == ["customer:c"], "the data plane may remember that there is none"


async def test_what_a_failover_took_back_does_not_stand_in_the_way_of_what_comes(rig: Rig) -> None:
    await rig.put("team:t", max_budget=10)
    for _ in range(3):
        await _charged_elsewhere(rig, 0)
    await rig.scopes.follow()
    assert (rig.told["team:t"]["spend"], rig.dropped) == (15, [])
    async with rig.database.transaction() as tx:
        await tx.execute("UPDATE scopes SET spend = 5, revision = revision - 2")
    # The data plane takes no older revision, unless it has forgotten the one that it has.
    await rig.put("team:t", blocked=True)
    assert (rig.told["team:t"]["spend"], rig.told["team:t"]["blocked"], rig.dropped) == (5, True, ["team:t"])
    async with rig.database.transaction() as tx:
        await tx.execute("UPDATE scopes SET spend = 0, revision = revision - 1, charged_at = charged_at + 1")
    await rig.scopes.follow()
    assert (rig.told["team:t"]["spend"], rig.dropped) == (0, ["team:t", "team:t"])
