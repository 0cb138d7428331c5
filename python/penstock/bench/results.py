"""From samples to results: medians over rounds, their spread, and what a target adds to the baseline.

Metrics have one name everywhere: in `results.json`, in tables and in `--fail-on`. Durations are microseconds; the
suffix `_us` says so.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from statistics import median
from typing import Final

from penstock.bench.caveats import warnings
from penstock.bench.document import Document, Machine, Metric, PointSaid, Row, Threshold
from penstock.bench.report import Quantiles, Report
from penstock.bench.samples import ProcessUse, Sample, runs_of
from penstock.bench.settings import Settings, described
from penstock.bench.wire import shown

QUANTILES: Final = ("p50", "p75", "p90", "p95", "p99", "p999", "p9999")
ADDED: Final = ("p50_us", "p90_us", "p99_us", "mean_us", "service_p50_us", "service_p99_us")
"""Of these, and of the TTFT's and the gap's, the difference to the baseline is a metric too."""
ADDED_STREAM: Final = ("ttft_p50_us", "ttft_p99_us", "gap_p50_us", "gap_p99_us")


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
        points=[PointSaid(p.label, p.connections, p.rate, p.body_bytes, p.calls) for p in settings.points],
        rows=rows,
        warnings=[*([failure] if failure else []), *warnings(settings, samples, rows)],
        thresholds=judge(rows, settings),
        runs=samples,
    )


def _row(settings: Settings, samples: Sequence[Sample], target: str, point: int) -> Row | None:
    mine = runs_of(samples, target, point)
    if not mine:
        return None
    by_run = [measured(sample.report) for sample in mine]
    if settings.baseline not in (None, target):
        floor = {sample.round: measured(sample.report) for sample in runs_of(samples, settings.baseline or "", point)}
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
