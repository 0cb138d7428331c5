"""Eight processes and one limit: never over it, hardly under it, and few questions to Redis for it."""

from __future__ import annotations

import json
import secrets
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.faults.accounts import note
from tests.integration.quota.rig import OverTheLimit, most_in_a_window, never_over
from tests.servers.redis import Redis
from tests.stalls import again_after_a_stall

pytestmark = pytest.mark.alone

_PROCESSES = 8
_STOOD_S = 0.2
"""A machine that stands still for so long asks less than a window would take, and hears too late to use it."""
_ROOT = Path(__file__).parents[2]


def run_all(redis: Redis, limit: int, window_ms: int, seconds: float, *money: int) -> list[dict[str, Any]]:
    """What each of the processes reports."""
    redis.flush()
    per_second = 10 * limit / (window_ms / 1000) / _PROCESSES
    scope = f"key:{secrets.token_hex(8)}"
    started = [
        subprocess.Popen(
            [
                *(sys.executable, "-m", "tests.faults.quota_process", redis.url, scope, str(limit), str(window_ms)),
                *(str(seconds), str(per_second), secrets.token_hex(8), *(str(number) for number in money)),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=_ROOT,
        )
        for _ in range(_PROCESSES)
    ]
    try:
        assert everybody(started) == ["ready\n"] * _PROCESSES
        return [json.loads(answer) for answer in everybody(started)]
    finally:
        for process in started:
            process.communicate()


def everybody(started: list[subprocess.Popen[str]]) -> list[str]:
    """A line from each of them, and then a line to each."""
    answers = []
    for process in started:
        assert process.stdout is not None
        answers.append(process.stdout.readline())
    for process in started:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    return answers


def check(found: list[dict[str, Any]], limit: int, window_s: float) -> None:
    """Within [0.97 limit, limit] in the first window, never above it in any."""
    admitted = sorted(at for each in found for at in each["admitted"])
    first = sum(1 for at in admitted if at < admitted[0] + window_s)
    trips = sum(each["round_trips"] for each in found)
    note(
        f"limit {limit} in {window_s:.0f} s: {first} in the first window, at most {most_in_a_window(admitted, window_s)} in any, "
        f"{trips / len(admitted):.3f} round trips per admitted call, {sum(each['asked'] for each in found)} asked"
    )
    never_over(admitted, window_s, limit)
    assert sum(each["alone"] for each in found) == 0, "Redis was there all the time"
    assert first >= 0.97 * limit


# A small limit through the public port: `test_shared_gateways.py`.
@pytest.mark.parametrize("limit", [pytest.param(60, marks=[pytest.mark.slow, pytest.mark.long]), 900])
@again_after_a_stall(_STOOD_S)
def test_eight_processes_keep_one_limit(redis: Redis, limit: int) -> None:
    check(run_all(redis, limit, 3_000, 6), limit, 3)


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.parametrize("limit", [240, 2_400])
def test_eight_processes_keep_one_limit_for_a_minute(redis: Redis, limit: int) -> None:
    check(run_all(redis, limit, 60_000, 60), limit, 60)


@again_after_a_stall(_STOOD_S)
def test_two_hundred_parallel_draws_of_one_budget(redis: Redis) -> None:
    budget, cost = 50_000_000, 700_000
    found = run_all(redis, 1, 60_000, 1, budget, cost, 200 // _PROCESSES)
    admitted = sum(len(each["admitted"]) for each in found)
    if admitted > budget // cost:
        raise OverTheLimit(f"{admitted} of {budget // cost}")
    assert sum(each["asked"] for each in found) == 200
    assert admitted == budget // cost
