"""Whoever is told that something could not be made finds nothing of it, and can ask again."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from penstock.persistence import DatabaseUnavailable, Transaction
from tests.conftest import FakeApp

pytestmark = pytest.mark.usefixtures("at_rest")

_TABLES = ("teams", "team_members", "users", "organizations", "organization_members", "budgets", "keys", "scopes")


async def _post(app: FakeApp, path: str, **body: Any) -> Any:
    return await app.client.post(path, headers=app.admin, json=body)


async def _rows(app: FakeApp) -> dict[str, list[Any]]:
    """Everything that there is, without the trail."""
    database = app.runtime.database
    return {table: [dict(row) for row in await database.fetch_all(f"SELECT * FROM {table}")] for table in _TABLES}


async def _prepare(app: FakeApp) -> None:
    for path, body in (
        ("/user/new", {"user_id": "v", "user_email": "v@example.org", "auto_create_key": False}),
        ("/organization/new", {"organization_id": "o", "organization_alias": "o"}),
        ("/team/new", {"team_id": "there"}),
        ("/key/generate", {"key_alias": "taken"}),
    ):
        answer = await _post(app, path, **body)
        assert answer.status_code == 200, answer.text


NEW_TEAM = {
    "team_id": "t",
    "organization_id": "o",
    "team_member_budget": 1,
    "members_with_roles": [{"role": "admin", "user_id": "w"}, {"role": "user", "user_email": "x@example.org"}],
}
NEW_USER = {"user_id": "u", "teams": ["there"], "organizations": ["o"], "key_alias": "u's", "max_budget": 3}
NEW_KEY = {"user_id": "new", "team_id": "there", "soft_budget": 1, "model_rpm_limit": {"m": 1}}

REFUSED = [
    pytest.param(
        "/team/new",
        {**NEW_TEAM, "members_with_roles": [{"role": "user", "user_id": "w", "user_email": "v@example.org"}]},
        "user_email",
        id="a member with the address of another",
    ),
    pytest.param("/team/new", {**NEW_TEAM, "budget_id": "none"}, "budget_id", id="a budget that a team names"),
    pytest.param("/user/new", {**NEW_USER, "key_alias": "taken"}, "key_alias", id="the user's key"),
    pytest.param("/user/new", {**NEW_USER, "duration": "for ever"}, "duration", id="the life of the user's key"),
    pytest.param("/user/new", {**NEW_USER, "teams": ["there", "nowhere"]}, "team_id", id="a user's team"),
    pytest.param("/user/new", {**NEW_USER, "organizations": ["o", "p"]}, "organization_id", id="a user's organization"),
    pytest.param(
        "/organization/new",
        {"organization_id": "n", "organization_alias": "n", "budget_id": "none"},
        "budget_id",
        id="a budget that an organization names",
    ),
    pytest.param("/key/generate", {**NEW_KEY, "key_alias": "taken"}, "key_alias", id="a key's alias"),
]


@pytest.mark.parametrize("path, body, param", REFUSED)
async def test_what_is_refused_is_not_half_made(fake_app: FakeApp, path: str, body: dict[str, Any], param: str) -> None:
    await _prepare(fake_app)
    before = await _rows(fake_app)
    answer = await _post(fake_app, path, **body)
    assert answer.status_code in (400, 404), answer.text
    assert answer.json()["error"]["param"] == param
    assert await _rows(fake_app) == before


MADE = [
    pytest.param("/team/new", NEW_TEAM, id="team"),
    pytest.param("/user/new", NEW_USER, id="user"),
    pytest.param("/organization/new", {"organization_id": "n", "organization_alias": "n", "max_budget": 2}, id="org"),
    pytest.param("/key/generate", NEW_KEY, id="key"),
]


def _before_statement(
    app: FakeApp, patch: pytest.MonkeyPatch, number: int, happens: Callable[[], Awaitable[None]]
) -> None:
    """Have something happen before the `number`th change of rows from now on."""
    transaction, left = app.runtime.database.transaction, [number]

    class Counting:
        def __init__(self, tx: Transaction) -> None:
            self._tx = tx

        def __getattr__(self, name: str) -> Any:
            return getattr(self._tx, name)

        async def execute(self, *arguments: Any) -> int:
            left[0] -= 1
            if left[0] == 0:
                await happens()
            return await self._tx.execute(*arguments)

    class Counted:
        def __init__(self) -> None:
            self._inner = transaction()

        async def __aenter__(self) -> Any:
            return Counting(await self._inner.__aenter__())

        async def __aexit__(self, *error: object) -> None:
            await self._inner.__aexit__(*error)

    patch.setattr(app.runtime.database, "transaction", Counted)


@pytest.mark.parametrize("path, body", MADE)
async def test_what_fails_is_not_half_made(
    fake_app: FakeApp, monkeypatch: pytest.MonkeyPatch, path: str, body: dict[str, Any]
) -> None:
    """At whichever statement the database goes away, or the caller's task is cancelled; afterwards it can be made."""
    await _prepare(fake_app)
    before = await _rows(fake_app)

    async def fails() -> None:
        raise DatabaseUnavailable("gone")

    async def is_cancelled() -> None:
        raise asyncio.CancelledError

    statement = 0
    while True:
        statement += 1
        for happens in (fails, is_cancelled):
            with monkeypatch.context() as patch:
                _before_statement(fake_app, patch, statement, happens)
                try:
                    answer = await _post(fake_app, path, **body)
                except asyncio.CancelledError:
                    answer = None
            if answer is not None and answer.status_code == 200:
                assert happens is fails
                break
            assert answer is None or answer.status_code >= 500, answer.text
            assert await _rows(fake_app) == before, (statement, happens)
        else:
            continue
        break
    assert statement > 2
    assert await _rows(fake_app) != before
