"""The Locust users, run as their users run them: what they report must be what was injected."""

from __future__ import annotations

import importlib.util
import itertools
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Gateway, free_port
from tests.stalls import Stopwatch

# Found and not imported: Locust patches the standard library of whoever imports it.
pytestmark = pytest.mark.skipif(importlib.util.find_spec("locust") is None, reason="locust is not installed")

LOCUSTFILE = Path(__file__).resolve().parents[2] / "benchmarks" / "locustfile.py"
TTFT_MS, GAP_MS, DELTAS = 200, 50, 10
CONFIG = f"""
model_list:
  - model_name: paced
    litellm_params:
      model: openai/sim/delay=1,ttft={TTFT_MS},tokens={DELTAS},tps={1000 // GAP_MS}
      api_base: $SIMULATOR/v1
      api_key: sk-upstream
"""


@dataclass(frozen=True)
class Entry:
    """A line of Locust's statistics; times in milliseconds."""

    count: int
    failures: int
    average: float
    least: float


LISTENER = """
import json
import os
import gevent
from locust import events

awaited = {tuple(pair) for pair in json.loads(os.environ["AWAITED"])}

@events.init.add_listener
def watch(environment, **_):
    @environment.events.request.add_listener
    def seen(request_type, name, **_):
        if (request_type, name) in awaited:
            awaited.remove((request_type, name))
            if not awaited:
                gevent.spawn(environment.runner.quit)

@events.quitting.add_listener
def write(environment, **_):
    errors = [[error.method, error.name, str(error.error)] for error in environment.stats.errors.values()]
    with open("errors.json", "w") as file:
        json.dump(errors, file)
"""
"""Locust's own files of failures are written once a second and not at the end. And a run may be over when all that is awaited of it
has been seen, on a fast machine soon and on a slow one later."""


@dataclass(frozen=True)
class Run:
    """What a run of Locust left behind."""

    status: int
    output: str
    entries: dict[tuple[str, str], Entry]
    """By type and name."""
    failures: dict[tuple[str, str], set[str]]
    stood_ms: float
    """Milliseconds in which nothing ran."""
    longest_ms: float
    """The longest of them in one piece."""


def run(directory: Path, host: str, *arguments: str, key: str = "", awaited: Iterable[tuple[str, str]] = ()) -> Run:
    """Runs the locustfile without a browser; not for longer than until there was one of each ``awaited`` type and name."""
    (directory / "listener.py").write_text(LISTENER)
    command = [sys.executable, "-m", "locust", "-f", f"{LOCUSTFILE},listener.py", "--headless", "--json-file", "run"]
    kept = {name: value for name, value in os.environ.items() if name in {"PATH", "LANG"}}
    watch = Stopwatch()
    done = subprocess.run(
        [*command, "--host", host, "--stop-timeout", "10", *arguments],
        cwd=directory,
        env={**kept, "HOME": str(directory), "LOCUST_KEY": key, "AWAITED": json.dumps(list(awaited))},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=100,
        check=False,
    )
    entries = {
        (row["method"], row["name"]): Entry(
            row["num_requests"],
            row["num_failures"],
            row["total_response_time"] / max(1, row["num_requests"]),
            row["min_response_time"],
        )
        for row in _read(directory / "run.json")
    }
    failures: dict[tuple[str, str], set[str]] = {}
    for kind, name, error in _read(directory / "errors.json"):
        failures.setdefault((kind, name), set()).add(error)
    return Run(done.returncode, done.stdout, entries, failures, watch.stood_s * 1000, watch.longest_s * 1000)


def _read(path: Path) -> list[Any]:
    return list(json.loads(path.read_text())) if path.exists() else []


def assert_injected(unary: Entry, stream: Entry, first: Entry, gap: Entry, done: Run) -> None:
    """What users of both kinds saw is what the simulator was told to do, but for the time in which nothing ran."""
    stood_ms = done.stood_ms
    assert unary.count >= 3
    assert first.count == stream.count >= 3
    assert gap.count == stream.count * (DELTAS - 1)
    # The head comes after 1 ms and the last delta 450 ms after the first: TTFT is neither of them.
    assert first.least >= TTFT_MS - 1
    assert first.average < TTFT_MS + 300 + stood_ms
    # Deltas that came while nothing ran are read all at once: all gaps of a stream together are so much shorter, or longer.
    slack = done.longest_ms / (DELTAS - 1)
    assert GAP_MS * 0.9 - slack <= gap.average < GAP_MS * 1.9 + slack
    whole = TTFT_MS + GAP_MS * (DELTAS - 1)
    assert whole - 1 <= stream.least <= stream.average < whole + 500 + stood_ms
    assert whole - 1 <= unary.least <= unary.average < whole + 500 + stood_ms


