"""`penstock ledger import`: brings the journals of a gateway that does not come back into the ledger.

A gateway does this by itself when it is started again on its data directory. This is for a directory that was saved from a
host that is not, and does the same by the same code: each record is written once, however often and by whomever.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import re
import secrets
from collections.abc import AsyncIterator, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from penstock import logs
from penstock.cli.charging import Charging, charging
from penstock.cli.database import open_database, prepared_for, settings_for
from penstock.cli.failure import explained
from penstock.clock import now_ms
from penstock.config.redis import redis_settings
from penstock.engine.snapshot import EngineOptions
from penstock.persistence import Database
from penstock.settings import Prepared

if TYPE_CHECKING:
    from penstock._core import Engine
    from penstock.shared.redis import SharedRedis

logger = logging.getLogger("penstock.ledger")

_INCARNATION = re.compile(r"[0-9a-f]{16}")
_QUIET_MS = 60_000
"""Without a record, and without a word to Redis beyond the time for which it may go on without it, after which a gateway counts
as ended."""


def run_import(
    directory: Path, config: Path | None, data_dir: Path | None, log_level: str | None, *, has_ended: bool
) -> None:
    """Bring everything below ``directory`` into the ledger and delete it there. ``has_ended``: its gateway surely has, however
    lately it was heard of."""
    with explained():
        root, journals = _journals(directory)
        prepared = prepared_for(config, data_dir)
        logs.configure(log_level or "warning")
        asyncio.run(_import(prepared, root, journals, has_ended=has_ended))


def _journals(directory: Path) -> tuple[Path, list[str]]:
    """Where the journals are, and the names of the runs that they are of."""
    root = directory / "journal" if (directory / "journal").is_dir() else directory
    names = sorted(entry.name for entry in root.iterdir() if entry.is_dir() and _INCARNATION.fullmatch(entry.name))
    if not names:
        raise click.ClickException(
            f"there is no journal in {directory}: give the data directory of a gateway, or a copy of it"
        )
    for name in names:
        lock = root / name / "lock"
        if lock.exists():
            with lock.open("r+b") as file:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError as error:
                    raise click.ClickException(
                        f"{root / name} is in use: its gateway is running and writes it down itself"
                    ) from error
    return root, names


async def _import(prepared: Prepared, root: Path, journals: list[str], *, has_ended: bool) -> None:
    from penstock.shared.redis import connect

    settings = redis_settings(prepared.config, prepared.environment)
    with _alone(prepared):
        async with open_database(prepared) as database:
            redis = await connect(settings) if settings is not None else None
            try:
                await _check_ended(journals, database, redis, has_ended=has_ended)
                async with _data_plane(root) as (engine, incarnation):
                    await _write_down(prepared, charging(prepared, database), redis, engine, incarnation)
            finally:
                if redis is not None:
                    await redis.close()


@contextlib.contextmanager
def _alone(prepared: Prepared) -> Iterator[None]:
    """A SQLite database belongs to one process."""
    from penstock.engine.assembly import lock_data_directory

    if not isinstance(settings_for(prepared).target, Path):
        yield
        return
    with lock_data_directory(prepared.settings.data_dir):
        yield


async def _check_ended(journals: list[str], database: Database, redis: SharedRedis | None, *, has_ended: bool) -> None:
    """Refuse a copy of what a running gateway still writes: it would be charged for calls that have not ended, and what it holds
    of limits given to others. One that Redis does not hear may be going on with its share of them.

    Raises:
        ClickException: one of them is running, or was until a moment ago.
    """
    from penstock.ledger.store import LedgerStore
    from penstock.quota.models import QuotaOptions
    from penstock.quota.register import seen_lately

    if database.dialect == "sqlite" and redis is None:
        # Its gateway would have its lock.
        return
    silence_ms = QuotaOptions().missing_after_ms
    present = set[str]()
    if not has_ended:
        silence_ms = _QUIET_MS + (redis.settings.local_share_ms if redis is not None else 0)
        if database.dialect != "sqlite":
            present = await LedgerStore(database).written_since(now_ms() - _QUIET_MS, journals)
    if redis is not None:
        present |= await seen_lately(redis, journals, silence_ms)
    if present:
        raise click.ClickException(
            f"the gateway of {', '.join(sorted(present))} is running, or was a moment ago: stop it; if it was killed, wait "
            f"{silence_ms // 1_000} s, or say --ended when you know that it has ended and is not only cut off"
        )


@contextlib.asynccontextmanager
async def _data_plane(root: Path) -> AsyncIterator[tuple[Engine, str]]:
    """One that reads journals and does nothing else."""
    from penstock import _core

    incarnation = secrets.token_hex(8)
    options = EngineOptions(port=None, pepper=secrets.token_hex(32), incarnation=incarnation, journal_dir=str(root))
    engine = _core.Engine(msgspec.json.encode(options))
    try:
        yield engine, incarnation
    finally:
        await asyncio.to_thread(engine.stop)


async def _write_down(
    prepared: Prepared, charged: Charging, redis: SharedRedis | None, engine: Engine, incarnation: str
) -> None:
    from penstock.engine.readiness import StoreHealth
    from penstock.ledger.accounting import Accounting
    from penstock.ledger.queue import EngineQueue
    from penstock.ledger.settings import ledger_options

    queue = EngineQueue(engine, incarnation)
    damaged = queue.damaged
    accounting = Accounting(charged.ledger, queue, StoreHealth(), None, ledger_options(prepared.config))
    count = await accounting.replay()
    click.echo(f"{count} records of {len(accounting.ended)} runs are in the ledger")
    if redis is not None and accounting.ended:
        await _release(charged, redis, engine, incarnation, accounting.ended)
    if damaged:
        raise click.ClickException(f"{damaged} places of the journals are damaged: calls may be missing")


async def _release(
    charged: Charging, redis: SharedRedis, engine: Engine, incarnation: str, ended: Iterable[str]
) -> None:
    """What the gateways held is everybody's again."""
    from penstock.engine.budgets import SharedBudgets
    from penstock.persistence import DatabaseUnavailable
    from penstock.quota.service import QuotaService
    from penstock.quota.store import absence_store
    from penstock.shared.redis import SharedUnavailable

    spent = SharedBudgets(engine, charged.keys, charged.scopes).read
    absences = absence_store(charged.ledger.store.database)
    quota = QuotaService(redis, incarnation, spent=spent, absences=absences)
    try:
        for one in ended:
            await quota.bury(one)
            await quota.release(one)
    except (SharedUnavailable, DatabaseUnavailable) as error:
        click.echo(f"what they held of budgets is free 120 s after their end, and not before: {error}", err=True)
