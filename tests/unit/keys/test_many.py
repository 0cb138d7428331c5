"""What the control plane looks for twice a second costs the same however many keys there are."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextvars import ContextVar
from typing import Any

import pytest

from penstock.clock import now_ms
from penstock.persistence.sqlite import SqliteDatabase
from tests.conftest import FakeApp

_KEYS = 20_000
_STEPS = 100
"""SQLite's own, of the program that a statement is; one row takes some ten."""


async def test_looking_for_changes_reads_no_key_that_did_not_change(
    fake_app: FakeApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = (await fake_app.new_key(max_budget=1, budget_duration="30d"))["token"]
    database, runtime = fake_app.runtime.database, fake_app.runtime
    (template,) = await database.fetch_all("SELECT * FROM keys WHERE token = ?", (token,))
    names = [name for name in template if name not in ("token", "key_alias", "charged_at")]
    charged = now_ms() - 3_600_000
    async with database.transaction() as tx:
        await tx.execute(
            f"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {_KEYS})"
            f" INSERT INTO keys (token, charged_at, {', '.join(names)})"
            f" SELECT 'copy' || i, {charged} + i, {', '.join(names)} FROM keys, n WHERE token = ?",
            (token,),
        )
    # What was charged since the start is looked for once; from then on only what is new.
    await runtime.keys.follow()
    asked: list[tuple[str, Sequence[Any]]] = []
    fetch_all = SqliteDatabase.fetch_all
    # What the app asks by itself every now and then belongs to tasks that began before.
    ours = ContextVar("ours", default=False)

    async def noted(self: SqliteDatabase, sql: str, parameters: Sequence[Any] = ()) -> Any:
        if ours.get():
            asked.append((sql, parameters))
        return await fetch_all(self, sql, parameters)

    monkeypatch.setattr(SqliteDatabase, "fetch_all", noted)
    ours.set(True)
    await runtime.keys.follow()
    await runtime.keys.sweep_windows()
    assert any("charged_at" in sql for sql, _ in asked)
    assert any("budget_reset_at" in sql for sql, _ in asked)
    (file,) = await database.fetch_all("PRAGMA database_list")
    for sql, parameters in asked:
        steps = _steps(str(file["file"]), sql, parameters)
        assert steps <= _STEPS, (steps, sql)


def _steps(path: str, sql: str, parameters: Sequence[Any]) -> int:
    counted = 0

    def count() -> int:
        nonlocal counted
        counted += 1
        return 0

    connection = sqlite3.connect(path)
    try:
        connection.execute("SELECT 1 FROM keys").fetchone()
        connection.set_progress_handler(count, 1)
        connection.execute(sql, parameters).fetchall()
    finally:
        connection.close()
    return counted