def test_times_are_those_that_were_injected(start_gateway: Callable[..., Gateway], tmp_path: Path) -> None:
    gateway = start_gateway(config=CONFIG)
    arguments = ("--users", "6", "--spawn-rate", "6", "--run-time", "3s", "--model", "paced", "--deltas", str(DELTAS))
    done = run(tmp_path, gateway.url, *arguments, key=gateway.new_key())
    assert done.status == 0, done.output
    assert not done.failures
    unary, stream, first, gap = (done.entries[kind, "paced"] for kind in ("unary", "stream", "TTFT", "gap"))
    assert_injected(unary, stream, first, gap, done)


def test_a_key_is_needed(start_gateway: Callable[..., Gateway], tmp_path: Path) -> None:
    gateway = start_gateway(config=CONFIG)
    arguments = ("--users", "2", "--spawn-rate", "2", "--run-time", "1s", "--model", "paced", "--pause", "0.2")
    done = run(tmp_path, gateway.url, *arguments)
    assert done.status == 1
    for kind in ("unary", "stream"):
        assert done.entries[kind, "paced"].failures == done.entries[kind, "paced"].count >= 1
        assert any(error.startswith("status 401 (") for error in done.failures[kind, "paced"])
    assert ("TTFT", "paced") not in done.entries


def test_times_over_grpc_are_those_that_were_injected(start_gateway: Callable[..., Gateway], tmp_path: Path) -> None:
    pytest.importorskip("grpc", reason="the gRPC client's libraries are not installed")
    gateway = start_gateway(config=CONFIG)
    host = gateway.url.replace("http", "grpc", 1)
    arguments = ("--users", "6", "--spawn-rate", "6", "--run-time", "3s", "--model", "paced", "--deltas", str(DELTAS))
    done = run(tmp_path, host, *arguments, key=gateway.new_key())
    assert done.status == 0, done.output
    assert not done.failures
    # Without a class: those of the host's scheme, and no others.
    kinds = ("grpc-unary", "grpc-stream", "grpc-TTFT", "grpc-gap")
    assert {kind for kind, name in done.entries if name == "paced"} == set(kinds)
    unary, stream, first, gap = (done.entries[kind, "paced"] for kind in kinds)
    assert_injected(unary, stream, first, gap, done)


def test_users_of_both_kinds_share_a_host(start_gateway: Callable[..., Gateway], tmp_path: Path) -> None:
    pytest.importorskip("grpc", reason="the gRPC client's libraries are not installed")
    gateway = start_gateway(config=CONFIG)
    arguments = ("--users", "2", "--spawn-rate", "2", "--run-time", "2s", "--model", "paced", "--max-tokens", "0")
    done = run(tmp_path, gateway.url, *arguments, "UnaryUser", "GrpcUnaryUser", key=gateway.new_key())
    assert done.status == 0, done.output
    for kind in ("unary", "grpc-unary"):
        assert done.entries[kind, "paced"].failures == 0
        assert done.entries[kind, "paced"].count >= 1


ANSWER_TIMEOUT = "2.5"
"""Seconds. An answer that comes late because the machine stands still for a while is not to be taken for none."""
GRPC_CONFIG = """
model_list:
  - {model_name: refused, litellm_params: {model: sim/status=429, custom_llm_provider: openai, api_base: $SIMULATOR/v1, api_key: x}}
  - {model_name: slow, litellm_params: {model: sim/ttft=20000, custom_llm_provider: openai, api_base: $SIMULATOR/v1, api_key: x}}
  - {model_name: short, litellm_params: {model: sim/tokens=5, custom_llm_provider: openai, api_base: $SIMULATOR/v1, api_key: x}}
  - {model_name: good, litellm_params: {model: sim/tokens=16, custom_llm_provider: openai, api_base: $SIMULATOR/v1, api_key: x}}
  - model_name: broken
    litellm_params: {model: "openai/sim/tokens=16,fault=close_after:3", api_base: $SIMULATOR/v1, api_key: x}
litellm_settings: {num_retries: 0}
router_settings: {disable_cooldowns: true}
"""
GRPC_FAULTS = {
    "refused": {"grpc-unary": "status RESOURCE_EXHAUSTED", "grpc-stream": "status RESOURCE_EXHAUSTED"},
    "slow": {"grpc-unary": "status DEADLINE_EXCEEDED", "grpc-stream": "status DEADLINE_EXCEEDED"},
    "unknown": {"grpc-unary": "status NOT_FOUND", "grpc-stream": "status NOT_FOUND"},
    "short": {"grpc-stream": "5 deltas instead of 16"},
    "broken": {"grpc-unary": "status UNAVAILABLE", "grpc-stream": "status UNAVAILABLE"},
    "good": {},
}


