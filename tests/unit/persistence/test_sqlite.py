"""Migrations and transactions of the SQLite store."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from penstock.persistence import Conflict, DatabaseUnavailable, MigrationError, SqliteDatabase
from penstock.persistence.migrations import available, pending


async def test_opening_migrates_once_and_keeps_the_file_private(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    first = await SqliteDatabase.open(path)
    await first.close()
    second = await SqliteDatabase.open(path)
    assert first.applied == [migration.name for migration in available("sqlite")]
    assert second.applied == []
    assert path.stat().st_mode & 0o777 == 0o600
    await second.close()


async def test_two_processes_may_open_a_new_file_together(tmp_path: Path) -> None:
    # Again and again, for only now and then do they meet while the file's mode is changed.
    for number in range(40):
        both = await asyncio.gather(*(SqliteDatabase.open(tmp_path / f"{number}.db") for _ in range(2)))
        assert sorted(len(database.applied) for database in both) == [0, len(available("sqlite"))]
        for database in both:
            await database.close()


async def test_a_file_of_something_else_is_refused_in_words(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    with closing(sqlite3.connect(path)) as other:
        other.execute("CREATE TABLE schema_migrations (something TEXT)")
    with pytest.raises(DatabaseUnavailable, match=r"a\.db: no such column"):
        await SqliteDatabase.open(path)


def test_a_changed_or_unknown_migration_is_refused() -> None:
    steps = available("sqlite")
    with pytest.raises(MigrationError, match="changed"):
        pending(steps, {1: "other"})
    with pytest.raises(MigrationError, match="newer"):
        pending(steps, {9_999: "x"})


async def test_a_transaction_is_all_or_nothing(tmp_path: Path) -> None:
    database = await SqliteDatabase.open(tmp_path / "a.db")
    insert = "INSERT INTO spend_totals VALUES (?, 1, 1, 1, 1)"

    async def twice() -> None:
        async with database.transaction() as tx:
            await tx.execute(insert, ("a",))
            await tx.execute(insert, ("a",))

    with pytest.raises(Conflict):
        await twice()
    assert await database.fetch_all("SELECT * FROM spend_totals") == []
    async with database.transaction() as tx:
        await tx.execute(insert, ("a",))
        assert await database.fetch_all("SELECT * FROM spend_totals") == []
    assert len(await database.fetch_all("SELECT * FROM spend_totals")) == 1
    await database.close()
