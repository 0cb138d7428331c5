"""Migrations and transactions of the SQLite store."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from penstock.persistence import Conflict, DatabaseUnavailable, MigrationError, SqliteDatabase, Transaction
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


async def test_a_unit_of_work_is_one_transaction(tmp_path: Path) -> None:
    database = await SqliteDatabase.open(tmp_path / "a.db")
    insert = "INSERT INTO spend_totals VALUES (?, 1, 1, 1, 1)"

    async def work(tx: Transaction) -> list[object]:
        await tx.execute_many(insert, [("a",), ("b",)])
        assert await tx.execute("UPDATE spend_totals SET calls = 2") == 2
        assert await tx.fetch_one("SELECT scope FROM spend_totals WHERE scope = 'c'") is None
        return [dict(row) for row in await tx.fetch_all("SELECT scope, calls FROM spend_totals ORDER BY scope")]

    for gently in (False, True):
        written = [{"scope": "a", "calls": 2}, {"scope": "b", "calls": 2}]
        assert await database.run(work, gently=gently) == written
        assert await database.fetch_all("SELECT scope, calls FROM spend_totals ORDER BY scope") == written
        with pytest.raises(Conflict):
            await database.run(work, gently=gently)
        assert len(await database.fetch_all("SELECT * FROM spend_totals")) == 2
        async with database.transaction() as tx:
            await tx.execute("DELETE FROM spend_totals")
    await database.close()


async def test_a_unit_of_work_that_fails_or_waits_for_something_else_leaves_nothing(tmp_path: Path) -> None:
    database = await SqliteDatabase.open(tmp_path / "a.db")
    insert = "INSERT INTO spend_totals VALUES ('a', 1, 1, 1, 1)"

    async def fails(tx: Transaction) -> None:
        await tx.execute(insert)
        raise LookupError("planted")

    async def waits(tx: Transaction) -> None:
        await tx.execute(insert)
        await asyncio.sleep(0)

    with pytest.raises(LookupError, match="planted"):
        await database.run(fails)
    with pytest.raises(RuntimeError, match="nothing else"):
        await database.run(waits)
    with pytest.raises(DatabaseUnavailable, match="no such table"):
        await database.run(lambda tx: tx.execute("DELETE FROM nowhere"))
    assert await database.fetch_all("SELECT * FROM spend_totals") == []
    await database.close()


async def test_who_is_cancelled_leaves_the_store_usable(tmp_path: Path) -> None:
    database = await SqliteDatabase.open(tmp_path / "a.db")
    insert = "INSERT INTO spend_totals VALUES (?, 1, 1, 1, 1) ON CONFLICT (scope) DO NOTHING"

    async def at_once(name: str) -> None:
        await database.run(lambda tx: tx.execute(insert, (name,)))

    async def step_by_step(name: str) -> None:
        async with database.transaction() as tx:
            await tx.execute(insert, (name,))
            await tx.execute(insert, (name + "!",))

    # After so many turns of the loop: before it has the lock, at every statement, and when it is over.
    for turns in range(24):
        for name, work in (("once", at_once), ("steps", step_by_step)):
            task = asyncio.ensure_future(work(f"{name}-{turns:02}"))
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()
            if turns % 2:
                # Once more, while it rolls back.
                await asyncio.sleep(0)
                task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await at_once("after")
    found = [str(row["scope"]) for row in await database.fetch_all("SELECT scope FROM spend_totals ORDER BY scope")]
    steps = [scope for scope in found if scope.startswith("steps")]
    assert "after" in found
    assert [scope for scope in steps if scope.endswith("!")] == [f"{scope}!" for scope in steps if scope[-1] != "!"]
    await database.close()
