"""The goals, and whether this run met them: judged by nothing that it did not measure itself."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from statistics import median

import msgspec

from benchmarks.experiments import coworker
from benchmarks.experiments.many_streams import CONNECTIONS, STREAMS
from benchmarks.experiments.state_growth import KEYS
from benchmarks.experiments.token_count import Hostile
from benchmarks.findings import Findings, Values, middle, pairwise

OURS = "penstock (native)"
OFF = "penstock (native, features off)"
BUSY = "penstock (native, busy polling)"
SHARED = "penstock (native, PostgreSQL and Redis)"
FLOOR = "nginx"
PEER = "smg"
LINEAR = 1.25
"""Of what doubles, the cost may more than double by this factor over the whole range: caches have edges."""
ROUNDS = 5
"""A median over fewer does not decide."""
SMALL, LARGE = 0.1, 1.0
"""Megabytes of the two large bodies."""


class Goal(msgspec.Struct, frozen=True, omit_defaults=True):
    """One line of the table."""

    measure: str
    goal: str
    measured: str
    met: bool | None
    """None: not measured in this run, or not well enough to say."""
    reason: str = ""
    """Why what was measured does not say."""

    @property
    def verdict(self) -> str:
        """For people."""
        if self.reason:
            return f"not judged: {self.reason}"
        return {True: "met", False: "**NOT met**", None: "not measured"}[self.met]

    def if_backed(self, *, rounds: int | None = None, failed: int = 0) -> Goal:
        """The same, unless fewer than :data:`ROUNDS` rounds were behind it, or requests failed, which are in no figure:
        those take only a success away, since a miss without them is one all the more."""
        reason = ""
        if self.met is not None and rounds is not None and rounds < ROUNDS:
            reason = f"{rounds} of {ROUNDS} rounds"
        elif self.met and failed:
            reason = f"{failed:,} requests failed"
        return msgspec.structs.replace(self, met=None, reason=reason) if reason else self


def judge(results: Findings) -> list[Goal]:
    """Every goal, in a fixed order."""
    judges: list[Callable[[Findings], Iterator[Goal]]] = [_unary, _streaming, _streams, _features, _bodies]
    judges += [_rpc, _tokens, _starts, _growth, _shared]
    return [goal for each in judges for goal in each(results)]


def _loads(results: Findings, goal: Goal, scenarios: Sequence[str], targets: Sequence[str]) -> Goal:
    """A goal that these loads of these targets decide."""
    return _runs(results, goal, list(itertools.product(scenarios, targets)))


def _runs(results: Findings, goal: Goal, pairs: Sequence[tuple[str, str]]) -> Goal:
    """The same for pairs of a load and a target."""
    runs = [results.samples.get(pair, []) for pair in pairs]
    rounds = min(sum(1 for sample in samples if sample.report.requests) for samples in runs)
    return goal.if_backed(rounds=rounds, failed=sum(sample.report.errors for samples in runs for sample in samples))


def _number(value: float) -> str:
    return f"{value:,.2f}" if abs(value) < 10 else f"{value:,.1f}" if abs(value) < 1_000 else f"{value:,.0f}"


def _at_most(measure: str, limit: float, unit: str, value: float | None, note: str = "") -> Goal:
    return _compared(measure, f"<= {limit:g}{unit}", unit, value, value is not None and value <= limit, note)


def _at_least(measure: str, limit: float, unit: str, value: float | None, note: str = "") -> Goal:
    return _compared(measure, f">= {limit:g}{unit}", unit, value, value is not None and value >= limit, note)


def _compared(measure: str, goal: str, unit: str, value: float | None, met: bool, note: str) -> Goal:
    if value is None:
        return Goal(measure, goal, "", None)
    return Goal(measure, goal, f"{_number(value)}{unit}{f' ({note})' if note else ''}", met)


def _unary(results: Findings) -> Iterator[Goal]:
    for limit, other in ((4, FLOOR), (0.4, PEER)):
        ratio = results.ratio("unary_c32", "cpu_us_per_request", OURS, other)
        mine, theirs = (results.middle("unary_c32", who, "cpu_us_per_request") for who in (OURS, other))
        note = "" if mine is None or theirs is None else f"{_number(mine)} us : {_number(theirs)} us"
        goal = _at_most(f"CPU per unary request, all features on, to {other}'s", limit, "x", ratio, note)
        yield _loads(results, goal, ["unary_c32"], [OURS, other])
    ratio = results.ratio("unary_c32", "rps", OURS, PEER)
    mine, theirs = (results.middle("unary_c32", who, "rps") for who in (OURS, PEER))
    note = "" if mine is None or theirs is None else f"{_number(mine)}/s : {_number(theirs)}/s"
    goal = _at_least(f"throughput at 32 connections, to {PEER}'s", 2.5, "x", ratio, note)
    yield _loads(results, goal, ["unary_c32"], [OURS, PEER])
    for percentile, limit in (("p50", 60), ("p99", 150)):
        for who, how in ((OURS, ""), (BUSY, " with busy polling")):
            added = results.middle("unary_c1", who, f"added_{percentile}_us")
            least = results.middle("unary_c1", FLOOR, f"added_{percentile}_us")
            note = "" if least is None else f"{FLOOR}: {_number(least)} us"
            goal = _at_most(f"added latency at 1 connection{how}, {percentile}", limit, " us", added, note)
            yield _loads(results, goal, ["unary_c1"], [who, "direct"])


def _streaming(results: Findings) -> Iterator[Goal]:
    for scenario, streams in (("sse_c16", 16), ("sse_c128", 128)):
        ratio = results.ratio(scenario, "cpu_us_per_frame", OURS, FLOOR)
        mine, theirs = (results.middle(scenario, who, "cpu_us_per_frame") for who in (OURS, FLOOR))
        note = "" if mine is None or theirs is None else f"{_number(mine)} us : {_number(theirs)} us"
        goal = _at_most(f"CPU per relayed SSE frame at {streams} streams, to {FLOOR}'s", 1.3, "x", ratio, note)
        yield _loads(results, goal, [scenario], [OURS, FLOOR])
    first = results.middle("sse_c128", OURS, "added_ttft_p99_us")
    gap = results.middle("sse_c128", OURS, "added_gap_p99_us")
    for goal in (
        _at_most("added time to first token at 128 streams, p99", 250, " us", first),
        _at_most("added gap between frames at 128 streams, p99", 1_000, " us", gap),
    ):
        yield _loads(results, goal, ["sse_c128"], [OURS, "direct"])


def _streams(results: Findings) -> Iterator[Goal]:
    asked = STREAMS["full"]
    found = next((s for s in results.many_streams if s.target == OURS and s.streams >= asked), None)
    failed = None if found is None else max(found.failed, found.streams - found.complete)
    told = "" if failed is None else f"{failed:,} of {asked:,}"
    yield Goal(f"failures of {asked:,} paced streams at a time", "none", told, None if failed is None else failed == 0)
    peak = _at_most(f"RSS with {asked:,} streams", 150, " MB", None if found is None else found.peak_rss_mb)
    # Once, not a median: one peak above it is one too many.
    yield peak.if_backed(failed=failed or 0)
    rested = None if found is None or found.rested_rss_mb is None else found.rested_rss_mb / found.idle_rss_mb
    note = "" if found is None else f"{found.rested_rss_mb} MB : {found.idle_rss_mb} MB"
    if found is not None and found.rested_files_mb is not None:
        note += f", of it mapped files {found.rested_files_mb} MB : {found.idle_files_mb} MB"
    goal = _at_most("RSS 60 s after the streams, to idle before them", 1.2, "x", rested, note)
    yield goal.if_backed(failed=failed or 0)


def _features(results: Findings) -> Iterator[Goal]:
    on, off = (results.values("unary_c32", who, "cpu_us_per_request") for who in (OURS, OFF))
    more = middle(pairwise(lambda a, b: a - b, on, off))
    goal = _at_most("CPU per request, features on, over features off", 15, " us", more)
    yield _loads(results, goal, ["unary_c32"], [OURS, OFF])


def per_megabyte(results: Findings, label: str) -> float | None:
    """Microseconds that a target adds for each further megabyte of a request's body."""
    large, small = (results.values(s, label, "added_p50_us") for s in ("body_1mb", "body_100kb"))
    return middle(pairwise(lambda a, b: (a - b) / (LARGE - SMALL), large, small))


