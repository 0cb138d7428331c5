"""How soon a gateway serves after it was started, and what it holds when it has nothing to do.

Built, SQLite, an empty configuration, an empty data directory: what a first start is.
"""

from __future__ import annotations

import shutil
import time

import msgspec

from benchmarks.experiments import Bench
from benchmarks.gateway import launch
from penstock.bench.processes import rss_mb

STARTS = {"quick": 2, "normal": 5, "full": 7}
IDLE_SECONDS = 1.0


class Starts(msgspec.Struct, frozen=True):
    """One value per start."""

    listener: str
    ready_s: list[float]
    """From the start of the process to its first readiness."""
    idle_rss_mb: list[float]
    """A second later, without a request."""


def measure(bench: Bench) -> list[Starts]:
    """Both listeners, in turns.

    Raises:
        StartError: one did not come up.
    """
    found = {listener: Starts(listener, [], []) for listener in ("native", "granian")}
    for number in range(STARTS[bench.depth]):
        for listener, starts in found.items():
            folder = bench.folder / f"start-{listener}-{number}"
            process, _, seconds = launch(f"penstock ({listener})", {}, folder, bench.cores.gateway, listener)
            try:
                starts.ready_s.append(round(seconds, 3))
                time.sleep(0.2 if bench.depth == "quick" else IDLE_SECONDS)
                starts.idle_rss_mb.append(round(rss_mb(process.pid), 1))
            finally:
                process.stop()
            shutil.rmtree(folder)
            print(
                f"  start {number + 1}/{STARTS[bench.depth]} {listener}: ready after {seconds:.2f} s,"
                f" idle with {starts.idle_rss_mb[-1]:.0f} MB",
                flush=True,
            )
    return list(found.values())
