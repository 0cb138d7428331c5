"""One process at a time does what only one may do, and one that has lost its turn changes nothing."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any

import pytest

from penstock.config.redis import RedisSettings
from penstock.config.secret import Secret
from penstock.ledger import leader as leading
from penstock.ledger.accounting import make_ledger
from penstock.ledger.leader import DatabaseLease, Fence, Fenced, Job, Leader, RedisLease
from penstock.ledger.retention import HOURS_KEPT_MS, Retention
from penstock.persistence import Database, DatabaseUnavailable, Transaction
from penstock.shared.redis import connect
from tests.unit.ledger.test_apply import numbered

DAY_MS = 86_400_000


class Turns:
    """Which leader did the job how often."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.fences: dict[str, Fence] = {}

    def job(self, name: str) -> Job:
        async def work(fence: Fence) -> None:
            self.done.append(name)
            self.fences[name] = fence

        return Job("job", 0, work)


async def _allowed(database: Database, fence: Fence) -> bool:
    async def work(tx: Transaction) -> None:
        await fence.check(tx)

    try:
        await database.run(work)
    except Fenced:
        return False
    return True


@pytest.mark.parametrize("kind", ["database", "redis"])
async def test_one_leads_until_its_lease_is_over(
    database: Database, kind: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leading, "_RENEW_S", 0)
    monkeypatch.setattr(leading, "STREAM_DEADLINE_S", 60.0)
    redis = None
    if kind == "redis":
        redis = await connect(RedisSettings(url=Secret(request.getfixturevalue("redis_url"))))

    def lease(name: str) -> Any:
        return RedisLease(redis, name, 60_000) if redis is not None else DatabaseLease(database, name, 60_000)

    turns, first = Turns(), lease("one")
    one = Leader(first, database, [turns.job("one")])
    two = Leader(lease("two"), database, [turns.job("two")])
    await one.step()
    await two.step()
    await one.step()
    assert turns.done == ["one", "one"]
    assert one.is_leading
    assert not two.is_leading
    assert await _allowed(database, turns.fences["one"])
    # Only now, so that it is not over before all this was seen.
    first._lease_ms = 500
    await one.step()
    deadline = time.monotonic() + 20
    while "two" not in turns.done:
        assert time.monotonic() < deadline
        await two.step()
    # The one that was taken for dead wakes up and would go on.
    assert not await _allowed(database, turns.fences["one"])
    assert await _allowed(database, turns.fences["two"])
    assert turns.fences["two"].number > turns.fences["one"].number
    if redis is not None:
        await redis.client.flushall()
        await one.step()
        assert await _allowed(database, turns.fences["one"]), "a Redis that forgot everything counts on all the same"
        assert not await _allowed(database, turns.fences["two"])
        await redis.close()


async def test_a_lease_given_back_is_the_next_one_s(database: Database) -> None:
    one, two = DatabaseLease(database, "one"), DatabaseLease(database, "two")
    assert await one.take() == "new"
    assert await one.take() == "kept"
    assert await two.take() == "no"
    await two.release()
    assert await two.take() == "no"
    await one.release()
    assert await two.take() == "new"


