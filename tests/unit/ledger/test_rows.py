"""Rows are written together in what they agree in, and are kept as they came."""

from __future__ import annotations

import random
from typing import Any

import msgspec
import pytest

from penstock.engine.events import UsageRecord
from penstock.ledger.store import LedgerStore, Pending
from penstock.persistence import Database, Transaction
from tests.unit.ledger.test_usage import NOW, record


def _records(callers: int, deployments: int, count: int) -> list[UsageRecord]:
    """Of callers in turns, at deployments in no order; one in ten has failed, and has no first byte."""
    choose = random.Random(callers * 1_000 + deployments)

    def one(number: int) -> dict[str, Any]:
        caller, deployment = choose.randrange(callers), choose.randrange(deployments)
        failed = choose.random() < 0.1
        return record(
            number,
            f"t{caller}",
            started_at=NOW + number,
            user_id=f"u{caller}" if caller % 2 else "",
            deployment_id=f"d{deployment}",
            provider=f"p{deployment % 3}",
            upstream_model=f"m{deployment % 7}",
            outcome="error" if failed else "ok",
            error_code="rate_limited" if failed else "",
            ttft_us=-1 if failed else number,
            cost=number,
        )

    rows = msgspec.json.encode([list(one(number).values()) for number in range(1, count + 1)])
    return msgspec.json.decode(rows, type=list[UsageRecord])


@pytest.mark.parametrize("count", [1, 7, 100, 512])
@pytest.mark.parametrize("callers, deployments", [(1, 1), (1, 4), (1, 500), (3, 2), (60, 60)])
async def test_every_record_is_kept_as_it_came(database: Database, callers: int, deployments: int, count: int) -> None:
    store, records = LedgerStore(database), _records(callers, deployments, count)

    async def write(tx: Transaction) -> tuple[list[UsageRecord], bytes]:
        fresh = await store.insert(tx, records)
        assert await store.insert(tx, records) == []
        return fresh, await store.rows_of(tx, Pending(0, None, 0, 1 << 40))

    fresh, kept = await database.run(write)
    assert fresh == records
    assert sorted(msgspec.json.decode(kept, type=list[UsageRecord]), key=lambda one: one.seq) == records


async def test_of_few_calls_of_one_moment_the_later_comes_later(database: Database) -> None:
    store, records = LedgerStore(database), _records(3, 3, 7)

    async def write(tx: Transaction) -> bytes:
        await store.insert(tx, records)
        return await store.rows_of(tx, Pending(0, None, 0, 1 << 40))

    assert msgspec.json.decode(await database.run(write), type=list[UsageRecord]) == records