def _bodies(results: Findings) -> Iterator[Goal]:
    mine, floor = per_megabyte(results, OURS), per_megabyte(results, FLOOR)
    counting = results.token_count.megabyte_us if results.token_count else None
    measure, goal = "added time per MB of prompt", f"<= 1.5x {FLOOR}'s + token counting"
    if mine is None or floor is None or counting is None:
        yield Goal(measure, goal, "", None)
    elif floor <= 0:
        told = f"{_number(mine)} us, token counting {_number(counting)} us"
        yield Goal(measure, goal, told, None, f"{FLOOR} added {_number(floor)} us, so this run cannot tell")
    else:
        limit = 1.5 * floor + counting
        told = f"{_number(mine)} us (1.5 x {_number(floor)} us + {_number(counting)} us = {_number(limit)} us)"
        judged = Goal(measure, goal, told, mine <= limit)
        yield _loads(results, judged, ["body_1mb", "body_100kb"], [OURS, FLOOR, "direct"])
    for metric, what in (("added_p50_us", "added time"), ("cpu_us_per_request", "CPU")):
        ratio = middle(_nonlinearity(results, metric))
        judged = _at_most(f"{what} per MB, 1 MB prompts to 100 KB prompts", LINEAR, "x", ratio)
        yield _loads(results, judged, ["unary_c1", "body_100kb", "body_1mb"], [OURS, "direct"])