def test_every_fault_over_grpc_has_a_name(start_gateway: Callable[..., Gateway], tmp_path: Path) -> None:
    pytest.importorskip("grpc", reason="the gRPC client's libraries are not installed")
    gateway = start_gateway(config=GRPC_CONFIG)
    host = gateway.url.replace("http", "grpc", 1)
    models = " ".join(GRPC_FAULTS)
    arguments = ("--users", "2", "--spawn-rate", "2", "--run-time", "60s", "--model", models, "--deltas", "16")
    more = ("--answer-timeout", ANSWER_TIMEOUT, "--pause", "0.02")
    awaited = itertools.product(("grpc-unary", "grpc-stream"), GRPC_FAULTS)
    done = run(tmp_path, host, *arguments, *more, key=gateway.admin_key, awaited=awaited)
    assert done.status == 1
    assert "Traceback" not in done.output
    assert done.failures == {
        (kind, model): {error} for model, kinds in GRPC_FAULTS.items() for kind, error in kinds.items()
    }
    for kind in ("grpc-unary", "grpc-stream"):
        assert done.entries[kind, "good"].count >= 1
    assert done.entries["grpc-unary", "short"].failures == 0


FAULTS = {
    "sim/status=429": {"unary": "status 429 (rate_limit_exceeded)", "stream": "status 429 (rate_limit_exceeded)"},
    "sim/fault=no_usage": {"unary": "no usage", "stream": "no usage"},
    "sim/fault=no_done": {"stream": "no [DONE]"},
    "sim/fault=malformed:2": {"stream": "event is no JSON object"},
    "sim/fault=error_event:2": {"stream": "error event"},
    "sim/fault=bad_json": {"unary": "answer is no JSON object"},
    "sim/fault=close_after:3": {"unary": "broken off: HTTPParseError", "stream": "broken off: HTTPParseError"},
    "sim/fault=hang_after:3": {"unary": "broken off: TimeoutError", "stream": "broken off: TimeoutError"},
    "sim/tokens=5": {"stream": "5 deltas instead of 16"},
    "sim/tokens=16": {},
}


def test_every_fault_has_a_name(simulator_url: str, tmp_path: Path) -> None:
    models = " ".join(FAULTS)
    arguments = ("--users", "2", "--spawn-rate", "2", "--run-time", "60s", "--model", models, "--deltas", "16")
    more = ("--answer-timeout", ANSWER_TIMEOUT, "--pause", "0.02")
    done = run(tmp_path, simulator_url, *arguments, *more, awaited=itertools.product(("unary", "stream"), FAULTS))
    assert done.status == 1
    assert "Traceback" not in done.output
    expected = {(kind, model): {error} for model, kinds in FAULTS.items() for kind, error in kinds.items()}
    assert done.failures == expected
    for key in expected:
        assert done.entries[key].failures == done.entries[key].count
    for kind in ("unary", "stream"):
        assert done.entries[kind, "sim/tokens=16"].count >= 1


def test_only_the_users_that_were_chosen(simulator_url: str, tmp_path: Path) -> None:
    done = run(tmp_path, simulator_url, "--run-time", "1s", "--model", "sim", "--pause", "0.1", "UnaryUser")
    assert done.status == 0, done.output
    assert {kind for kind, name in done.entries if name == "sim"} == {"unary"}


def test_nobody_there(tmp_path: Path) -> None:
    arguments = ("--users", "2", "--spawn-rate", "2", "--run-time", "1s", "--model", "sim", "--pause", "0.2")
    done = run(tmp_path, f"http://127.0.0.1:{free_port()}", *arguments)
    expected = "no answer: ConnectionRefusedError"
    assert done.failures == {("unary", "sim"): {expected}, ("stream", "sim"): {expected}}


@pytest.mark.parametrize(
    "option, value, said",
    [
        ("--model", " ", "name at least one"),
        ("--deltas", "-1", "must not be negative"),
        ("--host", "grpc://127.0.0.1:9/v1", "need grpc://host:port"),
    ],
)
def test_options_that_cannot_be_used(tmp_path: Path, option: str, value: str, said: str) -> None:
    done = run(tmp_path, "http://127.0.0.1:9", "--run-time", "1s", f"{option}={value}")
    assert done.status != 0
    assert f"{option}: " in done.output
    assert said in done.output
