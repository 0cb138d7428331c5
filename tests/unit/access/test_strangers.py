"""Whoever is in charge of something calls every route that is open to such people, about what is somebody else's."""

from __future__ import annotations

import json
from typing import Any

from litestar.routes import HTTPRoute

from penstock.access import Access
from tests.conftest import FakeApp

SECRET = "hush-4711"
"""In the names of everything that the stranger must not see."""

Bodies = dict[str, dict[str, Any]]


def _changes(team: str, organization: str, key: str) -> Bodies:
    """By `METHOD path` what an administrator could send; every route with `Access.MANAGER` has its line."""
    of_team, of_key = {"team_id": team}, {"key": key}
    member, of_organization = {"user_id": "victim"}, {"organization_id": organization}
    return {
        "POST /key/generate": of_team,
        "POST /key/service-account/generate": of_team,
        "POST /key/update": {**of_key, "max_budget": 1},
        "POST /key/bulk_update": {"keys": [{**of_key, "max_budget": 1}]},
        "POST /team/key/bulk_update": {**of_team, "all_keys_in_team": True, "update_fields": {"max_budget": 1}},
        "POST /key/delete": {"keys": [key]},
        "POST /key/block": of_key,
        "POST /key/unblock": of_key,
        "POST /key/regenerate": of_key,
        "POST /key/{key}/regenerate": {},
        "POST /key/{key}/reset_spend": {},
        "POST /team/new": of_organization,
        "POST /team/update": {**of_team, "team_alias": "mine"},
        "PATCH /team/{team_id}": {"team_alias": "mine"},
        "POST /team/delete": {"team_ids": [team]},
        "POST /team/block": of_team,
        "POST /team/unblock": of_team,
        "POST /team/member_add": {**of_team, "member": {"user_id": "stranger"}},
        "POST /team/bulk_member_add": {**of_team, "members": [{"user_id": "stranger"}]},
        "POST /team/member_update": {**of_team, **member, "role": "admin"},
        "POST /team/member_delete": {**of_team, **member},
        "POST /team/{team_id}/member/{user_id}/reset_spend": {},
        "POST /team/model/add": {**of_team, "models": ["demo"]},
        "POST /team/model/delete": {**of_team, "models": ["demo"]},
        "POST /team/permissions_update": {**of_team, "team_member_permissions": ["/key/generate"]},
        "PATCH /organization/update": {**of_organization, "organization_alias": "mine"},
        "PATCH /v2/organization/{organization_id}": {"organization_alias": "mine"},
        "POST /organization/member_add": {**of_organization, "member": {"user_id": "stranger"}},
        "PATCH /organization/member_update": {**of_organization, **member, "role": "org_admin"},
        "DELETE /organization/member_delete": {**of_organization, **member},
    }


def _questions(team: str, organization: str, key: str) -> Bodies:
    """The same for routes with `Access.KEY`: for GET the query, else the body."""
    days = {"start_date": "2020-01-01", "end_date": "2100-01-01"}
    return {
        "GET /key/info": {"key": key},
        "POST /v2/key/info": {"keys": [key]},
        "GET /key/list": {"team_id": team, "return_full_object": True},
        "POST /key/health": {},
        "GET /team/info": {"team_id": team},
        "GET /team/list": {"organization_id": organization},
        "GET /v2/team/list": {"organization_id": organization},
        "GET /team/permissions_list": {"team_id": team},
        "GET /team/{team_id}/members/me": {},
        "GET /team/available": {},
        "GET /user/info": {"user_id": "victim"},
        "GET /v2/user/info": {"user_id": "victim"},
        "GET /user/available_roles": {},
        "GET /organization/info": {"organization_id": organization},
        "POST /organization/info": {"organizations": [organization]},
        "GET /organization/list": {},
        "GET /spend/logs": {"api_key": key},
        "GET /spend/logs/v2": {"api_key": key},
        "GET /user/daily/activity": {**days, "user_id": "victim"},
        "GET /user/daily/activity/aggregated": {**days, "user_id": "victim"},
        "GET /team/daily/activity": {**days, "team_ids": team},
        "GET /team/daily/activity/aggregated": {**days, "team_ids": team},
        "GET /organization/daily/activity": {**days, "organization_ids": organization},
        "GET /organization/daily/activity/aggregated": {**days, "organization_ids": organization},
        "POST /utils/token_counter": {"model": "demo", "prompt": "a"},
    }


