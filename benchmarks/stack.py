"""The processes of one run: what is started, what becomes of what cannot be, and that all of it is stopped."""

from __future__ import annotations

import contextlib
import shlex
import subprocess
import sys
from pathlib import Path

from benchmarks import nginx, processes, servers
from benchmarks.gateway import BUSY_POLL_US, FeatureError, Gateway
from benchmarks.measure import Samples
from benchmarks.processes import Cores, Process, StartError
from benchmarks.targets import NotMeasured, Target, chat_url
from penstock.bench.processes import rss_mb

SHARED = "penstock-shared"
OURS = ("direct", "nginx", "penstock", "penstock-off", "penstock-busy", "penstock-granian", SHARED)
ONLY_FULL = frozenset({SHARED})
"""Wants servers beside it; part of a normal run when it is asked for by name."""
GATEWAYS = {
    "penstock": ("native", True, 0),
    "penstock-off": ("native", False, 0),
    "penstock-busy": ("native", True, BUSY_POLL_US),
    "penstock-granian": ("granian", True, 0),
    SHARED: ("native", True, 0),
}
"""Listener, whether features are on, and microseconds of busy polling."""


def start_simulator(command: str | None, folder: Path, cores: frozenset[int] | None) -> tuple[int, Process]:
    """Starts the upstream and returns its port."""
    port = processes.free_port()
    if command is None:
        program = [sys.executable, "-c", "from penstock.cli import main; main()", "simulate", "--port", str(port)]
    else:
        program = shlex.split(command.replace("{port}", str(port)))
    process = Process("simulator", program, folder / "simulator.log", cores)
    try:
        process.wait_until(lambda: processes.accepts(port), 20)
    except BaseException:
        process.stop()
        raise
    return port, process


class Stack:
    """What is measured in every round."""

    def __init__(self, folder: Path, upstream: int, cores: Cores, cleanup: contextlib.ExitStack) -> None:
        self._folder, self._upstream, self._cores, self._cleanup = folder, upstream, cores, cleanup
        self.targets: list[Target] = []
        self.gateways: list[tuple[str, Gateway]] = []
        self.not_measured: list[str] = []
        self.failed = False
        """Something of this repository's own did not come up."""

    def add(self, name: str) -> None:
        """Starts a target; one that cannot be measured is reported, and the others go on."""
        try:
            self.targets.append(self._start(name))
        except NotMeasured as e:
            self.skip(name, str(e))
        except (StartError, FeatureError) as e:
            self.failed = self.failed or name in OURS
            self.skip(name, str(e))
        except (OSError, subprocess.SubprocessError) as e:
            if name in OURS:
                raise
            self.skip(name, f"{type(e).__name__}: {e}")

    def _start(self, name: str) -> Target:
        core = self._cores.gateway
        if name == "direct":
            return Target("direct", chat_url(self._upstream), chat_url(self._upstream))
        if name in GATEWAYS:
            listener, features, busy = GATEWAYS[name]
            shared = None
            if name == SHARED:
                beside = servers.start(self._cores)
                self._cleanup.callback(beside.close)
                shared = beside.environment()
            gateway = Gateway(
                self._folder / name,
                self._upstream,
                core,
                listener=listener,
                features=features,
                busy_poll_us=busy,
                shared=shared,
            )
            self._cleanup.callback(gateway.stop)
            target = gateway.target()
            self.gateways.append((target.label, gateway))
            return target
        if name == "nginx":
            target, process = nginx.start(nginx.find(), self._folder / name, self._upstream, core)
        else:
            from benchmarks import peers

            target, process = peers.start(name, self._folder / name, self._upstream, core)
        self._cleanup.callback(process.stop)
        return target

    def skip(self, name: str, reason: str) -> None:
        """Says why something is not measured."""
        print(f"NOT MEASURED: {name}: {reason}", flush=True)
        self.not_measured.append(f"{name}: {reason.splitlines()[0]}")

    def drop(self, target: Target, reason: str) -> None:
        """Says why a target is measured no further; what this repository's own cannot do is a failure of the run."""
        self.failed = self.failed or target.name in OURS
        self.gateways = [(label, gateway) for label, gateway in self.gateways if label != target.label]
        self.skip(target.label, reason)

    def rss(self) -> dict[str, float]:
        """Resident memory of every target that has processes, in megabytes."""
        return {t.label: rss_mb(t.pid) for t in self.targets if t.pid is not None}

    def prove_accounting(self, samples: Samples) -> dict[str, str]:
        """Every gateway that was measured to the end has recorded its load; what was found, by target label.

        Raises:
            FeatureError: one has not.
        """
        failures = {
            label: sum(s.report.errors for (_, of), runs in samples.items() if of == label for s in runs)
            for label, _ in self.gateways
        }
        return {label: gateway.prove_accounting(failures=failures[label]) for label, gateway in self.gateways}
