"""The load generator as a process of its own: options on stdin, report on stdout, both JSON.

A process, so that it runs on its own core, can be interrupted at any moment, and shares neither
interpreter nor memory with what samples the gateway.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.processes import on_cores

LOOK_SECONDS = 0.3
"""How often the caller gets to look at what the load does."""


class LoadError(Exception):
    """The load generator refused its options or failed."""


@dataclass(frozen=True)
class Load:
    """What one run of the load generator measured; durations in microseconds."""

    requests: int
    errors: int
    errors_by_kind: dict[str, int]
    rps: float
    p50_us: float
    p99_us: float
    client_cpu_us: float | None
    ttft_p50_us: float | None = None
    ttft_p99_us: float | None = None
    gap_p99_us: float | None = None
    frames: int = 0

    @classmethod
    def parse(cls, text: bytes) -> Load:
        """Reads the report of ``rust_core/loadgen``."""
        report: dict[str, Any] = json.loads(text)
        stream: dict[str, Any] | None = report.get("stream")
        timing = (
            {
                "ttft_p50_us": stream["ttft_us"]["p50"],
                "ttft_p99_us": stream["ttft_us"]["p99"],
                "gap_p99_us": stream["gap_us"]["p99"],
                "frames": stream["frames"],
            }
            if stream
            else {}
        )
        return cls(
            requests=report["requests"],
            errors=report["errors"],
            errors_by_kind=report["errors_by_kind"],
            rps=report["rps"],
            p50_us=report["latency_us"]["p50"],
            p99_us=report["latency_us"]["p99"],
            client_cpu_us=report.get("client_cpu_us_per_request"),
            **timing,
        )


@dataclass(frozen=True)
class Client:
    """Runs the load generator."""

    command: Sequence[str]
    cores: frozenset[int] | None

    def run(self, options: dict[str, object], timeout: float, meanwhile: Callable[[], None]) -> Load:
        """Generates one load, calling ``meanwhile`` a few times a second.

        Raises:
            LoadError: the load generator failed or ran longer than ``timeout`` seconds.
        """
        with on_cores(self.cores):
            child = subprocess.Popen(
                self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
            )
        try:
            out, err = self._communicate(child, json.dumps(options).encode(), timeout, meanwhile)
        finally:
            child.kill()
            child.wait()
        if child.returncode != 0:
            raise LoadError(f"the load generator failed: {err.decode(errors='replace').strip()}")
        return Load.parse(out)

    @staticmethod
    def _communicate(
        child: subprocess.Popen[bytes], options: bytes, timeout: float, meanwhile: Callable[[], None]
    ) -> tuple[bytes, bytes]:
        pending: bytes | None = options
        deadline = time.perf_counter() + timeout
        while time.perf_counter() < deadline:
            try:
                return child.communicate(pending, timeout=LOOK_SECONDS)
            except subprocess.TimeoutExpired:
                pending = None
                meanwhile()
        raise LoadError(f"the load generator ran longer than {timeout:.0f} s")


def main() -> None:
    """``python -m benchmarks.client``: the load generator of the installed extension."""
    from penstock import _core

    sys.stdout.buffer.write(_core.run_load(sys.stdin.buffer.read()))


if __name__ == "__main__":
    main()
