"""The gateway and its commands keep their state in PostgreSQL as they do in a file."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.conftest import Gateway
from tests.rig import until
from tests.servers.postgres import Postgres

BODY = {"model": "demo", "max_tokens": 3, "messages": [{"role": "user", "content": "hello"}]}
OUTAGE_CALLS = 20


def call(client: httpx.Client, key: str) -> httpx.Response:
    return client.post("/v1/chat/completions", headers={"authorization": f"Bearer {key}"}, json=BODY)


def logged(gateway: Gateway, key: str) -> list[str]:
    """Ids of the calls in the ledger; none while the database does not answer."""
    with gateway.client() as client:
        answer = client.get("/spend/logs", headers=gateway.admin, params={"api_key": key})
    return sorted(row["request_id"] for row in answer.json()) if answer.status_code == 200 else []


def test_keys_calls_and_spend(start_gateway: Callable[..., Gateway], database_url: str, postgres: Postgres) -> None:
    gateway = start_gateway(environment={"DATABASE_URL": database_url})
    key = gateway.new_key(key_alias="one", max_budget=5)
    with gateway.client() as client:
        answer = call(client, key)
        assert answer.status_code == 200, answer.text
        until(lambda: len(logged(gateway, key)) == 1, "the call is in the ledger")
        again = client.post("/key/generate", headers=gateway.admin, json={"key_alias": "one"})
        assert again.status_code == 400, "the alias is taken"
        info = client.get("/key/info", headers=gateway.admin, params={"key": key}).json()
    assert info["info"]["key_alias"] == "one"
    assert not (gateway.data_dir / "penstock.db").exists()
    name = database_url.rpartition("/")[2]
    assert postgres.sql("SELECT COUNT(*) FROM usage", database=name) == [["1"]]


def test_a_configured_address_does_it_too(start_gateway: Callable[..., Gateway], database_url: str) -> None:
    gateway = start_gateway(
        config=f"general_settings: {{database_url: '{database_url}'}}\npenstock: {{database: {{pool_size: 3}}}}\n"
    )
    key = gateway.new_key()
    with gateway.client() as client:
        assert call(client, key).status_code == 200
    until(lambda: len(logged(gateway, key)) == 1, "the call is in the ledger")


def test_calls_go_on_while_the_server_is_down_and_none_is_lost(
    start_gateway: Callable[..., Gateway],
) -> None:
    node = Postgres.create()
    try:
        gateway = start_gateway(environment={"DATABASE_URL": node.url()})
        key = gateway.new_key()
        answered: list[str] = []
        with gateway.client() as client:

            def once() -> None:
                answer = call(client, key)
                assert answer.status_code == 200, answer.text
                answered.append(answer.headers["x-penstock-call-id"])

            once()
            until(lambda: len(logged(gateway, key)) == 1, "the first call is in the ledger")
            node.stop()
            for _ in range(OUTAGE_CALLS):
                once()
            refused = client.post("/key/generate", headers=gateway.admin, json={})
            assert refused.status_code == 503
            assert refused.headers["retry-after"] == "1"
            node.start()
            once()
        until(lambda: len(logged(gateway, key)) == OUTAGE_CALLS + 2, "all calls are in the ledger", 30)
        assert logged(gateway, key) == sorted(answered)
    finally:
        node.close()


def command(environment: dict[str, str], directory: Path, *arguments: str) -> Any:
    kept = {name: value for name, value in os.environ.items() if name in {"PATH", "HOME", "LANG"}}
    return subprocess.run(
        [sys.executable, "-m", "penstock", *arguments],
        cwd=directory,
        env={**kept, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_commands_for_keys_use_the_same_database(
    start_gateway: Callable[..., Gateway], database_url: str, tmp_path: Path
) -> None:
    environment = {"DATABASE_URL": database_url, "PENSTOCK_PEPPER": secrets.token_hex(32)}
    made = command(environment, tmp_path, "key", "create", "--alias", "made-before")
    assert made.returncode == 0, made.stderr
    gateway = start_gateway(environment=environment)
    key = made.stdout.strip()
    with gateway.client() as client:
        assert call(client, key).status_code == 200
        listed = command(environment, tmp_path, "key", "list")
        assert "made-before" in listed.stdout
        revoked = command(environment, tmp_path, "key", "revoke", "made-before")
        assert revoked.returncode == 0, revoked.stderr
        until(lambda: call(client, key).status_code == 401, "the gateway has heard of it")


@pytest.mark.parametrize("command_line", [("check",), ("migrate", "--status")])
def test_other_commands_accept_the_address(command_line: tuple[str, ...], database_url: str, tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(f"general_settings: {{database_url: '{database_url}'}}\n", encoding="utf-8")
    arguments = (*command_line, str(file)) if command_line == ("check",) else (*command_line, "--config", str(file))
    done = command({}, tmp_path, *arguments)
    assert done.returncode in (0, 3), done.stderr
