"""The gateway with everything on that costs something: key, limits, budget, usage records, metrics.

It is started as its users start it, from the command line with a config file, and asked over its
public port for a virtual key. The benchmark refuses to call features on that it cannot see working.
"""

from __future__ import annotations

import http.client
import json
import os
import secrets
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks.processes import Process, StartError, free_port
from benchmarks.scenarios import MODELS, UNARY
from benchmarks.targets import Target, chat_url

READY_SECONDS = 30.0
FOREIGN = (
    "PENSTOCK_",
    "LITELLM_",
    "DATABASE_",
    "REDIS_",
    "CONFIG_",
    "OTEL_",
    "OPENAI_",
    "ANTHROPIC_",
    "AZURE_",
    "GROQ_",
)
"""Settings of the caller that must not reach the gateway that is measured."""
RPM, TPM, BUDGET_USD = 60_000_000, 6_000_000_000, 1_000_000
"""High enough never to deny, present so that they are enforced."""


class FeatureError(Exception):
    """A feature that the report would call on has no effect."""


@dataclass(frozen=True)
class Answer:
    """Status, header fields (lower-case names) and body of an HTTP answer."""

    status: int
    headers: Mapping[str, str]
    body: bytes


def call(port: int, method: str, path: str, bearer: str, body: object | None = None) -> Answer:
    """One request to the loopback interface.

    Raises:
        OSError: the port does not answer.
        http.client.HTTPException: the answer is not HTTP.
    """
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=15)
    try:
        headers = {"Authorization": f"Bearer {bearer}", "Content-Type": "application/json"}
        connection.request(method, path, None if body is None else json.dumps(body), headers)
        response = connection.getresponse()
        fields = {name.lower(): value for name, value in response.getheaders()}
        return Answer(response.status, fields, response.read())
    finally:
        connection.close()


def config(upstream: int) -> dict[str, object]:
    """The gateway's config, in LiteLLM's schema (JSON is YAML)."""
    return {
        "model_list": [
            {
                "model_name": name,
                "litellm_params": {
                    "model": f"openai/{model}",
                    "api_base": f"http://127.0.0.1:{upstream}/v1",
                    "api_key": "sk-upstream",
                    "input_cost_per_token": 0.00000015,
                    "output_cost_per_token": 0.0000006,
                },
            }
            for name, model in MODELS.items()
        ],
        "penstock": {"demo": False},
    }


class Gateway:
    """A running gateway with a virtual key."""

    def __init__(self, listener: str, folder: Path, upstream: int, cores: frozenset[int] | None) -> None:
        """Starts it and waits until it is ready and its key works.

        Raises:
            StartError: it did not come up.
            FeatureError: key, limits or budget have no effect.
        """
        folder.mkdir()
        path = folder / "config.yaml"
        path.write_text(json.dumps(config(upstream), indent=2))
        self.listener = listener
        self.port = free_port()
        self._admin = f"sk-{secrets.token_hex(24)}"
        env = {name: value for name, value in os.environ.items() if not name.startswith(FOREIGN)}
        env["PENSTOCK_MASTER_KEY"] = self._admin
        command = [sys.executable, "-c", "from penstock.cli import main; main()", "serve", "--config", str(path)]
        command += ["--host", "127.0.0.1", "--port", str(self.port), "--threads", "1"]
        command += ["--data-dir", str(folder / "data")]
        if listener != "native":
            command += ["--listener", listener]
        self.process = Process(f"penstock ({listener})", command, folder / "log", cores, env)
        try:
            self.ready_seconds = self.process.wait_until(self._ready, READY_SECONDS)
            self._key = self._new_key()
            self._prove_key_and_limits()
        except (OSError, http.client.HTTPException) as e:
            self.process.stop()
            raise StartError(f"{self.process.name} broke off an answer: {e}\n{self.process.log_tail()}") from e
        except BaseException:
            self.process.stop()
            raise

    def target(self) -> Target:
        """What the load is driven through."""
        url = chat_url(self.port)
        return Target(
            "penstock",
            unary_url=url,
            stream_url=url,
            pid=self.process.pid,
            listener=self.listener,
            features="on",
            headers=(("authorization", f"Bearer {self._key}"),),
            models=MODELS,
            ready_seconds=self.ready_seconds,
        )

    def _ready(self) -> bool:
        try:
            return call(self.port, "GET", "/_health/ready", self._admin).status == 200
        except (OSError, http.client.HTTPException):
            return False

    def _new_key(self) -> str:
        wanted = {"models": list(MODELS), "rpm_limit": RPM, "tpm_limit": TPM, "max_budget": BUDGET_USD}
        answer = call(self.port, "POST", "/key/generate", self._admin, wanted)
        if answer.status != 200:
            raise StartError(f"/key/generate answered {answer.status}: {answer.body[:500].decode(errors='replace')}")
        key = json.loads(answer.body)["key"]
        if not isinstance(key, str):
            raise StartError("/key/generate answered without a key")
        return key

    def _prove_key_and_limits(self) -> None:
        name = next(name for name, model in MODELS.items() if model == UNARY)
        body = {"model": name, "messages": [{"role": "user", "content": "hello"}]}
        good = call(self.port, "POST", "/v1/chat/completions", self._key, body)
        if good.status != 200:
            raise FeatureError(
                f"a call with the key answered {good.status}: {good.body[:500].decode(errors='replace')}"
            )
        if call(self.port, "POST", "/v1/chat/completions", "sk-unknown", body).status != 401:
            raise FeatureError("a call with an unknown key was not refused with 401")
        for kind, limit in (("requests", RPM), ("tokens", TPM)):
            if good.headers.get(f"x-ratelimit-limit-{kind}") != str(limit):
                raise FeatureError(f"the answer has no x-ratelimit-limit-{kind}: {limit}; is the limit enforced?")

    def prove_accounting(self) -> None:
        """After the load: it was paid for, and it shows in the metrics.

        Raises:
            FeatureError: it was not, or it does not.
            OSError: the gateway does not answer any more.
        """
        deadline = time.perf_counter() + 10
        while self._spend() <= 0:
            if time.perf_counter() > deadline:
                raise FeatureError("the key's spend is still 0 ten seconds after the load; are usage records written?")
            time.sleep(0.2)
        metrics = call(self.port, "GET", "/metrics", self._admin)
        if metrics.status != 200 or b"bench-unary" not in metrics.body:
            raise FeatureError(f"/metrics answered {metrics.status} and does not show the benchmark's model")

    def _spend(self) -> float:
        answer = call(self.port, "GET", f"/key/info?key={self._key}", self._admin)
        if answer.status != 200:
            raise FeatureError(f"/key/info answered {answer.status}: {answer.body[:500].decode(errors='replace')}")
        return float(json.loads(answer.body)["info"]["spend"])
