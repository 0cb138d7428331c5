"""What the load generator reports of one run, field by field as ``rust_core/loadgen`` writes it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec


class Quantiles(msgspec.Struct, frozen=True):
    """A distribution of durations in microseconds; within 0.0125 %, `min` and `max` exact, all 0 without samples."""

    count: int
    min: float
    mean: float
    p50: float
    p90: float
    p99: float
    p999: float
    max: float
    p75: float = 0.0
    p95: float = 0.0
    p9999: float = 0.0


class StreamReport(msgspec.Struct, frozen=True):
    """What was seen of streams of events or messages."""

    ttft_us: Quantiles
    """From when a request was due (open loop) or sent to its first delta with text."""
    gap_us: Quantiles
    """Between two successive deltas of a stream; deltas that arrived in one piece have gaps of 0."""
    frames: int
    """Events with data, or messages, over all complete streams."""
    deltas: int
    """Those with text."""
    digest: str
    """Hash of the text of the first complete stream, boundaries included."""


class Second(msgspec.Struct, frozen=True):
    """One second of a run."""

    second: int
    """Counted from the start of the run, from 0."""
    requests: int
    """Answered as expected in it."""
    errors: int
    p50_us: float
    """Of the latencies of the requests that it answered."""
    p99_us: float


class FirstError(msgspec.Struct, frozen=True):
    """The first failure of a run."""

    kind: str
    detail: str
    """The system's words, or the beginning of the answer's body; may quote what the request sent."""


class Report(msgspec.Struct, frozen=True):
    """What one run measured. Only requests that were answered as expected are in the distributions."""

    requests: int
    """Answered as expected."""
    errors: int
    errors_by_kind: dict[str, int]
    elapsed_s: float
    """From the start to the last answer."""
    rps: float
    """Answered requests per second."""
    latency_us: Quantiles
    """From when a request was due (open loop) or sent (closed loop) to the end of its answer."""
    service_us: Quantiles
    """From when a request was sent to the end of its answer."""
    bytes_sent: int
    bytes_received: int
    send_delay_us: Quantiles | None = None
    """Open loop: how much later than due requests were sent."""
    stream: StreamReport | None = None
    client_cpu_us_per_request: float | None = None
    """The load generator's own CPU time per answered request; None where the kernel does not say."""
    reconnects: int = 0
    """Connections opened again, for whatever reason, after the first of each."""
    seconds: Sequence[Second] = ()
    """The course of the run."""
    first_error: FirstError | None = None
    stopped: bool = False
    """The run was told to stop before its end."""
    abandoned: int = 0
    """Requests in flight when it stopped; neither answered nor errors."""


_EMPTY: Final = Quantiles(count=0, min=0, mean=0, p50=0, p90=0, p99=0, p999=0, max=0)
NOTHING: Final = Report(
    requests=0,
    errors=0,
    errors_by_kind={},
    elapsed_s=0,
    rps=0,
    latency_us=_EMPTY,
    service_us=_EMPTY,
    bytes_sent=0,
    bytes_received=0,
    stopped=True,
)
"""Of a load that was told to stop before it had begun."""
