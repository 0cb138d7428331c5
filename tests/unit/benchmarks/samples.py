"""Findings made up for tests: what each round saw, in the form in which the benchmark keeps it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from benchmarks.findings import Findings
from benchmarks.measure import Sample
from benchmarks.scenarios import ALL, UNARY, Scenario
from benchmarks.targets import Target
from penstock.bench.report import Quantiles, Report, StreamReport

DIRECT = Target("direct", "http://127.0.0.1:1/", "http://127.0.0.1:1/")
NGINX = Target("nginx", "u", "s", pid=1, version="1.22.1")
GATEWAY = Target(
    "penstock", "u", "s", pid=2, listener="native", features="on", rpc_url="grpc://127.0.0.1:1", models={"m": UNARY}
)
PLAIN = Target("penstock", "u", "s", pid=3, listener="native", features="off", models={"m": UNARY})
SHARED = Target(
    "penstock", "u", "s", pid=5, listener="native, PostgreSQL and Redis", features="on", models={"m": UNARY}
)
PEER = Target("smg", "u", "s", pid=4, features="off", version="1.0")


def scenario(name: str) -> Scenario:
    return next(scenario for scenario in ALL if scenario.name == name)


def quantiles(p50: float, p99: float) -> Quantiles:
    return Quantiles(100, p50, p50, p50, p99, p99, p99, p99)


def sample(
    p50: float = 10.0,
    p99: float = 20.0,
    *,
    cpu_us: float | None = None,
    requests: int = 100,
    errors: int = 0,
    rps: float = 1_000.0,
    frames: int = 0,
    ttft_p99: float = 0.0,
    gap_p99: float = 0.0,
) -> Sample:
    """``cpu_us``: of the whole run."""
    report = Report(
        requests=requests,
        errors=errors,
        errors_by_kind={"closed": errors} if errors else {},
        elapsed_s=1.0,
        rps=rps,
        latency_us=quantiles(p50, p99),
        service_us=quantiles(p50, p99),
        bytes_sent=0,
        bytes_received=0,
        stream=StreamReport(quantiles(1, ttft_p99), quantiles(1, gap_p99), frames, frames, "") if frames else None,
        client_cpu_us_per_request=5.0,
    )
    return Sample(report, cpu_us, None if cpu_us is None else 50.0)


def results(rounds: Mapping[tuple[str, Target], Sequence[Sample]]) -> Findings:
    """From samples by scenario and target."""
    names = list(dict.fromkeys(name for name, _ in rounds))
    targets = {target.label: target for _, target in rounds}
    return Findings(
        targets=list(targets.values()),
        scenarios=[scenario(name) for name in names],
        rounds=max(len(samples) for samples in rounds.values()),
        depth="normal",
        samples={(name, target.label): list(samples) for (name, target), samples in rounds.items()},
    )
