"""`penstock coworker`: writes down what gateways have put into the Redis stream of usage. Any number of them may run.

Signals: SIGTERM and SIGINT end it after the transaction under way; what it has not acknowledged another one takes over.
"""

from __future__ import annotations

import asyncio
import logging
import signal
from pathlib import Path

import click

from penstock import logs
from penstock.cli.charging import charging
from penstock.cli.database import open_database, prepared_for
from penstock.cli.failure import explained
from penstock.config.redis import RedisSettings, redis_settings
from penstock.settings import Prepared

logger = logging.getLogger("penstock.coworker")


def run_coworker(config: Path | None, data_dir: Path | None, log_level: str | None, *, once: bool) -> None:
    """Work until a signal to stop, or ``once`` until the stream is empty."""
    with explained():
        prepared = prepared_for(config, data_dir)
        logs.configure(log_level or prepared.settings.log_level)
        settings = redis_settings(prepared.config, prepared.environment)
        if settings is None:
            raise click.ClickException("there is no stream without Redis: set REDIS_URL or `penstock.redis.url`")
        import uvloop

        uvloop.run(_work(prepared, settings, once=once))


async def _work(prepared: Prepared, settings: RedisSettings, *, once: bool) -> None:
    from penstock.ledger.coworker import Coworker
    from penstock.shared.redis import connect

    async with open_database(prepared) as database:
        if database.dialect == "sqlite":
            raise click.ClickException(
                "a SQLite database belongs to the gateway that serves from it, which writes down everything itself: "
                "set DATABASE_URL to a PostgreSQL database"
            )
        redis = await connect(settings)
        try:
            coworker = Coworker(redis, charging(prepared, database).ledger)
            if once:
                click.echo(f"{await coworker.drain()} batches, {coworker.applied} records that were not in the ledger")
                return
            loop = asyncio.get_running_loop()
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.add_signal_handler(number, coworker.stop)
            logger.info("working", extra={"event": "ready", "coworker": coworker.name})
            await coworker.run()
            logger.info("stopped", extra={"event": "stopped", "records": coworker.applied})
        finally:
            await redis.close()
