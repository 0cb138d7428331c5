"""The benchmark as a whole, too short to mean anything: what it starts it measures, proves and stops."""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from penstock.bench.processes import PROC, available, is_running

ROOT = Path(__file__).resolve().parents[2]
LOADS = "unary_c1,unary_c32,sse_c16,grpc_unary_c1,grpc_unary_c32,grpc_stream_c16"
pytestmark = pytest.mark.skipif(not available(), reason="reads Linux's /proc")


class Run:
    """A benchmark whose processes, and theirs, can be told from all others."""

    def __init__(self, results: Path, *arguments: str) -> None:
        self._mark = f"BENCHMARK_OF_TEST={secrets.token_hex(8)}"
        name, _, value = self._mark.partition("=")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks", "--quick", "--results", str(results), *arguments],
            cwd=ROOT,
            env={**os.environ, name: value},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def processes(self) -> list[int]:
        """Those that it or its descendants have started, and that run."""
        found = []
        for entry in PROC.iterdir():
            with suppress(OSError):
                if entry.name.isdigit() and self._mark.encode() in (entry / "environ").read_bytes().split(b"\0"):
                    found.append(int(entry.name))
        return [pid for pid in found if is_running(pid)]

    def output_until(self, word: str) -> str:
        """What it says, up to a line with this word."""
        assert self.process.stdout is not None
        said = ""
        for line in self.process.stdout:
            said += line
            if word in line:
                break
        return said


@pytest.fixture
def running() -> Iterator[list[Run]]:
    runs: list[Run] = []
    yield runs
    for run in runs:
        run.process.kill()
        run.process.wait()
        for pid in run.processes():
            os.kill(pid, signal.SIGKILL)


@pytest.mark.slow
@pytest.mark.timeout(500)
def test_a_quick_run_measures_what_it_was_asked_for(tmp_path: Path, running: list[Run]) -> None:
    run = Run(
        tmp_path,
        *("--rounds", "1", "--targets", "direct,penstock,penstock-off"),
        *("--scenarios", f"{LOADS},starts,token_count,many_streams,grpc_many_streams,state_growth"),
    )
    running.append(run)
    said, _ = run.process.communicate(timeout=440)
    assert run.process.returncode == 0, said
    assert run.processes() == []

    document: dict[str, Any] = json.loads((tmp_path / "results" / "latest.json").read_text())
    rows = {(row["scenario"], row["target"], row["features"]): row for row in document["rows"]}
    on, off = (rows["unary_c32", "penstock", features] for features in ("on", "off"))
    for row in (on, off):
        assert row["errors"] == 0
        assert row["rps"] > 0
        assert row["cpu_us_per_request"] > 0
        assert row["added_p50_us"] == pytest.approx(row["p50_us"] - rows["unary_c32", "direct", "-"]["p50_us"], abs=0.2)
        assert row["client_cpu_us_per_request"] > 0
        assert 0 < row["files_mb"] < row["rss_mb"]
    assert rows["sse_c16", "penstock", "on"]["cpu_us_per_frame"] > 0
    assert ("sse_c16", "penstock", "off") not in rows
    streams = {s["target"]: s for s in document["experiments"]["many_streams"]}["penstock (native)"]
    assert (streams["complete"], streams["failed"]) == (streams["streams"], 0)
    (streams,) = document["experiments"]["grpc_many_streams"]
    assert (streams["complete"], streams["failed"], streams["streams"]) == (50, 0, 50)

    rpc = rows["grpc_unary_c1", "penstock", "on"]
    assert rpc["added_p50_us"] == pytest.approx(rpc["p50_us"] - rows["unary_c1", "direct", "-"]["p50_us"], abs=0.2)
    for scenario in ("grpc_unary_c1", "grpc_unary_c32", "grpc_stream_c16"):
        assert rows[scenario, "penstock", "on"]["errors"] == 0
        assert [target for name, target, _ in rows if name == scenario] == ["penstock"]
    assert rows["grpc_stream_c16", "penstock", "on"]["cpu_us_per_frame"] > 0

    growth = document["experiments"]["state_growth"]
    assert (growth["keys_stored"], growth["keys_in_memory"], growth["deployments"]) == (2_000, 500, 1_000)
    for traffic in growth["traffic"]:
        assert min(traffic["cpu_us_per_request"] + traffic["baseline_us_per_request"]) > 0

    goals = {goal["measure"]: goal for goal in document["goals"]}
    assert goals["throughput at 32 connections, to smg's"]["measured"] == ""
    assert goals["CPU per unary gRPC call, to REST's"]["measured"].endswith(" us)")
    over = goals["CPU per request, features on, over features off"]
    assert over["measured"].endswith(" us")
    assert (over["met"], over["reason"]) == (None, "1 of 5 rounds")
    text = (tmp_path / "RESULTS.md").read_text()
    assert "## Goals" in text
    assert str(tmp_path) not in text
    assert str(ROOT) not in text


@pytest.mark.slow
@pytest.mark.timeout(500)
def test_a_quick_run_with_postgres_and_redis(tmp_path: Path, running: list[Run]) -> None:
    what = ("--targets", "direct,penstock-shared", "--scenarios", "unary_c1,coworker")
    run = Run(tmp_path, "--rounds", "1", *what)
    running.append(run)
    said, _ = run.process.communicate(timeout=440)
    assert run.process.returncode == 0, said
    assert run.processes() == []
    document: dict[str, Any] = json.loads((tmp_path / "results" / "latest.json").read_text())
    (row,) = (row for row in document["rows"] if (row["scenario"], row["target"]) == ("unary_c1", "penstock"))
    assert (row["listener"], row["errors"]) == ("native, PostgreSQL and Redis", 0)
    assert row["cpu_us_per_request"] > 0
    written = document["experiments"]["coworker"]
    assert [one["keys"] for one in written] == [10, 20_000]
    assert all(one["records_per_s"] > 0 and one["cpu_us_per_record"] > 0 for one in written)


def test_an_interrupted_run_leaves_no_process_and_no_results(tmp_path: Path, running: list[Run]) -> None:
    run = Run(tmp_path, "--rounds", "1000", "--targets", "direct,penstock", "--scenarios", "unary_c1")
    running.append(run)
    said = run.output_until("1/1000 unary_c1 penstock")
    assert len(run.processes()) >= 3, said
    run.process.terminate()
    rest, _ = run.process.communicate(timeout=60)
    assert run.process.returncode == 130, rest
    assert "interrupted (SIGTERM)" in rest
    deadline = time.perf_counter() + 20
    while run.processes() and time.perf_counter() < deadline:
        time.sleep(0.01)
    assert run.processes() == []
    assert list(tmp_path.iterdir()) == []
