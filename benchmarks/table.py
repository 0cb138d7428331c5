"""The results as Markdown, which is also what the terminal shows."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from benchmarks.machine import Machine
from benchmarks.report import Document, Results, Row

COLUMNS = (
    ("requests/s", "rps"),
    ("p50 us", "p50_us"),
    ("p99 us", "p99_us"),
    ("added p50 us", "added_p50_us"),
    ("added p99 us", "added_p99_us"),
    ("TTFT p99 us", "ttft_p99_us"),
    ("CPU us/request", "cpu_us_per_request"),
    ("CPU us/frame", "cpu_us_per_frame"),
    ("RSS MB", "rss_mb"),
    ("errors", "errors"),
)


def markdown(document: Document, results: Results) -> str:
    """A heading, a table per scenario, ratios to nginx, and what was not measured."""
    parts = ["# Benchmark", "", *_origin(document["machine"], document["commit"], results), ""]
    for scenario in results.scenarios:
        shown = [row for row in document["rows"] if row["scenario"] == scenario.name]
        parts += [f"## {scenario.name}", "", scenario.note + ".", "", *_table(shown), "", *_ratios(shown)]
        parts += [*_watched(results, scenario.name), ""]
    parts += [*_processes(document["rows"])]
    if results.not_measured:
        parts += ["## Not measured", "", *(f"* {reason}" for reason in results.not_measured), ""]
    return "\n".join(parts).rstrip() + "\n"


def _origin(machine: Machine, commit: str, results: Results) -> list[str]:
    pins = "gateway on one core, client and upstream on another" if machine["pinned"] else "nothing pinned"
    nginx = f", nginx {machine['nginx']}" if "nginx" in machine else ""
    kind = ", quick" if results.quick else ""
    where = (
        f"{machine['cpu']}, {machine['cores']} cores, {machine['memory_gb']} GB, Linux {machine['kernel']},"
        f" Python {machine['python']}{nginx}; {pins}; load average before the start {machine['load_average']}."
    )
    return [where, f"Commit {commit}; {machine['measured_at']}; medians over {results.rounds} rounds{kind}."]


def _table(rows: Sequence[Row]) -> list[str]:
    columns = [(title, key) for title, key in COLUMNS if any(key in row for row in rows)]
    lines = [
        "| target | " + " | ".join(title for title, _ in columns) + " |",
        "|---|" + "---:|" * len(columns),
    ]
    lines += [f"| {_name(row)} | " + " | ".join(_cell(row, key) for _, key in columns) + " |" for row in rows]
    return lines


def _name(row: Row) -> str:
    if row["listener"] == "-":
        return row["target"]
    return f"{row['target']} ({row['listener']}, features {row['features']})"


def _cell(row: Row, key: str) -> str:
    value = row.get(key)
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.2f}" if abs(value) < 10 else f"{value:,.1f}" if abs(value) < 1_000 else f"{value:,.0f}"
    return ""


def _ratios(rows: Sequence[Row]) -> list[str]:
    floor = next((row for row in rows if row["target"] == "nginx"), None)
    if floor is None:
        return []
    said = []
    for row in rows:
        if row["target"] in ("direct", "nginx"):
            continue
        for what in ("cpu_us_per_frame", "cpu_us_per_request"):
            mine, theirs = row.get(what), floor.get(what)
            if isinstance(mine, float) and isinstance(theirs, float) and theirs > 0:
                unit = "frame" if what == "cpu_us_per_frame" else "request"
                said.append(f"{_name(row)}: {mine / theirs:.1f} times nginx's CPU per {unit}.")
                break
    return [*said, ""] if said else []


def _watched(results: Results, scenario: str) -> list[str]:
    """What has no place in the rows: gaps between frames, and what the load generator cost."""
    lines = []
    direct = [sample.load for sample in results.samples.get((scenario, "direct"), [])]
    for target in results.targets:
        loads = [sample.load for sample in results.samples.get((scenario, target.label), []) if sample.load.requests]
        said = []
        if gaps := [load.gap_p99_us for load in loads if load.gap_p99_us is not None]:
            said.append(f"gap between frames p99 {median(gaps):,.0f} us")
        if firsts := [load.ttft_p50_us for load in loads if load.ttft_p50_us is not None]:
            said.append(f"TTFT p50 {median(firsts):,.0f} us")
        if target.name != "direct" and len(loads) == len(direct):
            pairs = list(zip(loads, direct, strict=True))
            added = [m.ttft_p99_us - f.ttft_p99_us for m, f in pairs if m.ttft_p99_us and f.ttft_p99_us]
            if added:
                said.append(f"added TTFT p99 {median(added):,.0f} us")
        if costs := [load.client_cpu_us for load in loads if load.client_cpu_us is not None]:
            said.append(f"load generator {median(costs):,.1f} us CPU per request")
        if said:
            lines.append(f"* {target.label}: {'; '.join(said)}")
    return lines


def _processes(rows: Sequence[Row]) -> list[str]:
    names = {_name(row): row for row in rows if row["scenario"] == "idle"}
    if not names:
        return []
    lines = ["## Processes", "", "| target | start to ready s | RSS idle MB | RSS after MB |", "|---|---:|---:|---:|"]
    for name in names:
        mine = [row for row in rows if _name(row) == name]
        ready = next((row.get("p50_us") for row in mine if row["scenario"] == "start"), None)
        idle, after = (next((r.get("rss_mb") for r in mine if r["scenario"] == s), None) for s in ("idle", "after"))
        cells = [
            f"{ready / 1e6:.2f}" if ready is not None else "",
            *("" if v is None else f"{v:,.1f}" for v in (idle, after)),
        ]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return [*lines, ""]
