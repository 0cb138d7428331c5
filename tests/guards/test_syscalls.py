"""In steady state the data plane only waits, and reads and writes the sockets of clients and upstreams.

No file is opened or synced, nothing is connected or resolved, and no thread is asked anything through a socket: what
a database, a control plane or a cache would have to be asked for cannot happen on a call's path.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from penstock import _core
from tests.guards import lockstep, traced
from tests.guards.serving import Serving
from tests.guards.stored import RECORD, Change, Stored, load

_SLACK = 1
"""System calls more than stored that one call, unary or a whole stream, may make: a timer may fall into it."""


@pytest.fixture
def upstream() -> Iterator[lockstep.Upstream]:
    with lockstep.upstream() as opened:
        yield opened


@pytest.fixture
def gateway(tmp_path: Path, upstream: lockstep.Upstream) -> Iterator[Serving]:
    """A gateway that may be traced."""
    if shutil.which("strace") is None:
        pytest.skip("strace not found: install strace")
    serving = Serving(tmp_path / "gateway", upstream.port)
    try:
        with traced.tracing(serving, upstream):
            pass
        yield serving
    except traced.NotPermittedError as why:
        pytest.skip(f"tracing is not permitted here: {why}")
    finally:
        serving.close()


def test_only_waits_and_transfers(
    gateway: Serving, upstream: lockstep.Upstream, stored: Stored, gains: list[Change]
) -> None:
    trace, counts = traced.steady_state(gateway, upstream)
    assert not trace.violations()
    assert {call.name for call in trace.calls} & traced.TRANSFERS, "nothing was traced"
    assert set(counts) == set(stored.syscalls), RECORD
    for name, count in counts.items():
        change = Change(name, stored.syscalls[name], count, "system calls")
        assert count <= stored.syscalls[name] + _SLACK, str(change)
        if count < stored.syscalls[name] - _SLACK:
            gains.append(change)


def test_a_connection_for_each_call_shows(gateway: Serving, upstream: lockstep.Upstream) -> None:
    with lockstep.caller(gateway.port, gateway.new_key(), upstream) as caller:
        upstream.closes = True
        traced.repeat(3, caller.unary)
        with traced.tracing(gateway, upstream) as tracer:
            traced.repeat(5, caller.unary)
            violations = tracer.finish().violations()
    assert violations["connect"] >= 5
    assert violations["socket"] >= 5


def test_a_question_to_the_control_plane_shows(gateway: Serving, upstream: lockstep.Upstream) -> None:
    """An unknown key; the way up to Python is a pair of unix sockets."""
    with traced.tracing(gateway, upstream) as tracer:
        for _ in range(3):
            with lockstep.caller(gateway.port, _core.generate_key(), upstream) as caller:
                caller.refused(401)
        violations = tracer.finish().violations()
    assert [what for what in violations if " on socket:" in what], violations


def test_reading_a_trace() -> None:
    """Files, syncs, threads started by the data plane; other threads may do what they like."""
    text = """\
7 1.000001 openat(AT_FDCWD, "/data/penstock.db", O_RDWR) = 9
8 1.000002 openat(AT_FDCWD, "/etc/hosts", O_RDONLY|O_CLOEXEC) = 9
8 1.000003 epoll_wait(4,  <unfinished ...>
7 1.000004 fsync(9) = 0
8 1.000005 <... epoll_wait resumed>[], 1024, 10) = 0
8 1.000006 recvfrom(5, "POST", 16384, 0, NULL, NULL) = 4
8 1.000007 sendto(6, "POST", 4, MSG_NOSIGNAL, NULL, 0) = 4
8 1.000008 write(7, "x", 1) = 1
8 1.000009 clone3({flags=CLONE_VM|CLONE_THREAD} => {parent_tid=[11]}, 88) = 11
11 1.000010 fdatasync(9) = 0
8 1.000011 madvise(0x7f0000000000, 4096, MADV_DONTNEED) = 0
"""
    trace = traced.Trace(text, {8}, {5: "client", 6: "upstream", 7: "anon_inode:[eventfd]"})
    assert trace.violations() == {"openat": 1, "write on anon_inode:[eventfd]": 1, "clone3": 1, "fdatasync": 1}
    assert trace.per_call((1.000003, 1.000008), 2) == 2.0


def test_a_timer_is_told_from_another_thread_that_is_woken() -> None:
    """A timer earlier than all before it: the thread wakes itself through its own epoll instance."""
    text = """\
8 1.000001 epoll_wait(4, [], 1024, 10) = 0
8 1.000002 write(7, "\\1\\0\\0\\0\\0\\0\\0\\0", 8) = 8
8 1.000003 write(17, "\\1\\0\\0\\0\\0\\0\\0\\0", 8) = 8
9 1.000004 epoll_wait(14, [], 1024, 10) = 0
"""
    events = dict.fromkeys((7, 17), "anon_inode:[eventfd]")
    trace = traced.Trace(text, {8, 9}, events, {4: {5, 7}, 14: {6, 17}})
    assert trace.violations() == {"write on anon_inode:[eventfd]": 1}
    assert traced.Trace(text, {8, 9}, events).violations() == {"write on anon_inode:[eventfd]": 2}


def test_stored_counts_are_small() -> None:
    """One wait and one transfer for each arrival and each departure: two legs of a unary call, one frame."""
    syscalls = load().syscalls
    for protocol, streams in (("", "stream_call_64_frames"), ("grpc_", "grpc_stream_call_64_messages")):
        assert syscalls[f"{protocol}unary_call"] <= 8
        assert syscalls[streams] <= 64 * 3 + 12
