"""What happens to a user between its being read for a change and the change's being written."""

from __future__ import annotations

import pytest

from tests.conftest import FakeApp

pytestmark = pytest.mark.usefixtures("at_rest")


async def test_a_demotion_is_not_undone_by_who_did_not_see_it(
    fake_app: FakeApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    new = {"user_id": "u", "user_role": "proxy_admin", "auto_create_key": False}
    answer = await fake_app.client.post("/user/new", headers=fake_app.admin, json=new)
    assert answer.status_code == 200, answer.text
    scopes, database = fake_app.runtime.entities.scopes, fake_app.runtime.database
    settle = scopes.settle

    async def while_another_process_demotes() -> None:
        async with database.transaction() as tx:
            await tx.execute("UPDATE users SET user_role = 'internal_user' WHERE user_id = 'u'")
        await settle()

    with monkeypatch.context() as meanwhile:
        meanwhile.setattr(scopes, "settle", while_another_process_demotes)
        body = {"user_id": "u", "user_alias": "U", "spend": 0}
        answer = await fake_app.client.post("/user/update", headers=fake_app.admin, json=body)
    assert answer.status_code == 200, answer.text
    assert answer.json()["data"]["user_role"] == "internal_user"
    assert answer.json()["data"]["user_alias"] == "U"
    assert not await fake_app.runtime.entities.users.is_admin("u")
