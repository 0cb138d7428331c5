"""The SQLite file, and the rules of migrations."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from penstock.persistence import DatabaseUnavailable, Migration, MigrationError, SqliteDatabase
from penstock.persistence.migrations import Applied, available, pending
from penstock.persistence.sqlite import read_status
from tests.stalls import again_after_a_stall


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
        pending(steps, [Applied(1, "other")])
    with pytest.raises(MigrationError, match=r"9999.*newer"):
        pending(steps, [Applied(9_999, "x", is_contract=True)])


@pytest.mark.parametrize("dialect", ["sqlite", "postgres"])
def test_a_newer_schema_that_only_adds_is_tolerated(dialect: str) -> None:
    steps = available(dialect)
    applied = [Applied(step.number, step.checksum) for step in steps]
    assert pending(steps, [*applied, Applied(9_999, "x")]) == []
    assert pending(steps, [Applied(9_999, "x"), *applied[:-1]]) == steps[-1:]


def test_a_migration_says_by_a_line_of_its_own_that_it_takes_away() -> None:
    marked = Migration(1, "0001_x.sql", "-- contract: `a` is used by nobody since 1.2\nDROP TABLE a;", "")
    assert marked.is_contract
    assert not Migration(1, "0001_x.sql", "SELECT 1; -- contract\n-- contracts", "").is_contract


async def test_the_records_of_the_first_versions_are_read(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    first = available("sqlite")[0]
    with closing(sqlite3.connect(path)) as old:
        old.executescript(first.sql)
        old.execute(
            "CREATE TABLE schema_migrations (number INTEGER PRIMARY KEY, name TEXT NOT NULL, checksum TEXT NOT NULL,"
            " applied_at INTEGER NOT NULL) STRICT"
        )
        old.execute("INSERT INTO schema_migrations VALUES (1, ?, ?, 5)", (first.name, first.checksum))
        old.commit()
    applied, waiting = read_status(path)
    assert [row["number"] for row in applied] == [1]
    database = await SqliteDatabase.open(path)
    await database.close()
    assert database.applied == [step.name for step in waiting]


_COUNT = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?) SELECT COUNT(*) AS n FROM n"


@again_after_a_stall(0.1)
async def test_a_question_does_not_wait_for_reports(tmp_path: Path) -> None:
    database = await SqliteDatabase.open(tmp_path / "penstock.db")
    # Seconds each; one of them is given up by who asked, and goes on.
    reports = [asyncio.ensure_future(database.fetch_one(_COUNT, (8_000_000,))) for _ in range(3)]
    await asyncio.sleep(0.05)
    reports[0].cancel()
    for _ in range(20):
        assert await asyncio.wait_for(database.fetch_one("SELECT 1 AS one"), 5) == {"one": 1}
    assert not any(report.done() for report in reports[1:])
    assert await asyncio.gather(*reports[1:]) == [{"n": 8_000_000}] * 2
    await database.close()


async def test_questions_given_up_before_they_began_count_no_longer(tmp_path: Path) -> None:
    database = await SqliteDatabase.open(tmp_path / "penstock.db")
    questions = [asyncio.ensure_future(database.fetch_one(_COUNT, (300_000,))) for _ in range(40)]
    await asyncio.sleep(0)
    for question in questions:
        question.cancel()
    await asyncio.gather(*questions, return_exceptions=True)
    await database.close()
    assert not any(reader.waiting for reader in database._readers._readers)
