"""A coworker's surroundings: Redis, and a ledger in PostgreSQL."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from penstock.config.database import DatabaseSettings, target_of
from penstock.config.redis import RedisSettings
from penstock.config.secret import Secret
from penstock.ledger import coworker, wire
from penstock.ledger.accounting import make_ledger
from penstock.ledger.apply import Ledger
from penstock.persistence import open_database
from penstock.shared.redis import SharedRedis, connect


@pytest.fixture
async def shared(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[SharedRedis]:
    """An empty Redis, which is waited for when it is slow for a moment."""
    for module in (wire, coworker):
        monkeypatch.setattr(module, "STREAM_DEADLINE_S", 60.0)
    connected = await connect(RedisSettings(url=Secret(redis_url)))
    yield connected
    await connected.close()


@pytest.fixture
async def ledger(database_url: str, tmp_path: Path) -> AsyncIterator[Ledger]:
    """An empty ledger in PostgreSQL."""
    database = await open_database(DatabaseSettings(target=target_of(database_url), pool_size=4))
    yield make_ledger(database, tmp_path)
    await database.close()
