"""CPU time and memory are those of the whole tree, whatever of it has ended meanwhile."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from benchmarks.processes import Process, StartError
from penstock.bench import processes

pytestmark = pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="reads Linux's /proc")

BURN = """
import os, pathlib, subprocess, sys, threading, time

def burn(seconds):
    until = time.thread_time() + seconds
    while time.thread_time() < until:
        pass

here = pathlib.Path(sys.argv[1])
while not (here / "go").exists():
    time.sleep(0.005)
before = os.times()[:4]
{work}
(here / "own").write_text(str(sum(os.times()[:4]) - sum(before)))
(here / "done").touch()
time.sleep(60)
"""

Start = Callable[[str], Process]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    started: list[Process] = []

    def begin(code: str) -> Process:
        process = Process("child", [sys.executable, "-c", code, str(tmp_path)], tmp_path / "log", None)
        started.append(process)
        return process

    yield begin
    for process in started:
        process.stop()


@pytest.mark.parametrize(
    "work",
    [
        "burn(0.3)",
        "thread = threading.Thread(target=burn, args=(0.3,)); thread.start(); thread.join()",
        "subprocess.run([sys.executable, '-c', 'import time\\nwhile time.process_time() < 0.3: pass'], check=True)",
    ],
    ids=["the main thread", "a thread that ended", "a child that ended"],
)
def test_cpu_time_of_the_tree(start: Start, tmp_path: Path, work: str) -> None:
    process = start(BURN.format(work=work))
    before = processes.cpu(process.pid)
    (tmp_path / "go").touch()
    process.wait_until((tmp_path / "done").exists, 30)
    used = processes.cpu(process.pid).used_since(before)
    # Where a host takes its cores away, that may count as time of who had them.
    own = float((tmp_path / "own").read_text()) * 1e6
    assert 280_000 <= used <= 400_000 + max(300_000, own), f"{used} us"


def test_memory_of_the_tree(start: Start, tmp_path: Path) -> None:
    inner = "import pathlib, sys, time; x = b'x' * 80_000_000; pathlib.Path(sys.argv[1]).touch(); time.sleep(60)"
    ready = tmp_path / "ready"
    process = start(f"import subprocess, sys; subprocess.run([sys.executable, '-c', {inner!r}, {str(ready)!r}])")
    process.wait_until(ready.exists, 30)
    assert len(processes.tree(process.pid)) == 2
    assert 80 <= processes.rss_mb(process.pid) <= 200


MAP = """
import mmap, pathlib, sys, time

here = pathlib.Path(sys.argv[1])
(here / "ready").touch()
while not (here / "go").exists():
    time.sleep(0.005)
(here / "file").write_bytes(bytes(40_000_000))
with (here / "file").open("r+b") as file:
    mapped = mmap.mmap(file.fileno(), 0)
for at in range(0, 40_000_000, 4096):
    mapped[at] = 1
(here / "done").touch()
time.sleep(60)
"""


def test_pages_of_mapped_files_are_told_from_the_rest(start: Start, tmp_path: Path) -> None:
    process = start(MAP)
    process.wait_until((tmp_path / "ready").exists, 30)
    peak, before = processes.Peak(process.pid), processes.files_mb(process.pid)
    assert 0 < before < processes.rss_mb(process.pid)
    (tmp_path / "go").touch()
    process.wait_until((tmp_path / "done").exists, 30)
    peak.look()
    assert before + 39 < processes.files_mb(process.pid) < before + 45
    assert before + 39 < peak.files_mb < before + 45


def test_stopping_reaches_the_children_of_the_child(start: Start, tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    ignore = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)"
    inner = f"{ignore}; import pathlib, sys, time; pathlib.Path(sys.argv[1]).touch(); time.sleep(60)"
    process = start(f"import subprocess, sys; subprocess.run([sys.executable, '-c', {inner!r}, {str(ready)!r}])")
    process.wait_until(ready.exists, 30)
    members = processes.tree(process.pid)
    process.stop()
    assert len(members) == 2
    for pid in members:
        state = processes.PROC / str(pid) / "stat"
        assert not state.exists() or state.read_text().rpartition(")")[2].split()[0] in "ZX"


def test_a_process_that_ends_early_is_reported_with_its_log(start: Start) -> None:
    process = start("print('the reason'); raise SystemExit(3)")
    with pytest.raises(StartError, match=r"status 3\n    the reason"):
        process.wait_until(lambda: False, 30)


def test_children_run_on_the_chosen_cores(tmp_path: Path) -> None:
    before = os.sched_getaffinity(0)
    one = frozenset([min(before)])
    with processes.on_cores(one):
        assert os.sched_getaffinity(0) == one
    assert os.sched_getaffinity(0) == before


HOLD = """
import pathlib, sys, time

here = pathlib.Path(sys.argv[1])
(here / "ready").touch()
while not (here / "go").exists():
    time.sleep(0.005)
held = bytearray(b"x") * 80_000_000
del held
(here / "done").touch()
time.sleep(60)
"""


def test_a_peak_between_two_looks_is_seen(start: Start, tmp_path: Path) -> None:
    process = start(HOLD)
    process.wait_until((tmp_path / "ready").exists, 30)
    before, peak = processes.rss_mb(process.pid), processes.Peak(process.pid)
    (tmp_path / "go").touch()
    process.wait_until((tmp_path / "done").exists, 30)
    assert processes.rss_mb(process.pid) < before + 40
    peak.look()
    assert before + 70 < peak.highest_mb < before + 110


def test_a_peak_from_before_does_not_count(start: Start, tmp_path: Path) -> None:
    process = start(HOLD)
    (tmp_path / "go").touch()
    process.wait_until((tmp_path / "done").exists, 30)
    peak = processes.Peak(process.pid)
    peak.look()
    assert peak.highest_mb < 70
