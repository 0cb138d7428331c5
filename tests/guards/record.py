"""Stores new counts: `make guards-record`.

What it stores is what the sources in the checkout do on this machine; see :mod:`tests.guards.stored` for what that
depends on. With `--keep DIRECTORY` callgrind's files stay, to see by `callgrind_annotate` where instructions go.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from argparse import ArgumentParser
from pathlib import Path

from tests.guards import build, counted, lockstep, stored, traced
from tests.guards.serving import Serving


def main() -> int:
    """Measure, store, and show what changed."""
    parser = ArgumentParser(prog="make guards-record")
    parser.add_argument("--keep", type=Path, metavar="DIRECTORY", help="keep callgrind's files in it")
    keep: Path | None = parser.parse_args().keep
    former = stored.load() if stored.PATH.exists() else None
    if shutil.which("valgrind") is None:
        return _fail("valgrind not found: install it")
    with tempfile.TemporaryDirectory(prefix="penstock-guards-") as temporary:
        directory = keep or Path(temporary)
        directory.mkdir(parents=True, exist_ok=True)
        instructions = counted.measure(build.program(), directory)
        try:
            syscalls = _syscalls(Path(temporary) / "gateway")
        except (FileNotFoundError, traced.NotPermittedError) as why:
            if former is None:
                return _fail(f"system calls cannot be counted: {why}")
            sys.stdout.write(f"system calls stay as they were stored: {why}\n")
            syscalls = former.syscalls
    stored.save(stored.Stored(stored.toolchain(), instructions, syscalls))
    _show(former.instructions if former else {}, instructions)
    _show(former.syscalls if former else {}, syscalls)
    return 0


def _syscalls(directory: Path) -> dict[str, float]:
    with lockstep.upstream() as upstream:
        gateway = Serving(directory, upstream.port)
        try:
            return traced.steady_state(gateway, upstream)[1]
        finally:
            gateway.close()


def _fail(why: str) -> int:
    sys.stderr.write(f"guards-record: {why}\n")
    return 1


def _show(former: dict[str, int] | dict[str, float], now: dict[str, int] | dict[str, float]) -> None:
    for name, count in now.items():
        before = former.get(name)
        change = f"{count / before - 1:+8.1%}" if before else "     new"
        sys.stdout.write(f"{name:<24}{count:>12,}{change}\n")


if __name__ == "__main__":
    sys.exit(main())
