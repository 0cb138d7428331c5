"""Stored provider credentials: sealed, used by deployments at once, and readable nowhere."""

from __future__ import annotations

import secrets
import sqlite3
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from tests.conftest import Gateway
from tests.integration.managed import Managed

CONFIG = """
model_list:
  - model_name: stored
    litellm_params: {model: openai/sim, litellm_credential_name: from-the-store}
"""


def last_authorization(managed: Managed) -> str:
    """What the simulator was sent last as credential."""
    url = f"{managed.gateway.simulator_url}/_sim/requests/last"
    headers = {name.lower(): value for name, value in httpx.get(url, trust_env=False, timeout=30).json()["headers"]}
    return str(headers["authorization"])


def test_a_credential_is_used_at_once_and_shown_masked_only(
    start_managed: Callable[..., Managed], simulator_url: str
) -> None:
    managed = start_managed(config=CONFIG)
    first, second = f"pk-{secrets.token_hex(16)}", f"pk-{secrets.token_hex(16)}"
    values = {"api_key": first, "api_base": f"{simulator_url}/v1"}
    assert managed.chat(managed.gateway.admin_key, model="stored").status_code != 200
    made = managed.post(
        "/credentials",
        credential_name="from-the-store",
        credential_values=values,
        credential_info={"description": "d"},
    )
    assert made.status_code == 200, made.text
    assert managed.chat(managed.gateway.admin_key, model="stored").status_code == 200
    assert last_authorization(managed) == f"Bearer {first}"

    changed = managed.client.patch(
        "/credentials/from-the-store", headers=managed.admin, json={"credential_values": {"api_key": second}}
    )
    assert changed.status_code == 200
    assert managed.chat(managed.gateway.admin_key, model="stored").status_code == 200
    assert last_authorization(managed) == f"Bearer {second}", "only the value given was replaced"

    paths = ("/credentials", "/model/info", "/v2/model/info", "/model_group/info", "/metrics", "/spend/logs")
    answers = [made.text, changed.text, *(managed.get(path).text for path in paths)]
    shown = managed.get("/credentials").json()["credentials"]
    assert [(one["credential_name"], one["credential_info"]) for one in shown] == [
        ("from-the-store", {"description": "d"})
    ]
    assert shown[0]["credential_values"]["api_key"] == f"{second[:2]}****{second[-2:]}"
    for secret in (first, second):
        assert all(secret not in answer for answer in answers)
        assert secret not in managed.gateway.process.output()
        for file in filter(Path.is_file, managed.gateway.data_dir.rglob("*")):
            assert secret.encode() not in file.read_bytes(), file.name

    gone = managed.client.delete("/credentials/from-the-store", headers=managed.admin)
    assert gone.status_code == 200
    assert managed.get("/credentials").json()["credentials"] == []
    assert managed.chat(managed.gateway.admin_key, model="stored").status_code != 200


def test_a_sealed_value_opens_neither_in_another_row_nor_under_another_key(
    start_managed: Callable[..., Managed], simulator_url: str
) -> None:
    managed = start_managed(config=CONFIG)
    for name in ("from-the-store", "other"):
        values = {"api_key": f"pk-{name}-{secrets.token_hex(8)}"}
        assert managed.post("/credentials", credential_name=name, credential_values=values).status_code == 200
    managed.gateway.close()
    path = managed.gateway.data_dir / "penstock.db"
    with sqlite3.connect(path) as database:
        database.execute(
            "UPDATE credentials SET sealed_values = (SELECT sealed_values FROM credentials WHERE credential_name = 'other')"
            " WHERE credential_name = 'from-the-store'"
        )
    database.close()
    with pytest.raises(AssertionError, match="not ready") as refused:
        Gateway(managed.gateway.directory, simulator_url, config=CONFIG)
    assert "Traceback" not in str(refused.value)
    assert "from-the-store" in str(refused.value), "it says which credential"


@pytest.mark.parametrize(
    "body,param",
    [
        ({"credential_name": "", "credential_values": {}}, "credential_name"),
        ({"credential_name": "x", "credential_values": {"api_base": "ftp://x"}}, "credential_values"),
        ({"credential_name": "x", "credential_values": {"api_key": 5}}, "credential_values"),
        ({"credential_name": "x", "credential_value": {}}, "credential_value"),
        ({"credential_values": {}}, None),
    ],
)
def test_what_does_not_fit_is_refused_without_repeating_it(
    managed: Managed, body: dict[str, object], param: str | None
) -> None:
    answer = managed.post("/credentials", **body)
    assert answer.status_code == 400, answer.text
    assert param is None or str(answer.json()["error"]["param"]).startswith(param)


def test_names_are_taken_once_and_unknown_ones_are_not_found(managed: Managed) -> None:
    name = f"twice-{secrets.token_hex(4)}"
    for status in (200, 400):
        answer = managed.post("/credentials", credential_name=name, credential_values={"api_key": "k" * 20})
        assert answer.status_code == status
    changes: dict[str, object] = {"credential_values": {}}
    for answer in (
        managed.client.patch("/credentials/no-such", headers=managed.admin, json=changes),
        managed.client.delete("/credentials/no-such", headers=managed.admin),
    ):
        assert (answer.status_code, answer.json()["error"]["param"]) == (404, "credential_name")
    assert managed.client.delete(f"/credentials/{name}", headers=managed.admin).status_code == 200
