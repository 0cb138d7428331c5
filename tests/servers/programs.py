"""Where the programs of the test servers are: installed already, installed now when that is allowed, or not at all.

Apart from the servers so that what a machine lacks is said in one way: visibly, by skipping the test.
"""

from __future__ import annotations

import functools
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

_POSTGRES_PLACES = ("usr/lib/postgresql/*/bin", "usr/pgsql-*/bin", "opt/homebrew/opt/postgresql@*/bin")
"""Of Debian, Red Hat and Homebrew, none of which puts the server on the path."""
_INSTALL_TIMEOUT_S = 300


def postgres_programs() -> Path:
    """The directory of `initdb`, `postgres`, `psql` and `pg_basebackup`, of the newest version there is."""
    return _found(_newest_postgres, "PostgreSQL", "postgresql")


def redis_server() -> Path:
    """`redis-server`."""
    return _found(lambda: _on_path("redis-server"), "Redis", "redis-server")


def _newest_postgres() -> Path | None:
    folders = [path for place in _POSTGRES_PLACES for path in Path("/").glob(place) if (path / "initdb").is_file()]
    if folders:
        return max(folders, key=lambda path: [int(number) for number in re.findall(r"\d+", str(path))])
    initdb = _on_path("initdb")
    return initdb.resolve().parent if initdb is not None else None


def _on_path(name: str) -> Path | None:
    found = shutil.which(name)
    return Path(found) if found else None


def _found(look: Callable[[], Path | None], title: str, package: str) -> Path:
    path = look()
    if path is None and _can_install():
        _install(package)
        path = look()
    if path is None:
        pytest.skip(f"{title} is not installed, so what needs it is NOT TESTED: apt-get install {package}")
    return path


def _can_install() -> bool:
    return os.geteuid() == 0 and shutil.which("apt-get") is not None


@functools.cache
def _install(package: str) -> None:
    """Try once per session; whether it helped is seen by looking again."""
    environment = {
        "PATH": os.environ.get("PATH", os.defpath),
        "DEBIAN_FRONTEND": "noninteractive",
        # The package's own service stays off: the tests start servers of their own.
        "RUNLEVEL": "1",
    }
    install = ["apt-get", "install", "-y", "--no-install-recommends", package]
    for command in (install, ["apt-get", "update"], install):
        try:
            done = subprocess.run(
                command, env=environment, capture_output=True, timeout=_INSTALL_TIMEOUT_S, check=False
            )
        except (OSError, subprocess.TimeoutExpired):
            return
        if command is install and done.returncode == 0:
            return
