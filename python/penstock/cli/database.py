"""The way of the commands to the store that `serve` would use."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from penstock.config.database import DatabaseSettings, database_settings
from penstock.config.env import Environment
from penstock.persistence import Database
from penstock.persistence import open_database as open_configured
from penstock.settings import Flags, Prepared, prepare


def prepared_for(config: Path | None, data_dir: Path | None) -> Prepared:
    """The settings that `serve` would run with, so that both use one database."""
    return prepare(Flags(config=config, data_dir=data_dir), Environment())


def settings_for(prepared: Prepared, url: str | None = None) -> DatabaseSettings:
    """Which database; ``url`` goes before what is configured. The directory of a file is made.

    Raises:
        ConfigError: the address cannot be used.
    """
    settings = database_settings(prepared.config, prepared.environment, prepared.settings.data_dir, url)
    if isinstance(settings.target, Path):
        settings.target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    return settings


@asynccontextmanager
async def open_database(prepared: Prepared) -> AsyncIterator[Database]:
    """The store, brought up to date."""
    database = await open_configured(settings_for(prepared))
    try:
        yield database
    finally:
        await database.close()
