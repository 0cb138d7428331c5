"""The control plane through the public port of a real gateway, both doors."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from penstock.engine.routes import HOT_ROUTES
from tests.conftest import Gateway, Process, free_port
from tests.stalls import Stopwatch, again_after_a_stall

PROMPT = "planted-prompt-4711"
BODY: dict[str, Any] = {"model": "demo", "max_tokens": 4, "messages": [{"role": "user", "content": PROMPT}]}


def _until(condition: Callable[[], bool], seconds: float = 20) -> None:
    """Wait for a condition that another process brings about."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "did not come about"


def _call(client: httpx.Client, key: str, **body: Any) -> httpx.Response:
    return client.post("/v1/chat/completions", headers={"authorization": f"Bearer {key}"}, json={**BODY, **body})


def _rows(client: httpx.Client, gateway: Gateway, key: str, count: int) -> list[dict[str, Any]]:
    """The usage records of a key, once there are so many: an answer is out a moment before its call is settled."""
    rows: list[dict[str, Any]] = []

    def are_there() -> bool:
        rows[:] = client.get("/spend/logs", headers=gateway.admin, params={"api_key": key}).json()
        return len(rows) >= count

    _until(are_there)
    return rows


def test_a_key_works_until_it_is_blocked_regenerated_or_deleted(gateway: Gateway) -> None:
    with gateway.client() as client:
        key = gateway.new_key(models=["demo"])
        assert _call(client, key).status_code == 200
        client.post("/key/block", headers=gateway.admin, json={"key": key})
        assert _call(client, key).status_code in (401, 403)
        client.post("/key/unblock", headers=gateway.admin, json={"key": key})
        assert _call(client, key).status_code == 200
        fresh = client.post(f"/key/{key}/regenerate", headers=gateway.admin).json()["key"]
        assert _call(client, key).status_code == 401
        assert _call(client, fresh).status_code == 200
        client.post("/key/delete", headers=gateway.admin, json={"keys": [fresh]})
        assert _call(client, fresh).status_code == 401


def test_an_update_counts_for_the_next_call(gateway: Gateway) -> None:
    with gateway.client() as client:
        key = gateway.new_key()
        assert _call(client, key).status_code == 200
        client.post("/key/update", headers=gateway.admin, json={"key": key, "models": ["demo-claude"]})
        assert _call(client, key).status_code in (401, 403)
        client.post("/key/update", headers=gateway.admin, json={"key": key, "models": None})
        assert _call(client, key).status_code == 200


def test_every_call_is_in_the_logs_once(gateway: Gateway) -> None:
    with gateway.client() as client:
        key = gateway.new_key(user_id="u-logs")
        answers = [_call(client, key) for _ in range(5)]
        usage = answers[0].json()["usage"]
        rows = _rows(client, gateway, key, 5)
        assert {row["request_id"] for row in rows} == {answer.headers["x-penstock-call-id"] for answer in answers}
        assert len(rows) == 5
        assert {row["completion_tokens"] for row in rows} == {usage["completion_tokens"]}
        assert {row["prompt_tokens"] for row in rows} == {usage["prompt_tokens"]}
        assert {row["user"] for row in rows} == {"u-logs"}


def test_a_stream_is_relayed_and_settled(gateway: Gateway) -> None:
    with gateway.client() as client:
        key = gateway.new_key()
        headers = {"authorization": f"Bearer {key}"}
        with client.stream("POST", "/v1/chat/completions", headers=headers, json={**BODY, "stream": True}) as answer:
            text = "".join(answer.iter_text())
        assert text.endswith("data: [DONE]\n\n")
        rows = _rows(client, gateway, key, 1)
        assert [row["completion_tokens"] for row in rows] == [4]


def test_both_doors_have_the_same_hot_routes(gateway: Gateway) -> None:
    with gateway.client() as client:
        for route in HOT_ROUTES:
            for method in route.methods:
                paths = [f"{route.path}/x"] if route.subtree else [route.path]
                if route.subtree and route.itself:
                    paths.append(route.path)
                for path in paths:
                    answer = client.request(method, path)
                    assert answer.status_code == 401, (method, path, answer.status_code)
                    assert answer.headers["www-authenticate"] == "Bearer", (method, path)
        for method, path in (("PUT", "/v1/completions"), ("POST", "/v1/models"), ("GET", "/v1/messages")):
            assert client.request(method, path).json() == {"detail": "Method Not Allowed"}
        for path in ("/v1/audio", "/v1/chat", "/v1/nothing", "/v1/filesx", "/v1/modelsx"):
            assert client.get(path).status_code == 404, path


