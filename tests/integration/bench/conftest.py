"""The tool as its users start it: `penstock bench` as a process, against servers that delay and break in known ways."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("penstock._core", reason="the extension is not built: `make setup`")

SLACK_MS = 35.0
"""Timers and a busy machine only ever add time."""


@dataclass(frozen=True)
class Ended:
    """A run of the tool that is over."""

    status: int
    out: str
    err: str

    @property
    def document(self) -> dict[str, Any]:
        """`results.json`, from standard output."""
        return dict(json.loads(self.out))

    def metric(self, name: str, target: str = "target", point: int = 0) -> float:
        """The median of a metric of a row."""
        return float(self.row(target, point)["metrics"][name]["median"])

    def row(self, target: str = "target", point: int = 0) -> dict[str, Any]:
        """A row."""
        rows = [row for row in self.document["rows"] if (row["target"], row["point"]) == (target, point)]
        assert len(rows) == 1, self.out
        return dict(rows[0])


Bench = Callable[..., Ended]


def command(*arguments: str) -> list[str]:
    """The tool's command line."""
    return [sys.executable, "-m", "penstock", "bench", *arguments]


def environment(variables: Mapping[str, str] | None = None) -> dict[str, str]:
    """Without any key of whoever runs the tests."""
    kept = {name: value for name, value in os.environ.items() if name in {"PATH", "HOME", "LANG", "PYTHONPATH"}}
    return {**kept, **(variables or {})}


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """Runs the tool to its end; JSON unless the arguments say otherwise."""

    def run(*arguments: str, variables: Mapping[str, str] | None = None, status: int | None = 0) -> Ended:
        shown = [] if "--format" in arguments else ["--format", "json"]
        done = subprocess.run(
            command(*arguments, *shown),
            capture_output=True,
            text=True,
            env=environment(variables),
            cwd=tmp_path,
            timeout=90,
            check=False,
        )
        ended = Ended(done.returncode, done.stdout, done.stderr)
        assert status is None or ended.status == status, ended
        return ended

    return run
