"""Programs of other languages that tests build, where their toolchains and modules can be had."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

_PATIENCE_S = 300


def needs(program: str) -> str:
    """The program's path; skips the test without it."""
    found = shutil.which(program)
    if found is None:
        pytest.skip(f"{program} is not installed")
    return found


def go_installed(module: str, directory: Path) -> Path:
    """Builds a Go command into a directory; skips the test where its modules cannot be fetched."""
    go = needs("go")
    kept = {"GOBIN": str(directory), "GOFLAGS": "-mod=mod"}
    run(["env", *(f"{name}={value}" for name, value in kept.items()), go, "install", module], directory, fetches=True)
    return directory


def run(command: list[str], directory: Path, *, fetches: bool = False, more: dict[str, str] | None = None) -> str:
    """Runs a command; skips the test when it is one that ``fetches`` and could not."""
    assigned = [f"{name}={value}" for name, value in (more or {}).items()]
    try:
        done = subprocess.run(
            ["env", *assigned, *command],
            cwd=directory,
            check=False,
            capture_output=True,
            text=True,
            timeout=_PATIENCE_S,
        )
    except subprocess.TimeoutExpired:
        if fetches:
            pytest.skip(f"{command[-1]} was not to be had in time")
        raise
    if fetches and done.returncode != 0:
        pytest.skip(f"not to be had here: {done.stderr.strip().splitlines()[-1:]}")
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
