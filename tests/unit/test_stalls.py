"""What a test is told of a machine that stands still."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests import stalls
from tests.servers.child import until
from tests.servers.proxy import Proxy
from tests.stalls import Span, Started, Stopwatch, again_after_a_stall, standstills

_ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    "by_core, expected",
    [
        ([[]], []),
        ([[(1, 2), (3, 4)]], [(1, 2), (3, 4)]),
        # Of two any is half.
        ([[(1, 2)], []], [(1, 2)]),
        ([[(1, 3)], [(2, 4)]], [(1, 4)]),
        ([[(1, 4)], [(2, 3)]], [(1, 4)]),
        ([[(1, 2)], [(2, 3)]], [(1, 3)]),
        ([[(5, 6)], [(1, 2)]], [(1, 2), (5, 6)]),
        # Of three and of four two.
        ([[(1, 2)], [(3, 4)], []], []),
        ([[(1, 3)], [(2, 4)], []], [(2, 3)]),
        ([[(1, 2)], [(2, 3)], []], []),
        ([[(1, 3)], [(2, 4)], [(3, 5)], []], [(2, 4)]),
        ([[(1, 9)], [(2, 3)], [(5, 6)], [(5, 7)]], [(2, 3), (5, 7)]),
        ([[(1, 2), (2, 3)], [(1, 3)], [], []], [(1, 3)]),
        # Many that are late one after the other are no standstill.
        ([[(core, core + 1)] for core in range(64)], []),
        ([[(0, 1 + core / 64)] for core in range(64)], [(0, 1.5)]),
    ],
)
def test_the_machine_stands_still_when_half_of_its_cores_do(by_core: list[list[Span]], expected: list[Span]) -> None:
    assert standstills(dict(enumerate(by_core)), 0, 100) == expected


@pytest.mark.parametrize(
    "begun, ended, expected",
    [
        (2, 100, [(3, 5)]),
        (4, 100, [(4, 5)]),
        (5, 100, []),
        (0, 1, []),
        (0, 3, [(1, 2)]),
        (0, 4, [(1, 2), (3, 4)]),
        (3.5, 4, [(3.5, 4)]),
    ],
)
def test_what_is_asked_for_has_a_beginning_and_an_end(begun: float, ended: float, expected: list[Span]) -> None:
    assert standstills({0: [(1, 2), (3, 5)], 1: []}, begun, ended) == expected


@again_after_a_stall(0.2)
def test_a_lock_of_the_interpreter_that_is_held_is_no_standstill() -> None:
    watch = Stopwatch()
    ctypes.PyDLL(None).usleep(500_000)
    assert watch.seconds > 0.49
    assert watch.stood_s < 0.2
    assert watch.ran_s > 0.3


def test_a_standstill_is_told() -> None:
    watch = Stopwatch()
    # For the watchman that is the same as if the machine had.
    os.kill(stalls._watch().pid, signal.SIGSTOP)
    time.sleep(0.3)
    os.kill(stalls._watch().pid, signal.SIGCONT)
    longest_s, stood_s = watch.longest_s, watch.stood_s
    assert 0.25 < longest_s <= stood_s < watch.seconds
    assert watch.longest_since(watch.begun + 60) == 0
    assert watch.ran_s <= watch.seconds - stood_s


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="looks at what another process has open")
def test_the_watchman_has_nothing_of_the_tests_and_ends_with_them(tmp_path: Path) -> None:
    code = "import sys; from tests.stalls import _watch; print(_watch().pid, flush=True); sys.stdin.read()"
    with (
        (tmp_path / "open").open("wb") as inherited,
        subprocess.Popen(
            # Passed on to it, and from there to whoever does not close it.
            [sys.executable, "-c", code],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=_ROOT,
            pass_fds=[inherited.fileno()],
        ) as session,
    ):
        assert session.stdout is not None
        watchman = int(session.stdout.readline())
        assert {each.name for each in Path(f"/proc/{watchman}/fd").iterdir()} == {"0", "1", "2"}
        assert _is_alive(watchman)
        session.kill()
    until(lambda: not _is_alive(watchman), "its end")


def _is_alive(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


class _Server:
    """As the fixtures start them."""

    def __init__(self) -> None:
        self.ended = 0

    def close(self) -> None:
        """Idempotent, as theirs."""
        self.ended += 1


@pytest.fixture
def stood(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Says for how long the machine stood still whenever a test is made."""
    monkeypatch.setattr(stalls, "_REST_S", 0.001)

    def say(seconds: float) -> None:
        monkeypatch.setattr(Stopwatch, "longest_s", seconds)

    return say


