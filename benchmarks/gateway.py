"""The gateway, with everything on that costs something (key, limits, budget, usage records, metrics), or with what can be
switched off left out.

It is started as its users start it, from the command line with a config file, and asked over its public port for a
virtual key. The benchmark refuses to call features on, or off, that it cannot see working, or missing.
"""

from __future__ import annotations

import http.client
import json
import os
import secrets
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks.ledger import FileLedger, Ledger, PostgresLedger
from benchmarks.processes import Process, StartError, free_port
from benchmarks.scenarios import MODELS, UNARY
from benchmarks.targets import Target, chat_url
from penstock.bench.report import Report

READY_SECONDS = 60.0
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
LOOK_FOR_RECORDS_SECONDS = 2.0
RPM, TPM, BUDGET_USD = 60_000_000, 6_000_000_000, 1_000_000
"""High enough never to deny, present so that they are enforced."""
PRICES = {"input_cost_per_token": 0.00000015, "output_cost_per_token": 0.0000006}
LIMIT_HEADERS = {"x-ratelimit-limit-requests": str(RPM), "x-ratelimit-limit-tokens": str(TPM)}

BUSY_POLL_US = 100
"""Of the gateway that is measured with busy polling: more than an answer of the upstream takes here."""

JsonObject = dict[str, object]


class FeatureError(Exception):
    """A feature that the report would call on has no effect, or one that it would call off has one."""