def _nonlinearity(results: Findings, metric: str) -> Values:
    """How much more each byte costs in a large body than in a smaller one, by round; 1: the same."""
    none, small, large = (results.values(s, OURS, metric) for s in ("unary_c1", "body_100kb", "body_1mb"))
    of_small = pairwise(lambda a, b: (a - b) / SMALL, small, none)
    of_large = pairwise(lambda a, b: (a - b) / LARGE, large, none)
    return pairwise(lambda a, b: a / b if b > 0 else float("inf"), of_large, of_small)


def steepness(text: Hostile) -> float:
    """The cost per character at the longest text to that at a quarter of it; 1: linear."""
    cost = [us / n for us, n in zip(text.penstock_us, text.characters, strict=True)]
    return cost[-1] / cost[-3]


def _rpc(results: Findings) -> Iterator[Goal]:
    loads = [("grpc_unary_c32", "unary_c32", "cpu_us_per_request", "CPU per unary gRPC call, to REST's", 1.0)]
    loads += [
        (
            f"grpc_stream_c{n}",
            f"sse_c{n}",
            "cpu_us_per_frame",
            f"CPU per gRPC message at {n} streams, to a REST frame's",
            1.3,
        )
        for n in (16, 128)
    ]
    for scenario, rest, metric, measure, limit in loads:
        ratio = results.ratio_of_loads(metric, OURS, scenario, rest)
        mine, theirs = (results.middle(load, OURS, metric) for load in (scenario, rest))
        note = "" if mine is None or theirs is None else f"{_number(mine)} us : {_number(theirs)} us"
        yield _runs(results, _at_most(measure, limit, "x", ratio, note), [(scenario, OURS), (rest, OURS)])
    for who, how in ((OURS, ""), (BUSY, " with busy polling")):
        added = results.middle("grpc_unary_c1", who, "added_p50_us")
        whole = results.middle("grpc_unary_c1", who, "p50_us")
        note = "" if whole is None else f"{_number(whole)} us in all"
        goal = _at_most(f"added latency of gRPC at 1 connection{how}, p50", 60, " us", added, note)
        yield _runs(results, goal, [("grpc_unary_c1", who), ("unary_c1", "direct")])
    found = next((s for s in results.grpc_many_streams if s.target == OURS and s.streams >= STREAMS["full"]), None)
    failed = None if found is None else max(found.failed, found.streams - found.complete)
    told = "" if failed is None else f"{failed:,} of {STREAMS['full']:,}"
    measure = f"failures of paced gRPC streams, {STREAMS['full']:,} over {CONNECTIONS['full']} connections"
    yield Goal(measure, "none", told, None if failed is None else failed == 0)


