"""Sites of gateways."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.faults.ledger.gateways import Site


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
