"""What the processes of a gateway use: CPU time and resident memory, read from ``/proc``.

CPU time is that of a process and all its descendants, threads included: a gateway that moves work into a helper process
still pays for it here. Linux only; elsewhere :func:`available` says no, and nothing is measured.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
TICK_NS = 1_000_000_000 // os.sysconf("SC_CLK_TCK")


class NotFound(Exception):
    """No process answers to a selector; the message names it and the fix."""


def available() -> bool:
    """Whether this system says what processes use."""
    return (PROC / "self" / "stat").exists()


@contextlib.contextmanager
def on_cores(cores: frozenset[int] | None) -> Iterator[None]:
    """Processes started inside run on these cores (they inherit the starter's); None: nothing changes."""
    if cores is None:
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@dataclass(frozen=True)
class CpuSample:
    """CPU time that a tree of processes has used so far, in nanoseconds."""

    threads: Mapping[tuple[int, int], int]
    """By process and thread, as the scheduler counts it; what a thread used goes with it when it ends."""
    coarse: int
    """Of all processes and their ended children, ended threads included, in hundredths of a second."""
    processes: int

    def used_since(self, before: CpuSample) -> float:
        """Microseconds between two samples: exact, unless threads or processes that used much have ended meanwhile."""
        exact = sum(used - before.threads.get(thread, 0) for thread, used in self.threads.items())
        coarse = self.coarse - before.coarse
        # User and system time of each process are rounded down to a tick.
        agree = abs(exact - coarse) <= 2 * TICK_NS * max(self.processes, before.processes)
        return (exact if agree else coarse) / 1_000


def tree(pid: int) -> list[int]:
    """The process and all its descendants."""
    parents = _parents()
    found = [pid]
    for parent in found:
        found += [child for child, of in parents.items() if of == parent]
    return found


def cpu(pid: int) -> CpuSample:
    """CPU time of a process and its descendants."""
    threads: dict[tuple[int, int], int] = {}
    coarse = 0
    members = tree(pid)
    for member in members:
        process = PROC / str(member)
        with contextlib.suppress(OSError):
            coarse += sum(int(ticks) for ticks in _stat(process)[11:15]) * TICK_NS
            for task in (process / "task").iterdir():
                threads[member, int(task.name)] = int((task / "schedstat").read_text().split()[0])
    return CpuSample(threads, coarse, len(members))


def rss_mb(pid: int) -> float:
    """Resident memory of a process and its descendants, in megabytes (10^6 bytes); shared pages count in each."""
    return sum(_rss_kib(PROC / str(member)) for member in tree(pid)) * 1024 / 1e6


def files_mb(pid: int) -> float:
    """The part of :func:`rss_mb` that is pages of mapped files: programs, libraries, a journal. The system may take back
    what of it is not needed, at no cost but reading it again."""
    found = sum(_kib(PROC / str(member) / "status", name) for member in tree(pid) for name in ("RssFile:", "RssShmem:"))
    return found * 1024 / 1e6


class Peak:
    """The highest resident memory of a process and its descendants from now on, in megabytes.

    The system keeps each process's highest since its start. Where that rises, it is the peak, however short; where it
    does not, what is seen at each look counts.
    """

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._before = {member: _high_water_kib(PROC / str(member)) for member in tree(pid)}
        self.highest_mb = 0.0
        self.files_mb = 0.0
        """The most of :func:`files_mb` that was seen at a look."""
        self.look()

    def look(self) -> None:
        """Looks; the last look must be at the end."""
        found = 0
        for member in tree(self._pid):
            highest = _high_water_kib(PROC / str(member))
            found += highest if highest > self._before.get(member, 0) else _rss_kib(PROC / str(member))
        self.highest_mb = max(self.highest_mb, found * 1024 / 1e6)
        self.files_mb = max(self.files_mb, files_mb(self._pid))


def is_running(pid: int) -> bool:
    """Whether the process exists and has not ended."""
    try:
        return _stat(PROC / str(pid))[0] not in "ZX"
    except OSError:
        return False


def find(selector: str) -> list[int]:
    """The roots of the process trees that a selector names: a pid, a pidfile, or the name of a process.

    A name is that of the program or, for an interpreter, of the script or module that it runs. A process whose parent
    also answers to the name is not a root: the parent's tree has it.

    Raises:
        NotFound: nothing answers to it.
    """
    if selector.isdigit():
        return [_alive(int(selector), f"there is no process {selector}")]
    path = Path(selector)
    if path.is_file():
        text = path.read_text(encoding="utf-8", errors="replace").strip()
        if not text.isdigit():
            raise NotFound(f"{selector!r} is a file but not a pidfile: it must hold one process id")
        return [_alive(int(text), f"{selector!r} names process {text}, which does not run: is it stale?")]
    if not selector or "/" in selector:
        raise NotFound(f"{selector!r} is no pidfile: give a process id, the path of a pidfile, or a process name")
    parents = _parents()
    own = {os.getpid(), *_ancestors(os.getpid(), parents)}
    named = {pid for pid in parents if pid not in own and is_running(pid) and selector in _names(pid)}
    roots = sorted(pid for pid in named if not named.intersection(_ancestors(pid, parents)))
    if not roots:
        raise NotFound(
            f"no process is called {selector!r}: give its id, the path of its pidfile, or the name `ps` shows"
        )
    return roots


def _alive(pid: int, otherwise: str) -> int:
    if not is_running(pid):
        raise NotFound(otherwise)
    return pid


def _names(pid: int) -> set[str]:
    """What a process may be called by."""
    process = PROC / str(pid)
    names = set()
    with contextlib.suppress(OSError):
        names.add((process / "comm").read_text().rstrip("\n"))
        line = (process / "cmdline").read_bytes().decode(errors="replace").split("\0")
        program = Path(line[0]).name
        names.add(program)
        if program.startswith(("python", "node", "ruby", "java")) and len(line) > 1:
            # `python script.py`, `python -m module`: the first argument that is not an option.
            names |= {Path(argument).name for argument in line[1:3] if argument and not argument.startswith("-")}
    return names


def _ancestors(pid: int, parents: Mapping[int, int]) -> list[int]:
    found = []
    while (pid := parents.get(pid, 0)) and pid not in found:
        found.append(pid)
    return found


def _parents() -> dict[int, int]:
    parents: dict[int, int] = {}
    for entry in PROC.iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                parents[int(entry.name)] = int(_stat(entry)[1])
    return parents


def _rss_kib(process: Path) -> int:
    return _kib(process / "smaps_rollup", "Rss:")


def _high_water_kib(process: Path) -> int:
    return _kib(process / "status", "VmHWM:")


def _kib(path: Path, name: str) -> int:
    with contextlib.suppress(OSError):
        for line in path.read_text().splitlines():
            if line.startswith(name):
                return int(line.split()[1])
    return 0


def _stat(process: Path) -> list[str]:
    """The fields of ``stat`` after the name, which may contain anything: state, ppid, ..."""
    return (process / "stat").read_text().rpartition(")")[2].split()
