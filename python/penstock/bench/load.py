"""One run of the load generator: its options and report, in this process or in one of its own.

The structs mirror ``rust_core/loadgen`` field by field; unknown options are refused there, so that the two cannot drift
apart. A process of its own can be pinned to cores, shares no interpreter with what samples the gateway, and can be told
to stop early. ``python -m penstock.bench.load`` is that process: options on stdin, report on stdout, both JSON.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal

import msgspec

from penstock.bench.processes import on_cores

LOOK_SECONDS = 0.25
"""How often whoever waits for a load gets to look at what it does."""
STOP_SECONDS = 5.0
"""A load generator that was told to stop and has not ended by then is killed."""

Order = Literal["same", "numbered", "any"]


class LoadError(Exception):
    """The load generator refused its options or failed; the message names the option and the fix."""


class StreamOptions(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is expected of each event stream."""

    deltas: int | None = None
    """Events with text; None: any number."""
    order: Order = "same"
    """`same`: every stream carries the deltas of the first complete one, in its order; `numbered`: the simulator's words in
    their order; `any`: not checked."""
    done: bool = True
    """The stream must end as its wire says: `[DONE]`, `message_stop`, `response.completed`."""
    usage: bool = False
    """The stream must contain a `usage` object."""


class Options(msgspec.Struct, frozen=True, omit_defaults=True):
    """One run. Durations in milliseconds."""

    url: str
    """`http[s]://host[:port]/path`."""
    method: str = "POST"
    headers: Sequence[tuple[str, str]] = ()
    """Sent besides `Host` and `Content-Length`."""
    body: str = ""
    """Sent as it is, but for `{pad}`."""
    body_bytes: int | None = None
    """Bytes that the body shall have: `{pad}` in it becomes as many characters of prose as are missing."""
    connections: int = 1
    """Connections, each with one request at a time."""
    threads: int = 1
    """Threads over which the connections are spread."""
    rate: float | None = None
    """Requests per second at constant intervals (open loop); None: each connection sends its next request when it has
    its answer (closed loop)."""
    requests: int | None = None
    """End after so many requests."""
    duration_ms: int | None = None
    """Send no request after this time; those in flight are waited for."""
    warmup_requests: int = 0
    """Requests sent before, in a closed loop on the same connections, and not reported."""
    ramp_ms: int = 0
    """Closed loop: the connections begin spread over this time, so that paced streams are not in step."""
    timeout_ms: int = 30_000
    """Longest time for one request."""
    expect_status: int = 200
    """Status of a good answer."""
    stream: StreamOptions | None = None
    """Answers are event streams, watched as said here; None: answers are read as they are."""
    ca_file: str | None = None
    """PEM bundle that `https` servers must chain to; None: Mozilla's roots."""
    insecure: bool = False
    """Accept any certificate of an `https` server."""


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
    """What was seen of event streams."""

    ttft_us: Quantiles
    """From when a request was due (open loop) or sent to its first delta with text."""
    gap_us: Quantiles
    """Between two successive deltas of a stream; deltas that arrived in one piece have gaps of 0."""
    frames: int
    """Events with data, over all complete streams."""
    deltas: int
    """Events with text, over all complete streams."""
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