def test_health_metrics_and_documents(gateway: Gateway) -> None:
    with gateway.client() as client:
        assert client.get("/health/liveliness").json() == "I'm alive!"
        assert client.get("/health/readiness").json()["status"] == "healthy"
        assert client.get("/_health/live").status_code == client.get("/_health/ready").status_code == 200
        assert client.get("/metrics").status_code == 401
        metrics = client.get("/metrics", headers=gateway.admin)
        assert metrics.headers["content-type"].startswith("text/plain")
        assert "process_resident_memory_bytes" in metrics.text
        assert "/key/generate" in client.get("/schema/openapi.json").json()["paths"]
        assert client.get("/no/such/route").json() == {"detail": "Not Found"}
        assert client.put("/key/info").json() == {"detail": "Method Not Allowed"}
        counted = client.post(
            "/utils/token_counter", headers=gateway.admin, json={"model": "demo", "prompt": "hello world"}
        )
        assert counted.json()["total_tokens"] == 2


def test_nothing_secret_is_kept_or_shown(gateway: Gateway) -> None:
    planted = "pk-planted-9f8e7d6c5b4a3210"
    with gateway.client() as client:
        key = gateway.new_key()
        assert _call(client, key).status_code == 200
        client.post(
            "/credentials",
            headers=gateway.admin,
            json={"credential_name": "planted", "credential_values": {"api_key": planted}},
        )
        shown = "".join(
            client.get(path, headers=gateway.admin).text
            for path in (
                "/metrics",
                "/credentials",
                "/model/info",
                "/spend/logs",
                "/key/list?return_full_object=true",
                "/routes",
            )
        )
    places = [shown, gateway.process.output()]
    places += [file.read_bytes().decode("latin-1") for file in gateway.data_dir.rglob("*") if file.is_file()]
    for secret in (key, PROMPT, planted, gateway.admin_key):
        assert all(secret not in place for place in places)


@pytest.mark.timeout(400)
@again_after_a_stall(0.2)
def test_a_key_revoked_on_the_command_line_stops_within_two_seconds(gateway: Gateway) -> None:
    def command(*arguments: str) -> str:
        return subprocess.run(
            [sys.executable, "-m", "penstock", "key", *arguments, "--data-dir", str(gateway.data_dir)],
            check=True,
            capture_output=True,
            text=True,
            env={"PENSTOCK_MASTER_KEY": gateway.admin_key, "PYTHONPATH": str(Path(__file__).parents[2] / "python")},
        ).stdout.strip()

    key = command("create", "--model", "demo")
    with gateway.client() as client:
        assert _call(client, key).status_code == 200
        token = client.get("/key/info", headers={"x-api-key": key}).json()["info"]["token"]
        assert token in command("list")
        command("revoke", token)
        watch = Stopwatch()
        _until(lambda: _call(client, key).status_code == 401)
        assert watch.ran_s < 2


def test_a_budget_stops_a_key(start_gateway: Callable[..., Gateway]) -> None:
    gateway = start_gateway(
        config="""
model_list:
  - model_name: priced
    litellm_params:
      {model: openai/sim, api_base: $SIMULATOR/v1, api_key: unused-by-the-simulator, output_cost_per_token: 0.01, input_cost_per_token: 0}
"""
    )
    with gateway.client() as client:
        key = gateway.new_key(max_budget=0.06, budget_duration="30d")
        assert _call(client, key, model="priced").status_code == 200
        assert _call(client, key, model="priced").status_code == 422
        _rows(client, gateway, key, 2)
        info = client.get("/key/info", headers={"x-api-key": key}).json()["info"]
        assert info["spend"] == pytest.approx(0.04)
        client.post("/key/update", headers=gateway.admin, json={"key": key, "max_budget": 1})
        assert _call(client, key, model="priced").status_code == 200


@pytest.mark.parametrize(
    "section", ["penstock: {metrics: {public: true}}", "litellm_settings: {require_auth_for_metrics_endpoint: false}"]
)
def test_metrics_can_be_opened(start_gateway: Callable[..., Gateway], section: str) -> None:
    gateway = start_gateway(config=section)
    with gateway.client() as client:
        assert client.get("/metrics").status_code == 200
        assert client.get("/key/list").status_code == 401


def test_a_second_signal_cuts_what_is_left(
    start_gateway: Callable[..., Gateway], start_process: Callable[..., Process]
) -> None:
    slow = start_process("simulate", "--port", "0", "--tokens-per-second", "2", "--tokens", "1000")
    gateway = start_gateway(
        config=f"""
model_list:
  - model_name: slow
    litellm_params: {{model: openai/sim, api_base: "{slow.wait_ready()["address"]}/v1", api_key: unused-by-the-simulator}}
"""
    )
    body = {**BODY, "model": "slow", "stream": True, "max_tokens": 1000}
    with (
        gateway.client() as client,
        client.stream("POST", "/v1/chat/completions", headers=gateway.admin, json=body) as answer,
    ):
        pieces = answer.iter_bytes()  # kept, because the stream is closed with the iterator
        next(pieces)
        gateway.process.process.send_signal(signal.SIGTERM)
        _until(lambda: '"draining"' in gateway.process.output())
        gateway.process.process.send_signal(signal.SIGTERM)
        assert gateway.process.wait() == 130
    output = gateway.process.output()
    assert '"complete": false' in output
    assert '"usage_written": 1' in output