@dataclass(frozen=True)
class Answer:
    """Status, header fields (lower-case names) and body of an HTTP answer."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def excerpt(self) -> str:
        """The beginning of the body, for a message."""
        return self.body[:500].decode(errors="replace")


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


def is_ready(port: int) -> bool:
    """Whether the gateway on this port says that it serves."""
    try:
        return call(port, "GET", "/_health/ready", "").status == 200
    except (OSError, http.client.HTTPException):
        return False


def deployment(name: str, model: str, upstream: int, *, priced: bool) -> JsonObject:
    """One entry of `model_list`."""
    parameters: JsonObject = {
        "model": f"openai/{model}",
        "api_base": f"http://127.0.0.1:{upstream}/v1",
        "api_key": "sk-upstream",
    }
    return {"model_name": name, "litellm_params": parameters | (PRICES if priced else {})}


def config(upstream: int, *, features: bool, busy_poll_us: int = 0) -> JsonObject:
    """The gateway's config, in LiteLLM's schema (JSON is YAML). Without prices there are no costs and no budgets."""
    return {
        "model_list": [deployment(name, model, upstream, priced=features) for name, model in MODELS.items()],
        "general_settings": {"disable_spend_logs": not features},
        "penstock": {"demo": False, "listener": {"busy_poll_us": busy_poll_us}},
    }


def environment() -> dict[str, str]:
    """Of the caller, without settings of gateways."""
    return {name: value for name, value in os.environ.items() if not name.startswith(FOREIGN)}


def launch(
    name: str,
    settings: JsonObject,
    folder: Path,
    cores: frozenset[int] | None,
    listener: str,
    admin: str | None = None,
    shared: Mapping[str, str] | None = None,
) -> tuple[Process, int, float]:
    """Starts ``penstock serve`` and waits until it is ready: the process, its port, and how many seconds that took.

    ``folder`` may hold the data directory of an earlier start; ``shared``: variables that name PostgreSQL and Redis.

    Raises:
        StartError: it did not come up.
    """
    folder.mkdir(exist_ok=True)
    path = folder / "config.yaml"
    path.write_text(json.dumps(settings, indent=2))
    port = free_port()
    env = environment() | dict(shared or {})
    if admin is not None:
        env["PENSTOCK_MASTER_KEY"] = admin
    command = [sys.executable, "-c", "from penstock.cli import main; main()", "serve", "--config", str(path)]
    command += ["--host", "127.0.0.1", "--port", str(port), "--threads", "1", "--data-dir", str(folder / "data")]
    if listener != "native":
        command += ["--listener", listener]
    process = Process(name, command, folder / "log", cores, env)
    try:
        return process, port, process.wait_until(lambda: is_ready(port), READY_SECONDS)
    except BaseException:
        process.stop()
        raise


class Gateway:
    """A running gateway and a key for it."""

    def __init__(
        self,
        folder: Path,
        upstream: int,
        cores: frozenset[int] | None,
        *,
        listener: str = "native",
        features: bool = True,
        busy_poll_us: int = 0,
        settings: JsonObject | None = None,
        admin: str | None = None,
        key: str | None = None,
        shared: Mapping[str, str] | None = None,
    ) -> None:
        """Starts it and waits until it is ready and its key works. ``settings``: instead of :func:`config`; ``admin`` and
        ``key``: of an earlier gateway on the same folder; ``shared``: variables that name PostgreSQL and Redis, instead of
        SQLite and limits of the process's own.

        Raises:
            StartError: it did not come up.
            FeatureError: key, limits or budget have no effect.
        """
        self.listener, self.features, self.data_dir = listener, features, folder / "data"
        self._kind = ", busy polling" if busy_poll_us > 0 else ", PostgreSQL and Redis" if shared else ""
        self.admin = admin or f"sk-{secrets.token_hex(24)}"
        settings = settings or config(upstream, features=features, busy_poll_us=busy_poll_us)
        name = f"penstock ({listener})"
        self.process, self.port, self.ready_seconds = launch(
            name, settings, folder, cores, listener, self.admin, shared
        )
        self._ledger: Ledger = PostgresLedger(shared["DATABASE_URL"]) if shared else FileLedger(self.data_dir)
        self._calls = 0
        try:
            self._calls = self._ledger.rows()
            self.key = key or (self._new_key() if features else self.admin)
            self._prove_key_and_limits()
            # With features off there may be records all the same; then writing them is part of what a load costs.
            self._records = features or self._ledger.wait_for(self._calls, LOOK_FOR_RECORDS_SECONDS)
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
            listener=f"{self.listener}{self._kind}",
            features="on" if self.features else "off",
            headers=(("authorization", f"Bearer {self.key}"),),
            rpc_url=f"grpc://127.0.0.1:{self.port}" if self.listener == "native" else None,
            models=MODELS,
            after_load=self.account,
        )

    def stop(self) -> None:
        """Ends it, and looks into its ledger no more."""
        self._ledger.close()
        self.process.stop()

    def account(self, report: Report) -> None:
        """After a load: its calls belong in the ledger, and the work of writing them belongs to it."""
        self.expect(report.requests)

    def expect(self, calls: int) -> None:
        """So many more calls were answered; waits until they are recorded."""
        self._calls += calls
        if self._records:
            self._ledger.wait_for(self._calls)

    def _new_key(self) -> str:
        wanted = {"models": list(MODELS), "rpm_limit": RPM, "tpm_limit": TPM, "max_budget": BUDGET_USD}
        answer = call(self.port, "POST", "/key/generate", self.admin, wanted)
        if answer.status != 200:
            raise StartError(f"/key/generate answered {answer.status}: {answer.excerpt()}")
        key = json.loads(answer.body)["key"]
        if not isinstance(key, str):
            raise StartError("/key/generate answered without a key")
        return key

    def _prove_key_and_limits(self) -> None:
        name = next(name for name, model in MODELS.items() if model == UNARY)
        body = {"model": name, "messages": [{"role": "user", "content": "hello"}]}
        good = call(self.port, "POST", "/v1/chat/completions", self.key, body)
        if good.status != 200:
            raise FeatureError(f"a call with the key answered {good.status}: {good.excerpt()}")
        self._calls += 1
        shown = {name: good.headers[name] for name in LIMIT_HEADERS if name in good.headers}
        if not self.features:
            # The upstream has limits of its own, and says so in the same fields.
            if shown.items() & LIMIT_HEADERS.items():
                raise FeatureError(f"features are off, and yet the answer's limits are {shown}")
            return
        wrong = f"{self.key[:-1]}{'a' if self.key[-1] != 'a' else 'b'}"
        for key in ("sk-unknown", wrong):
            if call(self.port, "POST", "/v1/chat/completions", key, body).status != 401:
                raise FeatureError("a call with a wrong key was not refused with 401")
        if shown != LIMIT_HEADERS:
            raise FeatureError(f"the answer's limits are {shown}, not {LIMIT_HEADERS}; are they enforced?")

    def prove_accounting(self, *, failures: int) -> str:
        """After all load: every call is in the ledger and paid for, and shows in the metrics. What was found, in a sentence.

        ``failures``: calls that the client does not count as answered and the gateway may have recorded all the same.

        Raises:
            FeatureError: one of these is not so.
            OSError: the gateway does not answer any more.
        """
        if not self._records:
            return f"{self._ledger.rows():,} usage records of {self._calls:,} calls"
        self._ledger.wait_for(self._calls)
        rows = self._ledger.rows()
        if not self._calls <= rows <= self._calls + failures:
            raise FeatureError(f"the ledger has {rows} records of {self._calls} calls")
        if self.features and self.spend() <= 0:
            raise FeatureError("the key's spend is still 0 after the load; are calls charged?")
        metrics = call(self.port, "GET", "/metrics", self.admin)
        if metrics.status != 200 or b"bench-unary" not in metrics.body:
            raise FeatureError(f"/metrics answered {metrics.status} and does not show the benchmark's model")
        return f"{rows:,} usage records of {self._calls:,} calls"

    def spend(self) -> float:
        """What the key has spent, in dollars."""
        answer = call(self.port, "GET", f"/key/info?key={self.key}", self.admin)
        if answer.status != 200:
            raise FeatureError(f"/key/info answered {answer.status}: {answer.excerpt()}")
        return float(json.loads(answer.body)["info"]["spend"])