_EMPTY = Quantiles(count=0, min=0, mean=0, p50=0, p90=0, p99=0, p999=0, max=0)
_NOTHING = Report(
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


class Progress(msgspec.Struct, frozen=True):
    """How far a run is."""

    elapsed_s: float
    """0 until the warm-up is over."""
    requests: int
    errors: int


def run(options: Options) -> Report:
    """One load, in this process; blocks until it is over, with the GIL released.

    Raises:
        LoadError: an option cannot be used.
    """
    from penstock import _core

    try:
        return msgspec.json.decode(_core.run_load(msgspec.json.encode(options)), type=Report)
    except ValueError as e:
        raise LoadError(str(e)) from e


@dataclass(frozen=True)
class Client:
    """Runs the load generator as a process of its own, one load at a time."""

    cores: frozenset[int] | None = None
    """Where it runs; None: wherever the starter does."""
    command: Sequence[str] = (sys.executable, "-m", "penstock.bench.load", "--progress")
    """Options on stdin; on stdout lines of progress, which may be missing, and last the report."""

    def run(
        self,
        options: Options,
        *,
        timeout: float | None = None,
        meanwhile: Callable[[Progress], None] = lambda _progress: None,
        stop: threading.Event | None = None,
    ) -> Report:
        """One load; calls ``meanwhile`` a few times a second. ``stop`` ends it early, with a report of what there was.

        Raises:
            LoadError: the load generator failed, or ran longer than ``timeout`` seconds.
        """
        with on_cores(self.cores):
            # A session of its own: Ctrl-C reaches whoever started it, and that one decides.
            child = subprocess.Popen(  # noqa: S603 - the command is the caller's own
                self.command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
            )
        with child:
            try:
                out, err = _attend(child, msgspec.json.encode(options), timeout, meanwhile, stop)
            finally:
                child.kill()
        if stop is not None and stop.is_set() and child.returncode == -signal.SIGTERM:
            # It was told to stop before it had begun.
            return _NOTHING
        if child.returncode != 0:
            raise LoadError(err.decode(errors="replace").strip() or f"the load generator ended: {child.returncode}")
        return msgspec.json.decode(out, type=Report)


def _attend(
    child: subprocess.Popen[bytes],
    options: bytes,
    timeout: float | None,
    meanwhile: Callable[[Progress], None],
    stop: threading.Event | None,
) -> tuple[bytes, bytes]:
    """Reads what the child writes until it closes both ends; its last line, and its complaints."""
    assert child.stdin is not None
    assert child.stdout is not None
    assert child.stderr is not None
    # The child reads all of its options before it writes anything.
    with suppress(BrokenPipeError), child.stdin:
        child.stdin.write(options)
    out, err = bytearray(), bytearray()
    reading = {child.stdout.fileno(): out, child.stderr.fileno(): err}
    started = time.perf_counter()
    deadline = None if timeout is None else started + timeout
    looked, progress = started, Progress(0.0, 0, 0)
    stopping = False
    while reading:
        for descriptor in select.select(list(reading), [], [], LOOK_SECONDS)[0]:
            piece = os.read(descriptor, 1 << 16)
            reading[descriptor] += piece
            if not piece:
                del reading[descriptor]
        now = time.perf_counter()
        progress = _take_progress(out) or progress
        if now - looked >= LOOK_SECONDS:
            looked = now
            meanwhile(progress)
        if stop is not None and stop.is_set() and not stopping:
            stopping = True
            child.terminate()
            deadline = min(deadline or now + STOP_SECONDS, now + STOP_SECONDS)
        if deadline is not None and now > deadline:
            raise LoadError(f"the load generator ran longer than {deadline - started:.0f} s")
    child.wait()
    return bytes(out), bytes(err)


_PROGRESS = b'{"progress":'


class _Line(msgspec.Struct, frozen=True):
    progress: Progress


def _take_progress(out: bytearray) -> Progress | None:
    """Takes whole lines of progress off the front; the latest."""
    latest = None
    while out.startswith(_PROGRESS) and (end := out.find(b"\n")) >= 0:
        latest = msgspec.json.decode(out[:end], type=_Line).progress
        del out[: end + 1]
    return latest


def main() -> int:
    """``python -m penstock.bench.load [--progress]``: the exit status. SIGTERM and SIGINT end the load early, with a
    report of what there was; so does the end of whoever started it."""
    from penstock import _core

    load = _core.Load(sys.stdin.buffer.read())
    is_watched = "--progress" in sys.argv[1:]
    result: list[bytes] = []
    refused: list[str] = []

    def work() -> None:
        try:
            result.append(load.run())
        except ValueError as e:
            refused.append(str(e))

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: load.stop())
    parent = os.getppid()
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    while True:
        thread.join(LOOK_SECONDS)
        if not thread.is_alive():
            break
        if os.getppid() != parent:
            load.stop()
        if is_watched:
            elapsed_s, requests, errors = load.progress()
            line = msgspec.json.encode(_Line(Progress(elapsed_s, requests, errors)))
            sys.stdout.buffer.write(line + b"\n")
            sys.stdout.buffer.flush()
    if refused:
        sys.stderr.write(f"{refused[0]}\n")
        return 2
    sys.stdout.buffer.write(b"".join(result) + b"\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
