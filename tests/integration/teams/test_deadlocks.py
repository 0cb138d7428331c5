"""Who administers while calls are charged: PostgreSQL ends one of two transactions that wait for each other, and nobody is told."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import asyncpg

from penstock.persistence.postgres import MANAGEMENT_LOCK
from tests.integration.managed import Managed

_SOON = "20ms"
"""After which the gateway's connections look whether they are in a deadlock: the first to look is its victim."""
_LATE = "60s"

_MEMBER = {"user_id": "u", "role": "user"}
_BELONGING = {"user_id": "u", "role": "internal_user"}
CHANGES: list[tuple[str, str, str, dict[str, Any]]] = [
    # method, path, the table that it writes first, body; each after those before it
    ("POST", "/budget/new", "budgets", {"budget_id": "b", "max_budget": 5}),
    ("POST", "/budget/update", "budgets", {"budget_id": "b", "max_budget": 6}),
    ("POST", "/organization/new", "organizations", {"organization_id": "o", "organization_alias": "o"}),
    ("PATCH", "/organization/update", "organizations", {"organization_id": "o", "max_budget": 9}),
    ("POST", "/user/new", "users", {"user_id": "u", "auto_create_key": False}),
    ("POST", "/user/new", "users", {"user_id": "v", "organizations": ["o"]}),
    ("POST", "/user/update", "users", {"user_id": "u", "max_budget": 3}),
    ("POST", "/organization/member_add", "organization_members", {"organization_id": "o", "member": _BELONGING}),
    ("PATCH", "/organization/member_update", "organization_members", {"organization_id": "o", **_BELONGING}),
    ("POST", "/team/new", "teams", {"team_id": "t", "organization_id": "o", "members": ["v"]}),
    ("POST", "/team/new", "budgets", {"team_id": "s", "team_member_budget": 1, "members": ["u", "v"]}),
    ("POST", "/team/update", "teams", {"team_id": "t", "max_budget": 4}),
    ("POST", "/team/member_add", "team_members", {"team_id": "t", "member": _MEMBER, "max_budget_in_team": 1}),
    ("POST", "/team/member_update", "team_members", {"team_id": "t", "user_id": "u", "max_budget_in_team": 2}),
    ("POST", "/team/block", "scopes", {"team_id": "t"}),
    ("POST", "/team/unblock", "scopes", {"team_id": "t"}),
    ("POST", "/team/model/add", "scopes", {"team_id": "t", "models": ["priced"]}),
    ("POST", "/key/generate", "keys", {"key": "sk-of-the-first-0001", "team_id": "t", "user_id": "u"}),
    ("POST", "/key/update", "keys", {"key": "sk-of-the-first-0001", "max_budget": 1, "spend": 0.25}),
    ("POST", "/key/block", "keys", {"key": "sk-of-the-first-0001"}),
    ("POST", "/key/regenerate", "keys", {"key": "sk-of-the-first-0001", "new_key": "sk-of-the-second-002"}),
    ("POST", "/team/member_delete", "team_members", {"team_id": "t", "user_id": "u"}),
    ("POST", "/customer/new", "customers", {"user_id": "c", "budget_id": "b"}),
    ("POST", "/customer/update", "customers", {"user_id": "c", "max_budget": 7}),
    ("POST", "/customer/block", "customers", {"user_ids": ["c", "d"]}),
    ("POST", "/tag/new", "tags", {"name": "blue", "rpm_limit": 100}),
    ("POST", "/tag/update", "tags", {"name": "blue", "rpm_limit": 200}),
    ("POST", "/tag/delete", "tags", {"name": "blue"}),
    ("POST", "/customer/delete", "customers", {"user_ids": ["c", "d"]}),
    ("POST", "/budget/delete", "budgets", {"id": "b"}),
    ("POST", "/team/delete", "teams", {"team_ids": ["t"]}),
    ("POST", "/user/delete", "scopes", {"user_ids": ["u"]}),
    ("DELETE", "/organization/delete", "organizations", {"organization_ids": ["o"]}),
]


async def _until(condition: Callable[[], Awaitable[Any]]) -> None:
    async with asyncio.timeout(20):
        while not await condition():  # noqa: ASYNC110 - it is the server that is asked
            await asyncio.sleep(0.005)


async def _deadlocks(connection: asyncpg.Connection, count: int) -> bool:
    """Whether there were so many in this database."""
    sql = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
    return int(await connection.fetchval(sql)) >= count


async def _as_victim(url: str, table: str, change: Callable[[], Any]) -> Any:
    """What ``change`` returns when its transaction is ended by the server for the sake of another one.

    That has the trail of changes, and wants the turn that the administrator's transaction has: a circle as soon as this
    has its own rows and writes into the trail.
    """
    other, pausing, looking = [await asyncpg.connect(url) for _ in range(3)]

    async def waits(condition: str) -> bool:
        return bool(await looking.fetchval(f"SELECT count(*) FROM pg_locks WHERE NOT granted AND {condition}"))

    try:
        await other.execute(f"BEGIN; SET LOCAL deadlock_timeout = '{_LATE}'; LOCK TABLE audit IN EXCLUSIVE MODE")
        await pausing.execute(f"BEGIN; LOCK TABLE {table} IN EXCLUSIVE MODE")
        changing = asyncio.ensure_future(asyncio.to_thread(change))
        await _until(lambda: waits(f"relation = '{table}'::regclass"))
        taking = asyncio.ensure_future(other.execute("SELECT pg_advisory_xact_lock($1)", MANAGEMENT_LOCK))
        await _until(lambda: waits("locktype = 'advisory'"))
        await pausing.execute("ROLLBACK")
        await asyncio.wait_for(taking, 20)
        await other.execute("ROLLBACK")
        return await changing
    finally:
        for connection in (other, pausing, looking):
            await connection.close()


async def test_no_administrator_is_told_of_a_deadlock(start_managed: Callable[..., Managed], database_url: str) -> None:
    connection = await asyncpg.connect(database_url)
    try:
        name = await connection.fetchval("SELECT current_database()")
        await connection.execute(f"ALTER DATABASE \"{name}\" SET deadlock_timeout = '{_SOON}'")
        managed = start_managed(environment={"DATABASE_URL": database_url})
        for method, path, table, body in CHANGES:

            def change(method: str = method, path: str = path, body: dict[str, Any] = body) -> Any:
                return managed.client.request(method, path, headers=managed.admin, json=body)

            last = await connection.fetchval("SELECT COALESCE(max(id), 0) FROM audit")
            answer = await _as_victim(database_url, table, change)
            assert answer.status_code == 200, (path, answer.text)
            told = "SELECT action, object_id FROM audit WHERE id > $1 AND actor <> 'scopes'"
            trail = [tuple(row) for row in await connection.fetch(told, last)]
            assert trail, path
            assert len(set(trail)) == len(trail), (path, trail)
        # The server counts with a delay.
        await _until(lambda: _deadlocks(connection, len(CHANGES)))
        assert [row[0] for row in await connection.fetch("SELECT user_id FROM users ORDER BY 1")] == ["v"]
        assert [row[0] for row in await connection.fetch("SELECT team_id FROM teams ORDER BY 1")] == ["s"]
        members = "SELECT team_id || '/' || user_id FROM team_members ORDER BY 1"
        assert [row[0] for row in await connection.fetch(members)] == ["s/v"]
        assert await connection.fetchval("SELECT count(*) FROM keys WHERE user_id = 'u' OR team_id = 't'") == 0
        budget = "SELECT count(*) FROM teams JOIN budgets ON budget_id = member_budget_id"
        assert await connection.fetchval(budget) == 1
    finally:
        await connection.close()
