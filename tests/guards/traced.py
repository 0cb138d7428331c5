"""System calls of the data plane's threads while it serves calls, as strace sees them.

Apart from the test because recording new counts measures in the same way.
"""

from __future__ import annotations

import re
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

from tests.guards import lockstep, lockstep_grpc
from tests.guards.serving import Serving

UNARY_CALLS = 50
STREAMS = 10
FRAMES = 64

WAITS = {"epoll_wait", "epoll_pwait", "epoll_pwait2"}
TRANSFERS = {"read", "readv", "recvfrom", "recvmsg", "write", "writev", "sendto", "sendmsg"}
"""Allowed on the sockets of clients and upstreams only."""
HOUSEKEEPING = {
    *("brk", "madvise", "mmap", "mprotect", "mremap", "munmap"),
    *("clock_gettime", "futex", "restart_syscall", "sched_yield"),
}
"""Memory, locks and, where the kernel cannot map it into the process, time: not counted, because not of each call."""

_EVENT = "anon_inode:[eventfd]"
_ENGINE_THREAD = re.compile(r"penstock-\d+")
_BEGINNING = re.compile(r"^(?P<thread>\d+) +(?P<at>\d+\.\d+) (?P<name>\w+)\((?P<fd>\d+(?=[,)<]))?", re.M)
_CLONED = re.compile(r"^(?P<thread>\d+) +\S+ (?:clone3?\(|<\.\.\. clone3? resumed>).* = (?P<child>\d+)$", re.M)


class NotPermittedError(Exception):
    """This process may not trace another one."""


class Syscall(NamedTuple):
    """One system call of the data plane."""

    at: float
    """When it was seen, Unix seconds."""
    name: str
    fd: int | None
    """Its first argument when that is a number."""
    thread: int


class Trace:
    """What the data plane's threads, and threads they started, asked the kernel for."""

    def __init__(
        self, text: str, engine_threads: set[int], peers: dict[int, str], watched: dict[int, set[int]] | None = None
    ) -> None:
        """``peers``: what descriptors lead to; ``watched``: the descriptors that each epoll instance watches."""
        threads = set(engine_threads)
        for clone in _CLONED.finditer(text):
            if int(clone["thread"]) in threads:
                threads.add(int(clone["child"]))
        self.calls = [
            Syscall(float(m["at"]), m["name"], int(m["fd"]) if m["fd"] else None, int(m["thread"]))
            for m in _BEGINNING.finditer(text)
            if int(m["thread"]) in threads
        ]
        self._peers = peers
        self._own: dict[int, set[int]] = {}
        """What a thread waits for itself."""
        for call in self.calls:
            if call.name in WAITS and call.fd is not None:
                self._own.setdefault(call.thread, set()).update((watched or {}).get(call.fd, ()))

    def violations(self) -> Counter[str]:
        """What has no place in steady state, and how often it came."""
        found: Counter[str] = Counter()
        for call in self.calls:
            if call.name in TRANSFERS:
                peer = self._peers.get(call.fd or -1, "something else")
                if peer not in {"client", "upstream"} and not self._is_timer(call, peer):
                    found[f"{call.name} on {peer}"] += 1
            elif call.name not in WAITS | HOUSEKEEPING:
                found[call.name] += 1
        return found

    def _is_timer(self, call: Syscall, peer: str) -> bool:
        """Whether a thread wakes itself: the runtime does, so as not to oversleep a timer that is earlier than all before it."""
        return call.name == "write" and peer == _EVENT and call.fd in self._own.get(call.thread, ())

    def per_call(self, span: tuple[float, float], calls: int) -> float:
        """Waits and transfers in a span of time, for each of so many calls."""
        begun, ended = span
        counted = [c for c in self.calls if begun <= c.at <= ended and c.name in WAITS | TRANSFERS]
        return round(len(counted) / calls, 1)


