"""Starting a peer: one that answers as the upstream does is returned, every other is refused with a reason.

The peers themselves are not installed for the tests; a second simulator plays them, which any of the
simulator's faults can be switched on in.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from benchmarks import peers
from benchmarks.peers import install, proof, running
from benchmarks.peers.catalogue import PINS, Launch, Pins
from benchmarks.processes import Process
from benchmarks.targets import NotMeasured
from penstock.bench.processes import is_running
from tests.conftest import free_port

Play = Callable[..., None]
SIMULATOR = [sys.executable, "-m", "penstock", "simulate", "--port", "$port"]


@pytest.fixture
def play(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Play:
    """Puts another program in the place of a peer."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setitem(PINS, "smg", Pins(registry="pypi", packages=["smg==9.9.9"]))
    install.folder("smg").mkdir(parents=True)
    (install.folder("smg") / install.STAMP).touch()

    def put(command: list[str], **fields: object) -> None:
        launch = Launch(command=command, version=["echo", "9.9.9"], **fields)  # type: ignore[arg-type]
        monkeypatch.setattr(running, "read_launch", lambda _: launch)

    return put


@pytest.fixture
def upstream(simulator_url: str) -> int:
    """The simulator's port."""
    port = urlsplit(simulator_url).port
    assert port is not None
    return port


def test_one_that_answers_as_the_upstream_does(play: Play, upstream: int, tmp_path: Path) -> None:
    play(SIMULATOR, headers={"x-seen": "upstream $upstream"})
    target, process = peers.start("smg", tmp_path / "peer", upstream, None)
    try:
        assert (target.name, target.version, target.pid) == ("smg", "9.9.9", process.pid)
        assert target.headers == (("x-seen", f"upstream {upstream}"),)
        assert proof.answers(target)
    finally:
        process.stop()
    assert not proof.answers(target)


@pytest.mark.parametrize(
    "headers, said",
    [
        ({"x-sim-fault": "no_done"}, "no .DONE."),
        ({"x-sim-prompt": "7"}, "usage=.7, 16, 23.*the upstream's is"),
    ],
)
def test_one_that_does_not(
    play: Play, upstream: int, tmp_path: Path, headers: dict[str, str], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    play(SIMULATOR, headers=headers)
    started: list[Process] = []

    def remember(*arguments: Any) -> Process:
        started.append(Process(*arguments))
        return started[-1]

    monkeypatch.setattr(running, "Process", remember)
    with pytest.raises(NotMeasured, match=f"does not answer as the upstream does.*{said}"):
        peers.start("smg", tmp_path / "peer", upstream, None)
    assert [is_running(process.pid) for process in started] == [False]


def test_one_that_never_answers(play: Play, upstream: int, tmp_path: Path) -> None:
    play(SIMULATOR, headers={"x-sim-status": "503"}, start_seconds=0.5)
    with pytest.raises(NotMeasured, match="was not ready after"):
        peers.start("smg", tmp_path / "peer", upstream, None)


def test_one_that_ends_at_once(play: Play, upstream: int, tmp_path: Path) -> None:
    play(["sh", "-c", "echo bad flag; exit 3"])
    with pytest.raises(NotMeasured, match=r"(?s)ended with status 3.*bad flag"):
        peers.start("smg", tmp_path / "peer", upstream, None)


def test_one_whose_program_is_missing(play: Play, upstream: int, tmp_path: Path) -> None:
    play(["$bin/nowhere"])
    with pytest.raises(NotMeasured, match="cannot be started"):
        peers.start("smg", tmp_path / "peer", upstream, None)


def test_an_upstream_that_is_not_there(play: Play, tmp_path: Path) -> None:
    play(SIMULATOR, probes_health=True)
    port = free_port()
    with pytest.raises(NotMeasured, match=f"port {port} does not answer GET /health"):
        peers.start("smg", tmp_path / "peer", port, None)


def test_the_upstream_is_probed_by_those_that_need_it(play: Play, upstream: int, tmp_path: Path) -> None:
    play(SIMULATOR, probes_health=True)
    target, process = peers.start("smg", tmp_path / "peer", upstream, None)
    process.stop()
    assert target.name == "smg"
