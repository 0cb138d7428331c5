"""Rounds: who goes when, and what becomes of a target that cannot be measured any more."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from benchmarks import machine, measure
from benchmarks.measure import Sample, in_turn, run_all
from benchmarks.scenarios import Depth, Scenario
from benchmarks.targets import Target
from penstock.bench.load import Client, LoadError
from tests.unit.benchmarks.samples import DIRECT, GATEWAY, NGINX, sample, scenario


def test_each_target_goes_first_in_turn() -> None:
    targets = [DIRECT, NGINX, GATEWAY]
    assert [in_turn(targets, number)[0] for number in range(4)] == [DIRECT, NGINX, GATEWAY, DIRECT]
    assert in_turn(targets, 1) == [NGINX, GATEWAY, DIRECT]
    assert in_turn([], 3) == []


def test_a_target_that_breaks_off_is_dropped_and_the_others_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def run_once(_client: Client, of: Scenario, target: Target, _depth: Depth) -> Sample:
        asked.append(target.label)
        if target is NGINX and asked.count(NGINX.label) == 2:
            raise LoadError("the load generator ran longer than 3 s")
        return sample()

    monkeypatch.setattr(measure, "run_once", run_once)
    dropped: list[tuple[str, str]] = []
    samples = run_all(
        Client(),
        [scenario("unary_c1")],
        [DIRECT, NGINX],
        4,
        "normal",
        drop=lambda target, reason: dropped.append((target.label, reason)),
    )
    assert {label: len(found) for (_, label), found in samples.items()} == {"direct": 4, "nginx": 1}
    assert asked.count("nginx") == 2
    assert dropped == [("nginx", "round 2 of unary_c1: the load generator ran longer than 3 s")]


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    def git(*arguments: str) -> None:
        identity = ("-c", "user.name=n", "-c", "user.email=e@example.org", "-c", "commit.gpgsign=false")
        subprocess.run(["git", "-C", str(tmp_path), *identity, *arguments], check=True, capture_output=True)

    for name in ("code.py", "README.md"):
        (tmp_path / name).write_text("before")
    git("init", "-q")
    git("add", ".")
    git("commit", "-q", "-m", "m")
    return tmp_path


def test_the_commit_is_the_one_that_was_measured(repository: Path) -> None:
    before = machine.commit(repository)
    assert len(before) == 40
    (repository / "README.md").write_text("prose is not measured")
    (repository / "benchmarks" / "results").mkdir(parents=True)
    (repository / "benchmarks" / "results" / "latest.json").write_text("{}")
    assert machine.commit(repository, before) == machine.commit(repository) == before
    (repository / "code.py").write_text("after")
    assert machine.commit(repository, before) == f"{before}-dirty"
    subprocess.run(
        ["git", "-C", str(repository), "-c", "user.name=n", "-c", "user.email=e@example.org", "commit", "-qam", "m"],
        check=True,
    )
    # A commit meanwhile is not the one that was measured, and what ran may be either.
    assert machine.commit(repository, before) == f"{before}-dirty"
    assert not machine.commit(repository).endswith("-dirty")
    (repository / "new.py").write_text("untracked")
    assert machine.commit(repository).endswith("-dirty")


def test_a_tree_that_differed_stays_so(repository: Path) -> None:
    (repository / "code.py").write_text("edited")
    before = machine.commit(repository)
    (repository / "code.py").write_text("before")
    assert machine.commit(repository, before) == before
    assert before.endswith("-dirty")


def test_without_a_repository(tmp_path: Path) -> None:
    assert machine.commit(tmp_path) == machine.commit(tmp_path, "unknown") == "unknown"
