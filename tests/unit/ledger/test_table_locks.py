"""Making and dropping months never holds up those who write."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from penstock.config.database import DatabaseSettings, target_of
from penstock.ledger.leader import Fence
from penstock.ledger.retention import Retention
from penstock.persistence import DatabaseUnavailable, Transaction, open_database
from tests.stalls import Stopwatch


async def test_a_table_in_use_is_left_for_another_time(database_url: str) -> None:
    database = await open_database(DatabaseSettings(target=target_of(database_url), pool_size=4))
    tried: list[str] = []

    class Counted(Fence):
        async def check(self, tx: Transaction) -> None:
            tried.append("again")

    retention, month = Retention(database, None, partitioned=True), datetime(2039, 1, 1, tzinfo=UTC)
    async with database.transaction() as report:
        await report.execute("LOCK TABLE usage IN ACCESS SHARE MODE")
        watch = Stopwatch()
        with pytest.raises(DatabaseUnavailable, match="lock timeout"):
            await retention._make_month(Counted(1), month)
        assert watch.ran_s < 3
        assert tried == ["again"]
    await retention._make_month(Counted(1), month)
    assert await database.fetch_one(
        "SELECT to_regclass('usage_2039_01') AS found WHERE to_regclass('usage_2039_01') IS NOT NULL"
    )
    await database.close()
