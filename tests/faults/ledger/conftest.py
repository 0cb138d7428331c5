"""Sites of gateways, and servers that a test may stop."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.faults.ledger.gateways import Site
from tests.servers.postgres import Postgres
from tests.servers.redis import Redis


@pytest.fixture
def start_site(tmp_path: Path, simulator_url: str) -> Iterator[Callable[..., Site]]:
    """Makes sites, with the addresses of a database and of Redis; stops all that runs there at the end of the test."""
    made: list[Site] = []

    def start(database_url: str = "", redis_url: str = "") -> Site:
        directory = tmp_path / f"site-{len(made)}"
        directory.mkdir()
        made.append(Site(directory, simulator_url, database_url, redis_url))
        return made[-1]

    yield start
    for site in made:
        site.close()


@pytest.fixture
def own_postgres() -> Iterator[Postgres]:
    """A PostgreSQL that the test may stop."""
    node = Postgres.create()
    yield node
    node.close()


@pytest.fixture
def own_redis() -> Iterator[Redis]:
    """A Redis that the test may stop."""
    node = Redis()
    yield node
    node.close()
