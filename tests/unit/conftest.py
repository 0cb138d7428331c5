"""An empty database of either kind."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from penstock.config.database import DatabaseSettings, target_of
from penstock.persistence import Database, open_database


@pytest.fixture(params=["sqlite", "postgres"])
async def database(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Database]:
    """Open and migrated."""
    if request.param == "sqlite":
        settings = DatabaseSettings(target=tmp_path / "a.db")
    else:
        settings = DatabaseSettings(target=target_of(request.getfixturevalue("database_url")), pool_size=4)
    opened = await open_database(settings)
    yield opened
    await opened.close()
