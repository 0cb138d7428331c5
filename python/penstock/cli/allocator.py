"""Room in the C library's per-thread caches for as many freed blocks as a busy data plane has.

Apart from `serve` because it is about the machine. The caches hold seven blocks of a size by default; with more calls in
flight than that, blocks come from the shared heap instead, which costs more the more it has been used: a gateway with
100,000 keys in memory paid 3 us per call for it. The number can be set only before a process begins, so it begins anew.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from penstock.config.env import MALLOC_TUNABLES, Environment

_CACHED = 64
"""Blocks per size and thread: calls in flight on one thread at which a core is busy. At most 2 MB per thread."""
_TUNABLE = "glibc.malloc.tcache_count"


def provide(environment: Environment) -> None:
    """Start the process again with larger caches, if the C library has them and nobody has set them."""
    if "CS_GNU_LIBC_VERSION" not in os.confstr_names:
        return
    restart = restarted(environment.get(*MALLOC_TUNABLES) or "", sys.orig_argv, sys.executable)
    if restart is not None:
        arguments, tunables = restart
        variables = environment.with_variable(MALLOC_TUNABLES[0], tunables)
        os.execve(sys.executable, arguments, variables)  # noqa: S606 - the same program with the same arguments


def restarted(tunables: str, arguments: Sequence[str], executable: str) -> tuple[list[str], str] | None:
    """Arguments and `GLIBC_TUNABLES` to start again with; None: to be left as it is."""
    if _TUNABLE in tunables or not executable or not _is_command(arguments):
        return None
    return [executable, *arguments[1:]], ":".join(part for part in (tunables, f"{_TUNABLE}={_CACHED}") if part)


def _is_command(arguments: Sequence[str]) -> bool:
    """Whether the process is this program and not another that uses it, which would do twice what it did before."""
    return list(arguments[1:3]) == ["-m", "penstock"] or (len(arguments) > 1 and Path(arguments[1]).name == "penstock")
