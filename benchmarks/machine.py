"""Where the numbers come from: a result without its machine and its commit says nothing."""

from __future__ import annotations

import os
import platform
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import TypedDict

UNKNOWN = "unknown"
DIRTY = "-dirty"


class Machine(TypedDict):
    """What a reader needs in order to judge the numbers."""

    cpu: str
    cores: int
    memory_gb: float
    kernel: str
    python: str
    pinned: bool
    """The gateway had one core, client and upstream another."""
    load_average: float
    """Over the minute before the start; other work on the machine shows here."""
    measured_at: str
    """ISO 8601, UTC."""


def describe(*, pinned: bool) -> Machine:
    """This machine, now."""
    return Machine(
        cpu=_field(Path("/proc/cpuinfo"), "model name") or platform.machine(),
        cores=os.cpu_count() or 1,
        memory_gb=round(int(_field(Path("/proc/meminfo"), "MemTotal").split()[0]) * 1024 / 1e9, 1),
        kernel=platform.release(),
        python=platform.python_version(),
        pinned=pinned,
        load_average=round(os.getloadavg()[0], 2),
        measured_at=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def _field(path: Path, name: str) -> str:
    for line in path.read_text().splitlines():
        key, _, value = line.partition(":")
        if key.strip() == name:
            return value.strip()
    return ""


def commit(root: Path, since: str | None = None) -> str:
    """The commit that is checked out, with ``-dirty`` when files differ from it; ``unknown`` without one.

    ``since``: what this said before the measurement. That one stays, ``-dirty`` if anything has changed meanwhile.
    """

    def git(*arguments: str) -> str | None:
        try:
            done = subprocess.run(
                ["git", "-C", str(root), *arguments], check=False, capture_output=True, text=True, timeout=30
            )
        except FileNotFoundError:
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    head = since or git("rev-parse", "HEAD")
    if head is None or head == UNKNOWN:
        return UNKNOWN
    head = head.removesuffix(DIRTY)
    # Prose is not measured, and the results of this very run may be there already.
    of = ("--", ".", ":!benchmarks/results", ":!*.md")
    changed = git("diff", "--name-only", head, *of) or git("ls-files", "--others", "--exclude-standard", *of)
    return f"{head}{DIRTY}" if changed or (since or "").endswith(DIRTY) else head
