"""The command: what it writes, what it ends with, and that it keeps secrets."""

from __future__ import annotations

import json
import os
import pty
import signal
import socket
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from penstock.bench import processes
from tests.conftest import Gateway
from tests.integration.bench.conftest import Bench, command, environment
from tests.integration.listener.certificates import Authority, needs_openssl
from tests.rig import Sim, until
from tests.stalls import Stopwatch, again_after_a_stall

KEY = "sk-bench-3f9ac1d07e"


def test_files_and_charts(bench: Bench, simulator_url: str, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    arguments = ["--model", "sim/tokens=4,tps=500", "--stream", "--connections", "1,2", "--requests", "20"]
    ended = bench(simulator_url, *arguments, "--output", "out/deep", "--format", "markdown")
    folder = tmp_path / "out" / "deep"
    names = {path.name for path in folder.iterdir()}
    assert {"results.json", "results.md", "latency-c1.png", "ttft-c2.png", "sweep-connections-p99.png"} <= names
    assert all((folder / name).read_bytes().startswith(b"\x89PNG") for name in names if name.endswith(".png"))
    assert ended.out.startswith("# Benchmark\n")
    assert "## 2 connections" in ended.out
    assert json.loads((folder / "results.json").read_bytes())["rows"][1]["metrics"]["requests"]["median"] == 20


@pytest.mark.parametrize(
    "conditions, status, verdicts",
    [
        (["p50_ms>200", "error_rate>0", "rps<1"], 0, [False, False, False]),
        (["p50_ms>10"], 3, [True]),
        (["p50_ms>200", "requests<21"], 3, [False, True]),
        (["cpu_us_per_request>1e9"], 3, [True]),
    ],
)
def test_thresholds_decide_the_status(
    bench: Bench, simulator_url: str, conditions: list[str], status: int, verdicts: list[bool]
) -> None:
    asked = [part for condition in conditions for part in ("--fail-on", condition)]
    ended = bench(simulator_url, "--model", "sim/ttft=20", "--requests", "20", *asked, status=status)
    assert [one["failed"] for one in ended.document["thresholds"]] == verdicts


@pytest.mark.timeout(500)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@again_after_a_stall(0.03)
def test_what_was_measured_before_an_interrupt_is_kept(
    simulator_url: str, sim: Sim, tmp_path: Path, number: signal.Signals
) -> None:
    since = sim.mark()
    arguments = ["--model", "sim/ttft=5", "--duration", "60s", "--rounds", "3", "--output", "out", "--format", "json"]
    tool = subprocess.Popen(
        command(simulator_url, *arguments, "--connections", "2"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
        env=environment(),
    )
    # Warmed up, and then some.
    until(lambda: sim.mark() > since + 800, "calls are measured", 40)
    watch = Stopwatch()
    tool.send_signal(number)
    out, err = tool.communicate(timeout=20)
    assert watch.ran_s < 5
    assert tool.returncode == 130, err
    document = json.loads(out)
    assert document["partial"]
    (row,) = document["rows"]
    assert row["stopped"]
    assert row["errors_by_kind"] == {}
    assert row["metrics"]["requests"]["median"] >= 20
    assert 5_000 <= row["metrics"]["p50_us"]["median"] <= 40_000
    assert json.loads((tmp_path / "out" / "results.json").read_bytes()) == document
    assert "PARTIAL" in (tmp_path / "out" / "results.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("after_s", [0.25, 0.35, 0.45, 0.6])
def test_an_interrupt_before_anything_was_measured(tmp_path: Path, after_s: float) -> None:
    # It accepts connections and says nothing.
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/v1"
        with subprocess.Popen(
            command(url, "--model", "m", "--format", "json"),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=tmp_path,
            env=environment(),
        ) as tool:
            _until_handled(tool.pid)
            threading.Event().wait(after_s - 0.25)
            tool.send_signal(signal.SIGINT)
            out, err = tool.communicate(timeout=20)
    assert tool.returncode == 130, err
    assert json.loads(out)["rows"] == []
    assert json.loads(out)["partial"]


def _until_handled(pid: int) -> None:
    """Until the process has a handler for SIGINT of the tool's own, which is so once it has a child."""
    until(lambda: processes.tree(pid)[1:], "the load generator")


def test_a_load_generator_does_not_outlive_the_tool(simulator_url: str, tmp_path: Path) -> None:
    arguments = ["--model", "sim/ttft=5", "--duration", "60s", "--warmup", "0"]
    with subprocess.Popen(
        command(simulator_url, *arguments), stdout=subprocess.DEVNULL, cwd=tmp_path, env=environment()
    ) as tool:
        child = until(lambda: processes.tree(tool.pid)[1:], "the load generator")[0]
        # Let it begin: the first look is a load generator, too, and ends by itself.
        threading.Event().wait(1.5)
        child = until(lambda: processes.tree(tool.pid)[1:], "the load generator")[0]
        tool.kill()
    until(lambda: not processes.is_running(child), "its end")


@pytest.mark.parametrize(
    "arguments, status, names",
    [
        (["--model", "m", "--connections", "0"], 2, "--connections"),
        (["--model", "m", "--rate", "x"], 2, "--rate"),
        (["--model", "m", "--fail-on", "p99>1"], 2, "--fail-on"),
        (["--model", "m", "--surface", "grpc"], 2, "--surface"),
        (["--model", "m", "--threads", "0"], 2, "--threads"),
        (["--model", "m", "--key-env", "ABSENT"], 2, "--key-env"),
        (["--model", "m", "--body", "absent.json"], 2, "--body"),
        (["--model", "m", "--body-bytes", "10", "--requests", "1"], 2, "--body-bytes"),
        ([], 2, "--model"),
        (["--model", "sim/status=401"], 1, "--key-file"),
        (["--model", "sim/status=404"], 1, "--model"),
        (["--model", "sim/tokens=many"], 1, "tokens"),
    ],
)
def test_mistakes_are_named(bench: Bench, simulator_url: str, arguments: list[str], status: int, names: str) -> None:
    ended = bench(simulator_url, *arguments, status=status)
    assert names in ended.err
    assert "Traceback" not in ended.err
    assert not ended.out


def test_a_target_that_is_not_there(bench: Bench, simulator_url: str) -> None:
    ended = bench("http://127.0.0.1:1", "--model", "m", status=1)
    assert "cannot connect" in ended.err
    assert "is the gateway running" in ended.err
    wrong = bench(simulator_url.replace("http:", "https:"), "--model", "m", status=1)
    assert "TLS handshake" in wrong.err


def test_the_key_arrives_and_is_shown_nowhere(
    bench: Bench, start_gateway: Callable[..., Gateway], tmp_path: Path
) -> None:
    gateway = start_gateway()
    key = gateway.new_key()
    (tmp_path / "key").write_text(key, encoding="utf-8")
    arguments = [f"{gateway.url}/v1", "--model", "demo", "--requests", "10", "--output", "out"]
    for given, variables in (
        (["--key-file", "key"], None),
        (["--key", key], None),
        (["--key-env", "MINE"], {"MINE": key}),
        ([], {"PENSTOCK_BENCH_KEY": key}),
    ):
        ended = bench(*arguments, *given, "--process", str(gateway.pid), variables=variables)
        assert ended.metric("requests") == 10
        assert ended.metric("cpu_us_per_request") > 0
        written = b"".join(path.read_bytes() for path in (tmp_path / "out").iterdir())
        assert key not in ended.out + ended.err
        assert key.encode() not in written
    refused = bench(*arguments, "--key", KEY, status=1)
    assert "401" in refused.err
    assert KEY not in refused.err + refused.out


def test_a_key_in_the_url_is_shown_nowhere(bench: Bench, simulator_url: str, tmp_path: Path) -> None:
    query = f"/v1/chat/completions?api-version=2024-06-01&api-key={KEY}"
    ended = bench(f"{simulator_url}{query}", "--model", "sim", "--requests", "5", "--output", "out")
    assert ended.document["targets"]["target"].endswith("?api-version=2024-06-01&api-key=********")
    written = b"".join(path.read_bytes() for path in (tmp_path / "out").iterdir())
    assert KEY not in ended.out + ended.err
    assert KEY.encode() not in written
    refused = bench(f"http://127.0.0.1:1{query}", "--model", "sim", status=1)
    assert "api-key=********" in refused.err
    assert KEY not in refused.err + refused.out


def test_a_folder_that_cannot_be_written_is_told_at_once(bench: Bench, simulator_url: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    refused = bench(simulator_url, "--model", "sim", "--duration", "60s", "--output", "file/out", status=2)
    assert "--output: file/out" in refused.err


def test_an_answer_that_quotes_the_key_is_masked(bench: Bench, simulator_url: str) -> None:
    import base64
    import secrets
    import urllib.request

    name = f"quote-{secrets.token_hex(6)}"
    body = base64.b64encode(json.dumps({"error": {"message": f"key {KEY} may not"}}).encode()).decode()
    recording = {"status": 500, "content_type": "application/json", "body_base64": body}
    request = urllib.request.Request(
        f"{simulator_url}/_sim/replay/{name}", json.dumps(recording).encode(), method="PUT"
    )
    urllib.request.urlopen(request, timeout=10).close()
    ended = bench(simulator_url, "--model", f"replay/{name}", "--key", KEY, "--requests", "3", status=1)
    assert ended.row()["first_error"] == "status_500: key ******** may not"
    assert KEY not in ended.out + ended.err


def test_tls_with_a_ca_of_ones_own(bench: Bench, start_gateway: Callable[..., Gateway], tmp_path: Path) -> None:
    needs_openssl()
    authority = Authority(tmp_path)
    certificate, key = authority.issue("server")
    config = f"penstock: {{listener: {{tls: {{certificate: {certificate}, key: {key}}}}}}}"
    gateway = start_gateway(config=config)
    arguments = [f"{gateway.url}/v1", "--model", "demo", "--key", gateway.admin_key, "--requests", "40"]
    assert gateway.url.startswith("https://")
    trusted = bench(*arguments, "--ca-file", str(authority.certificate), "--connections", "4", "--threads", "2")
    assert (trusted.metric("requests"), trusted.metric("errors"), trusted.metric("reconnects")) == (40, 0, 0)
    assert bench(*arguments, "--insecure").metric("requests") == 40
    streamed = bench(*arguments, "--insecure", "--stream", "--check-usage", "--check-order", "numbered")
    assert (streamed.metric("requests"), streamed.row()["errors_by_kind"]) == (40, {})

    unknown = bench(*arguments, status=1)
    assert "TLS handshake failed" in unknown.err
    assert "--ca-file" in unknown.err
    other = Authority(tmp_path, "another-ca")
    assert "TLS handshake failed" in bench(*arguments, "--ca-file", str(other.certificate), status=1).err
    empty = tmp_path / "empty.pem"
    empty.write_text("", encoding="utf-8")
    assert "--ca-file" in bench(*arguments, "--ca-file", str(empty), status=2).err


def test_a_terminal_sees_where_the_tool_is(simulator_url: str, tmp_path: Path) -> None:
    arguments = ["--model", "sim/ttft=5", "--duration", "1500ms", "--format", "json"]
    parent, child = pty.openpty()
    with subprocess.Popen(
        command(simulator_url, *arguments), stdout=subprocess.PIPE, stderr=child, cwd=tmp_path, env=environment()
    ) as tool:
        os.close(child)
        shown = _read_all(parent)
        assert tool.stdout is not None
        document: dict[str, Any] = json.loads(tool.stdout.read())
    assert document["rows"][0]["errors_by_kind"] == {}
    assert "[1/1] target: 1 connection, warming up" in shown
    assert " answered" in shown
    # What was there is wiped away.
    assert shown.rstrip("\r").endswith(" ")


def _read_all(descriptor: int) -> str:
    said = b""
    try:
        while piece := os.read(descriptor, 4096):
            said += piece
    except OSError:
        # The other end of a terminal is gone.
        pass
    finally:
        os.close(descriptor)
    return said.decode(errors="replace")


def test_the_help_names_everything(bench: Bench) -> None:
    ended = bench("--help", "--format", "text")
    for heading in ("What to ask", "How much", "What to expect of streams", "Comparing", "What to tell"):
        assert f"\n{heading}:" in ended.out
    assert "Exit status: 0 measured" in ended.out
    assert all(len(line) <= 112 for line in ended.out.splitlines())
