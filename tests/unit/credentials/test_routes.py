"""Stored provider credentials: in, used, never out."""

from __future__ import annotations

from pathlib import Path

import pytest

from penstock.credentials.service import CredentialService
from tests.conftest import FakeApp

pytestmark = pytest.mark.usefixtures("at_rest")

SECRET = "pk-planted-9f8e7d6c5b4a3210"


def _holding(directory: Path, text: str) -> list[Path]:
    return [file for file in directory.iterdir() if text.encode() in file.read_bytes()]


async def _create(app: FakeApp) -> None:
    answer = await app.client.post(
        "/credentials",
        headers=app.admin,
        json={
            "credential_name": "main",
            "credential_values": {"api_key": SECRET, "api_base": "https://example.test/v1"},
            "credential_info": {"description": "d"},
        },
    )
    assert answer.status_code == 200, answer.text


async def test_values_are_sealed_and_masked(fake_app: FakeApp, capsys: pytest.CaptureFixture[str]) -> None:
    await _create(fake_app)
    listed = (await fake_app.client.get("/credentials", headers=fake_app.admin)).text
    assert '"credential_name":"main"' in listed
    assert SECRET not in listed
    assert not _holding(fake_app.runtime.settings.data_dir, SECRET)
    assert (await fake_app.runtime.credentials.opened())["main"]["api_key"] == SECRET
    assert SECRET not in capsys.readouterr().out


async def test_a_change_recompiles_the_snapshot(fake_app: FakeApp) -> None:
    before = len(fake_app.engine.snapshots)
    await _create(fake_app)
    assert len(fake_app.engine.snapshots) == before + 1
    assert fake_app.engine.snapshots[-1]["version"] == before + 1


async def test_update_merges_and_delete_removes(fake_app: FakeApp) -> None:
    await _create(fake_app)
    changed = await fake_app.client.patch(
        "/credentials/main", headers=fake_app.admin, json={"credential_values": {"api_key": "pk-other-0123456789"}}
    )
    assert changed.status_code == 200
    opened = await fake_app.runtime.credentials.opened()
    assert opened["main"] == {"api_key": "pk-other-0123456789", "api_base": "https://example.test/v1"}
    assert (await fake_app.client.delete("/credentials/main", headers=fake_app.admin)).status_code == 200
    assert (await fake_app.client.delete("/credentials/main", headers=fake_app.admin)).status_code == 404


async def test_a_sealed_value_does_not_open_in_another_row(fake_app: FakeApp) -> None:
    await _create(fake_app)
    async with fake_app.runtime.database.transaction() as tx:
        await tx.execute("UPDATE credentials SET credential_name = 'moved'")
    service: CredentialService = fake_app.runtime.credentials
    with pytest.raises(ValueError, match="sealed under another key"):
        await service.opened()
