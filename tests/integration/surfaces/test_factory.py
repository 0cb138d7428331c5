"""`granian --interface asgi --factory penstock.app:create_app`: the app under a server that somebody else starts."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.conftest import free_port
from tests.rig import until

BODY: dict[str, Any] = {"model": "demo", "max_tokens": 4, "messages": [{"role": "user", "content": "a b"}]}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """Address and administrator's key of Granian serving the factory."""
    pytest.importorskip("penstock._core", reason="the extension is not built: `make setup`")
    directory: Path = tmp_path_factory.mktemp("factory")
    port, key = free_port(), f"sk-{secrets.token_hex(24)}"
    kept = {name: value for name, value in os.environ.items() if name in {"PATH", "HOME", "LANG", "PYTHONPATH"}}
    command = ["-m", "granian", "--interface", "asgi", "--host", "127.0.0.1", "--port", str(port)]
    with (directory / "output.log").open("w+b") as log:
        process = subprocess.Popen(
            [sys.executable, *command, "--factory", "penstock.app:create_app"],
            cwd=directory,
            env={**kept, "PENSTOCK_MASTER_KEY": key, "PENSTOCK_DATA_DIR": str(directory / "data")},
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        url = f"http://127.0.0.1:{port}"

        def is_ready() -> bool:
            assert process.poll() is None, (directory / "output.log").read_text()
            try:
                return httpx.get(f"{url}/_health/ready", trust_env=False, timeout=5).status_code == 200
            except httpx.TransportError:
                return False

        try:
            until(is_ready, "readiness", seconds=60)
            yield url, key
        finally:
            process.terminate()
            assert process.wait(60) in (0, -15), (directory / "output.log").read_text()


def test_it_answers_calls_and_administration(server: tuple[str, str]) -> None:
    url, key = server
    admin = {"authorization": f"Bearer {key}"}
    with httpx.Client(base_url=url, trust_env=False, timeout=30) as client:
        whole = client.post("/v1/chat/completions", json=BODY, headers=admin)
        assert whole.json()["usage"]["completion_tokens"] == 4
        with client.stream("POST", "/v1/chat/completions", json={**BODY, "stream": True}, headers=admin) as answer:
            lines = [line for line in answer.iter_lines() if line]
        assert lines[-1] == "data: [DONE]"
        assert (
            "".join(json.loads(x[6:])["choices"][0]["delta"].get("content") or "" for x in lines[:-1])
            == (whole.json()["choices"][0]["message"]["content"])
        )
        made = client.post("/key/generate", json={"models": ["demo"], "rpm_limit": 1}, headers=admin).json()["key"]
        virtual = {"authorization": f"Bearer {made}"}
        assert client.post("/v1/chat/completions", json=BODY, headers=virtual).status_code == 200
        assert client.post("/v1/chat/completions", json=BODY, headers=virtual).status_code == 429

        def logged() -> bool:
            rows = client.get("/spend/logs", params={"api_key": made}, headers=admin).json()
            # The refused call has its record too.
            return sorted(row["completion_tokens"] for row in rows) == [0, 4]

        until(logged, "the usage records")
        assert client.post("/v1/chat/completions", json=BODY).status_code == 401
        claude = {**BODY, "model": "demo-claude"}
        assert client.post("/v1/messages", json=claude, headers=admin).json()["usage"]["output_tokens"] == 4
