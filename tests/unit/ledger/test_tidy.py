"""Redis does not fill with what gateways and coworkers leave behind."""

from __future__ import annotations

from pathlib import Path

import pytest

from penstock.config.redis import RedisSettings
from penstock.config.secret import Secret
from penstock.ledger import tidy, wire
from penstock.ledger.accounting import make_ledger
from penstock.ledger.coworker import Coworker
from penstock.ledger.leader import Fence
from penstock.persistence import Database
from penstock.shared.redis import connect
from tests.unit.ledger.test_apply import numbered


async def test_what_is_over_goes_and_what_is_needed_stays(
    database: Database, redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tidy, "_IDLE_MS", -1)
    monkeypatch.setattr(wire, "STREAM_DEADLINE_S", 60.0)
    redis = await connect(RedisSettings(url=Secret(redis_url)))
    try:
        work = tidy.Tidy(redis, database).work
        await work(Fence(1))
        ledger = make_ledger(database, tmp_path)
        idle, busy = Coworker(redis, ledger), Coworker(redis, ledger)
        await wire.add(redis, numbered("alive", 1, 3), 10)
        assert await idle.step(block=False) == 1
        await wire.add(redis, numbered("alive", 4, 6), 10)
        read = redis.client.xreadgroup(wire.GROUP, busy.name, {wire.STREAM: ">"})
        assert await redis.run(read, 5)
        await redis.client.hset(wire.PROGRESS, "gone", 7)
        await work(Fence(1))
        assert await redis.client.hgetall(wire.PROGRESS) == {b"alive": b"3"}
        consumers = await redis.client.xinfo_consumers(wire.STREAM, wire.GROUP)
        assert [one["name"] for one in consumers] == [busy.name.encode()]
    finally:
        await redis.close()
