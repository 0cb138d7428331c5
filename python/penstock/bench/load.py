"""One run of the load generator: its options, in this process or in one of its own.

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
from penstock.bench.report import NOTHING, Report

LOOK_SECONDS = 0.25
"""How often whoever waits for a load gets to look at what it does."""
STOP_SECONDS = 5.0
"""A load generator that was told to stop and has not ended by then is killed."""

Order = Literal["same", "numbered", "any"]


class LoadError(Exception):
    """The load generator refused its options or failed; the message names the option and the fix."""


class StreamOptions(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is expected of each stream of events or messages."""

    deltas: int | None = None
    """Events, or messages, with text; None: any number."""
    order: Order = "same"
    """`same`: every stream carries the deltas of the first complete one, in its order; `numbered`: the simulator's words in
    their order; `any`: not checked."""
    done: bool = True
    """The stream must end as its wire says: `[DONE]`, `message_stop`, `response.completed`. Over gRPC it always must."""
    usage: bool = False
    """The stream must state its usage."""


class GrpcOptions(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is sent in each call over gRPC, and how many there are at a time."""

    message: bytes
    """The request message as Protocol Buffers have it."""
    calls_per_connection: int = 1


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
    """Each with one request at a time, or with so many calls as `grpc` says."""
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
    grpc: GrpcOptions | None = None
    """gRPC over HTTP/2: the path of `url` is the method's, and `stream` watches `ChatStreamResponse`; None: HTTP/1.1."""
    ca_file: str | None = None
    """PEM bundle that `https` servers must chain to; None: Mozilla's roots."""
    insecure: bool = False
    """Accept any certificate of an `https` server."""


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
            return NOTHING
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
