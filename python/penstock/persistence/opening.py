"""The one way to open the database that is configured.

Apart from the engines because this is where one of them is chosen. The driver of PostgreSQL is imported only for it.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from penstock.config.database import DatabaseSettings
from penstock.persistence.database import Database, Row
from penstock.persistence.migrations import Migration
from penstock.persistence.sqlite import SqliteDatabase, read_status


async def open_database(settings: DatabaseSettings, writer_start: Callable[[], None] | None = None) -> Database:
    """Open the database and bring its schema up to date.

    ``writer_start`` is called on the thread that writes, where there is one.

    Raises:
        DatabaseUnavailable: it cannot be opened.
        MigrationError: its schema is not one this version can use.
    """
    if isinstance(settings.target, Path):
        return await SqliteDatabase.open(settings.target, writer_start)
    from penstock.persistence.postgres import PostgresDatabase
    from penstock.persistence.postgres_pool import PoolSettings

    return await PostgresDatabase.open(settings.target, PoolSettings.of(settings))


async def migration_status(settings: DatabaseSettings) -> tuple[list[Row], list[Migration]]:
    """The rows of `schema_migrations` in order, and what is still to be applied. Changes nothing.

    Raises:
        DatabaseUnavailable: it cannot be opened.
        MigrationError: its schema is not one this version can use.
    """
    if isinstance(settings.target, Path):
        return read_status(settings.target)
    from penstock.persistence import postgres_schema
    from penstock.persistence.postgres_pool import PoolSettings

    return await postgres_schema.status(settings.target, PoolSettings.of(settings))
