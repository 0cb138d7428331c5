"""What `--output` leaves: `results.json`, `results.md` and charts; each file whole or not at all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from penstock.bench import charts
from penstock.bench.document import Document, Row
from penstock.bench.settings import Point, Settings
from penstock.bench.tables import markdown
from penstock.bench.wire import UsageError

_Add = Callable[[str, str], Path]
"""Notes a chart under its caption and says where it goes."""
_SHOWN = ("p50", "p75", "p90", "p95", "p99", "p999", "max")
_MIN_SECONDS = 3
"""A course with fewer points is no curve."""


def write(folder: Path, document: Document, settings: Settings) -> str | None:
    """Writes everything, the results before the charts; returns why there are no charts, when there are none.

    Raises:
        OSError: the results cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _whole(folder / "results.json", encoded(document))
    _whole(folder / "results.md", markdown(document).encode())
    if not document.rows:
        return None
    try:
        drawn = draw(folder, document, settings)
    except charts.ChartsUnavailable as e:
        return str(e)
    except (OSError, RuntimeError, ValueError) as e:
        # A cache or a font that matplotlib cannot use.
        return f"no charts: {e}"
    _whole(folder / "results.md", markdown(document, drawn).encode())
    return None


def prepare(folder: Path) -> None:
    """Makes the folder and tries to write into it: to be told after the measurement would be too late.

    Raises:
        UsageError: it cannot be written.
    """
    probe = folder / "results.json.tmp"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as e:
        raise UsageError(f"--output: {folder}: {e.strerror}; give a folder that can be written") from e


def encoded(document: Document) -> bytes:
    """`results.json`."""
    return msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n"


def _whole(path: Path, content: bytes) -> None:
    scratch = path.with_name(path.name + ".tmp")
    scratch.write_bytes(content)
    scratch.replace(path)


def draw(folder: Path, document: Document, settings: Settings) -> list[tuple[str, str]]:
    """Draws what the results have; captions and names of files.

    Raises:
        ChartsUnavailable: matplotlib is not installed.
    """
    drawn: list[tuple[str, str]] = []

    def add(name: str, caption: str) -> Path:
        drawn.append((caption, name))
        return folder / name

    for number, point in enumerate(settings.points):
        rows = [row for row in document.rows if row.point == number]
        _distributions(rows, point, add)
        _course(document, number, point, add)
    if len(settings.points) > 1:
        _sweeps(document, settings, add)
    elif document.rows:
        series = {row.target: {"requests/s": row.metrics["rps"].median} for row in document.rows}
        charts.bars(
            add("throughput.png", "Throughput"), title="Throughput", unit="answered requests per second", series=series
        )
    _processes(document, settings, add)
    return drawn


def _distributions(rows: list[Row], point: Point, add: _Add) -> None:
    for name, prefix, caption in (
        ("latency", "", "Latency"),
        ("ttft", "ttft_", "Time to first token"),
        ("gap", "gap_", "Gap between deltas"),
    ):
        series = {row.target: found for row in rows if (found := _percentiles(row, prefix))}
        if name == "latency":
            # What a tool that ignores coordinated omission would have shown.
            for row in rows:
                if "send_delay_p99_us" in row.metrics:
                    series[f"{row.target}, service time"] = _percentiles(row, "service_")
        if any(value > 0 for values in series.values() for value in values.values()):
            title = f"{caption}: {point.label}"
            charts.percentiles(add(f"{name}-{point.slug}.png", title), title=title, unit="milliseconds", series=series)


def _percentiles(row: Row, prefix: str) -> dict[str, float]:
    known = ((mark, row.metrics.get(f"{prefix}{mark}_us")) for mark in _SHOWN)
    return {mark: metric.median / 1e3 for mark, metric in known if metric is not None}


def _course(document: Document, number: int, point: Point, add: _Add) -> None:
    answered: dict[str, list[tuple[float, float]]] = {}
    slowest: dict[str, list[tuple[float, float]]] = {}
    for sample in document.runs:
        # The last second is not whole.
        whole = [s for s in sample.report.seconds if s.second < int(sample.report.elapsed_s)]
        if sample.point == number and sample.target not in answered and len(whole) >= _MIN_SECONDS:
            answered[sample.target] = [(s.second + 1, s.requests) for s in whole]
            slowest[sample.target] = [(s.second + 1, s.p99_us / 1e3) for s in whole if s.requests]
    for name, caption, unit, series in (
        ("course", "Throughput", "answered requests per second", answered),
        ("course-p99", "Latency p99", "milliseconds", slowest),
    ):
        if series:
            title = f"{caption} in the first round, second by second: {point.label}"
            path = add(f"{name}-{point.slug}.png", title)
            charts.lines(path, title=title, x_label="seconds", y_label=unit, series=series)


_AXES: Sequence[tuple[str, str, Callable[[Point], float | None], Callable[[Point], str]]] = (
    ("size", "bytes of the body", lambda p: p.body_bytes, lambda p: f"{p.body_bytes or 0:,} bytes"),
    ("rate", "requests per second asked for", lambda p: p.rate, lambda p: f"{p.rate or 0:,.10g}/s"),
    ("connections", "connections", lambda p: p.connections, lambda p: f"c={p.connections}"),
)
"""What points may differ in: name, title, value, and what it is called in a legend."""


def _sweeps(document: Document, settings: Settings, add: _Add) -> None:
    """Lines over each thing that the points differ in; a line for each value of the others."""
    varying = [axis for axis in _AXES if len({axis[2](point) for point in settings.points}) > 1]
    for axis in varying:
        name, label, value, _ = axis
        others = [other[3] for other in varying if other is not axis]
        for metric, caption, unit, scale in (
            ("rps", "Throughput", "answered requests per second", 1.0),
            ("p50_us", "Latency p50", "milliseconds", 1e3),
            ("p99_us", "Latency p99", "milliseconds", 1e3),
        ):
            series: dict[str, list[tuple[float, float]]] = {}
            for row in document.rows:
                point = settings.points[row.point]
                if metric in row.metrics:
                    line = ", ".join([row.target, *(said(point) for said in others)])
                    place = (float(value(point) or 0), row.metrics[metric].median / scale)
                    series.setdefault(line, []).append(place)
            if not series:
                continue
            title = f"{caption} by {label}"
            path = add(f"sweep-{name}-{metric.removesuffix('_us')}.png", title)
            in_order = {line: sorted(points) for line, points in series.items()}
            charts.lines(path, title=title, x_label=label, y_label=unit, series=in_order)


def _processes(document: Document, settings: Settings, add: _Add) -> None:
    cpu: dict[str, dict[str, float]] = {}
    memory: dict[str, dict[str, float]] = {}
    for row in document.rows:
        for name, use in row.processes.items():
            label = f"{row.target}: {name}"
            if "cpu_us_per_request" in use:
                point = settings.points[row.point].label
                cpu.setdefault(label, {})[point] = use["cpu_us_per_request"].median
            peak = max(memory.get(label, {}).get("peak", 0.0), use["rss_peak_mb"].median)
            memory[label] = {"idle": use["rss_idle_mb"].median, "peak": peak, "after": use["rss_after_mb"].median}
    if cpu:
        charts.bars(add("cpu.png", "CPU per request"), title="CPU per request", unit="microseconds", series=cpu)
    if memory:
        charts.bars(add("memory.png", "Resident memory"), title="Resident memory", unit="megabytes", series=memory)
