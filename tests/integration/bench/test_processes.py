"""CPU and memory of named processes are what those processes know of themselves."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from penstock.bench import processes
from tests.integration.bench.conftest import Bench
from tests.rig import Sim, until
from tests.stalls import again_after_a_stall

pytestmark = pytest.mark.skipif(not processes.available(), reason="reads Linux's /proc")

BURN = """
import os, sys, threading, time

share, child, megabytes = float(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3])
ballast = bytes(megabytes * 1_000_000) and bytearray(os.urandom(1000) * (megabytes * 1000))
if child:
    import subprocess
    subprocess.Popen([sys.executable, __file__, str(child), "0", "0"], stdout=subprocess.DEVNULL)
print(flush=True)
began, used = time.monotonic(), time.process_time()
while os.getppid() != 1:
    # What it was kept from doing is caught up with.
    while time.process_time() - used < share * (time.monotonic() - began):
        pass
    time.sleep(0.004)
"""


@pytest.fixture
def burner(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[int]:
    """The id of a process that uses a known share of a core, with a child that uses another."""
    path = tmp_path_factory.mktemp("burner") / "burner.py"
    path.write_text(BURN, encoding="utf-8")
    process = subprocess.Popen([sys.executable, str(path), *request.param], stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    yield process.pid
    for pid in reversed(processes.tree(process.pid)):
        subprocess.run(["kill", "-9", str(pid)], check=False, capture_output=True)
    process.communicate()


@pytest.mark.parametrize(
    "burner", [("0.25", "0", "0"), ("0.1", "0.2", "0")], ids=["alone", "with a child"], indirect=True
)
@again_after_a_stall(0.1)
def test_a_known_share_of_a_core(bench: Bench, simulator_url: str, burner: int, request: pytest.FixtureRequest) -> None:
    share = sum(float(part) for part in request.node.callspec.params["burner"][:2])
    arguments = ["--model", "sim/ttft=20", "--duration", "2s", "--process", str(burner)]
    ended = bench(simulator_url, *arguments)
    use = {name: metric["median"] for name, metric in ended.row()["processes"][str(burner)].items()}
    # The time that the run is read over is up to a second longer than the run.
    seconds = use["cores"] / share * ended.metric("elapsed_s")
    assert 1.9 <= seconds <= 4.0
    assert use["cpu_us_per_request"] * ended.metric("requests") == pytest.approx(
        use["cores"] * ended.metric("elapsed_s") * 1e6, rel=0.01
    )


@pytest.mark.parametrize("burner", [("0", "0", "80")], indirect=True)
def test_memory(bench: Bench, simulator_url: str, burner: int) -> None:
    ended = bench(simulator_url, "--model", "sim/tokens=4", "--requests", "50", "--process", str(burner))
    use = {name: metric["median"] for name, metric in ended.row()["processes"][str(burner)].items()}
    for name in ("rss_idle_mb", "rss_peak_mb", "rss_after_mb"):
        assert 80 <= use[name] <= 130, use


@pytest.mark.parametrize("burner", [("0.05", "0", "0")], indirect=True)
def test_processes_belong_to_their_target(bench: Bench, simulator_url: str, burner: int) -> None:
    arguments = ["--model", "sim/tokens=4", "--requests", "20", "--rounds", "1", "--process", f"other={burner}"]
    ended = bench(simulator_url, *arguments, "--compare", f"other={simulator_url}")
    assert ended.row("target")["processes"] == {}
    assert list(ended.row("other")["processes"]) == [str(burner)]


def test_a_process_that_ends_in_between_costs_only_its_own_numbers(bench: Bench, simulator_url: str, sim: Sim) -> None:
    since = sim.mark()
    with (
        subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as brief,
        ThreadPoolExecutor(1) as pool,
    ):
        arguments = ["--model", "sim/tokens=4", "--duration", "1500ms", "--rounds", "2", "--process", str(brief.pid)]
        running = pool.submit(bench, simulator_url, *arguments)
        # More than the tool's first look and what it warms up with.
        until(lambda: running.done() or sim.mark() > since + 20, "calls are measured", 60)
        brief.kill()
        ended = running.result()
    assert ended.row()["rounds"] == 2
    assert ended.metric("requests") > 100
    assert any("ended while it was measured" in warning for warning in ended.document["warnings"])