def _tokens(results: Findings) -> Iterator[Goal]:
    found = results.token_count
    slowest = min(found.natural, key=lambda text: text.times_faster) if found else None
    least = slowest.times_faster if slowest else None
    yield _at_least("token counting, to tiktoken's speed", 5, "x", least, f"slowest: {slowest.text}" if slowest else "")
    steepest = max(found.hostile, key=steepness) if found else None
    value = steepness(steepest) if steepest else None
    measure = "token counting per character on hostile text, longest to a quarter of it"
    yield _at_most(measure, LINEAR, "x", value, f"steepest: {steepest.text}" if steepest else "")


def _starts(results: Findings) -> Iterator[Goal]:
    native = next((s for s in results.starts if s.listener == "native"), None)
    starts = len(native.ready_s) if native else 0
    ready = _at_most("start to ready", 1, " s", median(native.ready_s) if native else None)
    idle = _at_most("idle RSS", 80, " MB", median(native.idle_rss_mb) if native else None)
    yield ready.if_backed(rounds=starts)
    yield idle.if_backed(rounds=starts)


def _growth(results: Findings) -> Iterator[Goal]:
    found = results.state_growth
    state = "CPU per request with 1,000,000 keys stored, 100,000 in memory, 1,000 deployments"
    if found is None or found.keys_stored < KEYS["full"]:
        yield Goal(state, "<= 1.1x", "", None)
        return
    for traffic in found.traffic:
        mine, base = median(traffic.cpu_us_per_request), median(traffic.baseline_us_per_request)
        goal = _at_most(
            f"{state}: {traffic.traffic}", 1.1, "x", traffic.growth, f"{_number(mine)} us : {_number(base)} us"
        )
        yield goal.if_backed(rounds=len(traffic.cpu_us_per_request))


def _shared(results: Findings) -> Iterator[Goal]:
    """With PostgreSQL and Redis, to the same with SQLite and limits of the process's own."""
    ratio = results.ratio("unary_c32", "cpu_us_per_request", SHARED, OURS)
    mine, theirs = (results.middle("unary_c32", who, "cpu_us_per_request") for who in (SHARED, OURS))
    note = "" if mine is None or theirs is None else f"{_number(mine)} us : {_number(theirs)} us"
    goal = _at_most("CPU per unary request with PostgreSQL and Redis, to SQLite's", 1.1, "x", ratio, note)
    yield _loads(results, goal, ["unary_c32"], [SHARED, OURS])
    both = (results.values("unary_c1", who, "p99_us") for who in (SHARED, OURS))
    more = middle(pairwise(lambda a, b: a - b, *both))
    goal = _at_most("latency at 1 connection with PostgreSQL and Redis, p99, over SQLite's", 30, " us", more)
    yield _loads(results, goal, ["unary_c1"], [SHARED, OURS])
    for keys in coworker.KEYS:
        found = next((w for w in results.coworker if w.keys == keys and w.records >= coworker.RECORDS["normal"]), None)
        note = "" if found is None else f"{_number(found.cpu_us_per_record)} us of CPU each"
        measure = f"usage records/s of one coworker, {keys:,} keys"
        yield _at_least(measure, 5_000, "/s", None if found is None else found.records_per_s, note)
