"""From samples to results: medians over rounds, their spread, and what a target adds to the baseline.

Metrics have one name everywhere: in `results.json`, in tables and in `--fail-on`. Durations are microseconds; the
suffix `_us` says so.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Final

import msgspec

from penstock.bench.load import Quantiles, Report
from penstock.bench.runner import ProcessUse, Sample
from penstock.bench.settings import Settings, described
from penstock.bench.wire import shown

QUANTILES: Final = ("p50", "p75", "p90", "p95", "p99", "p999", "p9999")
ADDED: Final = ("p50_us", "p90_us", "p99_us", "mean_us", "service_p50_us", "service_p99_us")
"""Of these, and of the TTFT's and the gap's, the difference to the baseline is a metric too."""
ADDED_STREAM: Final = ("ttft_p50_us", "ttft_p99_us", "gap_p50_us", "gap_p99_us")
_CLIENT_BOUND: Final = 0.9
_LATE_US: Final = 1_000.0
_BUSY: Final = 0.8


class Metric(msgspec.Struct, frozen=True):
    """One number over all rounds."""

    median: float
    min: float
    max: float


class Row(msgspec.Struct, frozen=True):
    """One target at one point."""

    target: str
    point: int
    """Index into the points of the document."""
    rounds: int
    metrics: Mapping[str, Metric]
    errors_by_kind: Mapping[str, int]
    """Over all rounds."""
    processes: Mapping[str, Mapping[str, Metric]]
    """By selector: `cpu_us_per_request`, `cores`, `rss_idle_mb`, `rss_peak_mb`, `rss_after_mb`."""
    first_error: str | None = None
    stopped: bool = False
    """It holds a run that was ended early."""


class PointSaid(msgspec.Struct, frozen=True):
    """A load, as the document names it."""

    label: str
    connections: int
    rate: float | None
    body_bytes: int | None


class Machine(msgspec.Struct, frozen=True):
    """Where the client ran."""

    system: str
    cpu: str
    cores: int
    python: str
    load_average: float
    """Over the minute before the start; other work on the machine shows here."""


class Threshold(msgspec.Struct, frozen=True):
    """One `--fail-on`, judged at one row."""

    expression: str
    target: str
    point: str
    value: float | None
    """In the unit of the expression; None: not measured."""
    failed: bool


class Document(msgspec.Struct, frozen=True):
    """`results.json`."""

    format: int
    tool: str
    started_at: str
    """ISO 8601, UTC."""
    partial: bool
    """The run was interrupted, or broke off; what is here was measured until then."""
    machine: Machine
    settings: Mapping[str, object]
    targets: Mapping[str, str]
    """URL by label, values of its query masked."""
    baseline: str | None
    points: Sequence[PointSaid]
    rows: Sequence[Row]
    warnings: Sequence[str]
    thresholds: Sequence[Threshold]
    runs: Sequence[Sample]
    """Each run as it was measured."""


def machine() -> Machine:
    """This machine, now."""
    cpu = platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text(encoding="utf-8", errors="replace").splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name":
                cpu = value.strip()
                break
    return Machine(
        system=f"{platform.system()} {platform.release()}",
        cpu=cpu,
        cores=os.cpu_count() or 1,
        python=platform.python_version(),
        load_average=round(os.getloadavg()[0], 2),
    )


def document(
    settings: Settings,
    samples: Sequence[Sample],
    *,
    started_at: str,
    partial: bool,
    where: Machine,
    judge: Callable[[Sequence[Row], Settings], Sequence[Threshold]],
    failure: str | None = None,
) -> Document:
    """Everything that was measured; ``failure``: why it is not all that was asked for."""
    from penstock import __version__

    rows = [
        row
        for point in range(len(settings.points))
        for target in settings.targets
        if (row := _row(settings, samples, target.label, point)) is not None
    ]
    return Document(
        format=1,
        tool=f"penstock bench {__version__}",
        started_at=started_at,
        partial=partial,
        machine=where,
        settings=described(settings),
        targets={target.label: shown(target.url) for target in settings.targets},
        baseline=settings.baseline,
        points=[PointSaid(p.label, p.connections, p.rate, p.body_bytes) for p in settings.points],
        rows=rows,
        warnings=[*([failure] if failure else []), *warnings(settings, samples, rows)],
        thresholds=judge(rows, settings),
        runs=samples,
    )


def _of(samples: Sequence[Sample], target: str, point: int) -> list[Sample]:
    """The runs of a row; one that was ended early only when there is no other."""
    mine = [sample for sample in samples if (sample.target, sample.point) == (target, point)]
    return [sample for sample in mine if not sample.report.stopped] or mine


def _row(settings: Settings, samples: Sequence[Sample], target: str, point: int) -> Row | None:
    mine = _of(samples, target, point)
    if not mine:
        return None
    by_run = [measured(sample.report) for sample in mine]
    if settings.baseline not in (None, target):
        floor = {sample.round: measured(sample.report) for sample in _of(samples, settings.baseline or "", point)}
        # Round by round, so that both sides of each difference saw the same machine.
        for run, sample in zip(by_run, mine, strict=True):
            base = floor.get(sample.round, {})
            run |= {
                f"added_{name}": run[name] - base[name] for name in ADDED + ADDED_STREAM if name in run and name in base
            }
    uses = [
        {selector: process_metrics(use, sample.report) for selector, use in sample.processes.items()} for sample in mine
    ]
    selectors = next(of.processes for of in settings.targets if of.label == target)
    for run, use in zip(by_run, uses, strict=True):
        # Without one of its processes the sum would be that of another gateway.
        if use and len(use) == len(selectors):
            run |= {name: sum(one[name] for one in use.values()) for name in next(iter(use.values()))}
    kinds: dict[str, int] = {}
    for sample in mine:
        for kind, count in sample.report.errors_by_kind.items():
            kinds[kind] = kinds.get(kind, 0) + count
    first = next((s.report.first_error for s in mine if s.report.first_error is not None), None)
    return Row(
        target=target,
        point=point,
        rounds=len(mine),
        metrics=_over(by_run),
        errors_by_kind=dict(sorted(kinds.items())),
        processes={
            selector: _over([use[selector] for use in uses if selector in use])
            for selector in dict.fromkeys(selector for use in uses for selector in use)
        },
        first_error=f"{first.kind}: {first.detail}" if first is not None else None,
        stopped=any(sample.report.stopped for sample in mine),
    )


def measured(report: Report) -> dict[str, float]:
    """The metrics of one run, by name. Distributions without samples are left out."""
    total = report.requests + report.errors
    found: dict[str, float] = {
        "requests": report.requests,
        "errors": report.errors,
        "error_rate": report.errors / total if total else 0.0,
        "rps": report.rps,
        "reconnects": report.reconnects,
        "elapsed_s": report.elapsed_s,
    }
    if report.elapsed_s > 0:
        found["sent_mb_per_s"] = report.bytes_sent / report.elapsed_s / 1e6
        found["received_mb_per_s"] = report.bytes_received / report.elapsed_s / 1e6
    _add(found, "", report.latency_us)
    _add(found, "service_", report.service_us)
    if report.send_delay_us is not None:
        _add(found, "send_delay_", report.send_delay_us)
    if report.stream is not None:
        _add(found, "ttft_", report.stream.ttft_us)
        _add(found, "gap_", report.stream.gap_us)
        found["frames"] = report.stream.frames
        found["deltas"] = report.stream.deltas
        if report.elapsed_s > 0:
            found["frames_per_s"] = report.stream.frames / report.elapsed_s
    if report.client_cpu_us_per_request is not None:
        found["client_cpu_us_per_request"] = report.client_cpu_us_per_request
        if report.elapsed_s > 0:
            found["client_cores"] = report.client_cpu_us_per_request * report.requests / report.elapsed_s / 1e6
    return found


def _add(found: dict[str, float], prefix: str, distribution: Quantiles) -> None:
    if distribution.count == 0:
        return
    for name in ("min", "mean", *QUANTILES, "max"):
        found[f"{prefix}{name}_us"] = getattr(distribution, name)


def process_metrics(use: ProcessUse, report: Report) -> dict[str, float]:
    """What a process used per request and altogether. Failed requests were work, too; those never sent were none."""
    never_sent = sum(report.errors_by_kind.get(kind, 0) for kind in ("unsent", "connect", "tls"))
    found = {
        "rss_idle_mb": use.rss_idle_mb,
        "rss_peak_mb": use.rss_peak_mb,
        "rss_after_mb": use.rss_after_mb,
    }
    if sent := report.requests + report.errors - never_sent:
        found["cpu_us_per_request"] = use.cpu_us / sent
    if report.stream is not None and report.stream.frames:
        found["cpu_us_per_frame"] = use.cpu_us / report.stream.frames
    if report.elapsed_s > 0:
        found["cores"] = use.cpu_us / report.elapsed_s / 1e6
    return found


def _over(runs: Sequence[Mapping[str, float]]) -> dict[str, Metric]:
    found = {}
    for name in dict.fromkeys(name for run in runs for name in run):
        values = [run[name] for run in runs if name in run]
        found[name] = Metric(median(values), min(values), max(values))
    return found


def warnings(settings: Settings, samples: Sequence[Sample], rows: Sequence[Row]) -> list[str]:
    """What a reader must know before believing the numbers."""
    found = []
    for row in rows:
        point = settings.points[row.point]
        where = f"{row.target}, {point.label}"
        value = {name: metric.median for name, metric in row.metrics.items()}
        threads = min(settings.threads, point.connections)
        if value.get("client_cores", 0) >= _CLIENT_BOUND * threads:
            found.append(
                f"{where}: the client used {value['client_cores']:.2f} of its {threads} core(s), so the target may do more "
                "than is shown: give more --threads"
            )
        late = value.get("send_delay_p99_us", 0)
        if late > _LATE_US and late > 0.1 * value.get("p99_us", 0):
            # Little's law: how many connections had a request on average.
            busy = value["rps"] * value.get("service_mean_us", 0.0) / 1e6
            why = (
                "because all connections were busy: the target does not keep up with the rate, or needs more --connections"
                if busy > _BUSY * point.connections or value.get("service_max_us", 0) > late
                else "though connections were free: the client's machine is too busy to judge by"
            )
            found.append(f"{where}: 1 % of the requests were sent more than {late / 1e3:,.1f} ms late, {why}")
        reconnects = row.metrics["reconnects"].max
        if value["requests"] and reconnects > 0.05 * value["requests"]:
            found.append(
                f"{where}: {reconnects:,.0f} connections had to be opened again; their time is in the latencies"
            )
        runs = [sample.report for sample in _of(samples, row.target, row.point)]
        if errors := sum(run.errors for run in runs):
            share = errors / (errors + sum(run.requests for run in runs))
            found.append(
                f"{where}: {100 * share:.2g} % of the requests failed and are in no latency; the first: "
                f"{row.first_error}"
            )
        if settings.stream is not None and value.get("gap_p50_us") == 0:
            found.append(f"{where}: most deltas arrive together with the one before, so gaps say little")
        gone = [
            selector
            for target in settings.targets
            if target.label == row.target
            for selector in target.processes
            if any(selector not in sample.processes for sample in _of(samples, row.target, row.point))
        ]
        found += [f"{where}: process {selector!r} ended while it was measured" for selector in gone]
    return found
