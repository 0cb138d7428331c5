"""Calls go before accounting when a core is short; accounting keeps up all the same."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from penstock import _core
from tests.conftest import Gateway
from tests.faults.accounts import BooksDiffer, gauge, idle, note
from tests.faults.conftest import CONFIG
from tests.rig import until
from tests.stalls import again_after_a_stall

pytestmark = pytest.mark.alone

Start = Callable[..., Gateway]
_LOAD_MS = 2_000
_WAITING = "penstock_usage_queue_records"


def _pin(pid: int, core: int) -> None:
    for thread in Path(f"/proc/{pid}/task").iterdir():
        os.sched_setaffinity(int(thread.name), {core})


@again_after_a_stall(0.2)
def test_usage_is_written_while_calls_take_the_whole_core(start_gateway: Start) -> None:
    if len(cores := sorted(os.sched_getaffinity(0))) < 2:
        pytest.skip("the load needs a core of its own")
    gateway = start_gateway(config=CONFIG % (2, "60s", "60s"), arguments=["--threads", "1"])
    key = gateway.new_key()
    _pin(gateway.pid, cores[0])
    body = {"model": "sim", "max_tokens": 2, "messages": [{"role": "user", "content": "hello"}]}
    options = {
        "url": f"{gateway.url}/v1/chat/completions",
        "headers": [["content-type", "application/json"], ["authorization", f"Bearer {key}"]],
        "body": json.dumps(body),
        "connections": 64,
        "duration_ms": _LOAD_MS,
    }
    report: dict[str, int] = {}

    def load() -> None:
        # This thread, and those that it starts.
        os.sched_setaffinity(0, cores[1:])
        report.update(json.loads(_core.run_load(json.dumps(options).encode())))

    running = threading.Thread(target=load)
    running.start()
    longest = 0
    while running.is_alive():
        longest = max(longest, gauge(gateway, _WAITING))
        running.join(0.1)
    idle(gateway)
    calls = report["requests"]
    note(f"{calls} calls in {_LOAD_MS} ms, at most {longest} of them waited to be written")
    assert (calls > 1_000, report["errors"]) == (True, 0)
    assert longest < calls / 2, "records are written as they come, not when the load is over"
    until(lambda: gauge(gateway, _WAITING) == 0, "the queue is written", 10)
    with gateway.client() as client:
        totals = client.get("/global/spend", headers=gateway.admin).json()
    if totals["calls"] != calls:
        raise BooksDiffer(f"{totals['calls']} of {calls} calls are accounted for")
