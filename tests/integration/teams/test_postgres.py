"""The management endpoints on PostgreSQL: one walk through all of them, for the SQL of the stores is the same text on both."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import asyncpg
import pytest

from tests.integration.managed import Managed
from tests.servers.postgres import Postgres


def test_everything_works_on_postgresql_too(start_managed: Callable[..., Managed], database_url: str) -> None:
    managed = start_managed(environment={"DATABASE_URL": database_url})

    def ok(path: str, method: str = "POST", **body: Any) -> Any:
        answer = managed.client.request(method, path, headers=managed.admin, json=body)
        assert answer.status_code == 200, (path, answer.text)
        return answer.json()

    budget = ok("/budget/new", max_budget=5, budget_duration="30d", model_max_budget={"priced": 4})["budget_id"]
    organization = ok("/organization/new", organization_alias="o", max_budget=9)["organization_id"]
    team = ok("/team/new", organization_id=organization, team_member_budget=1, budget_duration="1d")["team_id"]
    user = ok("/user/new", user_email="p@example.org", teams=[team], budget_id=budget)
    ok("/team/member_update", team_id=team, user_id=user["user_id"], max_budget_in_team=2, role="admin")
    ok("/tag/new", name="blue", rpm_limit=100)
    ok("/customer/new", user_id="c", budget_id=budget)
    key = managed.key(team_id=team, user_id=user["user_id"], tags=["blue"], model_rpm_limit={"priced": 50})
    for _ in range(2):
        assert managed.chat(key, user="c").status_code == 200
    spend = managed.info(key)["spend"]
    assert spend > 0
    found = {
        "team": managed.get("/team/info", team_id=team).json()["team_info"]["spend"],
        "member": managed.get("/team/info", team_id=team).json()["team_memberships"][0]["spend"],
        "user": managed.get("/user/info", user_id=user["user_id"]).json()["user_info"]["spend"],
        "organization": managed.get("/organization/info", organization_id=organization).json()["spend"],
        "customer": managed.get("/customer/info", end_user_id="c").json()["spend"],
        "model": managed.get("/customer/info", end_user_id="c").json()["model_spend"]["priced"],
        "tag": ok("/tag/info", names=["blue"])["blue"]["spend"],
    }
    assert found == {name: pytest.approx(spend) for name in found}
    ok("/budget/update", budget_id=budget, max_budget=6, budget_duration="7d")
    assert managed.get("/customer/info", end_user_id="c").json()["max_budget"] == 6.0
    assert managed.get("/user/list", page_size=1).json()["total"] == 1
    assert managed.get("/v2/team/list").json()["teams"][0]["team_id"] == team
    new_key = ok("/key/regenerate", key=key)["key"]
    assert managed.chat(new_key).status_code == 200
    ok("/customer/block", user_ids=["c", "d"])
    ok("/customer/delete", user_ids=["c", "d"])
    ok("/tag/delete", name="blue")
    ok("/user/delete", user_ids=[user["user_id"]])
    ok("/organization/delete", "DELETE", organization_ids=[organization])
    assert managed.chat(new_key).status_code == 401
    ok("/budget/delete", id=budget)


async def test_deleting_a_member_stands_in_no_charge_s_way(
    start_managed: Callable[..., Managed], database_url: str
) -> None:
    """Whoever charges takes the key first and then its scopes; an order of one's own would be a deadlock."""
    managed = start_managed(environment={"DATABASE_URL": database_url})
    team = managed.post("/team/new", max_budget=5).json()["team_id"]
    member = {"user_id": "leaving", "role": "user"}
    assert managed.post("/team/member_add", team_id=team, member=member, max_budget_in_team=1).status_code == 200
    token = managed.post("/key/generate", team_id=team, user_id="leaving").json()["token"]
    connection = await asyncpg.connect(database_url)
    try:
        async with connection.transaction():
            assert await connection.execute("UPDATE keys SET spend = spend WHERE token = $1", token) == "UPDATE 1"
            deleting = asyncio.ensure_future(
                asyncio.to_thread(managed.post, "/team/member_delete", team_id=team, user_id="leaving")
            )
            for _ in range(500):
                if await connection.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"):
                    break
                await asyncio.sleep(0.02)
            name = f"member:{team}/leaving"
            assert await connection.execute("UPDATE scopes SET spend = spend WHERE name = $1", name) == "UPDATE 1"
        answer = await deleting
    finally:
        await connection.close()
    assert answer.status_code == 200, answer.text
    assert managed.get("/key/info", key=token).status_code == 404


async def test_a_reset_of_everybody_s_spend_gives_way_and_is_made_again(
    start_managed: Callable[..., Managed], postgres: Postgres, database_url: str
) -> None:
    """Who takes many rows may meet a charge that took them in another order; the server then ends one of the two."""
    # Whoever has waited for so long: always the gateway, for nobody else here does.
    name = database_url.rpartition("/")[2]
    postgres.sql(f"ALTER DATABASE {name} SET deadlock_timeout = '2s'")
    managed = start_managed(environment={"DATABASE_URL": database_url})
    first, second = (managed.post("/key/generate").json()["token"] for _ in range(2))
    connection = await asyncpg.connect(database_url)
    try:
        await connection.execute("SET deadlock_timeout = '60s'")
        await connection.execute("UPDATE keys SET spend = 5")
        async with connection.transaction():
            # The reset takes rows as they lie, and waits for this one when it has the other.
            await connection.execute("UPDATE keys SET spend = spend WHERE token = $1", second)
            resetting = asyncio.ensure_future(asyncio.to_thread(managed.post, "/global/spend/reset"))
            for _ in range(500):
                if await connection.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"):
                    break
                await asyncio.sleep(0.02)
            await connection.execute("UPDATE keys SET spend = spend WHERE token = $1", first)
        answer = await resetting
        assert answer.status_code == 200, answer.text
        assert await connection.fetchval("SELECT sum(spend) FROM keys") == 0
    finally:
        await connection.close()
