"""One administrator deletes what another is about to change or to refer to: it stays deleted, and the other is told."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from penstock.persistence import Transaction
from tests.conftest import FakeApp

pytestmark = pytest.mark.usefixtures("at_rest")

TEAM = ("/team/new", {"team_id": "x"})
ORGANIZATION = ("/organization/new", {"organization_id": "x", "organization_alias": "x"})
CUSTOMER = ("/customer/new", {"user_id": "x"})
USER = ("/user/new", {"user_id": "x", "auto_create_key": False})
KEY = ("/key/generate", {"key": "sk-0123456789abcdefgh"})
MEMBER = {"role": "user", "user_id": "m"}
GONE = {
    "team": ("POST", "/team/delete", {"team_ids": ["x"]}),
    "organization": ("DELETE", "/organization/delete", {"organization_ids": ["x"]}),
    "customer": ("POST", "/customer/delete", {"user_ids": ["x"]}),
    "user": ("POST", "/user/delete", {"user_ids": ["x"]}),
    "tag": ("POST", "/tag/delete", {"name": "x"}),
    "budget": ("POST", "/budget/delete", {"id": "x"}),
    "key": ("POST", "/key/delete", {"keys": [KEY[1]["key"]]}),
}
CASES = [
    ("team", TEAM, ("POST", "/team/update", {"team_id": "x", "max_budget": 1})),
    ("team", TEAM, ("POST", "/team/member_add", {"team_id": "x", "member": MEMBER})),
    ("team", TEAM, ("POST", "/key/generate", {"team_id": "x"})),
    ("team", TEAM, ("POST", "/user/new", {"user_id": "m", "teams": ["x"]})),
    ("organization", ORGANIZATION, ("PATCH", "/organization/update", {"organization_id": "x", "max_budget": 1})),
    (
        "organization",
        ORGANIZATION,
        ("POST", "/organization/member_add", {"organization_id": "x", "member": {**MEMBER, "role": "internal_user"}}),
    ),
    ("organization", ORGANIZATION, ("POST", "/team/new", {"organization_id": "x", "members": ["m"]})),
    ("organization", ORGANIZATION, ("POST", "/key/generate", {"organization_id": "x"})),
    ("organization", ORGANIZATION, ("POST", "/user/new", {"user_id": "m", "organizations": ["x"]})),
    ("customer", CUSTOMER, ("POST", "/customer/update", {"user_id": "x", "max_budget": 1})),
    ("customer", CUSTOMER, ("POST", "/customer/unblock", {"user_ids": ["x"]})),
    ("user", USER, ("POST", "/user/update", {"user_id": "x", "max_budget": 1})),
    ("tag", ("/tag/new", {"name": "x"}), ("POST", "/tag/update", {"name": "x", "rpm_limit": 1})),
    ("budget", ("/budget/new", {"budget_id": "x"}), ("POST", "/budget/update", {"budget_id": "x", "max_budget": 1})),
    ("budget", ("/budget/new", {"budget_id": "x"}), ("POST", "/key/generate", {"budget_id": "x"})),
    ("key", KEY, ("POST", "/key/update", {"key": KEY[1]["key"], "max_budget": 1})),
    ("key", KEY, ("POST", "/key/regenerate", {"key": KEY[1]["key"]})),
]
_TABLES = ("teams", "team_members", "users", "organizations", "organization_members", "customers", "tags", "keys")


@pytest.mark.parametrize("kind, made, late", CASES, ids=[f"{case[0]}-{case[2][1]}" for case in CASES])
async def test_what_was_deleted_stays_so(
    fake_app: FakeApp, monkeypatch: pytest.MonkeyPatch, kind: str, made: Any, late: Any
) -> None:
    path, body = made
    answer = await fake_app.client.post(path, headers=fake_app.admin, json=body)
    assert answer.status_code == 200, answer.text
    database, keys = fake_app.runtime.database, fake_app.runtime.keys
    begin = database.transaction
    # Keys are told one after the other; another process has a lock of its own.
    telling = keys._telling

    @asynccontextmanager
    async def after_another_process() -> AsyncIterator[Transaction]:
        """Everything that was looked at before the transaction is gone by now."""
        meanwhile.undo()
        keys._telling = type(telling)()
        method, path, body = GONE[kind]
        deleted = await fake_app.client.request(method, path, headers=fake_app.admin, json=body)
        assert deleted.status_code == 200, deleted.text
        keys._telling = telling
        async with begin() as tx:
            yield tx

    with monkeypatch.context() as meanwhile:
        meanwhile.setattr(database, "transaction", after_another_process)
        method, path, body = late
        answer = await fake_app.client.request(method, path, headers=fake_app.admin, json=body)
    assert answer.status_code in (400, 404), answer.text
    assert answer.json()["error"]["param"], answer.text
    for table in _TABLES:
        assert not await database.fetch_all(f"SELECT * FROM {table}"), table
    scopes = [row["name"] for row in await database.fetch_all("SELECT name FROM scopes")]
    assert [name for name in scopes if name != "proxy:"] == []
