"""The gateway with priced models, on each of the two databases."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.conftest import Gateway
from tests.integration.access.people import Company
from tests.integration.managed import CONFIG, Managed


@pytest.fixture(scope="session", params=["sqlite", "postgres"])
def company(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, simulator_url: str
) -> Iterator[Company]:
    """Two organizations with teams, admins and members, shared by all tests; a test changes only what it makes itself."""
    environment = {}
    if request.param == "postgres":
        postgres = request.getfixturevalue("postgres")
        environment["DATABASE_URL"] = postgres.url(postgres.new_database())
    directory = tmp_path_factory.mktemp(f"company-{request.param}")
    managed = Managed(Gateway(directory, simulator_url, config=CONFIG, environment=environment))
    try:
        yield Company(managed)
    finally:
        managed.client.close()
        managed.gateway.close()
