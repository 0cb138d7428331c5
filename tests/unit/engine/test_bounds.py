"""Values that would not fit a column are refused at the door: one of them in a transaction stops all settlement."""

from __future__ import annotations

import base64

import pytest

from tests.conftest import FakeApp
from tests.unit.ledger.test_usage import record


async def test_the_largest_spend_that_is_accepted_can_still_grow(fake_app: FakeApp) -> None:
    key = await fake_app.new_key(spend=1_000_000_000)
    fake_app.engine.usage = [record(1, key["token"], cost=10**15)]
    assert await fake_app.runtime.usage.flush() == 1
    for field in ("spend", "max_budget"):
        answer = await fake_app.client.post("/key/generate", headers=fake_app.admin, json={field: 1_000_000_001})
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, field)


@pytest.mark.parametrize("cursor", [b"[99999999999999999999999,1]", b"[1,99999999999999999999999]", b"[-1,1]", b"[1]"])
async def test_a_made_up_cursor_is_refused(fake_app: FakeApp, cursor: bytes) -> None:
    text = base64.urlsafe_b64encode(cursor).decode().rstrip("=")
    answer = await fake_app.client.get("/spend/logs", headers=fake_app.admin, params={"cursor": text})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "cursor")


@pytest.mark.parametrize("values", [{"api_key": "a\nb"}, {"api_base": "http://x y"}, {"api_base": "http://u:p@h"}])
async def test_a_credential_that_could_not_be_used_is_not_stored(fake_app: FakeApp, values: dict[str, str]) -> None:
    body = {"credential_name": "c", "credential_values": values}
    answer = await fake_app.client.post("/credentials", headers=fake_app.admin, json=body)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "credential_values")
    listed = await fake_app.client.get("/credentials", headers=fake_app.admin)
    assert listed.json()["credentials"] == []