class Tracer:
    """Traces a gateway while it exists."""

    def __init__(self, gateway: Serving, upstream: lockstep.Upstream) -> None:
        self._gateway = gateway
        self._upstream = upstream
        self._out = gateway.directory / "strace"
        command = ["strace", "-f", "-ttt", "-o", str(self._out), "-p", str(gateway.pid)]
        self._process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        assert self._process.stderr is not None
        said = self._process.stderr.readline()
        if " attached" not in said:
            self._process.wait()
            self._process.stderr.close()
            raise NotPermittedError(said.strip())

    def finish(self) -> Trace:
        """Let the gateway go, and read what was seen."""
        # Before that: descriptors can be looked up while they are open.
        peers = _peers(self._gateway, self._upstream)
        self._process.send_signal(signal.SIGINT)
        self._process.communicate(timeout=30)
        watched = _watched(self._gateway.pid)
        return Trace(self._out.read_text(errors="replace"), _engine_threads(self._gateway.pid), peers, watched)

    def close(self) -> None:
        """Let the gateway go. Idempotent."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
            self._process.communicate(timeout=30)


@contextmanager
def tracing(gateway: Serving, upstream: lockstep.Upstream) -> Iterator[Tracer]:
    """Trace for the time of a block.

    Raises:
        NotPermittedError: this process may not trace another one.
    """
    tracer = Tracer(gateway, upstream)
    try:
        yield tracer
    finally:
        tracer.close()


def steady_state(gateway: Serving, upstream: lockstep.Upstream) -> tuple[Trace, dict[str, float]]:
    """Serve calls, warmed up, and look; with the number of system calls of one call of each kind.

    Raises:
        NotPermittedError: this process may not trace another one.
    """
    key = gateway.new_key()
    with (
        lockstep.caller(gateway.port, key, upstream) as rest,
        lockstep_grpc.grpc_caller(gateway.port, key, upstream) as grpc,
    ):
        for caller in (rest, grpc):
            repeat(5, caller.unary)
            repeat(1, partial(caller.stream, FRAMES))
        spans: dict[str, tuple[tuple[float, float], int]] = {}
        with tracing(gateway, upstream) as tracer:
            for caller, unary, stream in (
                (rest, "unary_call", "stream_call_64_frames"),
                (grpc, "grpc_unary_call", "grpc_stream_call_64_messages"),
            ):
                repeat(2, caller.unary)
                spans[unary] = repeat(UNARY_CALLS, caller.unary), UNARY_CALLS
                spans[stream] = repeat(STREAMS, partial(caller.stream, FRAMES)), STREAMS
            trace = tracer.finish()
    return trace, {name: trace.per_call(span, calls) for name, (span, calls) in spans.items()}


def repeat(times: int, call: Callable[[], object]) -> tuple[float, float]:
    """When the first one began and the last one ended."""
    begun = time.time()
    for _ in range(times):
        call()
    return begun, time.time()


def _engine_threads(pid: int) -> set[int]:
    """Threads of the data plane, which have names of their own."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    found = {int(task.name) for task in tasks if _ENGINE_THREAD.fullmatch((task / "comm").read_text().strip())}
    if not found:
        raise AssertionError("no thread of the gateway is named penstock-N: has the engine renamed them?")
    return found


def _watched(pid: int) -> dict[int, set[int]]:
    """The descriptors that each epoll instance of a process watches, by its own descriptor."""
    instances = [fd for fd in Path(f"/proc/{pid}/fd").iterdir() if _link(fd) == "anon_inode:[eventpoll]"]
    return {
        int(fd.name): {
            int(n) for n in re.findall(r"^tfd: +(\d+)", Path(f"/proc/{pid}/fdinfo/{fd.name}").read_text(), re.M)
        }
        for fd in instances
    }


def _link(descriptor: Path) -> str | None:
    try:
        return str(descriptor.readlink())
    except FileNotFoundError:
        return None


def _peers(gateway: Serving, upstream: lockstep.Upstream) -> dict[int, str]:
    """What each descriptor of the gateway leads to."""
    sockets = {}
    for line in Path(f"/proc/{gateway.pid}/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        local, remote = (int(address.rpartition(":")[2], 16) for address in fields[1:3])
        sockets[fields[9]] = local, remote
    peers = {}
    for descriptor in Path(f"/proc/{gateway.pid}/fd").iterdir():
        target = _link(descriptor)
        if target is None:
            continue
        inode = re.fullmatch(r"socket:\[(\d+)\]", target)
        local, remote = sockets.get(inode[1], (0, 0)) if inode else (0, 0)
        if local == gateway.port and remote:
            target = "client"
        elif remote == upstream.port:
            target = "upstream"
        peers[int(descriptor.name)] = target
    return peers
