"""A gateway whose deployments are recordings, and the means to look at both of its sides."""

from __future__ import annotations

import base64
import itertools
import json
import time
from typing import Any

import httpx
import msgspec

from tests.conformance.replay.accounting import Tokens
from tests.conftest import Gateway
from tests.rig import NO_TLS

UPSTREAM_MODEL = "upstream-claude-sonnet-4-5"
"""The name that every deployment has at its provider. Claude's, as capabilities are told by the name."""

PREFIXES = {
    "openai": "openai",
    "groq": "groq",
    "mistral": "mistral",
    "deepseek": "deepseek",
    "openrouter": "openrouter",
    "xai": "xai",
    "perplexity": "perplexity",
    "together": "together_ai",
    "cerebras": "cerebras",
    "ollama": "ollama",
    "zai": "zai",
    "vllm": "hosted_vllm",
    "other": "openai_like",
}
"""Model names of clients and the providers behind them."""
NO_STREAM_USAGE = {"mistral", "perplexity"}
"""Providers that are never asked for usage in a stream."""


def config() -> str:
    groups: list[tuple[str, str, dict[str, Any]]] = [
        (name, f"{prefix}/{UPSTREAM_MODEL}", {"api_base": "$SIMULATOR/v1", "api_key": "sk-upstream"})
        for name, prefix in PREFIXES.items()
    ]
    azure = {"api_base": "$SIMULATOR", "api_key": "sk-upstream", "api_version": "2024-12-01-preview"}
    groups.append(("azure", f"azure/{UPSTREAM_MODEL}", azure))
    claude: dict[str, Any] = {"api_base": "$SIMULATOR", "api_key": "sk-upstream"}
    groups.append(("claude", f"anthropic/{UPSTREAM_MODEL}", claude))
    groups.append(("claude-drops", f"anthropic/{UPSTREAM_MODEL}", {**claude, "drop_params": True}))
    models = [
        {"model_name": name, "litellm_params": {"model": model, **parameters}} for name, model, parameters in groups
    ]
    penstock = {
        "upstream": {"forward_headers": ["x-sim-"]},
        "routing": {"retries": 0, "cooldown": 0, "passthrough_group": "openai"},
        "timeouts": {"idle": 10, "first_byte": 10},
    }
    # JSON is YAML.
    return json.dumps({"model_list": models, "penstock": penstock}, indent=1)


class Received(msgspec.Struct, frozen=True):
    """A request as the upstream got it."""

    target: str
    headers: list[tuple[str, str]]
    body: bytes

    @property
    def json(self) -> Any:
        """The body."""
        return json.loads(self.body)

    def header(self, name: str) -> list[str]:
        """All values of a field."""
        return [value for found, value in self.headers if found.lower() == name]


class Usage(msgspec.Struct, frozen=True):
    """What a usage record says, as far as it is looked at here."""

    tokens: Tokens
    source: str
    outcome: str
    status: int
    stream: bool


class Replayer:
    """Sends calls whose answer is a recording."""

    def __init__(self, gateway: Gateway) -> None:
        self.gateway = gateway
        self.client = gateway.client()
        self.simulator = httpx.Client(base_url=gateway.simulator_url, timeout=30, trust_env=False, verify=NO_TLS)
        self._names = (f"replay-{number}" for number in itertools.count())

    def put(
        self,
        body: bytes,
        content_type: str,
        *,
        status: int = 200,
        split: list[int] | None = None,
        headers: dict[str, str] | None = None,
    ) -> dict[str, str]:
        """Lay down an answer; returns the header that asks for it."""
        name = next(self._names)
        recording = {
            "status": status,
            "content_type": content_type,
            "headers": headers or {},
            "body_base64": base64.b64encode(body).decode(),
            "split": split,
        }
        answer = self.simulator.put(f"/_sim/replay/{name}", json=recording)
        assert answer.status_code == 200, answer.text
        return {"x-sim-replay": name}

    def post(self, path: str, body: bytes, headers: dict[str, str]) -> httpx.Response:
        """A call with exactly these bytes."""
        sent = {"content-type": "application/json", **self.gateway.admin, **headers}
        return self.client.post(path, content=body, headers=sent)

    def received(self) -> Received:
        """What the upstream got last."""
        found = self.simulator.get("/_sim/requests/last").json()
        headers = [(name, value) for name, value in found["headers"]]
        return Received(found["target"], headers, base64.b64decode(found["body_base64"]))

    def usage(self, call_id: str) -> Usage:
        """The one usage record of a call, waited for; fails when there are two."""
        deadline = time.monotonic() + 30
        while True:
            answer = self.client.get("/spend/logs", params={"request_id": call_id}, headers=self.gateway.admin)
            assert answer.status_code == 200, answer.text
            if rows := answer.json():
                break
            assert time.monotonic() < deadline, f"no usage record of {call_id}"
        assert len(rows) == 1
        row, more = rows[0], rows[0]["metadata"]
        tokens = Tokens(
            prompt=row["prompt_tokens"],
            completion=row["completion_tokens"],
            cached=more["cached_tokens"],
            cache_write=more["cache_write_tokens"],
            reasoning=more["reasoning_tokens"],
        )
        return Usage(tokens, more["usage_source"], more["outcome"], more["http_status"], more["stream"])

    def settled(self) -> int:
        """Calls settled since the gateway's start."""
        return int(self.client.get("/global/spend", headers=self.gateway.admin).json()["calls"])

    def close(self) -> None:
        """Close the clients."""
        self.client.close()
        self.simulator.close()
