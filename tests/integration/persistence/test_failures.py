"""PostgreSQL stops, hangs, is full or fails over: stores say so in time, count nothing as done that was not, and go on
by themselves afterwards.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import asyncpg
import pytest

from penstock.persistence import Database, DatabaseUnavailable, Transaction
from penstock.persistence.postgres_pool import PoolSettings
from tests.integration.persistence.conftest import HASTY, Open
from tests.servers.postgres import Postgres
from tests.servers.proxy import Proxy
from tests.stalls import Stopwatch

INSERT = "INSERT INTO usage_rejected VALUES (?, 1, '', '')"
LIMIT_S = HASTY.wait_s + HASTY.statement_s + 1
"""To wait for a connection, and for a statement of a server that hangs; and half a second for a slow machine."""


async def put(database: Database, name: str) -> None:
    await database.run(lambda tx: tx.execute(INSERT, (name,)))


async def manage(database: Database, name: str) -> None:
    async with database.transaction() as tx:
        await tx.execute(INSERT, (name,))


async def names(database: Database) -> list[str]:
    rows = await database.fetch_all("SELECT digest FROM usage_rejected ORDER BY digest")
    return [str(row["digest"]) for row in rows]


async def comes_about(probe: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 15
    while not probe():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)


async def fails_in_time(database: Database, limit_s: float = LIMIT_S) -> None:
    """Reading, writing and managing: each of them, and none takes long."""
    for work in (names(database), put(database, "never"), manage(database, "never")):
        watch = Stopwatch()
        with pytest.raises(DatabaseUnavailable):
            await work
        assert watch.ran_s < limit_s + 0.5


async def test_a_server_that_restarts_under_load_is_used_again(own_postgres: Postgres, open_postgres: Open) -> None:
    database = await open_postgres(own_postgres.url(), HASTY)
    done: list[str] = []
    failed = 0
    is_over = asyncio.Event()

    async def load(worker: int) -> None:
        nonlocal failed
        number = 0
        while not is_over.is_set():
            number += 1
            try:
                await put(database, f"{worker}-{number:05}")
            except DatabaseUnavailable:
                failed += 1
                await asyncio.sleep(0.02)
            else:
                done.append(f"{worker}-{number:05}")

    async def some_more() -> None:
        aim = len(done) + 50
        await comes_about(lambda: len(done) >= aim)

    workers = [asyncio.create_task(load(number)) for number in range(6)]
    for stop in (own_postgres.stop, own_postgres.crash):
        await some_more()
        await asyncio.to_thread(stop)
        seen = failed
        await comes_about(lambda seen=seen: failed > seen)  # type: ignore[misc]
        await asyncio.to_thread(own_postgres.start)
    await some_more()
    is_over.set()
    await asyncio.gather(*workers)
    # What was said to be done is there; what was not, may be, when the answer to a commit was lost.
    assert set(done) <= set(await names(database))


async def test_connections_that_were_cut_while_idle_are_not_noticed_by_callers(
    postgres: Postgres, database_url: str, open_postgres: Open
) -> None:
    database = await open_postgres(database_url)
    name = database_url.rpartition("/")[2]
    await asyncio.gather(*(put(database, str(number)) for number in range(4)))
    assert postgres.disconnect(name) >= 1
    assert len(await names(database)) == 4
    assert postgres.disconnect(name) >= 1
    await put(database, "after")
    assert postgres.disconnect(name) >= 1
    await manage(database, "managed")
    assert len(await names(database)) == 6


async def test_a_server_that_is_frozen_is_given_up_in_time(own_postgres: Postgres, open_postgres: Open) -> None:
    database = await open_postgres(own_postgres.url(), HASTY)
    await put(database, "before")
    own_postgres.freeze()
    await fails_in_time(database)
    own_postgres.resume()
    await put(database, "after")
    assert "before" in await names(database)


async def test_a_network_that_hangs_is_given_up_in_time(
    postgres: Postgres, database_url: str, open_postgres: Open, start_proxy: Callable[[int], Proxy]
) -> None:
    proxy = start_proxy(postgres.port)
    database = await open_postgres(database_url.replace(str(postgres.port), str(proxy.port)), HASTY)
    await put(database, "before")
    proxy.hang()
    await fails_in_time(database)
    proxy.heal()
    await put(database, "after")
    proxy.refuse()
    await fails_in_time(database, 0.5)
    proxy.heal()
    await put(database, "at last")
    assert {"before", "after", "at last"} <= set(await names(database))


async def test_a_commit_whose_answer_is_lost_is_not_repeated(
    postgres: Postgres, database_url: str, open_postgres: Open, start_proxy: Callable[[int], Proxy]
) -> None:
    proxy = start_proxy(postgres.port)
    database = await open_postgres(database_url.replace(str(postgres.port), str(proxy.port)), HASTY)
    direct = await open_postgres(database_url)
    calls = 0

    async def work(tx: Transaction) -> None:
        nonlocal calls
        calls += 1
        await tx.execute(INSERT, ("once",))
        proxy.hang(to_server=False)

    with pytest.raises(DatabaseUnavailable):
        await database.run(work)
    assert calls == 1
    assert await names(direct) == ["once"]
    proxy.heal()


async def test_a_server_without_connections_to_spare_is_used_with_those_there_are(
    own_postgres: Postgres, open_postgres: Open
) -> None:
    database = await open_postgres(own_postgres.url(), PoolSettings(size=4, wait_s=20, statement_s=20))
    await put(database, "before")
    others: list[asyncpg.Connection] = []

    async def take_all() -> None:
        while True:
            others.append(await asyncpg.connect(own_postgres.url()))

    with pytest.raises(asyncpg.TooManyConnectionsError):
        await take_all()
    # Four want one at the same time, and the server has but the one that is open.
    await asyncio.gather(*(put(database, str(number)) for number in range(8)))
    another = PoolSettings(size=2, wait_s=1, statement_s=1)
    with pytest.raises(DatabaseUnavailable, match="too many clients"):
        await open_postgres(own_postgres.url(), another)
    for other in others:
        other.terminate()
    assert len(await names(database)) == 9


async def test_a_pool_that_is_used_up_is_waited_for_in_turn_and_not_for_ever(
    postgres: Postgres, database_url: str, open_postgres: Open
) -> None:
    # Of one connection, for of two either may be the faster one.
    database = await open_postgres(database_url, PoolSettings(size=1, wait_s=20, statement_s=20))
    order: list[int] = []

    async def slow(number: int, seconds: float) -> None:
        await database.fetch_all("SELECT pg_sleep(?)", (seconds,))
        order.append(number)

    await asyncio.gather(*(slow(number, 0.02) for number in range(8)))
    assert order == list(range(8))
    database = await open_postgres(database_url, PoolSettings(size=2, wait_s=1, statement_s=20))
    holders = [asyncio.create_task(slow(number, 3)) for number in range(2)]
    # They have them when both are open.
    await comes_about(lambda: len(postgres.connections(database_url.rpartition("/")[2])) >= 3)
    watch = Stopwatch()
    with pytest.raises(DatabaseUnavailable, match=r"no connection .* \(2 in use\)"):
        await names(database)
    assert watch.ran_s < 1.5
    await asyncio.gather(*holders)
    assert await names(database) == []


async def test_a_statement_that_takes_too_long_is_ended_and_the_connection_kept(
    postgres: Postgres, database_url: str, open_postgres: Open
) -> None:
    database = await open_postgres(database_url, HASTY)
    name = database_url.rpartition("/")[2]
    await names(database)
    before = postgres.connections(name)
    with pytest.raises(DatabaseUnavailable, match="statement timeout"):
        await database.fetch_all("SELECT pg_sleep(5)")
    assert await names(database) == []
    assert postgres.connections(name) == before


async def test_who_waits_too_long_for_the_management_lock_is_told(database_url: str, open_postgres: Open) -> None:
    one, other = await open_postgres(database_url), await open_postgres(database_url, HASTY)
    async with one.transaction():
        with pytest.raises(DatabaseUnavailable, match="statement timeout"):
            await manage(other, "late")
        # The ledger does not stand in that line.
        await put(other, "ledger")
    await manage(other, "later")
    assert await names(one) == ["later", "ledger"]


async def test_a_failed_statement_that_was_passed_over_is_not_taken_for_success(
    database_url: str, open_postgres: Open
) -> None:
    database = await open_postgres(database_url)

    async def work(tx: Transaction) -> None:
        await tx.execute(INSERT, ("a",))
        with pytest.raises(DatabaseUnavailable):
            await tx.execute("DELETE FROM nowhere")

    with pytest.raises(RuntimeError, match="nothing of it was kept"):
        await database.run(work)
    assert await names(database) == []


async def test_a_standby_is_refused_and_the_writer_found(own_postgres: Postgres, open_postgres: Open) -> None:
    first = await open_postgres(own_postgres.url())
    await put(first, "a")
    standby = await asyncio.to_thread(own_postgres.standby)
    await asyncio.to_thread(own_postgres.caught_up, standby)
    with pytest.raises(DatabaseUnavailable, match="standby"):
        await open_postgres(standby.url(), HASTY)
    # The address names both, the standby first.
    both = standby.url().replace(f"127.0.0.1:{standby.port}", f"127.0.0.1:{standby.port},127.0.0.1:{own_postgres.port}")
    database = await open_postgres(both)
    await put(database, "b")
    assert await names(first) == ["a", "b"]


async def test_after_a_failover_nothing_is_written_until_there_is_a_writer(
    own_postgres: Postgres, open_postgres: Open, start_proxy: Callable[[int], Proxy]
) -> None:
    proxy = start_proxy(own_postgres.port)
    database = await open_postgres(own_postgres.url(port=proxy.port), HASTY)
    await put(database, "a")
    standby = await asyncio.to_thread(own_postgres.standby)
    await asyncio.to_thread(own_postgres.caught_up, standby)
    # The name leads to the node that is not yet promoted.
    await asyncio.to_thread(own_postgres.crash)
    proxy.target = ("127.0.0.1", standby.port)
    proxy.cut()
    await fails_in_time(database)
    await asyncio.to_thread(standby.promote)
    await put(database, "b")
    await manage(database, "c")
    assert await names(database) == ["a", "b", "c"]


async def test_connections_to_a_node_that_became_read_only_are_dropped(
    own_postgres: Postgres, open_postgres: Open
) -> None:
    database = await open_postgres(own_postgres.url(), HASTY)
    await asyncio.gather(*(put(database, str(number)) for number in range(4)))
    before = set(own_postgres.connections("postgres"))

    async def turns(tx: Transaction) -> None:
        # As on a server too old to tell of it by itself: the statement is what finds out.
        await tx.execute("SET TRANSACTION READ ONLY")
        await tx.execute(INSERT, ("never",))

    with pytest.raises(DatabaseUnavailable, match="read-only transaction"):
        await database.run(turns)
    await put(database, "again")
    assert before.isdisjoint(own_postgres.connections("postgres"))
    # The whole node, told by the server; and every connection to it is of no use.
    own_postgres.sql("ALTER SYSTEM SET default_transaction_read_only = on", "SELECT pg_reload_conf()")
    # The reload is only asked for; a new backend has it when the ones before it have been told.
    await comes_about(lambda: own_postgres.sql("SHOW default_transaction_read_only") == [["on"]])
    with pytest.raises(DatabaseUnavailable, match=r"read-only transaction|takes no writes"):
        await put(database, "never")
    await fails_in_time(database)
    own_postgres.sql(
        "SET default_transaction_read_only = off",
        "ALTER SYSTEM RESET default_transaction_read_only",
        "SELECT pg_reload_conf()",
    )
    await comes_about(lambda: own_postgres.sql("SHOW default_transaction_read_only") == [["off"]])
    await put(database, "at last")
    assert "never" not in await names(database)
