"""However callers come and go, there are never more connections than allowed and none is lost."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from penstock.persistence import Database, DatabaseUnavailable
from penstock.persistence.postgres_pool import Pool, PoolSettings
from tests.integration.persistence.conftest import Open, address_of
from tests.integration.quota.rig import come_about
from tests.servers.postgres import Postgres

SIZE = 3
BOUNDS = PoolSettings(size=SIZE, wait_s=5, statement_s=5)


async def add(database: Database) -> None:
    async with database.transaction() as tx:
        await tx.execute("UPDATE spend_totals SET calls = calls + 1 WHERE scope = 'a'")


async def test_callers_that_give_up_at_any_moment_leak_no_connection(
    database_url: str, open_postgres: Open, postgres: Postgres
) -> None:
    database = await open_postgres(database_url, BOUNDS)
    name = database_url.rpartition("/")[2]

    async def read() -> None:
        await database.fetch_all("SELECT pg_sleep(0.002)")

    async def write() -> None:
        await database.run(lambda tx: tx.execute("DELETE FROM spend_totals WHERE scope = 'x'"))

    for number in range(120):
        works = [asyncio.ensure_future(work()) for work in (read, write, read, write, read)]
        works.append(asyncio.ensure_future(add(database)))
        for _ in range(number % 40):
            await asyncio.sleep(0)
        for work in works[number % 3 :: 2]:
            work.cancel()
        results = await asyncio.gather(*works, return_exceptions=True)
        assert all(result is None or isinstance(result, int | asyncio.CancelledError) for result in results), results
    # Those that were given up may be ending still.
    await come_about(lambda: len(postgres.connections(name)) <= SIZE, "no connection too many")
    # All of them can be had at once, so none is out.
    async with asyncio.timeout(20):
        await asyncio.gather(*(read() for _ in range(SIZE * 4)))
    assert database._pool.open <= SIZE


async def test_a_connection_that_is_given_to_who_gave_up_goes_to_the_next(database_url: str) -> None:
    pool = Pool(address_of(database_url), PoolSettings(size=1, wait_s=20, statement_s=20))

    async def have() -> None:
        async with pool.lend() as connection:
            await connection.fetch("SELECT 1", ())

    async with contextlib.AsyncExitStack() as held:
        await held.enter_async_context(pool.lend())
        impatient, patient = asyncio.ensure_future(have()), asyncio.ensure_future(have())
        await asyncio.sleep(0.05)
    # It is his by now, and he does not know it yet.
    impatient.cancel()
    await asyncio.wait_for(patient, 20)
    with contextlib.suppress(asyncio.CancelledError):
        await impatient
    assert pool.open == 1
    await pool.close()
    assert pool.open == 0
    with pytest.raises(DatabaseUnavailable, match="closed"):
        await have()


async def test_closing_waits_for_what_is_under_way(database_url: str) -> None:
    pool = Pool(address_of(database_url), BOUNDS)
    answered: list[int] = []
    has_one = asyncio.Event()

    async def slow() -> None:
        async with pool.lend() as connection:
            has_one.set()
            await connection.fetch("SELECT pg_sleep(?)", (0.3,))
            answered.append(1)

    task = asyncio.ensure_future(slow())
    await has_one.wait()
    await pool.close()
    assert answered == [1]
    assert pool.open == 0
    await task


async def test_what_was_dropped_is_not_used_again(database_url: str) -> None:
    pool = Pool(address_of(database_url), BOUNDS)

    async def backend() -> object:
        async with pool.lend() as connection:
            return (await connection.fetch("SELECT pg_backend_pid() AS pid", ()))[0]["pid"]

    first = await backend()
    assert await backend() == first
    async with pool.lend():
        pool.drop_all()
    second = await backend()
    assert second != first
    await pool.close()
