"""Starting processes on chosen cores and stopping every one of them.

What processes use is read by :mod:`penstock.bench.processes`; starting them is the benchmark's own business.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from penstock.bench.processes import is_running, on_cores, tree

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
        while any(is_running(pid) for pid in members) and time.perf_counter() < deadline:
            time.sleep(0.005)