def test_a_restart_keeps_keys_and_spend(tmp_path: Path, start_process: Callable[..., Process]) -> None:
    first = start_process("serve", "--port", "0", "--data-dir", str(tmp_path / "data"))
    url = first.wait_ready()["address"]
    _until(lambda: re.search(r"curl .*\n", first.output()) is not None)
    master = (tmp_path / "data" / "master.key").read_text().strip()
    assert first.output().count(master) == 2, "shown once as the key, once in the command"
    admin = {"authorization": f"Bearer {master}"}
    key = httpx.post(f"{url}/key/generate", headers=admin, json={}, trust_env=False, timeout=30).json()["key"]
    with httpx.Client(base_url=url, trust_env=False, timeout=30) as client:
        assert _call(client, key).status_code == 200
    assert first.stop() == 0
    second = start_process("serve", "--port", "0", "--data-dir", str(tmp_path / "data"))
    url = second.wait_ready()["address"]
    with httpx.Client(base_url=url, trust_env=False, timeout=30) as client:
        assert _call(client, key).status_code == 200
        _until(lambda: len(client.get("/spend/logs", headers=admin, params={"api_key": key}).json()) == 2)
    assert master not in second.output()


@pytest.mark.parametrize("listener", ["native", "granian"])
def test_a_drain_lets_a_stream_finish(
    start_gateway: Callable[..., Gateway], start_process: Callable[..., Process], listener: str
) -> None:
    slow = start_process("simulate", "--port", "0", "--tokens-per-second", "8", "--tokens", "20")
    gateway = start_gateway(
        listener=listener,
        config=f"""
model_list:
  - model_name: slow
    litellm_params: {{model: openai/sim, api_base: "{slow.wait_ready()["address"]}/v1", api_key: unused-by-the-simulator}}
""",
    )
    body = {**BODY, "model": "slow", "stream": True, "max_tokens": 20}
    with (
        gateway.client() as client,
        client.stream("POST", "/v1/chat/completions", headers=gateway.admin, json=body) as answer,
    ):
        pieces = answer.iter_text()
        text = next(pieces)
        gateway.process.process.send_signal(signal.SIGTERM)
        text += "".join(pieces)
    assert text.endswith("data: [DONE]\n\n")
    assert text.count('"content":"') >= 20
    assert gateway.process.wait() == 0
    drained = [json.loads(line) for line in gateway.process.output().splitlines() if '"drained"' in line]
    assert drained[0]["complete"] is True
    assert drained[0]["usage_written"] == 1


def test_granian_runs_the_app_on_its_own(tmp_path: Path, start_process: Callable[..., Process]) -> None:
    port = free_port()
    process = start_process(
        *("--interface", "asgi", "--factory", "penstock.app:create_app", "--port", str(port)),
        environment={"PENSTOCK_DATA_DIR": str(tmp_path / "data"), "PENSTOCK_PORT": str(port)},
        module="granian",
    )
    process.wait_ready()
    admin = {"authorization": f"Bearer {(tmp_path / 'data' / 'master.key').read_text().strip()}"}
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", headers=admin, trust_env=False, timeout=30) as client:
        _until(lambda: client.post("/v1/chat/completions", json=BODY).status_code == 200)
        # The answer is out a moment before the call is settled.
        _until(lambda: len(client.get("/spend/logs").json()) == 1)


@pytest.mark.parametrize(
    "arguments,environment,words",
    [
        (["--workers", "2"], {}, "--threads"),
        ([], {"PENSTOCK_MASTER_KEY": "sk-1234"}, "master key"),
        ([], {"PENSTOCK_MASTER_KEY": "sk-abcdefgh"}, "16 characters"),
        ([], {"PENSTOCK_PEPPER": "short"}, "PENSTOCK_PEPPER"),
        ([], {"DATABASE_URL": "postgresql://u:planted-password@127.0.0.1:1/d"}, "postgresql://127.0.0.1:1/d"),
        ([], {"DATABASE_URL": "mysql://u:planted-password@h/d"}, "neither PostgreSQL nor SQLite"),
    ],
)
def test_what_cannot_be_served_is_said_plainly(
    tmp_path: Path, start_process: Callable[..., Process], arguments: list[str], environment: dict[str, str], words: str
) -> None:
    process = start_process(
        *("serve", "--port", "0", "--data-dir", str(tmp_path / "d"), *arguments), environment=environment
    )
    assert process.process.wait(timeout=60) == 1
    output = process.output()
    assert words in output
    assert "Traceback" not in output
    assert "planted-password" not in output


@pytest.mark.parametrize("listener", ["native", "granian"])
def test_a_port_in_use_is_said_plainly(tmp_path: Path, start_process: Callable[..., Process], listener: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        process = start_process("serve", "--port", port, "--data-dir", str(tmp_path / "d"), "--listener", listener)
        assert process.process.wait(timeout=60) == 1
    assert "Traceback" not in process.output()
    assert "in use" in process.output()


def test_a_data_directory_has_one_server(gateway: Gateway, start_process: Callable[..., Process]) -> None:
    process = start_process("serve", "--port", "0", "--data-dir", str(gateway.data_dir))
    assert process.process.wait(timeout=60) == 1
    assert "another process serves from" in process.output()
