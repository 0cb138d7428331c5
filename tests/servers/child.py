"""A server process of a test: started as whom it wants to be, waited for, stopped by its id, ended with the session.

Apart from the servers because all of them live and die in the same way.
"""

from __future__ import annotations

import os
import pwd
import secrets
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

_GUARD = Path(__file__).with_name("guard.py")
_PREFIX = "penstock-test-"
_STOP_TIMEOUT_S = 20
_LOOK_INTERVAL_S = 0.01
_LOWEST_PORT, _PORTS = 10_000, 10_000
"""Below those that systems give out, also 10,000 further on."""


def pause(seconds: float = _LOOK_INTERVAL_S) -> None:
    """Between two looks at something that another process brings about."""
    select.select([], [], [], seconds)


def until(probe: Callable[[], bool], what: str, seconds: float = 40) -> None:
    """Wait until ``probe`` says so; fails after so many seconds."""
    deadline = time.monotonic() + seconds
    while not probe():
        assert time.monotonic() < deadline, f"did not come about within {seconds} s: {what}"
        pause()


def free_port() -> int:
    """A TCP port that nobody uses at the moment. The system gives it to nobody who asks for any port, so that it is still free
    when it is used, and when a server that had it is started again."""
    while True:
        port = _LOWEST_PORT + secrets.randbelow(_PORTS)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def unprivileged() -> tuple[int, int] | None:
    """Whom a program that refuses to be root runs as: (uid, gid); None: this process is not root."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            user = pwd.getpwnam(name)
        except KeyError:
            continue
        return user.pw_uid, user.pw_gid
    raise AssertionError("there is neither a user `postgres` nor `nobody` to run servers as")


def new_directory(name: str, owner: tuple[int, int] | None = None) -> Path:
    """An empty directory (mode 0700) that ``owner`` can reach; those of sessions that were killed are removed first.

    Not below pytest's own directory, which only the user who runs the tests may enter.
    """
    root = Path(tempfile.gettempdir())
    for old in root.glob(f"{_PREFIX}*"):
        number = old.name.removeprefix(_PREFIX).partition("-")[0]
        if number.isdigit() and not Path(f"/proc/{number}").exists() and Path("/proc/self").exists():
            shutil.rmtree(old, ignore_errors=True)
    directory = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-{name}-", dir=root))
    if owner is not None:
        os.chown(directory, *owner)
    return directory


def run(program: Path, arguments: Sequence[str], owner: tuple[int, int] | None = None, cwd: Path | None = None) -> str:
    """Run a command to its end; its output. Fails with it when the command does."""
    identity = {} if owner is None else {"user": owner[0], "group": owner[1], "extra_groups": []}
    done = subprocess.run(
        [str(program), *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=cwd,
        env={"PATH": os.defpath, "LC_ALL": "C"},
        **identity,  # type: ignore[call-overload]
    )
    assert done.returncode == 0, f"{program.name} failed with {done.returncode}: {done.stderr or done.stdout}"
    return str(done.stdout)


class Child:
    """One running server. Start it on the main thread: it is killed when the thread that started it ends."""

    def __init__(
        self,
        program: Path,
        arguments: Sequence[str],
        directory: Path,
        owner: tuple[int, int] | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        uid, gid = owner or (-1, -1)
        self._log = directory / "server.log"
        with self._log.open("ab") as output:
            self.process = subprocess.Popen(
                [
                    *(sys.executable, "-I", "-S", str(_GUARD), str(os.getpid()), str(uid), str(gid)),
                    *(str(program), *arguments),
                ],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=directory,
                env={"PATH": os.defpath, "LC_ALL": "C", **(environment or {})},
                # An interrupt from the terminal is for the tests, which then stop their servers themselves.
                start_new_session=True,
            )
        self.pid = self.process.pid

    @property
    def is_running(self) -> bool:
        """It has not ended."""
        return self.process.poll() is None

    def output(self) -> str:
        """All that it wrote, and those before it in the same directory."""
        return self._log.read_text(errors="replace")

    def wait_until(self, probe: Callable[[], bool], what: str, seconds: float = 30) -> bool:
        """Wait for ``probe``; False when the process ends before. Fails when it takes longer."""
        deadline = time.monotonic() + seconds
        while not probe():
            if not self.is_running:
                return False
            if time.monotonic() > deadline:
                self.kill()
                self._fail(what)
            pause()
        return True

    def stop(self, number: int = signal.SIGTERM) -> None:
        """Send a signal and wait for the end; kill what does not end. Idempotent."""
        if self.is_running:
            self.resume()
            self.process.send_signal(number)
            try:
                self.process.wait(_STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                self.kill()

    def kill(self) -> None:
        """End it without its knowing."""
        self.process.kill()
        self.process.wait()

    def freeze(self) -> None:
        """SIGSTOP it and its children: connections stay open and nothing answers."""
        for pid in self._family():
            _signal(pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Undo :meth:`freeze`."""
        for pid in self._family():
            _signal(pid, signal.SIGCONT)

    def _family(self) -> list[int]:
        """The process first, so that it starts no further child meanwhile."""
        found = [self.pid]
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    fields = (entry / "stat").read_text().rpartition(")")[2].split()
                except OSError:
                    continue
                if int(fields[1]) == self.pid:
                    found.append(int(entry.name))
        return found

    def _fail(self, what: str) -> NoReturn:
        raise AssertionError(f"did not come about: {what}\n{self.output()}")


def _signal(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)
