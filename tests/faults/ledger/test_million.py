"""A million calls through PostgreSQL, Redis and a coworker: none is missing, and nothing grows with their number."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from penstock import _core
from penstock.ledger import wire
from tests.conftest import Gateway
from tests.faults.accounts import gauge, idle, note, resident_mb
from tests.faults.ledger.gateways import Site
from tests.faults.streams import SURFACES, body
from tests.rig import until
from tests.servers.redis import Redis

pytestmark = pytest.mark.alone

CALLS = 1_000_000
WARM = 200_000
AT_ONCE = 25_000
"""Between two looks at whether the coworker keeps up."""
GROWTH_MB = 20
"""After the first calls have paid for buffers, caches and the allocator's own. Twenty-five bytes per call would show."""


def _calls(gateway: Gateway, key: str, count: int) -> None:
    path, model = SURFACES["chat"]
    options = {
        "url": gateway.url + path,
        "headers": [["content-type", "application/json"], ["authorization", f"Bearer {key}"]],
        "body": json.dumps(body(model, max_tokens=3)),
        "connections": 32,
        "requests": count,
    }
    report: dict[str, Any] = json.loads(_core.run_load(json.dumps(options).encode()))
    assert (report["requests"], report["errors"]) == (count, 0), report["errors_by_kind"]


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.timeout(1_800)
def test_a_million_calls_leave_no_memory_behind(
    database_url: str, redis: Redis, redis_url: str, start_site: Callable[..., Site]
) -> None:
    site = start_site(database_url, redis_url)
    gateway, coworker = site.gateway(ledger="{coworker: false}"), site.coworker()
    key = gateway.new_key(rpm_limit=1_000_000_000, tpm_limit=1_000_000_000_000, max_budget=1_000_000)
    resident: dict[int, tuple[float, float]] = {}
    for done in range(AT_ONCE, CALLS + 1, AT_ONCE):
        _calls(gateway, key, AT_ONCE)
        idle(gateway)
        until(lambda: gauge(gateway, "penstock_usage_queue_records") == 0, "everything is in the ledger", 120)
        resident[done] = (resident_mb(gateway.pid), resident_mb(coworker.process.pid))
    for done in sorted({AT_ONCE, WARM, *range(WARM, CALLS + 1, WARM)}):
        note(f"after {done:,} calls: gateway {resident[done][0]:.1f} MB, coworker {resident[done][1]:.1f} MB")
    assert site.count() == CALLS
    assert {calls for calls, _ in site.sums().values()} == {CALLS}
    assert redis.command("XLEN", wire.STREAM) == 0
    for process in (0, 1):
        assert resident[CALLS][process] - resident[WARM][process] < GROWTH_MB
