"""No secret and no prompt anywhere but where it belongs: everything is planted, used, and looked for."""

from __future__ import annotations

import base64
import contextlib
import json
import secrets
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import httpx

from tests.conftest import Process
from tests.integration.managed import Managed, question, until

LISTED = (
    *("/metrics", "/credentials", "/model/info", "/v1/model/info", "/v2/model/info", "/model_group/info", "/routes"),
    *("/spend/logs?limit=1000", "/global/spend", "/key/list?return_full_object=true&size=100", "/key/aliases"),
    *("/v1/models", "/schema/openapi.json", "/", "/health/readiness", "/_health/ready"),
)


class Planted:
    """A text for every place that a secret can come from; each is found nowhere else."""

    def __init__(self) -> None:
        def text(name: str) -> str:
            return f"planted{name}{secrets.token_hex(10)}"

        self.master = text("master")
        self.provider_key = text("provider")
        self.provider_header = text("header")
        self.credential = text("credential")
        self.environment = text("environment")
        self.client_header = text("clientheader")
        self.prompt, self.system, self.tool = text("prompt"), text("system"), text("tool")
        self.answer, self.error = text("answer"), text("error")
        self.query = text("query")
        self.unknown_key = f"sk-{text('unknown')}"
        self.keys: list[str] = []

    @property
    def all(self) -> dict[str, str]:
        """Everything that must not be found, by where it came from."""
        single = {name: value for name, value in vars(self).items() if isinstance(value, str)}
        return single | {f"key {number}": key for number, key in enumerate(self.keys)}


def config(planted: Planted) -> str:
    """Models whose settings hold secrets in every way that there is."""
    return f"""
environment_variables: {{PLANTED_KEY: {planted.environment}}}
model_list:
  - model_name: priced
    litellm_params:
      model: openai/sim
      api_base: $SIMULATOR/v1
      api_key: {planted.provider_key}
      extra_headers: {{x-upstream-secret: {planted.provider_header}}}
  - model_name: claude
    litellm_params: {{model: anthropic/claude-sim, api_base: $SIMULATOR, api_key: os.environ/PLANTED_KEY}}
  - model_name: stored
    litellm_params: {{model: openai/sim, api_base: $SIMULATOR/v1, litellm_credential_name: planted}}
  - model_name: dead
    litellm_params: {{model: openai/sim, api_base: "http://127.0.0.1:9/v1", api_key: {planted.provider_key}}}
router_settings: {{num_retries: 1, retry_after: 0}}
penstock:
  upstream: {{forward_headers: [x-sim-, x-planted]}}
"""


def replay(url: str, name: str, status: int, body: Any) -> None:
    """Have the simulator answer with this under a name."""
    recording = {
        "status": status,
        "content_type": "application/json",
        "body_base64": base64.b64encode(json.dumps(body).encode()).decode(),
    }
    assert httpx.put(f"{url}/_sim/replay/{name}", json=recording, trust_env=False, timeout=30).status_code < 300


def traffic(managed: Managed, planted: Planted) -> None:
    """Calls of every kind, good and bad, all of them with planted texts in them."""
    sim = managed.gateway.simulator_url
    message = {"role": "assistant", "content": planted.answer}
    usage = {"prompt_tokens": 5, "completion_tokens": 5, "total_tokens": 10}
    choices = [{"index": 0, "message": message, "finish_reason": "stop"}]
    replay(sim, "planted-answer", 200, {"id": "x", "object": "chat.completion", "choices": choices, "usage": usage})
    error = {"message": f"bad {planted.error}", "type": planted.error, "param": planted.error, "code": planted.error}
    replay(sim, "planted-error", 400, {"error": error})
    replay(sim, "planted-failure", 500, {"error": error})
    replay(sim, "planted-nonsense", 200, [planted.error])

    key, limited, broke = managed.key(), managed.key(rpm_limit=1), managed.key(max_budget=0)
    chosen = f"sk-{secrets.token_hex(20)}"
    fresh = managed.post(f"/key/{managed.key(key=chosen)}/regenerate").json()["key"]
    planted.keys += [key, limited, broke, chosen, fresh]
    body = question(
        messages=[{"role": "system", "content": planted.system}, {"role": "user", "content": planted.prompt}],
        tools=[{"type": "function", "function": {"name": planted.tool, "parameters": {"type": "object"}}}],
        metadata={"note": planted.prompt},
    )
    faults: list[dict[str, str]] = [
        *({"x-sim-replay": f"planted-{name}"} for name in ("answer", "error", "failure", "nonsense")),
        *(
            {"x-sim-fault": fault}
            for fault in ("reset_after:0", "reset_after:2", "bad_json", "truncate", "malformed:1")
        ),
        {"x-sim-status": "401"},
        {},
    ]
    for path, model in (
        ("/v1/chat/completions", "priced"),
        ("/v1/chat/completions", "claude"),
        ("/v1/messages", "claude"),
        ("/v1/chat/completions", "stored"),
        ("/v1/chat/completions", "dead"),
        ("/v1/responses", "priced"),
        ("/v1/chat/completions", "nothing"),
    ):
        for fault in faults:
            for stream in (False, True):
                headers = {"authorization": f"Bearer {key}", "x-planted-header": planted.client_header, **fault}
                asked = {**body, "model": model, "stream": stream, "input": planted.prompt}
                with contextlib.suppress(httpx.HTTPError):
                    managed.client.post(f"{path}?q={planted.query}", headers=headers, json=asked)
    for one in (limited, limited, broke, planted.unknown_key, chosen, fresh, planted.prompt, f"sk-{planted.prompt}"):
        managed.client.post("/v1/chat/completions", headers={"x-api-key": one}, json=body)
        managed.client.get("/key/info", headers={"api-key": one}, params={"key": planted.unknown_key})
    for bad in (f'{{"model": "priced", "messages": "{planted.prompt}', f'{{"{planted.prompt}": [}}', planted.prompt):
        for path in ("/v1/chat/completions", "/key/generate", "/credentials", "/utils/token_counter"):
            managed.client.post(path, headers=managed.admin, content=bad)
    managed.post("/utils/token_counter", model="priced", messages=[{"role": "user", "content": planted.prompt}])
    managed.post("/spend/calculate", model="priced", messages=[{"role": "user", "content": planted.prompt}])
    managed.get(f"/no/such/route/{planted.unknown_key}", q=planted.query)
    managed.get("/key/info", key=planted.unknown_key)
    managed.post("/key/delete", keys=[planted.unknown_key])
    managed.post(f"/key/{planted.unknown_key}/regenerate")
    with managed.stream(key, sim={"tokens": 100, "tps": 50}, messages=body["messages"]) as answer:
        next(answer.iter_raw())


