"""Everything that one run found out, and how figures are drawn from its samples: medians over rounds, with the spread;
differences and ratios taken round by round, so that both sides of each saw the same machine.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median

from benchmarks.experiments.coworker import Written
from benchmarks.experiments.many_streams import ManyStreams
from benchmarks.experiments.starts import Starts
from benchmarks.experiments.state_growth import StateGrowth
from benchmarks.experiments.token_count import TokenCount
from benchmarks.measure import Sample, Samples
from benchmarks.scenarios import Depth, Scenario
from benchmarks.targets import Target
from penstock.bench.report import StreamReport


def _stream(value: Callable[[StreamReport], float]) -> Callable[[Sample], float | None]:
    return lambda sample: value(sample.report.stream) if sample.report.stream else None


def _frame_cost(sample: Sample) -> float | None:
    stream = sample.report.stream
    return sample.cpu_us / stream.frames if stream and stream.frames and sample.cpu_us is not None else None


METRICS: Mapping[str, Callable[[Sample], float | None]] = {
    "rps": lambda s: s.report.rps,
    "p50_us": lambda s: s.report.latency_us.p50,
    "p90_us": lambda s: s.report.latency_us.p90,
    "p99_us": lambda s: s.report.latency_us.p99,
    "p999_us": lambda s: s.report.latency_us.p999,
    "ttft_p50_us": _stream(lambda s: s.ttft_us.p50),
    "ttft_p99_us": _stream(lambda s: s.ttft_us.p99),
    "gap_p99_us": _stream(lambda s: s.gap_us.p99),
    "cpu_us_per_request": lambda s: None if s.cpu_us is None else s.cpu_us / s.report.requests,
    # Of a stream over gRPC: per message.
    "cpu_us_per_frame": _frame_cost,
    "rss_mb": lambda s: s.rss_mb,
    "files_mb": lambda s: s.files_mb,
    "client_cpu_us_per_request": lambda s: s.report.client_cpu_us_per_request,
}
ADDED: Mapping[str, str] = {
    f"added_{name}": name
    for name in ("p50_us", "p90_us", "p99_us", "p999_us", "ttft_p50_us", "ttft_p99_us", "gap_p99_us")
}
"""What a target adds to the upstream alone; over gRPC, to the same load over REST on the upstream alone."""

Values = list[float | None]
"""One per round; None: that round has no value."""


def middle(values: Sequence[float | None]) -> float | None:
    """The median of those that there are."""
    known = [value for value in values if value is not None]
    return median(known) if known else None


def pairwise(combine: Callable[[float, float], float], mine: Values, other: Values) -> Values:
    """Both sides of a round, combined; None where one is missing."""
    return [
        None if a is None or b is None else combine(a, b)
        # A target that failed half-way has fewer rounds than the others.
        for a, b in zip(mine, other, strict=False)
    ]


@dataclass
class Findings:
    """Samples and experiments of one run."""

    targets: Sequence[Target]
    scenarios: Sequence[Scenario]
    rounds: int
    depth: Depth
    samples: Samples = field(default_factory=dict)
    idle_rss_mb: dict[str, float] = field(default_factory=dict)
    """By target label, before all load."""
    after_rss_mb: dict[str, float] = field(default_factory=dict)
    """And after all of it."""
    accounting: dict[str, str] = field(default_factory=dict)
    """What the ledgers held in the end, by target label."""
    not_measured: list[str] = field(default_factory=list)
    starts: Sequence[Starts] = ()
    token_count: TokenCount | None = None
    many_streams: Sequence[ManyStreams] = ()
    grpc_many_streams: Sequence[ManyStreams] = ()
    coworker: Sequence[Written] = ()
    state_growth: StateGrowth | None = None

    def values(self, scenario: str, label: str, metric: str) -> Values:
        """A metric of one target in one scenario, by round; empty when it was not measured."""
        if metric in ADDED:
            if label == "direct":
                return []
            mine = self.values(scenario, label, ADDED[metric])
            floor = self.values(self._without_gateway(scenario), "direct", ADDED[metric])
            return pairwise(lambda a, b: a - b, mine, floor)
        measured = self.samples.get((scenario, label), [])
        return [METRICS[metric](sample) if sample.report.requests else None for sample in measured]

    def middle(self, scenario: str, label: str, metric: str) -> float | None:
        """Its median over rounds."""
        return middle(self.values(scenario, label, metric))

    def _without_gateway(self, scenario: str) -> str:
        """The load with which the upstream alone is measured."""
        return next((s.like for s in self.scenarios if s.name == scenario and s.like is not None), scenario)

    def ratio(self, scenario: str, metric: str, label: str, other: str) -> float | None:
        """How many times as much as another target; the median of the ratios of the rounds."""
        return _ratio(*(self.values(scenario, who, metric) for who in (label, other)))

    def ratio_of_loads(self, metric: str, label: str, scenario: str, other: str) -> float | None:
        """How many times as much in one load as in another, of one target; the median of the ratios of the rounds."""
        return _ratio(*(self.values(load, label, metric) for load in (scenario, other)))


def _ratio(mine: Values, theirs: Values) -> float | None:
    positive: Values = [value if value is not None and value > 0 else None for value in theirs]
    return middle(pairwise(lambda a, b: a / b, mine, positive))
