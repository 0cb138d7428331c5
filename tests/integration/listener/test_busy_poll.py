"""`penstock.listener.busy_poll_us`: the data plane looks for more work before it sleeps, and only then."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from penstock.bench import processes
from tests.conftest import Gateway
from tests.stalls import again_after_a_stall

SPAN_US = 200_000
"""Long enough to tell from a call's own work."""

pytestmark = pytest.mark.skipif(not processes.available(), reason="this kernel does not tell the CPU time of a process")


@pytest.mark.timeout(400)
@again_after_a_stall(0.1)
def test_it_is_awake_for_the_time_given_and_sleeps_again(start_gateway: Callable[..., Gateway]) -> None:
    gateway = start_gateway(config=f"penstock: {{listener: {{busy_poll_us: {SPAN_US}}}}}")
    plain = start_gateway()

    def used(of: Gateway, seconds: float, calls: int) -> float:
        """CPU seconds over a time in which so many calls are made at its beginning."""
        before = processes.cpu(of.process.process.pid)
        with of.client() as client:
            for _ in range(calls):
                assert client.get("/v1/models", headers=of.admin).status_code == 200
            time.sleep(seconds)
        return processes.cpu(of.process.process.pid).used_since(before) / 1e6

    busy = used(gateway, 0.6, calls=1)
    idle = used(gateway, 0.6, calls=0)
    # A busy machine may take the core away, and adds to what was used only where the time of which its host takes is counted.
    assert busy - idle < 0.5
    assert any(used(gateway, 0.6, calls=1) - used(plain, 0.6, calls=1) > 0.1 for _ in range(5))
    assert idle < 0.1