class _Tried:
    """Fails so often, and starts two servers each time."""

    def __init__(self, error: BaseException, times: int) -> None:
        self._error = error
        self._times = times
        self.tries: list[list[_Server]] = []
        self.left: list[int] = []
        """How many servers of earlier tries ran at the beginning of each."""

    def make(self, start_server: Callable[[], _Server], start: Callable[[], _Server]) -> None:
        """The test."""
        self.left.append(sum(not each.ended for servers in self.tries for each in servers))
        self.tries.append([start_server(), start()])
        if len(self.tries) <= self._times:
            raise self._error

    async def run(self, in_a_loop: bool) -> None:
        """Whichever of the two kinds."""

        @again_after_a_stall(0.1)
        def plain(start_server: Callable[[], _Server], start: Callable[[], _Server], started_at: float) -> None:
            assert started_at == 1
            self.make(start_server, start)

        @again_after_a_stall(0.1)
        async def looped(start_server: Callable[[], _Server], start: Callable[[], _Server], started_at: float) -> None:
            plain.__wrapped__(start_server, start, started_at)  # type: ignore[attr-defined]

        if in_a_loop:
            await looped(start_server=_Server, start=_Server, started_at=1)
        else:
            plain(start_server=_Server, start=_Server, started_at=1)


@pytest.mark.parametrize("in_a_loop", [False, True])
@pytest.mark.parametrize("error", [AssertionError("late"), TimeoutError()], ids=repr)
async def test_a_test_is_made_again_after_a_stall_and_finds_nothing_of_its_tries(
    stood: Callable[[float], None], error: Exception, in_a_loop: bool
) -> None:
    stood(0.1)
    tried = _Tried(error, times=2)
    await tried.run(in_a_loop)
    assert tried.left == [0, 0, 0]
    # What the last try started is for its fixture to end.
    assert [[each.ended for each in servers] for servers in tried.tries] == [[1, 1], [1, 1], [0, 0]]


@pytest.mark.parametrize("in_a_loop", [False, True])
@pytest.mark.parametrize(
    "error, seconds, tries",
    [(AssertionError("wrong"), 0.09, 1), (ValueError("wrong"), 9, 1), (AssertionError("wrong"), 9, stalls._TRIES)],
)
async def test_it_is_not_made_again(
    stood: Callable[[float], None], error: Exception, seconds: float, tries: int, in_a_loop: bool
) -> None:
    stood(seconds)
    tried = _Tried(error, times=99)
    with pytest.raises(type(error), match="wrong"):
        await tried.run(in_a_loop)
    assert len(tried.tries) == tries


def test_what_was_started_is_ended_once() -> None:
    started = Started({"start_server": _Server, "other": _Server})
    first, second = started.named["start_server"](), started.named["start_server"]()
    beside = started.named["other"]()
    assert started.made == [first, second]
    started.end()
    started.end()
    assert (first.ended, second.ended, beside.ended) == (1, 1, 0)


def test_what_runs_behind_a_proxy_is_ended_while_that_lets_everything_through() -> None:
    events: list[str] = []

    class Way(Proxy):
        def heal(self) -> None:
            events.append("healed")
            super().heal()

    class Server(_Server):
        def close(self) -> None:
            events.append("ended")

    with socket.create_server(("127.0.0.1", 0)) as behind, Way(behind.getsockname()[1]) as way:
        started = Started({"start_proxy": lambda: way, "start_server": Server})
        started.named["start_server"]()
        started.named["start_proxy"]().refuse()
        started.end()
        assert events == ["healed", "ended"]
        # To be used until its fixture ends it.
        with socket.create_connection(("127.0.0.1", way.port), 5) as through:
            through.sendall(b"?")
            behind.settimeout(5)
            with behind.accept()[0] as taken:
                taken.settimeout(5)
                assert taken.recv(1) == b"?"
