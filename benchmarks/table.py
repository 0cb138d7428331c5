"""The results as Markdown: goals first, then where the figures come from, then the figures."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from benchmarks import experiments
from benchmarks.experiments.coworker import Written
from benchmarks.experiments.many_streams import ManyStreams
from benchmarks.experiments.starts import Starts
from benchmarks.experiments.state_growth import StateGrowth
from benchmarks.experiments.token_count import TokenCount
from benchmarks.findings import Findings
from benchmarks.goals import ROUNDS, Goal
from benchmarks.machine import Machine
from benchmarks.report import Document, Row
from benchmarks.scenarios import Scenario

COLUMNS = (
    ("requests/s", "rps"),
    ("p50 us", "p50_us"),
    ("p99 us", "p99_us"),
    ("added p50 us", "added_p50_us"),
    ("added p99 us", "added_p99_us"),
    ("CPU us/request", "cpu_us_per_request"),
    ("RSS MB", "rss_mb"),
    ("of it mapped files MB", "files_mb"),
    ("client's CPU us/request", "client_cpu_us_per_request"),
    ("errors", "errors"),
)
STREAM_COLUMNS = (
    ("streams/s", "rps"),
    ("TTFT p50 us", "ttft_p50_us"),
    ("TTFT p99 us", "ttft_p99_us"),
    ("added TTFT p99 us", "added_ttft_p99_us"),
    ("gap p99 us", "gap_p99_us"),
    ("added gap p99 us", "added_gap_p99_us"),
    ("CPU us/frame", "cpu_us_per_frame"),
    ("RSS MB", "rss_mb"),
    ("of it mapped files MB", "files_mb"),
    ("client's CPU us/stream", "client_cpu_us_per_request"),
    ("errors", "errors"),
)


def markdown(document: Document, results: Findings, goals: Sequence[Goal], charts: Sequence[tuple[str, str]]) -> str:
    """The whole of ``RESULTS.md``. ``charts``: titles and paths relative to it."""
    parts = ["# Benchmark results", "", *_goals(goals), *_origin(document, results)]
    for title, path in charts:
        parts += [f"![{title}]({path})", ""]
    for scenario in results.scenarios:
        shown = [row for row in document["rows"] if row["scenario"] == scenario.name]
        parts += _load(scenario, shown)
    parts += _many_streams("many_streams", results.many_streams)
    parts += _many_streams("grpc_many_streams", results.grpc_many_streams)
    parts += _coworker(results.coworker)
    parts += _growth(results.state_growth)
    parts += _tokens(results.token_count)
    parts += _processes(results.starts, document["rows"])
    if results.not_measured:
        parts += ["## Not measured", "", *(f"* {reason}" for reason in results.not_measured), ""]
    return "\n".join(parts).rstrip() + "\n"


def cells(*values: str) -> str:
    """A row of a table."""
    return f"| {' | '.join(values)} |"


def _goals(goals: Sequence[Goal]) -> list[str]:
    lines = ["## Goals", "", cells("measure", "goal", "measured", ""), "|---|---|---|---|"]
    lines += [cells(goal.measure, goal.goal, goal.measured, goal.verdict) for goal in goals]
    return [*lines, ""]


def _origin(document: Document, results: Findings) -> list[str]:
    machine = document["machine"]
    lines = ["## How this was measured", "", _where(machine)]
    versions = "".join(f", {name} {version}" for name, version in document["versions"].items())
    lines += [
        f"Commit {document['commit']}; {machine['measured_at']}; Python {machine['python']}{versions}.",
        "",
        (
            f"`{document['command']}`: rounds: {results.rounds}; in each all scenarios, and in each scenario all targets in"
            " turn, another one first each time. Figures are medians over rounds, in brackets the smallest and the largest"
            " round; what a target adds is"
            " the difference to the upstream alone (`direct`) in the same round, over gRPC to the upstream's REST."
            " A goal is met or not by the median of at least"
            f" {ROUNDS} rounds (many_streams: by its one run), and is not met while requests failed, which are in no figure."
        ),
    ]
    if results.depth == "quick":
        lines += ["", "**A quick run: it shows that everything works, not how fast.**"]
    if results.accounting:
        held = "; ".join(f"{label}: {told}" for label, told in results.accounting.items())
        lines += [
            "",
            (
                "Features on: a virtual key with limits of requests and tokens and a budget, prices, usage records, metrics."
                " A wrong key was refused, the limits' headers were present, each call was found in the ledger and charged."
                " Features off: the master key, no limits, no budget, no prices."
                f" Records found in the end: {held}."
            ),
        ]
    return [*lines, ""]


def _where(machine: Machine) -> str:
    pins = "gateway on one core, client and upstream on another" if machine["pinned"] else "nothing pinned"
    return (
        f"{machine['cpu']}, {machine['cores']} cores, {machine['memory_gb']} GB, Linux {machine['kernel']}; {pins};"
        f" load average before the start {machine['load_average']}."
    )


def _load(scenario: Scenario, rows: Sequence[Row]) -> list[str]:
    if not rows:
        return []
    wanted = STREAM_COLUMNS if scenario.stream else COLUMNS
    columns = [(title, key) for title, key in wanted if any(key in row for row in rows)]
    lines = [f"## {scenario.name}", "", f"{scenario.note}.", "", cells("target", *(title for title, _ in columns))]
    lines.append("|---|" + "---:|" * len(columns))
    lines += [cells(name(row), *(_cell(row, key) for _, key in columns)) for row in rows]
    return [*lines, ""]


def name(row: Row) -> str:
    """A row's target, as people read it."""
    if row["listener"] == "-":
        return row["target"]
    features = "" if row["features"] == "-" else f", features {row['features']}"
    return f"{row['target']} ({row['listener']}{features})"


