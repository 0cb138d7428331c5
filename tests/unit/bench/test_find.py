"""Which processes a selector names."""

from __future__ import annotations

import contextlib
import os
import secrets
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from penstock.bench import processes

pytestmark = pytest.mark.skipif(not processes.available(), reason="reads Linux's /proc")

SLEEP = "import sys; print(flush=True); sys.stdin.read()"


class Named:
    """A script under a name of its own, that waits."""

    def __init__(self, directory: Path, code: str = SLEEP) -> None:
        self.name = f"proc-{secrets.token_hex(4)}"
        path = directory / self.name
        path.write_text(code, encoding="utf-8")
        self.process = subprocess.Popen([sys.executable, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self.process.stdout is not None
        self.process.stdout.readline()

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def named(tmp_path: Path) -> Iterator[Named]:
    one = Named(tmp_path)
    yield one
    one.close()


def test_by_id_and_name_and_pidfile(named: Named, tmp_path: Path) -> None:
    pid = named.process.pid
    pidfile = tmp_path / "gateway.pid"
    pidfile.write_text(f"{pid}\n", encoding="utf-8")
    assert processes.find(str(pid)) == [pid]
    assert processes.find(named.name) == [pid]
    assert processes.find(str(pidfile)) == [pid]


def test_a_child_of_the_same_name_belongs_to_its_parent(tmp_path: Path) -> None:
    fork = "import os, sys; os.fork() and print(flush=True); sys.stdin.read()"
    parent = Named(tmp_path, fork)
    try:
        assert processes.find(parent.name) == [parent.process.pid]
        assert len(processes.tree(parent.process.pid)) == 2
    finally:
        for pid in reversed(processes.tree(parent.process.pid)):
            os.kill(pid, 9)
        parent.close()


def test_two_of_a_name_are_two(tmp_path: Path, named: Named) -> None:
    other = subprocess.Popen(named.process.args, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert other.stdout is not None
        other.stdout.readline()
        assert processes.find(named.name) == sorted([named.process.pid, other.pid])
    finally:
        other.kill()
        other.communicate()


def test_what_is_not_there_is_named(tmp_path: Path, named: Named) -> None:
    named.close()
    stale = tmp_path / "stale.pid"
    stale.write_text(str(named.process.pid), encoding="utf-8")
    (tmp_path / "text").write_text("not a pid", encoding="utf-8")
    for selector in (str(named.process.pid), named.name, str(stale), str(tmp_path / "text"), str(tmp_path / "no"), ""):
        with pytest.raises(processes.NotFound) as refused:
            processes.find(selector)
        assert selector in str(refused.value) or str(named.process.pid) in str(refused.value)


def test_the_tool_does_not_name_itself() -> None:
    own = Path(f"/proc/{os.getpid()}/comm").read_text(encoding="utf-8").strip()
    with contextlib.suppress(processes.NotFound):
        assert os.getpid() not in processes.find(own)
