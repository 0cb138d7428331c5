"""Coordinated omission: a server that stands still is charged for the requests that waited behind it."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

from tests.conftest import Process
from tests.integration.bench.conftest import Bench, Ended, command, environment
from tests.stalls import again_after_a_stall

STALL_S = 0.5


@again_after_a_stall(0.05)
def test_a_freeze_shows_in_latencies_and_not_in_service_times(
    start_process: Callable[..., Process], tmp_path: Path
) -> None:
    simulator = start_process("simulate", "--port", "0")
    url = str(simulator.wait_ready()["address"])
    pid = simulator.process.pid
    arguments = ["--model", "sim/ttft=2", "--rate", "200", "--connections", "2", "--duration", "3s"]
    tool = subprocess.Popen(
        command(url, *arguments, "--warmup", "20", "--process", str(pid), "--format", "json"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
        env=environment(),
    )
    # Frozen in the middle of the measured run: 400 requests later than the first of them.
    _wait_for_requests(url, 150)
    os.kill(pid, signal.SIGSTOP)
    frozen_at = time.monotonic()
    threading.Event().wait(STALL_S)
    os.kill(pid, signal.SIGCONT)
    frozen_us = (time.monotonic() - frozen_at) * 1e6
    out, err = tool.communicate(timeout=60)
    ended = Ended(tool.returncode, out, err)
    assert ended.status == 0, ended
    assert ended.metric("requests") == 600
    # 100 arrivals fell into the freeze and waited up to its whole length; two were under way in it.
    assert ended.metric("p95_us") >= 0.3 * frozen_us
    assert ended.metric("p99_us") >= 0.7 * frozen_us
    assert ended.metric("p50_us") <= 0.2 * frozen_us
    assert ended.metric("service_p99_us") <= 0.2 * frozen_us
    assert ended.metric("service_max_us") >= 0.9 * frozen_us
    assert ended.metric("send_delay_p99_us") >= 0.6 * frozen_us
    assert any("connections were busy" in warning for warning in ended.document["warnings"])
    seconds = ended.document["runs"][0]["report"]["seconds"]
    assert max(second["p99_us"] for second in seconds) >= 0.7 * frozen_us
    assert sum(second["requests"] for second in seconds) == 600


def _wait_for_requests(url: str, count: int) -> None:
    """Until the simulator has received so many."""
    import json
    import urllib.request

    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        with urllib.request.urlopen(f"{url}/_sim/ledger?since={count}&limit=1", timeout=5) as answer:
            if json.load(answer)["entries"]:
                return
        threading.Event().wait(0.02)
    raise AssertionError("the load did not begin")


@again_after_a_stall(0.03)
def test_a_rate_that_the_server_cannot_keep(bench: Bench, simulator_url: str) -> None:
    arguments = ["--model", "sim/ttft=50", "--rate", "100", "--connections", "2", "--duration", "1s"]
    ended = bench(simulator_url, *arguments)
    # Two connections carry 40 requests a second; the last of 100 waits for a second and a half.
    assert ended.metric("requests") == 100
    assert ended.metric("rps") <= 41
    assert ended.metric("p99_us") >= 1_200_000
    assert 50_000 <= ended.metric("service_p50_us") <= 95_000
    assert any("does not keep up" in warning for warning in ended.document["warnings"])


@again_after_a_stall(0.03)
def test_a_rate_that_it_can(bench: Bench, simulator_url: str) -> None:
    ended = bench(simulator_url, "--model", "sim/ttft=10", "--rate", "100", "--duration", "1s")
    assert ended.metric("requests") == 100
    assert 75 <= ended.metric("rps") <= 103
    assert 10_000 <= ended.metric("p50_us") <= 50_000
    assert ended.metric("p50_us") >= ended.metric("service_p50_us")
