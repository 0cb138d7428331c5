"""Reports and samples as the load generator would have made them, for tests that need no load."""

from __future__ import annotations

from collections.abc import Mapping

from penstock.bench.report import FirstError, Quantiles, Report, StreamReport
from penstock.bench.samples import ProcessUse, Sample
from penstock.bench.settings import Checks, Point, Settings, Target


def quantiles(p50: float, p99: float, count: int = 100) -> Quantiles:
    """A distribution with these two and something between and around."""
    between = (p50 + p99) / 2
    return Quantiles(
        count=count,
        min=p50 / 2,
        mean=p50,
        p50=p50,
        p75=p50,
        p90=between,
        p95=between,
        p99=p99,
        p999=p99,
        p9999=p99,
        max=p99,
    )


def report(
    p50: float = 100.0,
    p99: float = 200.0,
    *,
    requests: int = 100,
    rps: float = 1_000.0,
    errors: Mapping[str, int] | None = None,
    ttft: tuple[float, float] | None = None,
    stopped: bool = False,
    send_delay: tuple[float, float] | None = None,
    client_cpu: float | None = 10.0,
    reconnects: int = 0,
    service: tuple[float, float] | None = None,
) -> Report:
    """One run."""
    kinds = dict(errors or {})
    stream = None
    if ttft is not None:
        gap = quantiles(10.0, 20.0)
        stream = StreamReport(
            ttft_us=quantiles(*ttft), gap_us=gap, frames=10 * requests, deltas=8 * requests, digest=""
        )
    return Report(
        requests=requests,
        errors=sum(kinds.values()),
        errors_by_kind=kinds,
        elapsed_s=requests / rps,
        rps=rps,
        latency_us=quantiles(p50, p99, requests),
        service_us=quantiles(*(service or (p50, p99)), requests),
        bytes_sent=1000,
        bytes_received=1000,
        send_delay_us=None if send_delay is None else quantiles(*send_delay),
        stream=stream,
        client_cpu_us_per_request=client_cpu,
        reconnects=reconnects,
        first_error=FirstError(next(iter(kinds)), "it said so") if kinds else None,
        stopped=stopped,
    )


def sample(
    target: str, number: int, of: Report, *, point: int = 0, use: Mapping[str, ProcessUse] | None = None
) -> Sample:
    """A run in its place."""
    return Sample(target, point, number, of, dict(use or {}))


def settings(
    *labels: str,
    points: tuple[Point, ...] = (Point(4),),
    baseline: str | None = None,
    rounds: int = 1,
    stream: Checks | None = None,
    processes: tuple[str, ...] = (),
) -> Settings:
    """Settings with these targets."""
    return Settings(
        targets=[
            Target(label, f"http://127.0.0.1:1/{label}", [("authorization", "Bearer sk-hidden")], "{}", processes)
            for label in labels or ("target",)
        ],
        points=points,
        surface="chat",
        stream=stream,
        rounds=rounds,
        duration_ms=1000,
        baseline=baseline,
    )
