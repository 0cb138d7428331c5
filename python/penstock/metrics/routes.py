"""`GET /metrics`, Prometheus text format 0.0.4."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterable
from pathlib import Path

from litestar import Response, get

from penstock.access import Access
from penstock.engine.current import CurrentRuntime
from penstock.engine.runtime import Runtime
from penstock.idempotency.service import IdempotencyService
from penstock.quota.service import QuotaService

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_PAGE = resource.getpagesize()


def _gauge(name: str, meaning: str, value: float, kind: str = "gauge") -> str:
    return f"# HELP {name} {meaning}\n# TYPE {name} {kind}\n{name} {value}\n"


def _counters(prefix: str, counters: Iterable[tuple[str, str, float]]) -> str:
    return "".join(_gauge(f"{prefix}_{name}_total", meaning, value, "counter") for name, meaning, value in counters)


def _resident_bytes() -> int:
    try:
        return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * _PAGE
    except OSError:
        # Not Linux: the highest value so far is the best that the system tells.
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _open_descriptors() -> int:
    try:
        return sum(1 for _ in Path("/proc/self/fd").iterdir())
    except OSError:
        return 0


def quota_metrics(quota: QuotaService) -> str:
    """How limits are shared."""
    figures = quota.figures
    counters = (
        ("draws", "Draws of units of shared limits.", figures.draws),
        ("granted", "Draws that were granted.", figures.granted),
        ("refused", "Draws that were refused.", figures.refused),
        ("granted_alone", "Draws that were granted without Redis.", figures.granted_alone),
        ("refused_alone", "Draws that were refused without Redis.", figures.refused_alone),
        ("granted_ahead", "Draws that were granted before a slow Redis had counted them.", figures.granted_ahead),
        ("outages", "How often Redis was given up.", figures.outages),
        ("round_trips", "How often Redis was asked.", quota.round_trips),
    )
    return "".join(
        (
            _counters("penstock_quota", counters),
            _gauge("penstock_quota_replicas", "Gateways among which limits are divided.", quota.sharing),
            _gauge("penstock_quota_shared", "1 while limits are shared through Redis.", int(quota.state == "shared")),
        )
    )


def idempotency_metrics(service: IdempotencyService) -> str:
    """How requests with an idempotency key are shared."""
    figures = service.figures
    counters = (
        ("claimed", "Requests that this gateway was given to run.", figures.claimed),
        ("replayed", "Requests that another gateway, or an earlier run of this one, had answered.", figures.replayed),
        ("running", "Requests that ran at another gateway.", figures.running),
        ("claimed_alone", "Requests that were run without Redis.", figures.alone),
        ("refused_alone", "Requests that were refused without Redis.", figures.refused_alone),
        ("answers_kept", "Answers that Redis took.", figures.answers),
        ("answers_lost", "Answers that it did not take: it was gone, or another had the request.", figures.lost),
    )
    return _counters("penstock_idempotency", counters)


def process_metrics(runtime: Runtime) -> str:
    """The process's gauges and the usage writer's counters."""
    times = os.times()
    return "".join(
        (
            _gauge("process_resident_memory_bytes", "Resident memory.", _resident_bytes()),
            _gauge("process_cpu_seconds_total", "User and system time.", times.user + times.system, "counter"),
            _gauge("process_open_fds", "Open file descriptors.", _open_descriptors()),
            _gauge("process_start_time_seconds", "Start, Unix seconds.", round(runtime.started_at, 3)),
            _gauge("penstock_usage_written_total", "Usage records stored.", runtime.usage.written, "counter"),
            _gauge(
                "penstock_usage_write_failures_total",
                "Batches of usage records that the database refused and that were kept.",
                runtime.usage.failures,
                "counter",
            ),
            _gauge(
                "penstock_usage_rejected_total",
                "Usage records that the ledger refused and that were put aside.",
                runtime.rejected.count,
                "counter",
            ),
            _gauge(
                "penstock_store_failures_total",
                "Attempts to use the database that failed.",
                runtime.store_health.failures,
                "counter",
            ),
            _gauge(
                "penstock_store_failing_seconds",
                "How long the database has been failing; 0 while it works.",
                round(runtime.store_health.failing_s(), 3),
            ),
            _gauge("penstock_bridge_in_flight", "Calls through the ASGI door.", runtime.bridge.in_flight),
            "" if runtime.quota is None else quota_metrics(runtime.quota),
            "" if runtime.idempotency is None else idempotency_metrics(runtime.idempotency),
        )
    )


@get(["/metrics", "/metrics/"], access=Access.METRICS)
async def metrics(runtime: CurrentRuntime) -> Response[str]:
    """Everything that is measured."""
    return Response(runtime.engine.metrics() + process_metrics(runtime), headers={"content-type": CONTENT_TYPE})


HANDLERS = [metrics]
