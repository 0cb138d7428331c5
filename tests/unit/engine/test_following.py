"""What another process changed is followed, whatever else cannot be applied."""

from __future__ import annotations

import pytest

from penstock.config import ConfigError, Problem
from tests.conftest import FakeApp

pytestmark = pytest.mark.usefixtures("at_rest")


async def _elsewhere(fake_app: FakeApp, object_type: str, object_id: str, action: str) -> None:
    async with fake_app.runtime.database.transaction() as tx:
        await tx.execute(
            "INSERT INTO audit (at, origin, actor, action, object_type, object_id, fields) VALUES (0, 'b', 'b', ?, ?, ?, '[]')",
            (action, object_type, object_id),
        )


async def test_a_snapshot_that_cannot_be_made_does_not_end_the_following(
    fake_app: FakeApp, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    runtime, made = fake_app.runtime, list[bool]()
    token = (await fake_app.new_key())["token"]

    async def limited() -> tuple[bool, bool]:
        return True, False

    async def refuse() -> None:
        made.append(False)
        raise ConfigError([Problem(severity="error", path="x", message="a credential is gone")])

    monkeypatch.setattr(runtime.entities.scopes, "wanted", limited)
    monkeypatch.setattr(runtime.in_force, "recompile", refuse)
    await _elsewhere(fake_app, "scope", "customer:c", "scope.put")
    await runtime._follow()
    assert made
    assert "the former snapshot stays in force" in caplog.text

    async with runtime.database.transaction() as tx:
        await tx.execute("DELETE FROM keys WHERE token = ?", (token,))
    await _elsewhere(fake_app, "key", token, "key.delete")
    assert token in fake_app.engine.keys
    await runtime._follow()
    assert token not in fake_app.engine.keys


async def test_what_is_not_in_the_snapshot_yet_is_asked_for_again(
    fake_app: FakeApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    runtime = fake_app.runtime

    async def limited() -> tuple[bool, bool]:
        return True, False

    def refuse(snapshot: bytes) -> None:
        raise ValueError("not now")

    monkeypatch.setattr(runtime.entities.scopes, "wanted", limited)
    with monkeypatch.context() as broken:
        broken.setattr(fake_app.engine, "apply_snapshot", refuse)
        with pytest.raises(ConfigError):
            await runtime._scopes_changed()
    version = runtime.snapshot.version
    await runtime._scopes_changed()
    assert runtime.snapshot.version == version + 1
    await runtime._scopes_changed()
    assert runtime.snapshot.version == version + 1
