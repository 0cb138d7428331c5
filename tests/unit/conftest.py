"""An empty database of either kind, and an app that does nothing by itself."""

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


@pytest.fixture
def at_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    """What an app does by itself every now and then, it does not do here. For tests that do it themselves and look at what came
    of it: on a machine that stood still for a moment they would find it done already."""
    for interval in (
        "alerts.service._INTERVAL_S",
        "engine.runtime._SYNC_INTERVAL_S",
        "ledger.direct.UsageWriter.longest_interval_s",
        "ledger.leader._INTERVAL_S",
    ):
        monkeypatch.setattr(f"penstock.{interval}", 3_600.0)
