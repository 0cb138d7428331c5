"""One process at a time does what only one may do, and one that has lost its turn changes nothing."""

from __future__ import annotations

import asyncio
import re
import time
from datetime import UTC, datetime
from typing import Any

import pytest

from penstock.config.redis import RedisSettings
from penstock.config.secret import Secret
from penstock.ledger import leader as leading
from penstock.ledger import retention as retention_module
from penstock.ledger.accounting import make_ledger
from penstock.ledger.leader import DatabaseLease, Fence, Fenced, Job, Leader, Left, RedisLease
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


async def test_a_job_that_has_left_something_is_due_again_after_the_others(database: Database) -> None:
    left = [Left.SOMETHING, Left.SOMETHING, Left.NOTHING, Left.NOTHING]
    done: list[str] = []

    async def work(_: Fence) -> Left:
        done.append("work")
        return left.pop(0)

    async def other(_: Fence) -> None:
        done.append("other")

    one = Leader(DatabaseLease(database, "one"), database, [Job("work", 3_600, work), Job("other", 0, other)])
    for _ in range(5):
        await one.step()
    assert done == ["work", "other"] * 3 + ["other"] * 2


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


async def _expire_all(retention: Retention, fence: Fence) -> None:
    async with asyncio.timeout(60):
        while await retention.expire(fence) is Left.SOMETHING:
            pass


async def _rows_of_calls(database: Database) -> int:
    row = await database.fetch_one("SELECT COUNT(*) AS n FROM usage")
    assert row is not None
    return int(row["n"] or 0)


async def test_however_many_rows_are_old_all_go(
    database: Database, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention_module, "_SLICE", 10)
    now = int(time.time() * 1000)
    # All of one moment, and a slice ends within it.
    await make_ledger(database, tmp_path).commit(
        [numbered("a", 1, 700, started_at=1), numbered("b", 1, 5, started_at=now)]
    )
    await _expire_all(_retention(database, DAY_MS), await _turn(database))
    assert await _rows_of_calls(database) == 5


async def test_one_go_is_short_and_says_that_it_has_left_something(
    database: Database, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention_module, "_SLICE", 10)
    ledger = make_ledger(database, tmp_path)
    for hour in range(3):
        await ledger.commit([numbered(f"{hour}", 1, 15, started_at=1 + hour * 3_600_000)])
    if ledger.postpones:
        await ledger.charge_postponed()
    fence, retention = await _turn(database), _retention(database, DAY_MS)
    with monkeypatch.context() as patch:
        patch.setattr(retention_module, "_LONGEST_S", 0)
        assert await retention.expire(fence) is Left.SOMETHING
    assert await _rows_of_calls(database) == 35
    hours = "SELECT COUNT(DISTINCT start_at) AS n FROM usage_rollups WHERE period = 'hour'"
    assert await database.fetch_one(hours) == {"n": 2}
    await _expire_all(retention, fence)
    assert await _rows_of_calls(database) == 0
    assert await database.fetch_one(hours) == {"n": 0}


async def test_rows_that_cannot_be_removed_keep_nothing_else(database: Database, tmp_path: Any) -> None:
    ledger = make_ledger(database, tmp_path)
    await ledger.commit([numbered("a", 1, 5, started_at=1)])
    if ledger.postpones:
        await ledger.charge_postponed()

    async def prepare(tx: Transaction) -> None:
        await tx.execute("UPDATE ledger_progress SET updated_at = 1")
        if database.dialect == "sqlite":
            await tx.execute("CREATE TRIGGER slow BEFORE DELETE ON usage BEGIN SELECT * FROM missing; END")
            return
        await tx.execute(
            "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN"
            " RAISE EXCEPTION 'canceling statement due to statement timeout' USING ERRCODE = '57014'; END$$"
        )
        await tx.execute("CREATE TRIGGER slow BEFORE DELETE ON usage FOR EACH ROW EXECUTE FUNCTION slow()")

    await database.run(prepare)
    with pytest.raises(DatabaseUnavailable):
        await _retention(database, DAY_MS).expire(await _turn(database))
    assert await _rows_of_calls(database) == 5
    hours = "SELECT COUNT(*) AS n FROM usage_rollups WHERE period = 'hour'"
    assert await database.fetch_one(hours) == {"n": 0}
    assert await database.fetch_one("SELECT COUNT(*) AS n FROM ledger_progress") == {"n": 0}


async def test_rows_of_a_slice_are_found_by_an_index(database: Database, tmp_path: Any) -> None:
    await make_ledger(database, tmp_path).commit([numbered("a", 1, 20_000, started_at=1)])

    async def spread(tx: Transaction) -> None:
        await tx.execute("UPDATE usage SET started_at = started_at + seq * 1000")
        await tx.execute("ANALYZE usage" if database.dialect == "postgres" else "ANALYZE")

    await database.run(spread)
    (last,) = await database.fetch_all(retention_module._LAST_OF_SLICE, (0, 10**9, 999))
    bounds = (0, last["started_at"], last["started_at"], last["id"])
    for sql, values in (
        (retention_module._LAST_OF_SLICE, (0, 10**9, 999)),
        (retention_module._DELETE_SLICE, bounds),
        (retention_module._DELETE_REST, (0, 500_000)),
    ):
        if database.dialect == "sqlite":
            steps = [str(row["detail"]) for row in await database.fetch_all(f"EXPLAIN QUERY PLAN {sql}", values)]
            assert all(step.startswith("SEARCH usage USING ") for step in steps), steps
            continue
        plan = "\n".join(str(row["QUERY PLAN"]) for row in await database.fetch_all(f"EXPLAIN {sql}", values))
        # Other partitions are empty.
        assert "Seq Scan on usage_default" not in plan, plan
        assert re.search(
            r"Index (Only )?Scan using usage_default_pkey|Bitmap Index Scan on usage_default_pkey", plan
        ), plan


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
