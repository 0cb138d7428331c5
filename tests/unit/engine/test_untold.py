"""The database goes after a change was committed, before the data plane was told of it: nothing goes on as it was."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from penstock.persistence import DatabaseUnavailable
from tests.conftest import FakeApp

pytestmark = pytest.mark.usefixtures("at_rest")


async def _gone(*_: Any, **__: Any) -> Any:
    raise DatabaseUnavailable("gone")


@pytest.mark.parametrize("path", ["/key/block", "/key/update", "/key/regenerate"])
async def test_a_key_is_forgotten(fake_app: FakeApp, monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    made = await fake_app.new_key()
    token = made["token"]
    assert token in fake_app.engine.keys
    with monkeypatch.context() as broken:
        broken.setattr(fake_app.runtime.keys, "_records", _gone)
        body = {"key": made["key"], **({"max_budget": 1} if path == "/key/update" else {})}
        answer = await fake_app.client.post(path, headers=fake_app.admin, json=body)
        assert answer.status_code == 503, answer.text
    assert token not in fake_app.engine.keys, "until it is asked for again"
    await fake_app.runtime.keys.refresh([token])
    present = fake_app.engine.keys.get(token)
    if path == "/key/regenerate":
        assert present is None
    else:
        assert present is not None
        assert (present["blocked"], present["max_budget"]) == (
            path == "/key/block",
            10**9 if "update" in path else None,
        )


@pytest.mark.parametrize("is_committed", [True, False])
async def test_a_key_is_forgotten_when_nobody_knows_whether_it_was_deleted(
    fake_app: FakeApp, monkeypatch: pytest.MonkeyPatch, is_committed: bool
) -> None:
    made = await fake_app.new_key()
    database = fake_app.runtime.database
    begin = database.transaction

    class Torn:
        """The connection breaks as the transaction is committed."""

        async def __aenter__(self) -> Any:
            self._held = begin()
            return await self._held.__aenter__()

        async def __aexit__(self, *error: object) -> None:
            ended = (None, None, None) if is_committed else (DatabaseUnavailable, DatabaseUnavailable("torn"), None)
            await self._held.__aexit__(*ended)
            raise DatabaseUnavailable("torn")

    with monkeypatch.context() as broken:
        broken.setattr(database, "transaction", Torn)
        answer = await fake_app.client.post("/key/delete", headers=fake_app.admin, json={"keys": [made["key"]]})
        assert answer.status_code == 503, answer.text
    assert made["token"] not in fake_app.engine.keys
    shown = await fake_app.client.get("/key/info", headers=fake_app.admin, params={"key": made["key"]})
    assert shown.status_code == (404 if is_committed else 200)


async def test_a_change_that_is_refused_forgets_nothing(fake_app: FakeApp) -> None:
    made = await fake_app.new_key()
    answer = await fake_app.client.post(
        "/key/update", headers=fake_app.admin, json={"key": made["key"], "team_id": "unknown"}
    )
    assert answer.status_code == 400, answer.text
    assert made["token"] in fake_app.engine.keys


async def test_a_scope_is_told_of_when_the_database_is_back(fake_app: FakeApp, monkeypatch: pytest.MonkeyPatch) -> None:
    await fake_app.client.post("/team/new", headers=fake_app.admin, json={"team_id": "t"})
    await fake_app.new_key(team_id="t")
    told: list[dict[str, Any]] = []

    def put_scopes(records: bytes) -> None:
        told.extend(msgspec.json.decode(records))

    with monkeypatch.context() as broken:
        broken.setattr(fake_app.runtime.entities.scopes, "_put_present", _gone)
        answer = await fake_app.client.post("/team/block", headers=fake_app.admin, json={"team_id": "t"})
        assert answer.status_code == 503, answer.text
    monkeypatch.setattr(fake_app.engine, "put_scopes", put_scopes)
    assert not fake_app.runtime.entities.scopes.unpublished(60)
    monkeypatch.setattr("penstock.scopes.service._PUBLISHED_WITHIN_S", 0.0)
    await fake_app.runtime._follow()
    assert {scope["blocked"] for scope in told if scope["name"] == "team:t"} == {True}
    assert not fake_app.runtime.entities.scopes.unpublished(0)


@pytest.mark.parametrize("step", ["load", "commit"])
async def test_a_credential_is_taken_up_when_the_database_is_back(
    fake_app: FakeApp, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    body = {"credential_name": "c", "credential_values": {"api_key": "sk-1"}}
    made = await fake_app.client.post("/credentials", headers=fake_app.admin, json=body)
    assert made.status_code == 200, made.text
    version = fake_app.runtime.snapshot.version
    with monkeypatch.context() as broken:
        if step == "load":
            broken.setattr(fake_app.runtime.models, "load", _gone)
        else:
            update = fake_app.runtime.credentials.update

            async def torn(*given: Any) -> None:
                await update(*given)
                raise DatabaseUnavailable("torn")

            broken.setattr(fake_app.runtime.credentials, "update", torn)
        change = {"credential_name": "c", "credential_values": {"api_key": "sk-2"}}
        answer = await fake_app.client.patch("/credentials/c", headers=fake_app.admin, json=change)
        assert answer.status_code == 503, answer.text
    assert fake_app.runtime.snapshot.version == version
    await fake_app.runtime._follow()
    assert fake_app.runtime.snapshot.version > version
