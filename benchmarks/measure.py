"""One run after another: which target when, and what is read around each run."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks import processes
from benchmarks.client import Client, Load
from benchmarks.scenarios import Scenario
from benchmarks.targets import Target

SETTLE_SECONDS = 0.5
"""Work that a gateway puts off, such as writing usage records, is waited for and counted."""


@dataclass(frozen=True)
class Sample:
    """One run of one scenario against one target."""

    load: Load
    cpu_us: float | None
    """CPU time of the target's process tree, warm-up excluded."""
    rss_mb: float | None
    """Highest resident memory seen under load."""


class Memory:
    """Keeps the highest resident memory of a target."""

    def __init__(self, target: Target) -> None:
        self._pid = target.pid
        self.highest: float | None = None
        self.sample()

    def sample(self) -> None:
        """Looks again."""
        if self._pid is not None:
            self.highest = max(self.highest or 0.0, processes.rss_mb(self._pid))


def run_once(client: Client, scenario: Scenario, target: Target, *, quick: bool) -> Sample:
    """Warm-up, then the load with CPU time and memory read around it."""
    timeout = scenario.timeout(quick)
    client.run(scenario.options(target, quick, warmup=True), timeout, lambda: None)
    if target.pid is None:
        return Sample(client.run(scenario.options(target, quick), timeout, lambda: None), None, None)
    memory = Memory(target)
    before = processes.cpu(target.pid)
    load = client.run(scenario.options(target, quick), timeout, memory.sample)
    memory.sample()
    time.sleep(SETTLE_SECONDS)
    used = processes.cpu(target.pid).used_since(before)
    return Sample(load, used, memory.highest)


Samples = dict[tuple[str, str], list[Sample]]
"""By scenario name and target label; one sample per round."""


def run_all(
    client: Client, scenarios: Sequence[Scenario], targets: Sequence[Target], rounds: int, *, quick: bool
) -> Samples:
    """All scenarios; within one, the targets take turns (A B C, A B C, ...), so that a machine that slows
    down slows all of them."""
    samples: Samples = {}
    for scenario in scenarios:
        for number in range(rounds):
            for target in targets:
                sample = run_once(client, scenario, target, quick=quick)
                samples.setdefault((scenario.name, target.label), []).append(sample)
                load = sample.load
                failed = f", {load.errors} errors {load.errors_by_kind}" if load.errors else ""
                print(
                    f"  {scenario.name} {number + 1}/{rounds} {target.label}: {load.rps:,.0f} requests/s,"
                    f" p50 {load.p50_us:,.0f} us, p99 {load.p99_us:,.0f} us{failed}",
                    flush=True,
                )
    return samples
