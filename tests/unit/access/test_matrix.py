"""Every route declares who may call it, and keeps to it for every role."""

from __future__ import annotations

import re
from typing import Any

import pytest
from litestar import Litestar, Request, get, post
from litestar.di import Provide
from litestar.routes import ASGIRoute, HTTPRoute

from penstock.access import Access, Authority, authority_of, guard, refuse_unasked
from penstock.engine.current import CurrentRuntime
from penstock.engine.routes import HOT_ROUTES
from penstock.errors import EXCEPTION_HANDLERS
from penstock.persistence import DatabaseUnavailable
from tests.access import ANSWERED_AFTER_A_LOOK, OPEN_TO_KEYS, PUBLIC
from tests.conftest import FakeApp


async def test_every_route_has_the_access_it_should(fake_app: FakeApp) -> None:
    key = {"x-api-key": (await fake_app.new_key())["key"]}
    hot = {route.path for route in HOT_ROUTES}
    seen = 0
    for route in fake_app.runtime_app.routes:
        if isinstance(route, ASGIRoute):
            assert route.path in hot
            assert route.route_handler.opt["access"] is Access.DATA_PLANE
            continue
        assert isinstance(route, HTTPRoute)
        for handler in route.route_handlers:
            for method in handler.http_methods - {"OPTIONS"}:
                path = re.sub(r"{[^}]+}", "x", route.path)
                statuses = [
                    (await fake_app.client.request(method, path, headers=headers)).status_code
                    for headers in ({}, {"authorization": "Bearer sk-unknown"}, key, fake_app.admin)
                ]
                seen += 1
                if route.path_format in PUBLIC or route.path.startswith("/schema"):
                    assert not {401, 403} & set(statuses), (method, path, statuses)
                    continue
                assert statuses[:2] == [401, 401], (method, path, statuses)
                if route.path_format not in ANSWERED_AFTER_A_LOOK:
                    assert (statuses[2] != 403) == (path in OPEN_TO_KEYS), (method, path, statuses)
                assert statuses[3] not in (401, 403), (method, path, statuses)
    assert seen > 30


async def test_a_route_without_a_declaration_is_closed(fake_app: FakeApp) -> None:
    @get("/forgotten")
    async def forgotten() -> str:
        return "open"

    app = Litestar(
        [forgotten], guards=[guard], exception_handlers=EXCEPTION_HANDLERS, openapi_config=None, logging_config=None
    )
    assert (await fake_app.call(app, "GET", "/forgotten", headers=fake_app.admin)).status_code == 403


async def test_a_manager_is_answered_only_by_who_asked_what_it_may_do(
    fake_app: FakeApp, caplog: pytest.LogCaptureFixture
) -> None:
    @post("/forgetful", access=Access.MANAGER, status_code=200)
    async def forgetful() -> str:
        return "done"

    @post("/careful", access=Access.MANAGER, status_code=200)
    async def careful(request: Request[Any, Any, Any], runtime: CurrentRuntime) -> str:
        async def nothing(_: Authority) -> None:
            return

        await authority_of(request, runtime).sure(nothing)
        return "done"

    client, admin = fake_app.client, fake_app.admin
    team = (await client.post("/team/new", headers=admin, json={"admins": ["lead"]})).json()["team_id"]
    lead = {"authorization": f"Bearer {(await fake_app.new_key(user_id='lead', team_id=team))['key']}"}
    app = Litestar(
        [forgetful, careful],
        dependencies={"runtime": Provide(lambda: fake_app.runtime, sync_to_thread=False)},
        guards=[guard],
        before_send=[refuse_unasked],
        exception_handlers=EXCEPTION_HANDLERS,
        openapi_config=None,
        logging_config=None,
    )
    for path, headers, status in (("/forgetful", lead, 500), ("/forgetful", admin, 200), ("/careful", lead, 200)):
        answer = await fake_app.call(app, "POST", path, headers=headers)
        assert answer.status_code == status, answer.text
        assert (answer.text == "done") == (status == 200)
    assert [record.message for record in caplog.records if record.name == "penstock.access"] == [
        "a handler asked nobody"
    ]


async def test_keys_are_taken_from_every_header(fake_app: FakeApp) -> None:
    for headers in (
        {"authorization": f"Bearer {fake_app.admin_key}"},
        {"authorization": f"bearer {fake_app.admin_key}"},
        {"x-api-key": fake_app.admin_key},
        {"api-key": fake_app.admin_key},
        {"x-litellm-api-key": f"Bearer {fake_app.admin_key}"},
    ):
        assert (await fake_app.client.get("/key/list", headers=headers)).status_code == 200
    for wrong in ({"authorization": fake_app.admin_key}, {"authorization": "Bearer"}, {"authorization": "Basic eDp5"}):
        assert (await fake_app.client.get("/key/list", headers=wrong)).status_code == 401


async def test_a_key_sees_only_itself_and_only_while_in_force(fake_app: FakeApp) -> None:
    mine, other = await fake_app.new_key(), await fake_app.new_key()
    me = {"authorization": f"Bearer {mine['key']}"}
    assert (await fake_app.client.get("/key/info", headers=me)).json()["info"]["token"] == mine["token"]
    for identifier in (mine["key"], mine["token"]):
        assert (await fake_app.client.get("/key/info", headers=me, params={"key": identifier})).status_code == 200
    for identifier in (other["key"], other["token"], "sk-nothing"):
        assert (await fake_app.client.get("/key/info", headers=me, params={"key": identifier})).status_code == 403
    await fake_app.client.post("/key/block", headers=fake_app.admin, json={"key": mine["key"]})
    assert (await fake_app.client.get("/key/info", headers=me)).status_code == 403


async def test_a_key_is_held_to_its_addresses(fake_app: FakeApp) -> None:
    inside = await fake_app.new_key(allowed_cidrs=["127.0.0.0/8"])
    outside = await fake_app.new_key(allowed_cidrs=["10.0.0.0/8"])
    for key, status in ((inside, 200), (outside, 403)):
        headers = {"x-api-key": key["key"], "x-forwarded-for": "10.0.0.1"}
        assert (await fake_app.client.get("/key/info", headers=headers)).status_code == status


async def test_without_a_database_the_administrator_still_gets_in(
    fake_app: FakeApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = (await fake_app.new_key())["key"]

    async def fail(*_: object) -> None:
        raise DatabaseUnavailable("gone")

    monkeypatch.setattr(fake_app.runtime.database, "fetch_all", fail)
    monkeypatch.setattr(fake_app.runtime.database, "fetch_one", fail)
    assert (await fake_app.client.get("/metrics", headers=fake_app.admin)).status_code == 200
    refused = await fake_app.client.get("/key/info", headers={"x-api-key": key})
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "503")
    assert (await fake_app.client.get("/health/readiness")).status_code == 503
