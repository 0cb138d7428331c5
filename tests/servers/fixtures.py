"""Fixtures of the test servers, for every folder of tests: `tests/conftest.py` names them.

Each server starts with the first test that asks for it and lives as long as the session.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.servers.postgres import Postgres
from tests.servers.proxy import Proxy
from tests.servers.redis import Redis

__all__ = ["database_url", "new_database_url", "postgres", "redis", "redis_url", "start_proxy"]


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """The session's PostgreSQL. A test that stops or freezes it starts one of its own instead: `Postgres.create()`."""
    node = Postgres.create()
    yield node
    node.close()


@pytest.fixture
def new_database_url(postgres: Postgres) -> Iterator[Callable[[], str]]:
    """Makes empty databases, which are dropped after the test; their addresses."""
    names: list[str] = []

    def new() -> str:
        names.append(postgres.new_database())
        return postgres.url(names[-1])

    yield new
    for name in names:
        postgres.retire_database(name)


@pytest.fixture
def database_url(new_database_url: Callable[[], str]) -> str:
    """The address of an empty PostgreSQL database of the test's own."""
    return new_database_url()


@pytest.fixture(scope="session")
def redis() -> Iterator[Redis]:
    """The session's Redis. A test that stops or freezes it starts one of its own instead: `Redis()`."""
    node = Redis()
    yield node
    node.close()


@pytest.fixture
def redis_url(redis: Redis) -> str:
    """The address of an empty Redis."""
    redis.flush()
    return redis.url


@pytest.fixture
def start_proxy() -> Iterator[Callable[[int], Proxy]]:
    """Starts proxies before ports of this machine; closes them at the end of the test."""
    started: list[Proxy] = []

    def start(target_port: int) -> Proxy:
        started.append(Proxy(target_port))
        return started[-1]

    yield start
    for proxy in started:
        proxy.close()
