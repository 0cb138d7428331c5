"""From results to rows, and to the file that programs read."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any, NotRequired, TypedDict

import msgspec

from benchmarks.findings import ADDED, METRICS, Findings
from benchmarks.goals import Goal
from benchmarks.machine import Machine
from benchmarks.scenarios import Scenario
from benchmarks.targets import Target


class Row(TypedDict):
    """One target in one scenario; medians over the rounds, errors summed; what is absent was not measured.

    Besides the loads there are the scenarios ``start`` (``p50_us``: from start to ready), ``idle`` and ``after``
    (``rss_mb`` before and after all load), ``many_streams`` and ``grpc_many_streams`` (``rss_mb``: the peak).
    """

    target: str
    listener: str
    features: str
    scenario: str
    rounds: int
    rps: NotRequired[float]
    p50_us: NotRequired[float]
    p90_us: NotRequired[float]
    p99_us: NotRequired[float]
    p999_us: NotRequired[float]
    ttft_p50_us: NotRequired[float]
    ttft_p99_us: NotRequired[float]
    gap_p99_us: NotRequired[float]
    added_p50_us: NotRequired[float]
    added_p90_us: NotRequired[float]
    added_p99_us: NotRequired[float]
    added_p999_us: NotRequired[float]
    added_ttft_p50_us: NotRequired[float]
    added_ttft_p99_us: NotRequired[float]
    added_gap_p99_us: NotRequired[float]
    cpu_us_per_request: NotRequired[float]
    cpu_us_per_frame: NotRequired[float]
    client_cpu_us_per_request: NotRequired[float]
    """The load generator's own."""
    rss_mb: NotRequired[float]
    files_mb: NotRequired[float]
    """The part of ``rss_mb`` that is pages of mapped files."""
    errors: NotRequired[int]
    spread: NotRequired[dict[str, tuple[float, float]]]
    """Smallest and largest round of each figure."""


class Document(TypedDict):
    """``results/latest.json``."""

    machine: Machine
    commit: str
    command: str
    rounds: int
    versions: dict[str, str]
    rows: list[Row]
    goals: list[dict[str, Any]]
    experiments: dict[str, Any]
    not_measured: list[str]


def document(results: Findings, goals: Sequence[Goal], machine: Machine, commit: str, command: str) -> Document:
    """Everything that is kept of a run."""
    experiments = {
        "starts": results.starts,
        "token_count": results.token_count,
        "many_streams": results.many_streams,
        "grpc_many_streams": results.grpc_many_streams,
        "coworker": results.coworker,
        "state_growth": results.state_growth,
    }
    return Document(
        machine=machine,
        commit=commit,
        command=command,
        rounds=results.rounds,
        versions={target.name: target.version for target in results.targets if target.version},
        rows=rows(results),
        goals=[msgspec.to_builtins(goal) for goal in goals],
        experiments={name: msgspec.to_builtins(found) for name, found in experiments.items() if found},
        not_measured=results.not_measured,
    )


def rows(results: Findings) -> list[Row]:
    """The rows, scenario by scenario."""
    found = [
        _load_row(results, scenario, target)
        for scenario in results.scenarios
        for target in results.targets
        if (scenario.name, target.label) in results.samples
    ]
    for starts in results.starts:
        row = Row(
            target="penstock", listener=starts.listener, features="-", scenario="start", rounds=len(starts.ready_s)
        )
        found.append(row | {"p50_us": round(median(starts.ready_s) * 1e6)})
    for target in results.targets:
        for name, measured in (("idle", results.idle_rss_mb), ("after", results.after_rss_mb)):
            if target.label in measured:
                found.append(_row(target, name, 1) | {"rss_mb": round(measured[target.label], 1)})
    by_label = {target.label: target for target in results.targets}
    return found + [
        _row(by_label[s.target], name, 1) | {"rss_mb": s.peak_rss_mb, "errors": s.failed}
        for name, found_streams in (
            ("many_streams", results.many_streams),
            ("grpc_many_streams", results.grpc_many_streams),
        )
        for s in found_streams
        if s.target in by_label
    ]


def _row(target: Target, scenario: str, rounds: int) -> Row:
    return Row(target=target.name, listener=target.listener, features=target.features, scenario=scenario, rounds=rounds)


def _load_row(results: Findings, scenario: Scenario, target: Target) -> Row:
    samples = results.samples[scenario.name, target.label]
    row = _row(target, scenario.name, len(samples))
    figures: dict[str, float] = {}
    spread: dict[str, tuple[float, float]] = {}
    for metric in (*METRICS, *ADDED):
        known = [value for value in results.values(scenario.name, target.label, metric) if value is not None]
        if known:
            digits = 2 if metric == "cpu_us_per_frame" else 1
            figures[metric] = round(median(known), digits)
            spread[metric] = (round(min(known), digits), round(max(known), digits))
    errors = sum(sample.report.errors for sample in samples)
    return row | figures | {"spread": spread, "errors": errors}  # type: ignore[return-value]


def write(folder: Path, document: Document, markdown: str) -> None:
    """Writes ``RESULTS.md`` and ``results/latest.json``, each whole or not at all."""
    for path, text in (
        (folder / "results" / "latest.json", json.dumps(document, indent=2) + "\n"),
        (folder / "RESULTS.md", markdown),
    ):
        path.parent.mkdir(parents=True, exist_ok=True)
        scratch = path.with_name(f"{path.name}.tmp")
        scratch.write_text(text)
        scratch.replace(path)
