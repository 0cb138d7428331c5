"""The charts of a run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from benchmarks.findings import Findings
from penstock.bench import charts

PERCENTILES = ("p50", "p90", "p99", "p999")
Series = dict[str, dict[str, float]]


def draw(results: Findings, folder: Path) -> list[tuple[str, str]]:
    """Writes a chart for each thing that was measured into ``folder``; titles and file names of those there are."""
    if not charts.available():
        return []
    drawn: list[tuple[str, str]] = []

    def bars(name: str, title: str, unit: str, series: Series, goal: float | None = None) -> None:
        if series:
            charts.bars(folder / name, title=title, unit=unit, series=series, goal=goal)
            drawn.append((title, name))

    bars(
        "throughput.png",
        "Throughput, 32 connections",
        "requests per second (more is better)",
        _by_target(results, {"throughput": ("unary_c32", "rps")}),
    )
    floor = results.middle("unary_c32", "nginx", "cpu_us_per_request")
    bars(
        "cpu_per_request.png",
        "CPU per request, 32 at a time",
        "microseconds of the gateway's processes (less is better); goal: 4 x nginx",
        _by_target(
            results,
            {"REST": ("unary_c32", "cpu_us_per_request"), "gRPC": ("grpc_unary_c32", "cpu_us_per_request")},
        ),
        None if floor is None else 4 * floor,
    )
    bars(
        "cpu_per_frame.png",
        "CPU per relayed SSE frame or gRPC message",
        "microseconds of the gateway's processes (less is better)",
        _by_target(
            results,
            {
                "16 streams": ("sse_c16", "cpu_us_per_frame"),
                "128 streams": ("sse_c128", "cpu_us_per_frame"),
                "16 over gRPC": ("grpc_stream_c16", "cpu_us_per_frame"),
                "128 over gRPC": ("grpc_stream_c128", "cpu_us_per_frame"),
            },
        ),
    )
    added = {
        target.label: values
        for target in results.targets
        if (values := _percentiles(results, "unary_c1", target.label))
    }
    if added:
        title = "Added latency, 1 connection"
        charts.percentiles(
            folder / "added_latency.png", title=title, unit="microseconds more than without a gateway", series=added
        )
        drawn.append((title, "added_latency.png"))
    bars("memory.png", "Resident memory", "megabytes (less is better)", _memory(results))
    return drawn


def _by_target(results: Findings, wanted: Mapping[str, tuple[str, str]]) -> Series:
    """Target -> series -> median."""
    found: Series = {}
    for target in results.targets:
        for series, (scenario, metric) in wanted.items():
            value = results.middle(scenario, target.label, metric)
            if value is not None:
                found.setdefault(target.label, {})[series] = value
    return found


def _percentiles(results: Findings, scenario: str, label: str) -> dict[str, float]:
    values = {mark: results.middle(scenario, label, f"added_{mark}_us") for mark in PERCENTILES}
    return {mark: value for mark, value in values.items() if value is not None}


def _memory(results: Findings) -> Series:
    found: Series = {}
    peaks: list[tuple[str, Callable[[str], float | None]]] = [
        ("idle", results.idle_rss_mb.get),
        ("32 connections", lambda label: results.middle("unary_c32", label, "rss_mb")),
        ("2,000 over gRPC", {s.target: s.peak_rss_mb for s in results.grpc_many_streams if s.streams == 2_000}.get),
        ("2,000 streams", {s.target: s.peak_rss_mb for s in results.many_streams if s.streams == 2_000}.get),
    ]
    for target in results.targets:
        for series, of in peaks:
            value = of(target.label)
            if value is not None:
                found.setdefault(target.label, {})[series] = value
    return found