def test_nothing_planted_is_found(start_managed: Callable[..., Managed]) -> None:
    planted = Planted()
    managed = start_managed(
        config=config(planted),
        arguments=["--log-level", "debug"],
        environment={"PENSTOCK_MASTER_KEY": planted.master},
    )
    managed.gateway.admin_key = planted.master
    managed.admin = managed.gateway.admin
    made = managed.post("/credentials", credential_name="planted", credential_values={"api_key": planted.credential})
    assert made.status_code == 200, made.text
    traffic(managed, planted)
    rows = managed.get("/spend/logs", limit=1000).json()
    assert len(rows) > 100, "there was traffic to find something of"
    assert {row["metadata"]["http_status"] for row in rows} >= {200, 400, 404, 422, 429, 500, 502}

    places: dict[str, bytes] = {}
    for path in LISTED:
        answer = managed.get(path)
        assert answer.status_code == 200, path
        places[path] = answer.content
    for key in planted.keys:
        places[f"info of {key[-4:]}"] = json.dumps(managed.get("/key/info", key=key).json().get("info")).encode()
    data = managed.gateway.data_dir
    assert (data / "penstock.db-wal").stat().st_size > 0, "the log that SQLite writes ahead is looked into too"
    places |= files(data)
    assert managed.gateway.process.stop(signal.SIGTERM) == 0
    places |= {f"{name} after the end": content for name, content in files(data).items()}
    output = managed.gateway.process.output()
    places["the output"] = output.encode()
    assert '"level": "debug"' in output, "everything that can be logged was"

    for origin, secret in planted.all.items():
        for place, content in places.items():
            assert secret.encode() not in content, f"{origin} is in {place}"
            for spelling in (base64.b64encode(secret.encode())[:24], secret.encode().hex().encode()):
                assert spelling not in content, f"{origin}, encoded, is in {place}"


def files(data: Path) -> dict[str, bytes]:
    """What is in the data directory, without the two files that are secrets themselves."""
    found: dict[str, bytes] = {}
    for file in data.rglob("*"):
        # One that a gateway has done with may be gone by now.
        with contextlib.suppress(FileNotFoundError):
            if file.is_file() and file.name not in ("pepper", "sealing.key"):
                found[str(file.relative_to(data))] = file.read_bytes()
    return found


def _has_banner(process: Process) -> bool:
    return "curl " in process.output()


def test_a_generated_master_key_is_in_its_own_file_and_in_the_first_banner_only(
    tmp_path: Path, start_process: Callable[..., Process]
) -> None:
    data = tmp_path / "data"
    outputs, master = [], ""
    for _ in range(2):
        process = start_process("serve", "--port", "0", "--data-dir", str(data), "--log-level", "debug")
        url = process.wait_ready()["address"]
        until(partial(_has_banner, process), 20, what="the banner")
        master = (data / "master.key").read_text().strip()
        headers = {"authorization": f"Bearer {master}"}
        body = {"model": "demo", "messages": [{"role": "user", "content": "hello"}]}
        answer = httpx.post(f"{url}/v1/chat/completions", headers=headers, json=body, trust_env=False, timeout=30)
        assert answer.status_code == 200
        assert process.stop() == 0
        outputs.append(process.output())
    assert master in outputs[0]
    assert master not in outputs[1]
    for line in outputs[0].splitlines():
        assert not (line.startswith("{") and master in line), "shown to a person, never logged"
    for name, content in files(data).items():
        assert (master.encode() in content) == (name == "master.key"), name
    for secret in ((data / "pepper").read_text().strip(), (data / "sealing.key").read_text().strip()):
        assert all(secret not in output for output in outputs)
