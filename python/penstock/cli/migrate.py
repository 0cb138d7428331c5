"""`penstock migrate`: bring the schema up to date before the gateways that need it start, or only tell what is missing."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path

import click

from penstock.cli.database import prepared_for, settings_for
from penstock.cli.failure import explained
from penstock.config.database import DatabaseSettings
from penstock.persistence import Migration, Row, migration_status, open_database

EXIT_PENDING = 3
"""With `--status`: there is something to apply."""


def run_migrate(config: Path | None, data_dir: Path | None, url: str | None, *, only_status: bool) -> None:
    """Apply what is pending, or only list."""
    with explained():
        settings = settings_for(prepared_for(config, data_dir), url)
        if not only_status:
            asyncio.run(_apply(settings))
            return
        applied, pending = asyncio.run(migration_status(settings))
        _list(applied, pending)
        click.echo(f"{settings.place}: {len(applied)} applied, {len(pending)} pending")
        if pending:
            raise SystemExit(EXIT_PENDING)


async def _apply(settings: DatabaseSettings) -> None:
    database = await open_database(settings)
    try:
        (row,) = await database.fetch_all("SELECT COUNT(*) AS n FROM schema_migrations")
    finally:
        await database.close()
    for name in database.applied:
        click.echo(f"applied {name}")
    click.echo(f"{settings.place}: {int(row['n'] or 0)} migrations, up to date")


def _list(applied: list[Row], pending: list[Migration]) -> None:
    for row in applied:
        at = datetime.fromtimestamp(int(row["applied_at"] or 0) / 1000, UTC)
        click.echo(f"applied  {row['name']!s}  {at:%Y-%m-%d %H:%M:%S} UTC")
    for migration in pending:
        click.echo(f"pending  {migration.name}")
