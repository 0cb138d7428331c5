"""PostgreSQL servers that a test may stop, freeze and fail over, and stores on them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

import pytest

from penstock.config.database import PostgresAddress, target_of
from penstock.persistence.postgres import PostgresDatabase
from penstock.persistence.postgres_pool import PoolSettings
from tests.servers.postgres import Postgres

HASTY = PoolSettings(size=4, wait_s=1, statement_s=1)
"""For tests of servers that do not answer. A statement is given up after 2 s at the latest: the server's deadline and a second for
a server that hangs."""
PATIENT = PoolSettings(size=4, wait_s=20, statement_s=20)
"""For all others: a machine that stands still for a second is no such server."""
Open = Callable[..., Awaitable[PostgresDatabase]]


def address_of(url: str) -> PostgresAddress:
    """The address in a URL."""
    target = target_of(url)
    assert isinstance(target, PostgresAddress)
    return target


@pytest.fixture
def own_postgres() -> Iterator[Postgres]:
    """A server of the test's own."""
    node = Postgres.create()
    yield node
    node.close()


@pytest.fixture
async def open_postgres() -> AsyncIterator[Open]:
    """Opens stores; closes them at the end of the test."""
    opened: list[PostgresDatabase] = []

    async def again(url: str, settings: PoolSettings = PATIENT) -> PostgresDatabase:
        opened.append(await PostgresDatabase.open(address_of(url), settings))
        return opened[-1]

    yield again
    for database in opened:
        await database.close()