async def test_a_lease_is_by_the_clock_of_the_database(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever has a clock that is ahead and dies keeps nobody out for longer than others."""
    one, two = DatabaseLease(database, "one", 500), DatabaseLease(database, "two", 60_000)
    with monkeypatch.context() as patch:
        patch.setattr(time, "time", lambda: 4e9)
        assert await one.take() == "new"
    deadline = time.monotonic() + 20
    while await two.take() == "no":
        assert time.monotonic() < deadline
    one = DatabaseLease(database, "one", 60_000)

    async def set_back(tx: Transaction) -> None:
        await tx.execute("UPDATE ledger_leases SET expires_at = expires_at + 3600000")

    assert await one.take() == "no"
    # As it looks when the database's own clock was set back.
    await database.run(set_back)
    assert await one.take() == "new"


async def test_a_job_that_is_fenced_ends_the_turn(database: Database) -> None:
    async def work(_: Fence) -> None:
        raise Fenced

    one = Leader(DatabaseLease(database, "one"), database, [Job("job", 0, work)])
    await one.step()
    assert not one.is_leading


async def test_a_job_that_fails_does_not_hold_up_the_others(database: Database) -> None:
    tried: list[str] = []

    async def refused(_: Fence) -> None:
        tried.append("refused")
        raise DatabaseUnavailable("permission denied for schema public")

    turns = Turns()
    one = Leader(DatabaseLease(database, "one"), database, [Job("refused", 3_600, refused), turns.job("one")])
    with pytest.raises(DatabaseUnavailable):
        await one.step()
    await one.step()
    assert (tried, turns.done) == (["refused"], ["one", "one"])
    assert one.is_leading


async def _turn(database: Database) -> Fence:
    turns = Turns()
    await Leader(DatabaseLease(database, "me"), database, [turns.job("me")]).step()
    return turns.fences["me"]


def _retention(database: Database, kept_ms: int | None) -> Retention:
    return Retention(database, kept_ms, partitioned=database.dialect == "postgres")


async def test_old_rows_go_and_sums_stay(database: Database, tmp_path: Any) -> None:
    ledger, now = make_ledger(database, tmp_path), int(time.time() * 1000)
    await ledger.commit([numbered("a", 1, 1_200, started_at=now - 100 * DAY_MS), numbered("b", 1, 7, started_at=now)])
    if ledger.postpones:
        await ledger.charge_postponed()
    fence = await _turn(database)
    await _retention(database, None).expire(fence)
    assert (await database.fetch_one("SELECT COUNT(*) AS n FROM usage")) == {"n": 1_207}
    await _retention(database, 90 * DAY_MS).expire(fence)
    assert (await database.fetch_one("SELECT COUNT(*) AS n FROM usage")) == {"n": 7}
    sums = await database.fetch_all(
        "SELECT period, calls FROM usage_rollups WHERE dimension = 'all' ORDER BY period, calls"
    )
    assert [tuple(row.values()) for row in sums] == [("day", 7), ("day", 1_200), ("hour", 7)]
    assert HOURS_KEPT_MS < 100 * DAY_MS


async def test_who_lost_its_turn_removes_nothing(database: Database, tmp_path: Any) -> None:
    await make_ledger(database, tmp_path).commit([numbered("a", 1, 5, started_at=1)])
    with pytest.raises(Fenced):
        await _retention(database, DAY_MS).expire(Fence(-1))
    assert (await database.fetch_one("SELECT COUNT(*) AS n FROM usage")) == {"n": 5}


async def test_months_are_made_ahead_and_dropped_whole(database: Database, tmp_path: Any) -> None:
    if database.dialect == "sqlite":
        pytest.skip("SQLite has no partitions")
    now = datetime.now(UTC)
    later = datetime(now.year + 2, 1, 15, tzinfo=UTC)
    fence, retention = await _turn(database), _retention(database, 30 * DAY_MS)
    ledger = make_ledger(database, tmp_path)

    async def at_home(started_at: int) -> str:
        rows = await database.fetch_all(
            "SELECT CAST(tableoid::regclass AS TEXT) AS part FROM usage WHERE started_at = ?", (started_at,)
        )
        return str(rows[0]["part"])

    # A month nobody has made: its rows wait in the default partition until it is there.
    stamp = int(later.timestamp() * 1000)
    await ledger.commit([numbered("a", 1, 3, started_at=stamp)])
    assert await at_home(stamp) == "usage_default"
    await retention._make_month(fence, later.replace(day=1))
    assert await at_home(stamp) == f"usage_{later:%Y_%m}"
    await retention.make_months(fence)
    await retention.make_months(fence)
    old = datetime(2020, 2, 10, tzinfo=UTC)
    await retention._make_month(fence, old.replace(day=1))
    await ledger.commit([numbered("b", 1, 3, started_at=int(old.timestamp() * 1000))])
    await retention.expire(fence)
    parts = [row["relname"] for row in await database.fetch_all("SELECT relname FROM pg_class WHERE relkind = 'r'")]
    assert "usage_2020_02" not in parts
    assert f"usage_{now:%Y_%m}" in parts
    assert await at_home(stamp) == f"usage_{later:%Y_%m}"
