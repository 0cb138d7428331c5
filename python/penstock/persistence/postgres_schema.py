"""Migrations of a PostgreSQL database, safe when any number of replicas start at once.

Apart from the engine because migrations use a connection of their own, with other deadlines: who waits for another
replica's migration waits long, and a statement of a migration may take as long as it takes.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import msgspec

from penstock.config.database import PostgresAddress
from penstock.persistence.database import DatabaseUnavailable, Row, TryAgain
from penstock.persistence.migrations import Applied, Migration, MigrationError, available, pending
from penstock.persistence.postgres_errors import ConnectionLost, LockNotFree, ReadOnlyNode
from penstock.persistence.postgres_pool import Connection, PoolSettings, connect

MIGRATION_LOCK: Final = int.from_bytes(b"penstock", "big")
"""Advisory lock of whoever migrates."""
_LOCK_WAIT_S = 120
"""For another replica to finish migrating."""
_TABLE_WAIT_S = 3
"""For a table's lock: calls queue behind whoever waits for one."""
_TABLE_ATTEMPTS = 10
_TABLE_PAUSE_S = 0.5
_EXISTS = "SELECT to_regclass('schema_migrations') IS NOT NULL AS found"
_RECORDS = """CREATE TABLE IF NOT EXISTS schema_migrations (
    number BIGINT PRIMARY KEY, name TEXT NOT NULL, checksum TEXT NOT NULL, applied_at BIGINT NOT NULL,
    contract BIGINT NOT NULL DEFAULT 0)"""


async def status(address: PostgresAddress, settings: PoolSettings) -> tuple[list[Row], list[Migration]]:
    """The rows of `schema_migrations` in order, and what is still to be applied. Changes nothing.

    Raises:
        DatabaseUnavailable: the server cannot be reached, or takes no writes.
        MigrationError: the schema is not one this version can use.
    """
    async with _connected(address, settings) as connection:
        rows = await _rows(connection)
        return rows, _pending(rows)


async def migrate(address: PostgresAddress, settings: PoolSettings) -> list[Migration]:
    """Apply what is pending, each migration in a transaction with its record; returns what this call applied.

    Raises:
        DatabaseUnavailable: the server cannot be reached, takes no writes or is too busy for a change of its tables.
        MigrationError: the schema is not one this version can use.
    """
    async with _connected(address, settings) as connection:
        # Most starts find nothing to do. They need no lock for that, and no right to change tables.
        if not _pending(await _rows(connection)):
            return []
        async with _only_one(connection, is_pooled=address.is_pooled):
            await connection.command(_RECORDS)
            steps = _pending(await _rows(connection))
            for step in steps:
                await _apply(connection, step, is_nested=address.is_pooled)
            return steps


@asynccontextmanager
async def _connected(address: PostgresAddress, settings: PoolSettings) -> AsyncIterator[Connection]:
    patient = msgspec.structs.replace(settings, statement_s=max(settings.statement_s, 3_600.0))
    connection = await connect(address, patient)
    try:
        yield connection
    finally:
        await connection.close()


async def _rows(connection: Connection) -> list[Row]:
    (found,) = await connection.fetch(_EXISTS, ())
    if not found["found"]:
        return []
    return await connection.fetch(
        "SELECT number, name, checksum, applied_at, contract FROM schema_migrations ORDER BY number", ()
    )


def _pending(rows: list[Row]) -> list[Migration]:
    applied = [Applied(int(row["number"] or 0), str(row["checksum"]), bool(row["contract"])) for row in rows]
    return pending(available("postgres"), applied)


@asynccontextmanager
async def _only_one(connection: Connection, *, is_pooled: bool) -> AsyncIterator[None]:
    """Hold the lock. Behind a pooler only a transaction stays with one server, so it is one transaction there."""
    begin = "BEGIN; SET LOCAL statement_timeout = 0; SET LOCAL" if is_pooled else "SET"
    kind = "pg_advisory_xact_lock" if is_pooled else "pg_advisory_lock"
    try:
        await connection.command(f"{begin} lock_timeout = '{_LOCK_WAIT_S}s'; SELECT {kind}({MIGRATION_LOCK})")
    except DatabaseUnavailable as error:
        raise DatabaseUnavailable(f"another process has been migrating for {_LOCK_WAIT_S} s: {error}") from error
    yield
    # Not after a failure: the connection is closed then, which gives up the lock and whatever is not committed.
    await connection.command("COMMIT" if is_pooled else f"SELECT pg_advisory_unlock({MIGRATION_LOCK})")


async def _apply(connection: Connection, step: Migration, *, is_nested: bool) -> None:
    """One migration; again when a table was in use for too long."""
    begin, commit, undo = ("SAVEPOINT step", "RELEASE step", "ROLLBACK TO step") if is_nested else _TRANSACTION
    record = "INSERT INTO schema_migrations (number, name, checksum, applied_at, contract) VALUES (?, ?, ?, ?, ?)"
    values = (step.number, step.name, step.checksum, int(time.time() * 1000), int(step.is_contract))
    for attempt in range(_TABLE_ATTEMPTS):
        await connection.command(f"{begin}; SET LOCAL lock_timeout = '{_TABLE_WAIT_S}s'")
        try:
            await connection.command(step.sql)
            await connection.execute(record, values)
            await connection.command(commit)
        except (TryAgain, LockNotFree) as error:
            await connection.command(undo)
            if attempt + 1 == _TABLE_ATTEMPTS:
                raise DatabaseUnavailable(f"{step.name}: {error}: try again when it is less busy") from error
            await asyncio.sleep(_TABLE_PAUSE_S)
        except (ConnectionLost, ReadOnlyNode):
            raise
        except DatabaseUnavailable as error:
            raise MigrationError(f"{step.name} cannot be applied: {error}") from error
        else:
            return


_TRANSACTION = ("BEGIN", "COMMIT", "ROLLBACK")
