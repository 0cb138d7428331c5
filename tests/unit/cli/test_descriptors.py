"""The limit on open files at the start of `penstock serve`."""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path

import pytest

from penstock.cli import descriptors


@pytest.mark.parametrize(
    "limit,connections,fits",
    [(20_000, 9_968, None), (20_000, 9_969, 9_968), (1_024, None, 480), (None, 10**9, None), (10, 1, 0)],
)
def test_connections_that_do_not_fit_are_told(
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    limit: int | None,
    connections: int | None,
    fits: int | None,
) -> None:
    monkeypatch.setattr(descriptors, "raise_limit", lambda: limit)
    with caplog.at_level(logging.WARNING):
        descriptors.provide(connections)
    assert [vars(line)["fits"] for line in caplog.records] == ([] if fits is None else [fits])


def test_the_soft_limit_is_raised_to_the_hard_one() -> None:
    """In a process of its own, for a limit that was lowered stays so."""
    program = (
        "import resource\nfrom penstock.cli.descriptors import raise_limit\n"
        "hard = min(resource.getrlimit(resource.RLIMIT_NOFILE)[1], 4096)\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))\n"
        "assert raise_limit() == hard\nassert resource.getrlimit(resource.RLIMIT_NOFILE) == (hard, hard)\n"
    )
    path = str(Path(__file__).parents[3] / "python")
    subprocess.run([sys.executable, "-c", program], check=True, env={"PYTHONPATH": path})
