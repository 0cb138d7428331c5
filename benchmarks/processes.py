"""Starting processes on chosen cores, reading what they use, and stopping every one of them.

CPU time is that of a process and all its descendants, threads included: a gateway that moves work
into a helper process still pays for it here.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
TICK_NS = 1_000_000_000 // os.sysconf("SC_CLK_TCK")
STOP_SECONDS = 10.0


class StartError(Exception):
    """A process did not come up; the message has the end of its log."""


@dataclass(frozen=True)
class Cores:
    """Which cores the measured process and the load (client and upstream) run on; None: wherever they like."""

    gateway: frozenset[int] | None
    load: frozenset[int] | None

    @classmethod
    def choose(cls) -> Cores:
        """The first core for the gateway, the second for the load; no pinning below two cores."""
        usable = sorted(os.sched_getaffinity(0))
        if len(usable) < 2:
            return cls(None, None)
        return cls(frozenset(usable[:1]), frozenset(usable[1:2]))


@contextlib.contextmanager
def on_cores(cores: frozenset[int] | None) -> Iterator[None]:
    """Processes started inside run on these cores (they inherit the starter's)."""
    if cores is None:
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def free_port() -> int:
    """A TCP port of the loopback interface that was free a moment ago."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
    return port


def accepts(port: int) -> bool:
    """Whether something listens on this port of the loopback interface."""
    with socket.socket() as probe:
        probe.settimeout(1.0)
        return probe.connect_ex(("127.0.0.1", port)) == 0


class Process:
    """A child in a session of its own, so that stopping it reaches its children and Ctrl-C does not."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        log: Path,
        cores: frozenset[int] | None,
        env: Mapping[str, str] | None = None,
    ) -> None:
        self.name = name
        self.log = log
        self.started = time.perf_counter()
        with on_cores(cores), log.open("wb") as out:
            self._child = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=env, start_new_session=True
            )

    @property
    def pid(self) -> int:
        """The process id of the child itself."""
        return self._child.pid

    def wait_until(self, ready: Callable[[], bool], seconds: float) -> float:
        """Polls until ``ready`` and returns the seconds since the start.

        Raises:
            StartError: the process ended, or was not ready in time.
        """
        while not ready():
            waited = time.perf_counter() - self.started
            if self._child.poll() is not None:
                raise StartError(f"{self.name} ended with status {self._child.returncode}\n{self.log_tail()}")
            if waited > seconds:
                raise StartError(f"{self.name} was not ready after {seconds:.0f} s\n{self.log_tail()}")
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._child.wait(0.005)
        return time.perf_counter() - self.started

    def log_tail(self) -> str:
        """The last lines the process wrote."""
        lines = self.log.read_text(errors="replace").splitlines()
        return "\n".join(f"    {line}" for line in lines[-15:])

    def stop(self) -> None:
        """SIGTERM to the child, then SIGKILL to what is left of its session; waits until all of it has ended."""
        members = tree(self._child.pid)
        if self._child.poll() is None:
            self._child.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._child.wait(STOP_SECONDS)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._child.pid, signal.SIGKILL)
        self._child.wait()
        deadline = time.perf_counter() + STOP_SECONDS
        while any(_runs(pid) for pid in members) and time.perf_counter() < deadline:
            time.sleep(0.005)


@dataclass(frozen=True)
class CpuSample:
    """CPU time that a tree of processes has used so far, in nanoseconds."""

    threads: Mapping[tuple[int, int], int]
    """By process and thread, as the scheduler counts it; what a thread used goes with it when it ends."""
    coarse: int
    """Of all processes and their ended children, ended threads included, in hundredths of a second."""
    processes: int

    def used_since(self, before: CpuSample) -> float:
        """Microseconds between two samples: exact, unless threads or processes that used much have ended meanwhile."""
        exact = sum(used - before.threads.get(thread, 0) for thread, used in self.threads.items())
        coarse = self.coarse - before.coarse
        # User and system time of each process are rounded down to a tick.
        agree = abs(exact - coarse) <= 2 * TICK_NS * max(self.processes, before.processes)
        return (exact if agree else coarse) / 1_000


def tree(pid: int) -> list[int]:
    """The process and all its descendants."""
    parents: dict[int, int] = {}
    for entry in PROC.iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                parents[int(entry.name)] = int(_stat(entry)[1])
    found = [pid]
    for parent in found:
        found += [child for child, of in parents.items() if of == parent]
    return found


def _runs(pid: int) -> bool:
    try:
        return _stat(PROC / str(pid))[0] not in "ZX"
    except OSError:
        return False


def _stat(process: Path) -> list[str]:
    """The fields of ``stat`` after the name, which may contain anything: state, ppid, ..."""
    return (process / "stat").read_text().rpartition(")")[2].split()


def cpu(pid: int) -> CpuSample:
    """CPU time of a process and its descendants."""
    threads: dict[tuple[int, int], int] = {}
    coarse = 0
    members = tree(pid)
    for member in members:
        process = PROC / str(member)
        with contextlib.suppress(OSError):
            coarse += sum(int(ticks) for ticks in _stat(process)[11:15]) * TICK_NS
            for task in (process / "task").iterdir():
                threads[member, int(task.name)] = int((task / "schedstat").read_text().split()[0])
    return CpuSample(threads, coarse, len(members))


def rss_mb(pid: int) -> float:
    """Resident memory of a process and its descendants, in megabytes (10^6 bytes); shared pages count in each."""
    kib = 0
    for member in tree(pid):
        with contextlib.suppress(OSError):
            for line in (PROC / str(member) / "smaps_rollup").read_text().splitlines():
                if line.startswith("Rss:"):
                    kib += int(line.split()[1])
    return kib * 1024 / 1e6
