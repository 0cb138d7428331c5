"""`results.json`: its shape, and the machine it was made on.

Apart from how the numbers are worked out, since tables, charts and thresholds only need what they are.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from penstock.bench.samples import Sample


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
    calls_per_connection: int = 1
    """More than one only over gRPC."""


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