def number(value: float) -> str:
    """With as many digits as say something."""
    return f"{value:,.2f}" if abs(value) < 10 else f"{value:,.1f}" if abs(value) < 1_000 else f"{value:,.0f}"


def _cell(row: Row, key: str) -> str:
    value = row.get(key)
    if isinstance(value, int):
        return f"{value:,}"
    if not isinstance(value, float):
        return ""
    low, high = row.get("spread", {}).get(key, (value, value))
    return number(value) if low == high else f"{number(value)} ({number(low)} .. {number(high)})"


def _optional(value: float | None) -> str:
    return "" if value is None else number(value)


def _many_streams(experiment: str, found: Sequence[ManyStreams]) -> list[str]:
    if not found:
        return []
    lines = [
        f"## {experiment}",
        "",
        f"{experiments.NAMES[experiment]}, once, through a fresh process.",
        "",
    ]
    lines.append(
        cells(
            "target", "streams", "complete", "failed", "RSS idle MB", "peak MB", "60 s later MB",
            "mapped files idle MB", "60 s later MB", "CPU us/frame", "TTFT p99 us", "gap p99 us",
        )
    )  # fmt: skip
    lines.append("|---|" + "---:|" * 11)
    for s in found:
        memory = (_optional(s.idle_rss_mb), _optional(s.peak_rss_mb), _optional(s.rested_rss_mb))
        files = (_optional(s.idle_files_mb), _optional(s.rested_files_mb))
        timing = (_optional(s.cpu_us_per_frame), _optional(s.ttft_p99_us), _optional(s.gap_p99_us))
        lines.append(cells(s.target, f"{s.streams:,}", f"{s.complete:,}", str(s.failed), *memory, *files, *timing))
    return [*lines, ""]


def _coworker(found: Sequence[Written]) -> list[str]:
    if not found:
        return []
    lines = [
        "## coworker",
        "",
        f"{experiments.NAMES['coworker'].capitalize()}, once each: from Redis' stream into PostgreSQL, on one core of its own.",
        "",
        cells("keys", "records", "records/s", "CPU us/record"),
        "|---:|---:|---:|---:|",
    ]
    lines += [
        cells(f"{w.keys:,}", f"{w.records:,}", number(w.records_per_s), number(w.cpu_us_per_record)) for w in found
    ]
    return [*lines, ""]


def _growth(found: StateGrowth | None) -> list[str]:
    if found is None:
        return []
    lines = [
        "## state_growth",
        "",
        (
            f"{found.keys_stored:,} virtual keys stored, {found.keys_in_memory:,} in memory, {found.deployments:,} deployments,"
            f" beside a gateway with one key and one deployment; 32 connections. The keys in memory had made their first call"
            f" after {found.fill_s:.0f} s; RSS with all of it {found.rss_mb:.0f} MB."
        ),
        "",
        cells("traffic", "CPU us/request", "one key, one deployment", "ratio"),
        "|---|---:|---:|---:|",
    ]
    for traffic in found.traffic:
        both = (median(traffic.cpu_us_per_request), median(traffic.baseline_us_per_request))
        lines.append(cells(traffic.traffic, *map(number, both), f"{traffic.growth:.2f}"))
    return [*lines, ""]


def _tokens(found: TokenCount | None) -> list[str]:
    if found is None:
        return []
    lines = ["## token_count", "", "Counting by itself, `o200k_base`, beside tiktoken with the same vocabulary.", ""]
    lines += [cells("text", "bytes", "tokens", "penstock us", "tiktoken us", "times as fast"), "|---|" + "---:|" * 5]
    for n in found.natural:
        times = (number(n.penstock_us), number(n.tiktoken_us), number(n.times_faster))
        lines.append(cells(n.text, f"{n.bytes:,}", f"{n.tokens:,}", *times))
    lines += ["", "Text made to be slow, by number of characters; microseconds by penstock / by tiktoken.", ""]
    lengths = found.hostile[0].characters if found.hostile else []
    lines += [cells("text", *(f"{length:,}" for length in lengths)), "|---|" + "---:|" * len(lengths)]
    for h in found.hostile:
        pairs = zip(h.penstock_us, h.tiktoken_us, strict=True)
        lines.append(cells(h.text, *(f"{number(mine)} / {_optional(other) or 'too long'}" for mine, other in pairs)))
    return [*lines, "", f"A chat request of 1,000,000 bytes, scanned and counted: {number(found.megabyte_us)} us.", ""]


def _processes(starts: Sequence[Starts], rows: Sequence[Row]) -> list[str]:
    lines: list[str] = []
    if starts:
        lines = ["## Starts", "", "Empty configuration, empty data directory, SQLite.", ""]
        lines += [cells("listener", "starts", "start to ready s", "RSS idle MB"), "|---|---:|---:|---:|"]
        for s in starts:
            spreads = (_spread(s.ready_s), _spread(s.idle_rss_mb))
            lines.append(cells(s.listener, str(len(s.ready_s)), *spreads))
        lines.append("")
    idle = [row for row in rows if row["scenario"] == "idle"]
    if idle:
        after = {name(row): row for row in rows if row["scenario"] == "after"}
        lines += ["## Memory", "", cells("target", "RSS before all load MB", "after MB"), "|---|---:|---:|"]
        for row in idle:
            later = after.get(name(row))
            lines.append(cells(name(row), _cell(row, "rss_mb"), _cell(later, "rss_mb") if later else ""))
        lines.append("")
    return lines


def _spread(values: Sequence[float]) -> str:
    return f"{number(median(values))} ({number(min(values))} .. {number(max(values))})"
