"""Thousands of paced streams at a time: whether all of them come through, what they hold, and what of it is given back.

A fresh gateway, so that memory before and after is that of the streams and of nothing else.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import msgspec

from benchmarks import nginx, scenarios
from benchmarks.experiments import Bench
from benchmarks.gateway import Gateway
from benchmarks.measure import SETTLE_SECONDS
from benchmarks.processes import Process
from benchmarks.targets import NotMeasured, Target
from penstock.bench.processes import Peak, cpu, files_mb, rss_mb
from penstock.bench.report import Report

STREAMS = {"quick": 50, "normal": 2_000, "full": 2_000}
CONNECTIONS = {"quick": 5, "normal": 20, "full": 20}
"""Over gRPC."""
RAMP_MS = {"quick": 100, "normal": 2_000, "full": 2_000}
IDLE_SECONDS = 2.0
REST_SECONDS = 60.0


class ManyStreams(msgspec.Struct, frozen=True, omit_defaults=True):
    """One target under many streams. Memory in megabytes."""

    target: str
    streams: int
    complete: int
    """Streams that came whole and in order."""
    failed: int
    failed_by_kind: dict[str, int]
    idle_rss_mb: float
    """Before."""
    peak_rss_mb: float
    rested_rss_mb: float | None = None
    """A minute after the last stream; None: not waited for."""
    idle_files_mb: float | None = None
    """The part of `idle_rss_mb` that is pages of mapped files."""
    rested_files_mb: float | None = None
    """The part of `rested_rss_mb`."""
    cpu_us_per_frame: float | None = None
    ttft_p99_us: float | None = None
    gap_p99_us: float | None = None


def measure(bench: Bench) -> list[ManyStreams]:
    """nginx, where there is one, and the gateway with everything on.

    Raises:
        StartError: one did not come up.
        FeatureError: not every stream was accounted for.
    """
    found = []
    try:
        found.append(_through_nginx(bench))
    except NotMeasured as e:
        print(f"  many_streams nginx: not measured: {e}", flush=True)
    found.append(_through_gateway(bench))
    return found


def measure_rpc(bench: Bench) -> list[ManyStreams]:
    """The gateway with everything on, over gRPC: the same streams on a hundredth of the connections.

    Raises:
        StartError: it did not come up.
        FeatureError: not every stream was accounted for.
    """
    return [_through_gateway(bench, CONNECTIONS[bench.depth])]


def _through_nginx(bench: Bench) -> ManyStreams:
    folder = bench.folder / "streams-nginx"
    target, process = nginx.start(nginx.find(), folder, bench.upstream, bench.cores.gateway)
    return _through(bench, target, process, lambda _report: None, rest=False)


def _through_gateway(bench: Bench, rpc_connections: int | None = None) -> ManyStreams:
    name = "streams-penstock" if rpc_connections is None else "streams-penstock-grpc"
    gateway = Gateway(bench.folder / name, bench.upstream, bench.cores.gateway)

    def prove(report: Report) -> None:
        gateway.account(report)
        gateway.prove_accounting(failures=report.errors)

    rest = bench.depth == "full"
    return _through(bench, gateway.target(), gateway.process, prove, rest=rest, rpc_connections=rpc_connections)


def _through(
    bench: Bench,
    target: Target,
    process: Process,
    prove: Callable[[Report], None],
    *,
    rest: bool,
    rpc_connections: int | None = None,
) -> ManyStreams:
    streams = STREAMS[bench.depth]
    options = scenarios.request(
        target,
        scenarios.STREAM_20MS if bench.depth == "quick" else scenarios.STREAM_125MS,
        scenarios.BODY_BYTES,
        scenarios.PACED,
        connections=rpc_connections or streams,
        calls=streams // rpc_connections if rpc_connections else None,
        requests=streams,
        ramp_ms=RAMP_MS[bench.depth],
    )
    try:
        if bench.depth != "quick":
            time.sleep(IDLE_SECONDS)
        idle, idle_files = rss_mb(process.pid), files_mb(process.pid)
        peak, before = Peak(process.pid), cpu(process.pid)
        report = bench.client.run(options, timeout=60, meanwhile=lambda _progress: peak.look())
        prove(report)
        time.sleep(SETTLE_SECONDS)
        # After the proof, which waits for the last usage record: work that was put off is counted.
        used = cpu(process.pid).used_since(before)
        peak.look()
        rested = rested_files = None
        if rest:
            time.sleep(REST_SECONDS)
            rested, rested_files = round(rss_mb(process.pid), 1), round(files_mb(process.pid), 1)
    finally:
        process.stop()
    timing = report.stream
    print(
        f"  {'grpc_' if rpc_connections else ''}many_streams {target.label}: {report.requests:,} complete, {report.errors} failed,"
        f" RSS {idle:.0f} -> {peak.highest_mb:.0f} MB",
        flush=True,
    )
    return ManyStreams(
        target=target.label,
        streams=streams,
        complete=report.requests,
        failed=report.errors,
        failed_by_kind=report.errors_by_kind,
        idle_rss_mb=round(idle, 1),
        peak_rss_mb=round(peak.highest_mb, 1),
        rested_rss_mb=rested,
        idle_files_mb=round(idle_files, 1),
        rested_files_mb=rested_files,
        cpu_us_per_frame=round(used / timing.frames, 2) if timing and timing.frames else None,
        ttft_p99_us=round(timing.ttft_us.p99, 1) if timing else None,
        gap_p99_us=round(timing.gap_us.p99, 1) if timing else None,
    )
