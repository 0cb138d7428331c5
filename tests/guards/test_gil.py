"""A call that no Python stage takes part in never takes the GIL: it is served while somebody else keeps it."""

from __future__ import annotations

import itertools
import re
import time
import tomllib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import NamedTuple

import pytest

from penstock import _core
from tests.guards import held, lockstep, lockstep_grpc
from tests.guards.serving import Serving
from tests.guards.stored import ROOT
from tests.stalls import again_after_a_stall

_HOLD_MS = 2_000
_LONGEST_CALL_NS = 1_200_000_000
"""A call that began so long before the GIL was given back must be over by then; served calls take about a millisecond."""


class Span(NamedTuple):
    """Nanoseconds of the monotonic clock, which all processes of a machine share."""

    begun: int
    ended: int

    def holds(self, other: Span) -> bool:
        """The other one began and ended in it."""
        return self.begun <= other.begun and other.ended <= self.ended


class Gateway(Serving):
    """A gateway whose GIL can be kept from it."""

    def __init__(self, directory: Path, upstream_port: int, listener: str) -> None:
        super().__init__(directory, upstream_port, module="tests.guards.held", listener=listener)

    def during_hold(self, call: Callable[[], None]) -> tuple[Span, list[Span]]:
        """Make one call after the other, from before the GIL is taken until it was given back; when was what."""
        calls = []
        with (self.directory / held.PIPE).open("w") as pipe:
            pipe.write(f"{_HOLD_MS}\n")
        while (told := re.search(r"^held (\d+) (\d+)$", self.process.output(), re.M)) is None:
            begun = time.monotonic_ns()
            call()
            calls.append(Span(begun, time.monotonic_ns()))
        return Span(int(told[1]), int(told[2])), calls


@pytest.fixture
def upstream() -> Iterator[lockstep.Upstream]:
    with lockstep.upstream() as opened:
        yield opened


@pytest.fixture
def start(tmp_path: Path, upstream: lockstep.Upstream) -> Iterator[Callable[[str], Gateway]]:
    """Starts a gateway with that listener."""
    started: list[Gateway] = []

    def start(listener: str) -> Gateway:
        started.append(Gateway(tmp_path / f"gateway-{len(started)}", upstream.port, listener))
        return started[-1]

    yield start
    for gateway in started:
        gateway.close()


@pytest.mark.parametrize("connect", [lockstep.caller, lockstep_grpc.grpc_caller], ids=["rest", "grpc"])
@again_after_a_stall(0.2)
def test_calls_are_served_while_the_gil_is_held(
    start: Callable[[str], Gateway],
    upstream: lockstep.Upstream,
    connect: Callable[
        [int, str, lockstep.Upstream], AbstractContextManager[lockstep.Caller | lockstep_grpc.GrpcCaller]
    ],
) -> None:
    gateway = start("native")
    with connect(gateway.port, gateway.new_key(), upstream) as caller:
        caller.unary()
        numbers = itertools.count()

        def call() -> None:
            # Every other call is a stream.
            if next(numbers) % 2:
                caller.stream(8)
            else:
                caller.unary()

        span, calls = gateway.during_hold(call)
    due = [call for call in calls if span.begun <= call.begun <= span.ended - _LONGEST_CALL_NS]
    assert len(due) >= 20, f"only {len(due)} calls began while the GIL was held"
    late = [call for call in due if not span.holds(call)]
    assert not late, f"{len(late)} of {len(due)} calls waited for the GIL"


def test_a_call_that_asks_python_for_its_key_waits_for_the_gil(
    start: Callable[[str], Gateway], upstream: lockstep.Upstream
) -> None:
    """The same with a hook in each call: what the test above would see if a stage were written in Python."""
    gateway = start("native")

    def call() -> None:
        # One that nobody has seen yet: only the control plane can say that there is no such key.
        with lockstep.caller(gateway.port, _core.generate_key(), upstream) as caller:
            caller.refused(401)

    _assert_stuck(*gateway.during_hold(call))


def test_a_call_through_the_listener_in_python_waits_for_the_gil(
    start: Callable[[str], Gateway], upstream: lockstep.Upstream
) -> None:
    gateway = start("granian")
    with lockstep.caller(gateway.port, gateway.new_key(), upstream) as caller:
        caller.unary()
        _assert_stuck(*gateway.during_hold(caller.unary))


def _assert_stuck(span: Span, calls: list[Span]) -> None:
    served = [call for call in calls if span.holds(call)]
    assert not served, f"{len(served)} calls were served without Python"
    assert any(call.begun < span.ended < call.ended for call in calls), "no call was under way while the GIL was held"


def test_the_data_plane_is_built_without_python() -> None:
    """What cannot name the GIL cannot take it: no crate that the gateway needs binds to Python."""
    packages = tomllib.loads((ROOT / "Cargo.lock").read_text())["package"]
    needs: dict[str, set[str]] = {}
    for package in packages:
        needs.setdefault(package["name"], set()).update(n.split()[0] for n in package.get("dependencies", []))

    def reached(name: str) -> set[str]:
        seen: set[str] = set()
        waiting = [name]
        while waiting:
            waiting.extend(needs[crate := waiting.pop()] - seen)
            seen.add(crate)
        return seen

    assert "pyo3" in reached("penstock-python")
    assert not {crate for crate in reached("penstock-gateway") if crate.startswith(("pyo3", "python3"))}
