"""What one run measured, as it is kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from penstock.bench.report import Report


class ProcessUse(msgspec.Struct, frozen=True):
    """What a process and its descendants used in one run."""

    cpu_us: float
    """Of the measured run, warm-up excluded."""
    rss_idle_mb: float
    """Before the tool sent anything."""
    rss_peak_mb: float
    """Highest: as the system keeps it when the run raised that, else as seen four times a second."""
    rss_after_mb: float
    """When the run was over and had settled."""


class Sample(msgspec.Struct, frozen=True):
    """One measured run."""

    target: str
    point: int
    """Index into the points."""
    round: int
    report: Report
    processes: Mapping[str, ProcessUse] = {}
    """By selector; one that ended during the run is missing."""


def runs_of(samples: Sequence[Sample], target: str, point: int) -> list[Sample]:
    """The runs of a target at a point; one that was ended early only when there is no other."""
    mine = [sample for sample in samples if (sample.target, sample.point) == (target, point)]
    return [sample for sample in mine if not sample.report.stopped] or mine
