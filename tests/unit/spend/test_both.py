"""The same questions to SQLite and to PostgreSQL: pages, sums and, on PostgreSQL, the indexes that answer."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import count
from uuid import UUID, uuid4

import pytest

from penstock.config.database import DatabaseSettings, target_of
from penstock.engine.events import UsageRecord
from penstock.ledger.rollups import DAY_MS
from penstock.ledger.store import LedgerStore
from penstock.persistence import Database, open_database
from penstock.spend.models import Cursor, LogFilter
from penstock.spend.service import SpendService
from penstock.spend.store import SpendStore, logs_query
from tests.unit.spend.test_pages import FILTERS, NOW, TOKENS, agree, record, walked, write

_numbers = count()


def uuid7(at: int) -> str:
    """The id of a call that arrived then, as the data plane makes them."""
    return str(UUID(int=at << 80 | 7 << 76 | 2 << 62))


def made(number: int) -> list[UsageRecord]:
    """So many different records."""
    return [
        record(
            started_at=NOW - (n * 7_919 % 5) * DAY_MS - n % 3,
            token=TOKENS[n % 3],
            user_id=("", "u1", "u2")[n % 3],
            team_id=("", "t1")[n % 2],
            model_group=("gpt", "claude", "")[n % 3],
            provider=("openai", "")[n % 2],
            outcome=("ok", "error")[n % 5 == 0],
            cost=n * 1_000_003,
            prompt_tokens=n,
            tags=("[]", '["x"]', '["x","y"]')[n % 3],
        )
        for n in (next(_numbers) for _ in range(number))
    ]


@pytest.mark.parametrize("size", [1, 7, 1000])
async def test_pages_and_sums(database: Database, size: int) -> None:
    store, spend = LedgerStore(database), SpendService(SpendStore(database))
    before = made(50)
    await write(store, before)
    await write(store, before)
    seen = await walked(spend, LogFilter(), size, iter([made(2), made(2)]), store)
    calls = [row["request_id"] for row in seen]
    assert len(set(calls)) == len(calls)
    assert {one.call_id for one in before} <= set(calls)
    both = await walked(spend, LogFilter(tokens=[TOKENS[0], TOKENS[2]]), size, iter([]), store)
    assert {row["api_key"] for row in both} == {TOKENS[0], TOKENS[2]}
    at = [row["startTime"] for row in both]
    assert at == sorted(at, reverse=True)
    await agree(spend)


@pytest.mark.parametrize(
    "id, waited_ms, ends_after_ms",
    [
        pytest.param(uuid7, 0, 2_000, id="at once"),
        pytest.param(uuid7, 1_500, 500, id="charged to the window that it waited for"),
        pytest.param(uuid7, 60_000, 0, id="refused as that window began"),
        pytest.param(uuid7, -5, 2_000, id="never before it came"),
        pytest.param(lambda _: "no-uuid", 0, 2_000, id="another id"),
        pytest.param(lambda _: str(uuid4()), 0, 2_000, id="an id without a time"),
    ],
)
async def test_a_call_ends_as_long_after_its_arrival_as_it_took(
    database: Database, id: Callable[[int], str], waited_ms: int, ends_after_ms: int
) -> None:
    """`started_at` of a call that waited for its budget's next window is the window's beginning."""
    call = record(call_id=id(NOW - waited_ms), started_at=NOW, duration_us=2_000_000, ttft_us=1_900_000)
    await write(LedgerStore(database), [call])
    ((shown,), _) = await SpendService(SpendStore(database)).logs(LogFilter(), None, 10)
    start, first, end = (
        datetime.fromisoformat(shown[name]) for name in ("startTime", "completionStartTime", "endTime")
    )
    assert start == datetime.fromtimestamp(NOW / 1000, UTC)
    assert end - start == timedelta(milliseconds=ends_after_ms)
    assert first - start == timedelta(milliseconds=max(0, ends_after_ms - 100))
    assert shown["request_duration_ms"] == 2_000


@pytest.mark.parametrize("case", FILTERS)
async def test_postgresql_reads_a_page_off_an_index_in_its_order(database_url: str, case: str) -> None:
    where = FILTERS[case]
    database = await open_database(DatabaseSettings(target=target_of(database_url)))
    try:
        for cursor in (None, Cursor(5, 5)):
            sql, values = logs_query(where, where.tokens[0] if where.tokens else None, cursor, 100)
            async with database.transaction() as tx:
                # Of empty tables PostgreSQL would use no index: what it could do counts.
                await tx.execute("SET LOCAL enable_seqscan = off")
                await tx.execute("SET LOCAL enable_bitmapscan = off")
                rows = await tx.fetch_all(f"EXPLAIN {sql}", values)
            plan = "\n".join(str(next(iter(row.values()))) for row in rows)
            assert "Seq Scan" not in plan, plan
            assert "Index Scan" in plan, plan
            assert "Sort  (" not in plan, plan
    finally:
        await database.close()
