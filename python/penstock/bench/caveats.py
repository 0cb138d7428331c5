"""What a reader must know before believing the numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from penstock.bench.document import Row
from penstock.bench.samples import Sample, runs_of
from penstock.bench.settings import Settings

_CLIENT_BOUND: Final = 0.9
_LATE_US: Final = 1_000.0
_BUSY: Final = 0.8


def _percent(share: float) -> str:
    """Percent with two digits that say something: `0.012`, `3.4`, `56`, `100`."""
    percent = 100 * share
    return f"{percent:.0f}" if percent >= 10 else f"{percent:.2g}"


def warnings(settings: Settings, samples: Sequence[Sample], rows: Sequence[Row]) -> list[str]:
    """In words, row by row."""
    found = []
    for row in rows:
        point = settings.points[row.point]
        where = f"{row.target}, {point.label}"
        value = {name: metric.median for name, metric in row.metrics.items()}
        threads = min(settings.threads, point.connections)
        if value.get("client_cores", 0) >= _CLIENT_BOUND * threads:
            found.append(
                f"{where}: the client used {value['client_cores']:.2f} of its {threads} core(s), so the target may do more "
                "than is shown: give more --threads"
            )
        late = value.get("send_delay_p99_us", 0)
        if late > _LATE_US and late > 0.1 * value.get("p99_us", 0):
            # Little's law: how many connections had a request on average.
            busy = value["rps"] * value.get("service_mean_us", 0.0) / 1e6
            # And how many the longest answer may have held up.
            held = value["rps"] * value.get("service_max_us", 0.0) / 1e6
            why = (
                "because all connections were busy: the target does not keep up with the rate, or needs more --connections"
                if max(busy, held) > _BUSY * point.in_flight
                else "though connections were free: the client's machine is too busy to judge by"
            )
            found.append(f"{where}: 1 % of the requests were sent more than {late / 1e3:,.1f} ms late, {why}")
        reconnects = row.metrics["reconnects"].max
        if value["requests"] and reconnects > 0.05 * value["requests"]:
            found.append(
                f"{where}: {reconnects:,.0f} connections had to be opened again; their time is in the latencies"
            )
        runs = [sample.report for sample in runs_of(samples, row.target, row.point)]
        if errors := sum(run.errors for run in runs):
            share = errors / (errors + sum(run.requests for run in runs))
            found.append(
                f"{where}: {_percent(share)} % of the requests failed and are in no latency; the first: "
                f"{row.first_error}"
            )
        if settings.stream is not None and value.get("gap_p50_us") == 0:
            found.append(f"{where}: most deltas arrive together with the one before, so gaps say little")
        gone = [
            selector
            for target in settings.targets
            if target.label == row.target
            for selector in target.processes
            if any(selector not in sample.processes for sample in runs_of(samples, row.target, row.point))
        ]
        found += [f"{where}: process {selector!r} ended while it was measured" for selector in gone]
    return found
