"""Many replicas start at once, old and new versions run side by side, and `penstock migrate` says what it did."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from penstock.persistence import DatabaseUnavailable, MigrationError
from penstock.persistence.migrations import Migration, available
from penstock.persistence.postgres_schema import MIGRATION_LOCK
from tests.integration.persistence.conftest import PATIENT, Open
from tests.servers.postgres import Postgres

NAMES = [step.name for step in available("postgres")]


def newer(monkeypatch: pytest.MonkeyPatch, *sql: str) -> None:
    """Make this the version after: it has these migrations too."""
    more = [Migration(9_000 + n, f"{9_000 + n}_newer.sql", text, f"sum-{n}") for n, text in enumerate(sql)]
    before = available

    def available_then(dialect: str) -> list[Migration]:
        return [*before(dialect), *more]

    monkeypatch.setattr("penstock.persistence.postgres_schema.available", available_then)


@pytest.mark.parametrize("pooled", [False, True])
async def test_of_twenty_that_start_at_once_one_migrates(database_url: str, open_postgres: Open, pooled: bool) -> None:
    url = f"{database_url}?pgbouncer=true" if pooled else database_url
    replicas = await asyncio.gather(*(open_postgres(url) for _ in range(20)))
    assert sorted((replica.applied for replica in replicas), key=len) == [[]] * 19 + [NAMES]
    rows = await replicas[0].fetch_all("SELECT name FROM schema_migrations ORDER BY number")
    assert [row["name"] for row in rows] == NAMES


def migrate(environment: dict[str, str], *arguments: str, directory: Path, wait: bool = True) -> subprocess.Popen[str]:
    kept = {name: value for name, value in os.environ.items() if name in {"PATH", "HOME", "LANG"}}
    process = subprocess.Popen(
        [sys.executable, "-m", "penstock", "migrate", *arguments],
        cwd=directory,
        env={**kept, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if wait:
        process.wait(60)
    return process


def output(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    text = process.stdout.read()
    process.stdout.close()
    return text


def test_processes_that_migrate_at_once_agree(database_url: str, tmp_path: Path) -> None:
    environment = {"DATABASE_URL": database_url}
    started = [migrate(environment, directory=tmp_path, wait=False) for _ in range(6)]
    assert [process.wait(60) for process in started] == [0] * 6
    outputs = [output(process) for process in started]
    assert sum("applied 0001_initial.sql" in text for text in outputs) == 1
    assert all(f"{len(NAMES)} migrations, up to date" in text for text in outputs)


@pytest.mark.parametrize("kind", ["postgres", "sqlite"])
def test_the_command_lists_applies_and_lists_again(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    url = f"sqlite:///{tmp_path}/a.db" if kind == "sqlite" else request.getfixturevalue("database_url")
    names = [step.name for step in available(kind)]
    before = migrate({}, "--database-url", url, "--status", directory=tmp_path)
    text = output(before)
    assert before.returncode == 3
    assert text.splitlines()[:-1] == [f"pending  {name}" for name in names]
    done = migrate({"DATABASE_URL": url}, directory=tmp_path)
    assert (done.returncode, output(done).splitlines()[:-1]) == (0, [f"applied {name}" for name in names])
    after = migrate({"DATABASE_URL": url}, "--status", directory=tmp_path)
    text = output(after)
    assert (after.returncode, text.count("applied  ")) == (0, len(names))
    assert f"{len(names)} applied, 0 pending" in text


def test_the_command_says_why_it_cannot(tmp_path: Path) -> None:
    nobody = migrate({"DATABASE_URL": "postgresql://me:hunter2@127.0.0.1:1/d"}, directory=tmp_path)
    text = output(nobody)
    assert nobody.returncode == 1
    assert "the database cannot be used: postgresql://127.0.0.1:1/d" in text
    wrong = migrate({"DATABASE_URL": "mysql://me:hunter2@h/d"}, directory=tmp_path)
    text += output(wrong)
    assert wrong.returncode == 1
    assert "names neither PostgreSQL nor SQLite" in text
    assert "hunter2" not in text
    assert "Traceback" not in text


async def test_the_version_before_goes_on_with_a_schema_that_only_grew(
    database_url: str, open_postgres: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = await open_postgres(database_url)

    async def looks(tx: Any) -> None:
        await tx.fetch_one("SELECT * FROM spend_totals")

    async with AsyncExitStack() as all_at_once:
        # On every connection that the pool may have.
        for _ in range(PATIENT.size):
            connection = await all_at_once.enter_async_context(old._pool.lend())
            await connection.fetch("SELECT * FROM spend_totals", ())
    with monkeypatch.context() as patch:
        newer(patch, "ALTER TABLE spend_totals ADD COLUMN more BIGINT NOT NULL DEFAULT 7")
        assert (await open_postgres(database_url)).applied == ["9000_newer.sql"]
    # Its statements were prepared for the former columns.
    insert = "INSERT INTO spend_totals (scope, cost, calls, prompt_tokens, completion_tokens) VALUES ('a', 1, 1, 1, 1)"

    async def reads_and_writes(tx: Any) -> None:
        await tx.execute(insert)
        assert (await tx.fetch_one("SELECT * FROM spend_totals"))["more"] == 7

    await old.run(reads_and_writes)
    async with old.transaction() as tx:
        await looks(tx)
    assert len(await old.fetch_all("SELECT * FROM spend_totals")) == 1
    assert (await open_postgres(database_url)).applied == [], "a replica of the old version starts, too"


async def test_a_version_does_not_start_on_a_schema_that_shrank(
    database_url: str, open_postgres: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        newer(patch, "-- contract: nobody reads it\nDROP TABLE usage_rejected")
        await open_postgres(database_url)
    with pytest.raises(MigrationError, match=r"9000.*newer version"):
        await open_postgres(database_url)


async def test_a_migration_that_fails_leaves_those_before_it(
    database_url: str, open_postgres: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        newer(patch, "CREATE TABLE extra (id BIGINT)", "CREATE TABLE half (id BIGINT); SELECT nonsense")
        with pytest.raises(MigrationError, match=r"9001_newer\.sql cannot be applied: .*nonsense"):
            await open_postgres(database_url)
        newer(patch, "CREATE TABLE extra (id BIGINT)", "CREATE TABLE half (id BIGINT)")
    database = await open_postgres(database_url)
    assert await database.fetch_all("SELECT * FROM extra") == []
    with pytest.raises(DatabaseUnavailable, match="half"):
        await database.fetch_all("SELECT * FROM half")


async def test_a_table_in_use_is_waited_for_in_short_turns(
    database_url: str, open_postgres: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("penstock.persistence.postgres_schema._TABLE_WAIT_S", "0.1")
    database = await open_postgres(database_url)
    newer(monkeypatch, "ALTER TABLE spend_totals ADD COLUMN more BIGINT")
    async with database.transaction() as tx:
        await tx.fetch_all("SELECT * FROM spend_totals")
        opening = asyncio.ensure_future(open_postgres(database_url))
        await asyncio.sleep(0.3)
        assert not opening.done()
        # Who comes behind the one that waits is served between its turns.
        assert await database.fetch_all("SELECT * FROM spend_totals") == []
    assert (await opening).applied == ["9000_newer.sql"]


async def test_who_finds_nothing_to_do_needs_no_lock(
    database_url: str, open_postgres: Open, postgres: Postgres
) -> None:
    database = await open_postgres(database_url)
    async with database.transaction() as tx:
        await tx.fetch_all(f"SELECT pg_advisory_xact_lock({MIGRATION_LOCK})")
        assert (await asyncio.wait_for(open_postgres(database_url), 8)).applied == []


async def test_a_changed_file_is_refused(database_url: str, open_postgres: Open, postgres: Postgres) -> None:
    await open_postgres(database_url)
    name = database_url.rpartition("/")[2]
    postgres.sql("UPDATE schema_migrations SET checksum = 'x' WHERE number = 1", database=name)
    with pytest.raises(MigrationError, match=r"0001_initial\.sql was changed"):
        await open_postgres(database_url)


async def test_texts_are_ordered_by_their_bytes_as_in_sqlite(database_url: str, open_postgres: Open) -> None:
    """Whatever locale the server has: a list begins with the same row on either database."""
    database = await open_postgres(database_url)
    rows = await database.fetch_all(
        "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = 'public'"
        " AND data_type = 'text' AND table_name <> 'schema_migrations' AND collation_name IS DISTINCT FROM 'C'"
    )
    assert [(row["table_name"], row["column_name"]) for row in rows] == []
