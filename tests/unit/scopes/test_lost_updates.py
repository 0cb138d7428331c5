"""Two administrators change different things of one object at the same moment: both changes are there afterwards."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from penstock.persistence import Transaction
from tests.conftest import FakeApp

pytestmark = pytest.mark.usefixtures("at_rest")

CHANGES = [
    pytest.param(
        ("/team/new", {"team_id": "x"}),
        ("UPDATE teams SET team_alias = 'theirs' WHERE team_id = 'x'"),
        ("POST", "/team/update", {"team_id": "x", "metadata": {"mine": 1}}),
        ("/team/info?team_id=x", lambda seen: (seen["team_info"]["team_alias"], seen["team_info"]["metadata"]["mine"])),
        id="team",
    ),
    pytest.param(
        ("/organization/new", {"organization_id": "x", "organization_alias": "o"}),
        ("UPDATE organizations SET organization_alias = 'theirs' WHERE organization_id = 'x'"),
        ("PATCH", "/organization/update", {"organization_id": "x", "metadata": {"mine": 1}}),
        ("/organization/info?organization_id=x", lambda seen: (seen["organization_alias"], seen["metadata"]["mine"])),
        id="organization",
    ),
    pytest.param(
        ("/customer/new", {"user_id": "x"}),
        ("UPDATE customers SET alias = 'theirs' WHERE user_id = 'x'"),
        ("POST", "/customer/update", {"user_id": "x", "default_model": "mine"}),
        ("/customer/info?end_user_id=x", lambda seen: (seen["alias"], 1 if seen["default_model"] == "mine" else 0)),
        id="customer",
    ),
    pytest.param(
        ("/tag/new", {"name": "x"}),
        ("UPDATE tags SET description = 'theirs' WHERE name = 'x'"),
        ("POST", "/tag/update", {"name": "x", "model_info": {"mine": 1}}),
        ("/tag/list", lambda seen: (seen[0]["description"], seen[0]["model_info"]["mine"])),
        id="tag",
    ),
    pytest.param(
        ("/team/new", {"team_id": "x", "members_with_roles": [{"user_id": "u", "role": "admin"}]}),
        ("UPDATE team_members SET role = 'user' WHERE user_id = 'u'"),
        ("POST", "/team/member_update", {"team_id": "x", "user_id": "u", "rpm_limit": 1}),
        (
            "/team/info?team_id=x",
            lambda seen: (
                {"user": "theirs"}.get(seen["team_memberships"][0]["role"]),
                seen["team_memberships"][0]["litellm_budget_table"]["rpm_limit"],
            ),
        ),
        id="member",
    ),
    pytest.param(
        ("/team/new", {"team_id": "x", "models": ["a", "b"]}),
        ('UPDATE scopes SET models = \'["a", "b", "theirs"]\' WHERE name = \'team:x\''),
        ("POST", "/team/model/delete", {"team_id": "x", "models": ["a"]}),
        ("/team/info?team_id=x", lambda seen: (seen["team_info"]["models"][-1], len(seen["team_info"]["models"]) - 1)),
        id="models",
    ),
]


@pytest.mark.parametrize("made, theirs, mine, shown", CHANGES)
async def test_neither_change_is_lost(
    fake_app: FakeApp, monkeypatch: pytest.MonkeyPatch, made: Any, theirs: str, mine: Any, shown: Any
) -> None:
    path, body = made
    answer = await fake_app.client.post(path, headers=fake_app.admin, json=body)
    assert answer.status_code == 200, answer.text
    database = fake_app.runtime.database
    begin = database.transaction

    @asynccontextmanager
    async def after_another_process() -> AsyncIterator[Transaction]:
        """Everything that was read before its transaction is out of date by now."""
        meanwhile.undo()
        async with begin() as other:
            await other.execute(theirs)
        async with begin() as tx:
            yield tx

    with monkeypatch.context() as meanwhile:
        meanwhile.setattr(database, "transaction", after_another_process)
        method, path, body = mine
        answer = await fake_app.client.request(method, path, headers=fake_app.admin, json=body)
    assert answer.status_code == 200, answer.text
    path, of = shown
    seen = (await fake_app.client.get(path, headers=fake_app.admin)).json()
    assert of(seen) == ("theirs", 1), seen
