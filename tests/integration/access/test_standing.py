"""What a caller may do is what it may do when it is done: not when it was asked for, nor what its key's user became elsewhere."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import httpx
import pytest

from tests.integration.access.people import Company
from tests.integration.access.test_rights import no, ok

MANY = 60
"""Enough that the last of them waits while the first is done."""


def new(name: str) -> str:
    return f"{name}-{uuid.uuid4().hex[:8]}"


Post = Callable[..., Awaitable[httpx.Response]]


def at_once(company: Company, work: Callable[[Post], Coroutine[Any, Any, Any]]) -> Any:
    """Calls at the same time: ``work`` has a way to post with somebody's key."""

    async def run() -> Any:
        limits = httpx.Limits(max_connections=2 * MANY)
        url = company.managed.gateway.url
        async with httpx.AsyncClient(base_url=url, trust_env=False, timeout=60, limits=limits) as client:

            async def post(who: str, path: str, **body: Any) -> httpx.Response:
                headers = {"authorization": f"Bearer {company.keys.get(who, who)}"}
                return await client.post(path, headers=headers, json=body)

            return await work(post)

    return asyncio.run(run())


@pytest.mark.parametrize("role", ["proxy_admin", "proxy_admin_viewer"])
def test_a_key_within_a_team_or_an_organization_is_not_promoted_with_its_user(company: Company, role: str) -> None:
    ann = new("ann")
    ok(company.post("lead", "/team/member_add", team_id=company.search, member={"user_id": ann}))
    ok(company.post("boss", "/organization/member_add", organization_id=company.acme, member={"user_id": ann}))
    bound = [
        ok(company.post("lead", "/key/generate", team_id=company.search, user_id=ann))["key"],
        ok(company.post("boss", "/key/generate", organization_id=company.acme, user_id=ann))["key"],
    ]
    free = company.key(user_id=ann)
    ok(company.managed.post("/user/update", user_id=ann, user_role=role))
    ok(company.get(free, "/user/list"))
    for key in bound:
        no(company.get(key, "/user/list"))
        no(company.post(key, "/user/new", user_role="proxy_admin", auto_create_key=False))
        no(company.get(key, "/key/info", key=company.keys["rival"]), "key")
        assert company.managed.chat(key).status_code == 200


def test_a_removed_member_keeps_no_key(company: Company) -> None:
    team = ok(
        company.post("boss", "/team/new", organization_id=company.acme, team_member_permissions=["/key/generate"])
    )["team_id"]
    user = new("leaver")
    ok(company.post("boss", "/team/member_add", team_id=team, member={"user_id": user}))
    mine = company.key(user_id=user)

    async def work(post: Post) -> tuple[httpx.Response, list[httpx.Response]]:
        asked = [asyncio.ensure_future(post(mine, "/key/generate", team_id=team)) for _ in range(MANY)]
        await asyncio.wait(asked, return_when=asyncio.FIRST_COMPLETED)
        removed = await post("boss", "/team/member_delete", team_id=team, user_id=user)
        return removed, list(await asyncio.gather(*asked))

    removed, made = at_once(company, work)
    ok(removed)
    keys = [answer.json()["key"] for answer in made if answer.status_code == 200]
    assert keys
    assert {answer.status_code for answer in made} <= {200, 403}
    assert {company.managed.chat(key).status_code for key in keys} == {401}
    assert ok(company.managed.get("/key/list", team_id=team))["keys"] == []


def test_a_removed_admin_makes_nothing_more(company: Company) -> None:
    user = new("chief")
    admins = [{"role": "admin", "user_id": user}]
    team = ok(company.post("boss", "/team/new", organization_id=company.acme, members_with_roles=admins))["team_id"]
    mine = company.key(user_id=user)

    async def work(post: Post) -> int:
        asked = [asyncio.ensure_future(post(mine, "/key/service-account/generate", team_id=team)) for _ in range(MANY)]
        await asyncio.wait(asked, return_when=asyncio.FIRST_COMPLETED)
        ok(await post("boss", "/team/member_delete", team_id=team, user_id=user))
        there = (
            await post(
                "root", "/team/key/bulk_update", team_id=team, all_keys_in_team=True, update_fields={"rpm_limit": 7}
            )
        ).json()
        await asyncio.gather(*asked)
        return int(there["total_requested"])

    at_removal = at_once(company, work)
    after = ok(company.managed.get("/key/list", team_id=team, size=100))["total_count"]
    assert 0 < after == at_removal


def test_a_key_that_was_moved_away_is_not_taken_by_who_asked_before(company: Company) -> None:
    key, other = company.key(team_id=company.search), company.key(team_id=company.search)

    async def work(post: Post) -> tuple[httpx.Response, httpx.Response]:
        def flood(count: int) -> list[asyncio.Future[httpx.Response]]:
            return [
                asyncio.ensure_future(post("lead", "/key/update", key=other, metadata={"n": n})) for n in range(count)
            ]

        queue = flood(MANY)
        await asyncio.wait(queue, return_when=asyncio.FIRST_COMPLETED)
        move = asyncio.ensure_future(post("root", "/key/update", key=key, team_id=company.rivals))
        await asyncio.sleep(0.03)
        taken = await post("lead", f"/key/{key}/regenerate")
        await asyncio.gather(*queue)
        return await move, taken

    moved, taken = at_once(company, work)
    if taken.status_code == 200:
        # It came first, and what the administrator wanted to move was gone: then nothing has moved.
        assert (taken.json()["team_id"], moved.status_code) == (company.search, 404)
    else:
        ok(moved)
        no(taken, "key")
        assert company.managed.info(key)["team_id"] == company.rivals


def test_an_administrator_is_removed_by_an_administrator(company: Company) -> None:
    user = new("admin")
    ok(company.managed.post("/user/new", user_id=user, user_role="proxy_admin", auto_create_key=False))
    ok(company.managed.post("/team/member_add", team_id=company.search, member={"user_id": user}))
    key = company.key(team_id=company.search, user_id=user)
    no(company.post("lead", "/team/member_delete", team_id=company.search, user_id=user), "user_id")
    no(company.post("boss", "/team/member_update", team_id=company.search, user_id=user, rpm_limit=1), "user_id")
    no(company.post("lead", f"/team/{company.search}/member/{user}/reset_spend"), "user_id")
    assert company.managed.chat(key).status_code == 200
    ok(company.post("root", "/team/member_delete", team_id=company.search, user_id=user))
    assert company.managed.chat(key).status_code == 401


def test_with_a_member_of_an_organization_its_keys_go(company: Company) -> None:
    user = new("leaver")
    ok(company.post("boss", "/organization/member_add", organization_id=company.acme, member={"user_id": user}))
    ok(company.post("boss", "/team/member_add", team_id=company.ads, member={"user_id": user}))
    within = ok(company.post("boss", "/key/generate", organization_id=company.acme, user_id=user))["key"]
    others = [
        ok(company.post("boss", "/key/generate", team_id=company.ads, user_id=user))["key"],
        ok(company.post("boss", "/key/generate", organization_id=company.acme))["key"],
        company.key(user_id=user),
    ]
    gone = {"organization_id": company.acme, "user_id": user}
    assert ok(company.ask("boss", "DELETE", "/organization/member_delete", **gone))["user_id"] == user
    assert company.managed.chat(within).status_code == 401
    assert {company.managed.chat(key).status_code for key in others} == {200}
    assert company.ask("boss", "DELETE", "/organization/member_delete", **gone).status_code == 404
    ok(company.post("boss", "/team/member_delete", team_id=company.ads, user_id=user))
    assert company.managed.chat(others[0]).status_code == 401
