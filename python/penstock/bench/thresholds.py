"""`--fail-on 'p99_ms>50'`: what makes a run fail.

A metric, a comparison and a number. The metrics are those of `results.json`; a duration may be asked for in `_us`, `_ms`
or `_s`. The condition says what is bad, and is judged on the median of each target at each point; failures and
reconnects on the worst round, whose median would hide a round that went wrong. A metric that was not measured fails,
too: a check that cannot be made must not pass.
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from penstock.bench.document import Row, Threshold
from penstock.bench.results import ADDED, ADDED_STREAM, QUANTILES
from penstock.bench.settings import Settings
from penstock.bench.wire import UsageError

_SHAPE: Final = re.compile(
    r"^(?:(?P<target>[^:<>=]+):)?\s*(?P<metric>[a-z_0-9]+)\s*(?P<sign><=|>=|<|>)\s*(?P<limit>\S+)$"
)
_SIGNS: Final[dict[str, Callable[[float, float], bool]]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_UNITS: Final = {"_us": 1.0, "_ms": 1e3, "_s": 1e6}
_DURATIONS: Final = frozenset(
    f"{prefix}{name}"
    for prefix in ("", "service_", "send_delay_", "ttft_", "gap_")
    for name in ("min", "mean", *QUANTILES, "max")
) | {f"added_{name.removesuffix('_us')}" for name in ADDED + ADDED_STREAM}
_OTHERS: Final = frozenset(
    {
        "requests",
        "errors",
        "error_rate",
        "rps",
        "reconnects",
        "elapsed_s",
        "frames",
        "deltas",
        "frames_per_s",
        "sent_mb_per_s",
        "received_mb_per_s",
        "client_cores",
        "client_cpu_us_per_request",
        "cpu_us_per_request",
        "cpu_us_per_frame",
        "cores",
        "rss_idle_mb",
        "rss_peak_mb",
        "rss_after_mb",
    }
)

_WORST: Final = frozenset({"errors", "error_rate", "reconnects"})
"""Judged on the round that had most."""


@dataclass(frozen=True)
class Condition:
    """What must not be."""

    expression: str
    target: str | None
    """Label; None: every target."""
    metric: str
    """Its name in the results."""
    unit: float
    """The results' value divided by this is in the unit of the expression."""
    sign: str
    limit: float

    def holds(self, value: float) -> bool:
        """Whether this value, in the unit of the expression, is bad."""
        return _SIGNS[self.sign](value, self.limit)


def parse(text: str) -> Condition:
    """Reads one condition: `[LABEL:]METRIC OP NUMBER`.

    Raises:
        UsageError: the shape, the metric or the number is wrong.
    """
    match = _SHAPE.match(text.strip())
    if match is None:
        raise UsageError(f"--fail-on {text!r}: write a metric, one of < <= > >=, and a number, e.g. 'p99_ms>50'")
    try:
        limit = float(match["limit"])
    except ValueError:
        raise UsageError(
            f"--fail-on {text!r}: {match['limit']!r} is not a number; units are in the metric's name"
        ) from None
    if not math.isfinite(limit):
        raise UsageError(f"--fail-on {text!r}: nothing can be compared with {match['limit']!r}; write a finite number")
    metric, unit = match["metric"], 1.0
    if metric not in _OTHERS:
        end = next((end for end in _UNITS if metric.endswith(end)), "")
        if not end or metric.removesuffix(end) not in _DURATIONS:
            raise UsageError(f"--fail-on {text!r}: there is no metric {metric!r}; {_near(metric)}")
        metric, unit = f"{metric.removesuffix(end)}_us", _UNITS[end]
    return Condition(text.strip(), match["target"], metric, unit, match["sign"], limit)


def _near(metric: str) -> str:
    import difflib

    known = [*_OTHERS, *(f"{name}{end}" for name in _DURATIONS for end in ("_us", "_ms"))]
    near = difflib.get_close_matches(metric, sorted(known), n=3)
    if near:
        return f"is it {' or '.join(near)}?"
    return "e.g. p99_ms, ttft_p50_ms, added_p99_us, rps, error_rate, cpu_us_per_request, rss_peak_mb"


def judge(conditions: Sequence[Condition], rows: Sequence[Row], settings: Settings) -> list[Threshold]:
    """Every condition at every row it is about. One that is about a row that does not exist fails as not measured."""
    found = []
    for condition in conditions:
        mine = [row for row in rows if condition.target in (None, row.target)]
        if condition.metric.startswith("added_"):
            # The baseline adds nothing to itself.
            mine = [row for row in mine if row.target != settings.baseline]
        for row in mine:
            metric = row.metrics.get(condition.metric)
            value = None
            if metric is not None:
                value = (metric.max if condition.metric in _WORST else metric.median) / condition.unit
            bad = value is None or condition.holds(value)
            point = settings.points[row.point].label
            found.append(Threshold(condition.expression, row.target, point, value, bad))
        if not mine:
            found.append(Threshold(condition.expression, condition.target or "-", "-", None, failed=True))
    return found
