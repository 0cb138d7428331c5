"""An empty database of either kind."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from penstock.config.database import DatabaseSettings, target_of
from penstock.persistence import Database, open_database

Open = Callable[[], Awaitable[Database]]


@pytest.fixture(params=["sqlite", "postgres"])
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> DatabaseSettings:
    """Where an empty database is."""
    if request.param == "sqlite":
        return DatabaseSettings(target=tmp_path / "a.db")
    return DatabaseSettings(target=target_of(request.getfixturevalue("database_url")), pool_size=4)


@pytest.fixture
async def open_again(settings: DatabaseSettings) -> AsyncIterator[Open]:
    """Opens the database as another process would; all are closed at the end of the test."""
    opened: list[Database] = []

    async def again() -> Database:
        opened.append(await open_database(settings))
        return opened[-1]

    yield again
    for database in opened:
        await database.close()


@pytest.fixture
async def database(open_again: Open) -> Database:
    """Open and migrated."""
    return await open_again()