def _routes(fake_app: FakeApp, access: Access) -> set[str]:
    return {
        f"{method} {route.path_format}"
        for route in fake_app.runtime_app.routes
        if isinstance(route, HTTPRoute)
        for handler in route.route_handlers
        if handler.opt.get("access") is access
        for method in handler.http_methods - {"OPTIONS"}
    }


async def test_a_stranger_in_charge_elsewhere_gets_nothing(fake_app: FakeApp) -> None:
    client = fake_app.client

    async def admin(method: str, path: str, **body: Any) -> Any:
        answer = await client.request(method, path, headers=fake_app.admin, json=body)
        assert answer.status_code in (200, 201), answer.text
        return answer.json()

    async def belongings(name: str, role: str) -> tuple[str, str]:
        organization = (await admin("POST", "/organization/new", organization_alias=f"{name}-{SECRET}"))[
            "organization_id"
        ]
        member = {"user_id": name, "role": role}
        await admin("POST", "/organization/member_add", organization_id=organization, member=member)
        made = await admin(
            "POST", "/team/new", team_alias=f"{name}-{SECRET}", organization_id=organization, admins=[name]
        )
        return str(made["team_id"]), str(organization)

    team, organization = await belongings("victim", "internal_user")
    own, _ = await belongings("stranger", "org_admin")
    key = (await fake_app.new_key(team_id=team, user_id="victim", key_alias=f"key-{SECRET}"))["key"]
    stranger = {"authorization": f"Bearer {(await fake_app.new_key(user_id='stranger'))['key']}"}
    allowed = await client.post("/team/update", headers=stranger, json={"team_id": own, "max_budget": 5})
    assert allowed.status_code == 200, allowed.text
    named = {"{team_id}": team, "{organization_id}": organization, "{key}": key, "{user_id}": "victim"}

    def path_of(route: str) -> str:
        path = route.partition(" ")[2]
        for name, value in named.items():
            path = path.replace(name, value)
        return path

    async def picture() -> str:
        """Everything that could have been changed."""
        info = await admin("GET", f"/team/info?team_id={team}")
        return json.dumps([info, await admin("GET", f"/organization/info?organization_id={organization}")])

    changes = _changes(team, organization, key)
    assert changes.keys() == _routes(fake_app, Access.MANAGER)
    before = await picture()
    for route, body in changes.items():
        answer = await client.request(route.partition(" ")[0], path_of(route), headers=stranger, json=body)
        if route == "POST /key/bulk_update":
            assert (answer.status_code, len(answer.json()["failed_updates"])) == (200, 1), answer.text
        else:
            assert answer.status_code == 403, (route, answer.text)
        assert SECRET not in answer.text, route
    assert await picture() == before

    questions = _questions(team, organization, key)
    assert questions.keys() == _routes(fake_app, Access.KEY)
    for route, asked in questions.items():
        method = route.partition(" ")[0]
        sent: dict[str, Any] = {"params": asked} if method == "GET" else {"json": asked}
        answer = await client.request(method, path_of(route), headers=stranger, **sent)
        assert answer.status_code < 500, (route, answer.text)
        assert f"victim-{SECRET}" not in answer.text, route
        assert f"key-{SECRET}" not in answer.text, route
        seen = await client.request(method, path_of(route), headers=fake_app.admin, **sent)
        # The question is one that somebody gets an answer to.
        assert seen.status_code == 200 or "/members/me" in route, (route, seen.text)
