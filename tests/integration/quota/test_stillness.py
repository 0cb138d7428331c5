"""Processes that stand still, end without a word, or have just come."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from penstock.config.database import DatabaseSettings
from penstock.persistence import open_database
from penstock.quota.models import QuotaOptions
from penstock.quota.store import AbsenceStore
from tests.integration.quota.rig import CALM, FAST, again, come_about, draw, gateway, scope
from tests.servers.proxy import Proxy
from tests.servers.redis import Redis


def _stand_still(seconds: float) -> None:
    time.sleep(seconds)


@again
async def test_a_pause_of_this_process_is_no_outage(redis_url: str) -> None:
    options, name = msgspec.structs.replace(CALM, patience_ms=300), scope()
    async with gateway(redis_url, options) as one:
        assert (await draw(one, name)).granted == 1
        for _ in range(5):
            asked = asyncio.ensure_future(draw(one, name))
            # The question is on its way, or Redis' answer is.
            await asyncio.sleep(0.002)
            _stand_still(0.5)
            assert (await asked).granted == 1
        assert one.figures.outages == 0
        assert one.state == "shared"


async def test_who_comes_waits_until_the_others_know_of_it(redis: Redis, redis_url: str) -> None:
    redis.flush()
    options = msgspec.structs.replace(CALM, beat_ms=400)
    async with gateway(redis_url, options) as one, gateway(redis_url, options) as two:
        # Not yet, if it has beaten a moment ago.
        await two.be_known()
        assert one.sharing == two.sharing == 2


@again
async def test_the_silence_of_who_knew_of_it_leaves_it_its_share(redis: Redis, redis_url: str) -> None:
    redis.flush()
    options = msgspec.structs.replace(FAST, patience_ms=250, window_ms=5_000)
    async with gateway(redis_url, options) as one, gateway(redis_url, options) as two:
        await two.be_known()
        tasks, one._tasks = one._tasks, []
        for task in tasks:
            task.cancel()
        await asyncio.sleep((options.missing_after_ms + 2 * options.beat_ms) / 1000)
        name = scope()
        assert sum([(await draw(two, name, limit=20)).granted for _ in range(20)]) == 10


@again
async def test_who_ended_without_a_word_leaves_everything_and_who_counted_alone_its_share(
    redis: Redis, redis_url: str, start_proxy: Callable[[int], Proxy], tmp_path: Path
) -> None:
    redis.flush()
    database = await open_database(DatabaseSettings(target=tmp_path / "a.db"))
    store = AbsenceStore(database)
    options: QuotaOptions = msgspec.structs.replace(FAST, window_ms=20_000, ended_after_ms=1_000)
    proxy = start_proxy(redis.port)
    async with gateway(redis_url, options, absences=store) as near:
        async with gateway(f"redis://127.0.0.1:{proxy.port}/0", options, absences=store) as far:
            await far.be_known()
            proxy.hang()
            await come_about(lambda: far.state == "local_share", "it counts alone")
            name = scope()
            assert sum([(await draw(far, name, limit=20)).granted for _ in range(20)]) == 10
        # It has stopped in order, and nobody was told what it used.
        await asyncio.sleep((options.ended_after_ms + 3 * options.beat_ms) / 1000 + 1.5)
        assert near.sharing == 2
        assert sum([(await draw(near, name, limit=20)).granted for _ in range(20)]) == 10
        proxy.heal()
        async with gateway(f"redis://127.0.0.1:{proxy.port}/0", options, absences=store) as killed:
            await come_about(lambda: near.sharing == 3, "another one")
            tasks, killed._tasks = killed._tasks, []
            for task in tasks:
                task.cancel()
            await come_about(lambda: near.sharing == 2, "it has ended", 10)
    await database.close()
