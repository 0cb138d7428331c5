"""Whoever is blocked takes no part in management either."""

from __future__ import annotations

import pytest

from tests.conftest import FakeApp


@pytest.mark.parametrize(
    "create, block, owner",
    [
        ("/team/new", "/team/update", {"team_id": "t"}),
        ("/user/new", "/user/update", {"user_id": "u"}),
    ],
)
async def test_keys_of_blocked_owners_do_not_authenticate(
    fake_app: FakeApp, create: str, block: str, owner: dict[str, str]
) -> None:
    made = await fake_app.client.post(create, headers=fake_app.admin, json=owner)
    assert made.status_code == 200, made.text
    key = (await fake_app.new_key(**owner))["key"]
    headers = {"authorization": f"Bearer {key}"}
    assert (await fake_app.client.get("/key/info", headers=headers)).status_code == 200
    for blocked, status in ((True, 403), (False, 200)):
        body = {**owner, "blocked": blocked}
        changed = await fake_app.client.post(block, headers=fake_app.admin, json=body)
        assert changed.status_code == 200, changed.text
        assert (await fake_app.client.get("/key/info", headers=headers)).status_code == status


async def test_a_blocked_administrator_is_none(fake_app: FakeApp) -> None:
    body = {"user_id": "boss", "user_role": "proxy_admin"}
    assert (await fake_app.client.post("/user/new", headers=fake_app.admin, json=body)).status_code == 200
    key = (await fake_app.new_key(user_id="boss"))["key"]
    headers = {"authorization": f"Bearer {key}"}
    assert (await fake_app.client.get("/user/list", headers=headers)).status_code == 200
    await fake_app.client.post("/user/update", headers=fake_app.admin, json={"user_id": "boss", "blocked": True})
    assert (await fake_app.client.get("/user/list", headers=headers)).status_code == 403
