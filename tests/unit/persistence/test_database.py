"""What a store may rely on, whichever engine it runs on."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from penstock.config.database import DatabaseSettings, target_of
from penstock.persistence import (
    Conflict,
    Database,
    DatabaseUnavailable,
    Row,
    Transaction,
    migration_status,
    open_database,
)
from penstock.persistence.migrations import available
from tests.unit.persistence.conftest import Open

INSERT = "INSERT INTO spend_totals VALUES (?, 1, 1, 1, 1)"
ALL = "SELECT * FROM spend_totals ORDER BY scope"


async def scopes(database: Database) -> list[str]:
    return [str(row["scope"]) for row in await database.fetch_all(ALL)]


async def test_opening_migrates_once(open_again: Open) -> None:
    first, second = await open_again(), await open_again()
    assert first.applied == [migration.name for migration in available(first.dialect)]
    assert second.applied == []


async def test_both_dialects_have_the_same_tables_and_columns(tmp_path: Path, database_url: str) -> None:
    sqlite = await open_database(DatabaseSettings(target=tmp_path / "a.db"))
    postgres = await open_database(DatabaseSettings(target=target_of(database_url)))
    lite = await sqlite.fetch_all(
        'SELECT t.name AS place, c.name, c.type, c."notnull" OR c.pk > 0 AS needed FROM sqlite_master AS t'
        " JOIN pragma_table_info(t.name) AS c WHERE t.type = 'table' AND t.name NOT LIKE 'sqlite%'"
    )
    large = await postgres.fetch_all(
        "SELECT table_name AS place, column_name AS name, data_type AS type, is_nullable = 'NO' AS needed"
        " FROM information_schema.columns WHERE table_schema = 'public' AND table_name NOT LIKE 'usage\\_2%'"
        " AND table_name <> 'usage_default'"
    )
    await sqlite.close()
    await postgres.close()
    types = {"INTEGER": "bigint", "TEXT": "text", "BLOB": "bytea"}
    expected = {(row["place"], row["name"], types[str(row["type"])], bool(row["needed"])) for row in lite}
    assert len(expected) > 100
    assert expected == {(row["place"], row["name"], row["type"], row["needed"]) for row in large}


def test_from_the_fifth_on_both_dialects_have_the_same_migrations() -> None:
    sqlite, postgres = ([step.name for step in available(dialect)] for dialect in ("sqlite", "postgres"))
    assert [name for name in sqlite if name > "0005"] == [name for name in postgres if name > "0005"]


async def test_the_state_of_migrations_is_told_without_changing_it(settings: DatabaseSettings) -> None:
    for _ in range(2):
        applied, pending = await migration_status(settings)
        assert applied == []
        assert len(pending) > 1
    database = await open_database(settings)
    await database.close()
    applied, pending = await migration_status(settings)
    assert [row["name"] for row in applied] == database.applied
    assert pending == []


async def test_a_transaction_is_all_or_nothing(database: Database) -> None:
    async def twice() -> None:
        async with database.transaction() as tx:
            await tx.execute(INSERT, ("a",))
            await tx.execute(INSERT, ("a",))

    with pytest.raises(Conflict):
        await twice()
    assert await scopes(database) == []
    async with database.transaction() as tx:
        await tx.execute(INSERT, ("a",))
        assert await scopes(database) == [], "others see nothing of it yet"
        assert await tx.fetch_one("SELECT scope FROM spend_totals") == {"scope": "a"}
    assert await scopes(database) == ["a"]


async def test_a_unit_of_work_is_one_transaction(database: Database) -> None:
    async def work(tx: Transaction) -> list[Row]:
        await tx.execute_many(INSERT, [("a",), ("b",)])
        assert await tx.execute("UPDATE spend_totals SET calls = 2") == 2
        assert await tx.fetch_one("SELECT scope FROM spend_totals WHERE scope = 'c'") is None
        return [dict(row) for row in await tx.fetch_all("SELECT scope, calls FROM spend_totals ORDER BY scope")]

    for gently in (False, True):
        written = [{"scope": "a", "calls": 2}, {"scope": "b", "calls": 2}]
        assert await database.run(work, gently=gently) == written
        assert await database.fetch_all("SELECT scope, calls FROM spend_totals ORDER BY scope") == written
        with pytest.raises(Conflict):
            await database.run(work, gently=gently)
        assert await scopes(database) == ["a", "b"]
        async with database.transaction() as tx:
            assert await tx.execute("DELETE FROM spend_totals") == 2


async def test_a_unit_of_work_that_fails_or_waits_for_something_else_leaves_nothing(database: Database) -> None:
    async def fails(tx: Transaction) -> None:
        await tx.execute(INSERT, ("a",))
        raise LookupError("planted")

    async def waits(tx: Transaction) -> None:
        await tx.execute(INSERT, ("a",))
        await asyncio.sleep(0)

    with pytest.raises(LookupError, match="planted"):
        await database.run(fails)
    with pytest.raises(RuntimeError, match="nothing else"):
        await database.run(waits)
    with pytest.raises(DatabaseUnavailable, match="nowhere"):
        await database.run(lambda tx: tx.execute("DELETE FROM nowhere"))
    assert await scopes(database) == []
    await database.run(lambda tx: tx.execute(INSERT, ("a",)))
    assert await scopes(database) == ["a"]


async def test_a_savepoint_undoes_a_part(database: Database) -> None:
    async def work(tx: Transaction) -> None:
        await tx.execute(INSERT, ("kept",))
        await tx.execute("SAVEPOINT part")
        await tx.execute(INSERT, ("undone",))
        await tx.execute("ROLLBACK TO SAVEPOINT part")
        await tx.execute("RELEASE SAVEPOINT part")

    await database.run(work)
    assert await scopes(database) == ["kept"]


async def test_values_come_back_as_they_went_in(database: Database) -> None:
    insert = (
        "INSERT INTO credentials (credential_name, sealed_values, hints, info, created_at, created_by, updated_at,"
        " updated_by) VALUES (?, ?, ?, ?, ?, ?, ?, ?) RETURNING created_at"
    )
    blob, big = bytes(range(256)), 2**62
    async with database.transaction() as tx:
        row = await tx.fetch_one(insert, ("n?'", blob, "äß\u4e2d\U0001f600", "", big, "a", -1, "b"))
    assert row == {"created_at": big}
    query = (
        "SELECT *, NULL AS empty, 'why? -- ''?' AS \"what?\" FROM credentials /* ? */ WHERE credential_name = ? -- ?"
    )
    found = await database.fetch_one(query, ("n?'",))
    assert found is not None
    assert (found["sealed_values"], found["hints"]) == (blob, "äß\u4e2d\U0001f600")
    assert (found["updated_at"], found["empty"], found["what?"]) == (-1, None, "why? -- '?")
    total = await database.fetch_one(
        "SELECT SUM(created_at) AS n, COUNT(*) AS c, SUM(updated_at) AS m FROM credentials"
    )
    assert total == {"n": big, "c": 1, "m": -1}
    assert all(type(value) is int for value in total.values())


async def test_a_text_with_a_nul_is_kept_as_far_as_the_engine_can(database: Database) -> None:
    insert = "INSERT INTO usage_rejected VALUES (?, 1, '', '')"
    name = "a\x00b"
    await database.run(lambda tx: tx.execute(insert, (name,)))
    async with database.transaction() as tx:
        await tx.execute(insert, (name + "2",))
    found = await database.fetch_all("SELECT digest FROM usage_rejected WHERE digest = ?", (name,))
    assert found == [{"digest": name if database.dialect == "sqlite" else "a\ufffdb"}]


async def test_management_transactions_of_all_processes_take_turns(open_again: Open) -> None:
    replicas = [await open_again() for _ in range(3)]
    await replicas[0].run(lambda tx: tx.execute(INSERT, ("a",)))

    async def add_one(database: Database) -> None:
        async with database.transaction() as tx:
            row = await tx.fetch_one("SELECT calls FROM spend_totals WHERE scope = 'a'")
            assert row is not None
            await asyncio.sleep(0)
            await tx.execute("UPDATE spend_totals SET calls = ? WHERE scope = 'a'", (int(row["calls"] or 0) + 1,))

    await asyncio.gather(*(add_one(replicas[number % 3]) for number in range(30)))
    assert await replicas[0].fetch_one("SELECT calls FROM spend_totals") == {"calls": 31}


async def test_units_of_work_of_all_processes_lose_nothing(open_again: Open) -> None:
    replicas = [await open_again() for _ in range(3)]
    names = ("a", "b", "c")
    await replicas[0].run(lambda tx: tx.execute_many(INSERT, [(name,) for name in names]))

    async def add(database: Database, number: int) -> None:
        async def work(tx: Transaction) -> None:
            # In different orders, so that they would block each other for ever.
            for name in names if number % 2 else reversed(names):
                await tx.execute("UPDATE spend_totals SET calls = calls + 1 WHERE scope = ?", (name,))

        await database.run(work)

    await asyncio.gather(*(add(replicas[number % 3], number) for number in range(18)))
    assert await replicas[0].fetch_all("SELECT DISTINCT calls FROM spend_totals") == [{"calls": 19}]


async def test_who_is_cancelled_leaves_the_store_usable(database: Database) -> None:
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
    found = await scopes(database)
    steps = [scope for scope in found if scope.startswith("steps")]
    assert "after" in found
    assert [scope for scope in steps if scope.endswith("!")] == [f"{scope}!" for scope in steps if scope[-1] != "!"]


async def test_closing_twice_is_fine(open_again: Open) -> None:
    database = await open_again()
    await database.close()
    await database.close()
