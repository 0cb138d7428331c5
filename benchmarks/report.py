"""From samples to rows, and from rows to a file for programs and a table for people."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import NotRequired, TypedDict

from benchmarks.machine import Machine
from benchmarks.measure import Sample, Samples
from benchmarks.scenarios import Scenario
from benchmarks.targets import Target


class Row(TypedDict):
    """One target in one scenario; medians over the rounds, errors summed; what is absent was not measured.

    Besides the loads there are the scenarios ``start`` (``p50_us``: from start to ready), ``idle`` and
    ``after`` (``rss_mb`` before and after all load).
    """

    target: str
    listener: str
    features: str
    scenario: str
    rounds: int
    rps: NotRequired[float]
    p50_us: NotRequired[float]
    p99_us: NotRequired[float]
    added_p50_us: NotRequired[float]
    added_p99_us: NotRequired[float]
    ttft_p99_us: NotRequired[float]
    cpu_us_per_request: NotRequired[float]
    cpu_us_per_frame: NotRequired[float]
    rss_mb: NotRequired[float]
    errors: NotRequired[int]


class Document(TypedDict):
    """``results/latest.json``."""

    machine: Machine
    commit: str
    rows: list[Row]


@dataclass
class Results:
    """Everything that one run of the benchmark found out."""

    targets: Sequence[Target]
    scenarios: Sequence[Scenario]
    rounds: int
    quick: bool
    samples: Samples
    idle_rss_mb: dict[str, float] = field(default_factory=dict)
    after_rss_mb: dict[str, float] = field(default_factory=dict)
    not_measured: list[str] = field(default_factory=list)


def rows(results: Results) -> list[Row]:
    """The rows, scenario by scenario."""
    found = [
        _load_row(results, scenario, target)
        for scenario in results.scenarios
        for target in results.targets
        if (scenario.name, target.label) in results.samples
    ]
    for target in results.targets:
        if target.ready_seconds is not None:
            found.append(_row(target, "start", 1) | {"p50_us": round(target.ready_seconds * 1e6)})
        for name, measured in (("idle", results.idle_rss_mb), ("after", results.after_rss_mb)):
            if target.label in measured:
                found.append(_row(target, name, 1) | {"rss_mb": round(measured[target.label], 1)})
    return found


def _row(target: Target, scenario: str, rounds: int) -> Row:
    return Row(target=target.name, listener=target.listener, features=target.features, scenario=scenario, rounds=rounds)


def _load_row(results: Results, scenario: Scenario, target: Target) -> Row:
    samples = results.samples[scenario.name, target.label]
    row = _row(target, scenario.name, len(samples))
    good = [sample for sample in samples if sample.load.requests]
    if good:
        row["rps"] = _median(good, lambda s: s.load.rps)
        row["p50_us"] = _median(good, lambda s: s.load.p50_us)
        row["p99_us"] = _median(good, lambda s: s.load.p99_us)
        if scenario.stream:
            row["ttft_p99_us"] = _median(good, lambda s: s.load.ttft_p99_us or 0.0)
    direct = results.samples.get((scenario.name, "direct"), [])
    if direct and target.name != "direct":
        # Round by round, so that both sides of each difference saw the same machine.
        pairs = [(a.load, b.load) for a, b in zip(samples, direct, strict=True) if a.load.requests and b.load.requests]
        if pairs:
            row["added_p50_us"] = round(median(mine.p50_us - floor.p50_us for mine, floor in pairs), 1)
            row["added_p99_us"] = round(median(mine.p99_us - floor.p99_us for mine, floor in pairs), 1)
    measured = [sample for sample in good if sample.cpu_us is not None and sample.rss_mb is not None]
    if measured:
        row["cpu_us_per_request"] = _median(measured, lambda s: (s.cpu_us or 0.0) / s.load.requests)
        row["rss_mb"] = _median(measured, lambda s: s.rss_mb or 0.0)
        if scenario.stream:
            row["cpu_us_per_frame"] = round(median((s.cpu_us or 0.0) / s.load.frames for s in measured), 2)
    row["errors"] = sum(sample.load.errors for sample in samples)
    return row


def _median(samples: Sequence[Sample], value: Callable[[Sample], float]) -> float:
    return round(median(value(sample) for sample in samples), 1)


def write(folder: Path, document: Document, markdown: str) -> None:
    """Writes ``latest.json`` and ``latest.md``, each whole or not at all."""
    folder.mkdir(exist_ok=True)
    for name, text in (("latest.json", json.dumps(document, indent=2) + "\n"), ("latest.md", markdown)):
        scratch = folder / f"{name}.tmp"
        scratch.write_text(text)
        scratch.replace(folder / name)
