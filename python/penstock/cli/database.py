"""`penstock migrate`, and the way of the other commands to the store."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import click

from penstock.cli.failure import explained
from penstock.config.env import Environment
from penstock.engine.assembly import database_path
from penstock.persistence import SqliteDatabase
from penstock.settings import Flags, Prepared, prepare


def prepared_for(config: Path | None, data_dir: Path | None) -> Prepared:
    """The settings that `serve` would run with, so that both use one database."""
    return prepare(Flags(config=config, data_dir=data_dir), Environment())


@asynccontextmanager
async def open_database(prepared: Prepared) -> AsyncIterator[SqliteDatabase]:
    """The store, brought up to date."""
    prepared.settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    database = await SqliteDatabase.open(database_path(prepared))
    try:
        yield database
    finally:
        await database.close()


def run_migrate(config: Path | None, data_dir: Path | None) -> None:
    """Apply what is pending and say so."""

    async def work(prepared: Prepared) -> None:
        async with open_database(prepared) as database:
            rows = await database.fetch_all("SELECT number, name FROM schema_migrations ORDER BY number")
            for name in database.applied:
                click.echo(f"applied {name}")
            click.echo(f"{database_path(prepared)}: {len(rows)} migrations, up to date")

    with explained():
        asyncio.run(work(prepared_for(config, data_dir)))
