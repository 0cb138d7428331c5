"""The results as Markdown, for files, and as plain text, for terminals: the same tables."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from penstock.bench.document import Document, Metric, Row

_MILLISECONDS_FROM_US = 10_000.0
"""Tables whose largest median of p99 is below are in microseconds."""

Cells = list[list[str]]
"""A heading and rows."""
_Table = Callable[[Cells], list[str]]


def text(document: Document) -> str:
    """For a terminal."""
    return _render(document, _plain, heading="{}")


def markdown(document: Document, charts: Sequence[tuple[str, str]] = ()) -> str:
    """For a file; ``charts`` are captions and names of files beside it."""
    said = _render(document, _pipes, heading="## {}")
    pictures = [line for caption, name in charts for line in (f"![{caption}]({name})", "")]
    if pictures:
        said += "\n" + "\n".join(["## Charts", "", *pictures]).rstrip() + "\n"
    return "# Benchmark\n\n" + said


def _render(document: Document, table: _Table, heading: str) -> str:
    parts = [*_origin(document), ""]
    for number, point in enumerate(document.points):
        rows = [row for row in document.rows if row.point == number]
        if not rows:
            continue
        parts += [heading.format(point.label), ""]
        for cells in (_latencies(rows), _streams(rows), _added(rows, document.baseline), _processes(rows)):
            if len(cells) > 1:
                parts += [*table(cells), ""]
        parts += _errors(rows)
    if document.thresholds:
        parts += [heading.format("Thresholds"), "", *table(_thresholds(document)), ""]
    if document.warnings:
        parts += [heading.format("Warnings"), "", *(f"* {warning}" for warning in document.warnings), ""]
    return "\n".join(parts).rstrip() + "\n"


def _origin(document: Document) -> list[str]:
    said, where = document.settings, document.machine
    kind = "streams" if said["stream"] else "unary"
    end = [f"{said['duration_ms']} ms"] if said["duration_ms"] else []
    end += [f"{said['requests']} requests"] if said["requests"] else []
    rounds = f"{said['rounds']} rounds, medians" if said["rounds"] != 1 else "1 round"
    spoken = said["protocols"]
    wires = ", ".join(spoken) if isinstance(spoken, list) else spoken
    lines = [f"{said['surface']}, {kind}, {' or '.join(end)} per run, {rounds}; {wires}; {document.started_at}."]
    lines += [f"{label}: {url}" for label, url in document.targets.items()]
    machine = f"{where.cpu}, {where.cores} cores, {where.system}"
    lines.append(f"Client: {document.tool} on {machine}; load average before the start {where.load_average}.")
    if document.partial:
        lines.insert(0, "PARTIAL: ended early; what follows was measured until then.")
    return [f"* {line}" for line in lines]


def _latencies(rows: Sequence[Row]) -> Cells:
    scale, unit = _scale(rows, "p99_us")
    is_open = any("send_delay_p99_us" in row.metrics for row in rows)
    columns = [("requests/s", "rps", 1.0), ("errors", "errors", 1.0)]
    columns += [(f"{name} {unit}", f"{key}_us", scale) for name, key in _NAMES]
    if is_open:
        columns += [
            (f"service p50 {unit}", "service_p50_us", scale),
            (f"service p99 {unit}", "service_p99_us", scale),
            (f"send delay p99 {unit}", "send_delay_p99_us", scale),
        ]
    return _grid(rows, columns, spreads=(("requests/s", "rps"), ("p99", "p99_us")))


_NAMES = (("p50", "p50"), ("p90", "p90"), ("p99", "p99"), ("p99.9", "p999"), ("max", "max"))


def _streams(rows: Sequence[Row]) -> Cells:
    scale, unit = _scale(rows, "ttft_p99_us")
    columns = [
        (f"{what} {name} {unit}", f"{what.lower()}_{name}_us", scale)
        for what in ("TTFT", "gap")
        for name in ("p50", "p99")
    ]
    columns += [("frames/s", "frames_per_s", 1.0)]
    return _grid([row for row in rows if "ttft_p50_us" in row.metrics], columns)


def _added(rows: Sequence[Row], baseline: str | None) -> Cells:
    mine = [row for row in rows if "added_p50_us" in row.metrics]
    columns = [
        (f"added {name} us", f"added_{key}_us", 1.0)
        for name, key in (
            ("p50", "p50"),
            ("p99", "p99"),
            ("TTFT p50", "ttft_p50"),
            ("TTFT p99", "ttft_p99"),
            ("gap p99", "gap_p99"),
        )
    ]
    cells = _grid(mine, columns)
    cells[0][0] = f"to {baseline}"
    return cells


def _processes(rows: Sequence[Row]) -> Cells:
    columns = [
        ("CPU us/request", "cpu_us_per_request"),
        ("CPU us/frame", "cpu_us_per_frame"),
        ("cores used", "cores"),
        ("RSS idle MB", "rss_idle_mb"),
        ("RSS peak MB", "rss_peak_mb"),
        ("RSS after MB", "rss_after_mb"),
    ]
    named = [(f"{row.target}: {name}", use) for row in rows for name, use in row.processes.items()]
    columns = [(title, key) for title, key in columns if any(key in use for _, use in named)]
    cells = [["process", *(title for title, _ in columns)]]
    cells += [[name, *(_number(use[key].median) if key in use else "" for _, key in columns)] for name, use in named]
    return cells


def _grid(
    rows: Sequence[Row], columns: Sequence[tuple[str, str, float]], spreads: Sequence[tuple[str, str]] = ()
) -> Cells:
    columns = [column for column in columns if any(column[1] in row.metrics for row in rows)]
    spread = [s for s in spreads if any(row.rounds > 1 for row in rows) and any(s[1] in row.metrics for row in rows)]
    cells = [["target", *(title for title, _, _ in columns), *(f"spread of {title}" for title, _ in spread)]]
    for row in rows:
        name = f"{row.target} (partial)" if row.stopped else row.target
        values = [_value(row, key, scale) for _, key, scale in columns]
        cells.append([name, *values, *(_spread(row.metrics.get(key)) for _, key in spread)])
    return cells


def _value(row: Row, key: str, scale: float) -> str:
    if key == "errors":
        # Of all rounds: the median hides a round that went wrong.
        return _number(sum(row.errors_by_kind.values()))
    return _number(row.metrics[key].median / scale) if key in row.metrics else ""


def _spread(metric: Metric | None) -> str:
    """From the smallest to the largest round, relative to the median."""
    if metric is None or metric.median == 0:
        return ""
    return f"{100 * (metric.max - metric.min) / abs(metric.median):.0f} %"


def _errors(rows: Sequence[Row]) -> list[str]:
    said = [
        f"* {row.target}: " + ", ".join(f"{count:,} {kind}" for kind, count in row.errors_by_kind.items())
        for row in rows
        if row.errors_by_kind
    ]
    return ["Errors:", "", *said, ""] if said else []


def _thresholds(document: Document) -> Cells:
    cells = [["threshold", "target", "point", "value", "verdict"]]
    for one in document.thresholds:
        value = "not measured" if one.value is None else _number(one.value)
        cells.append([one.expression, one.target, one.point, value, "FAILED" if one.failed else "passed"])
    return cells


def _scale(rows: Sequence[Row], key: str) -> tuple[float, str]:
    highest = max((row.metrics[key].median for row in rows if key in row.metrics), default=0.0)
    return (1.0, "us") if highest < _MILLISECONDS_FROM_US else (1e3, "ms")


def _number(value: float) -> str:
    if value == int(value) and abs(value) < 1e15:
        return f"{int(value):,}"
    size = abs(value)
    return f"{value:,.0f}" if size >= 1_000 else f"{value:,.1f}" if size >= 10 else f"{value:,.2f}"


def _pipes(cells: Cells) -> list[str]:
    head, *rows = [["\\|".join(cell.split("|")) for cell in row] for row in cells]
    numbers = [all(_is_number(row[place]) for row in rows) for place in range(len(head))]
    rule = "|" + "|".join("---:" if number else "---" for number in numbers) + "|"
    return [f"| {' | '.join(head)} |", rule, *(f"| {' | '.join(row)} |" for row in rows)]


def _plain(cells: Cells) -> list[str]:
    widths = [max(len(row[place]) for row in cells) for place in range(len(cells[0]))]
    numbers = [all(_is_number(row[place]) for row in cells[1:]) for place in range(len(widths))]
    lines = [
        "  ".join(
            cell.rjust(width) if number else cell.ljust(width)
            for cell, width, number in zip(row, widths, numbers, strict=True)
        ).rstrip()
        for row in cells
    ]
    return [lines[0], "-" * max(len(line) for line in lines), *lines[1:]]


def _is_number(cell: str) -> bool:
    return not cell or cell[0].isdigit() or (cell[0] == "-" and len(cell) > 1)
