"""One run after another: which target when, and what is read around each run."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from benchmarks.scenarios import TIMEOUT_MS, Depth, Scenario
from benchmarks.targets import Target
from penstock.bench import load
from penstock.bench.load import Client, LoadError, Options
from penstock.bench.processes import Peak, cpu
from penstock.bench.report import Report

SETTLE_SECONDS = 0.3
"""Work that a target puts off and cannot be asked about is waited for and counted."""


@dataclass(frozen=True)
class Sample:
    """One run of one scenario against one target."""

    report: Report
    cpu_us: float | None = None
    """CPU time of the target's process tree, warm-up excluded, work put off included."""
    rss_mb: float | None = None
    """Highest resident memory under load."""
    files_mb: float | None = None
    """The part of it that is pages of mapped files."""


def warm_up(options: Options) -> Report:
    """A short load from this process, which the load generator's own start would outlast.

    Raises:
        LoadError: it was refused, or not over in time.
    """
    done: list[Report | LoadError] = []

    def work() -> None:
        try:
            done.append(load.run(options))
        except LoadError as e:
            done.append(e)

    # In a thread: signals reach only an interpreter whose main thread is not inside the load generator.
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(TIMEOUT_MS / 1e3 + 10)
    if not done:
        raise LoadError("the warm-up did not end")
    if isinstance(done[0], LoadError):
        raise done[0]
    return done[0]


def run_once(client: Client, scenario: Scenario, target: Target, depth: Depth) -> Sample:
    """Warm-up, then the load with CPU time and memory read around it."""
    target.after_load(warm_up(scenario.warm(target)))
    options, timeout = scenario.options(target, depth), scenario.timeout(depth)
    if target.pid is None:
        return Sample(client.run(options, timeout=timeout))
    peak, before = Peak(target.pid), cpu(target.pid)
    report = client.run(options, timeout=timeout, meanwhile=lambda _progress: peak.look())
    peak.look()
    target.after_load(report)
    time.sleep(SETTLE_SECONDS)
    return Sample(report, cpu(target.pid).used_since(before), peak.highest_mb, peak.files_mb)


def in_turn(targets: Sequence[Target], number: int) -> list[Target]:
    """In each round another target goes first: what goes before leaves its mark on what comes after."""
    first = number % max(1, len(targets))
    return [*targets[first:], *targets[:first]]


Samples = dict[tuple[str, str], list[Sample]]
"""By scenario name and target label; one sample per round."""


def run_all(
    client: Client,
    scenarios: Sequence[Scenario],
    targets: Sequence[Target],
    rounds: int,
    depth: Depth,
    *,
    drop: Callable[[Target, str], None],
) -> Samples:
    """Round after round of all scenarios; within one the targets take turns, so that whatever else the machine does
    meets all of them and all scenarios alike. A target whose load cannot be measured is told to ``drop`` and left out
    from then on; its samples stay."""
    samples: Samples = {}
    dropped: set[str] = set()
    for number in range(rounds):
        for scenario in scenarios:
            for target in in_turn([t for t in targets if scenario.concerns(t)], number):
                if target.label in dropped:
                    continue
                try:
                    sample = run_once(client, scenario, target, depth)
                except LoadError as e:
                    dropped.add(target.label)
                    drop(target, f"round {number + 1} of {scenario.name}: {e}")
                    continue
                samples.setdefault((scenario.name, target.label), []).append(sample)
                report = sample.report
                failed = f", {report.errors} errors {report.errors_by_kind}" if report.errors else ""
                print(
                    f"  {number + 1}/{rounds} {scenario.name} {target.label}: {report.rps:,.0f} requests/s,"
                    f" p50 {report.latency_us.p50:,.0f} us, p99 {report.latency_us.p99:,.0f} us{failed}",
                    flush=True,
                )
    return samples
