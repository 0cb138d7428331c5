"""What calls leave behind in memory: nothing that grows with their number."""

from __future__ import annotations

import json
from typing import Any

import pytest

from penstock import _core
from tests.conftest import Gateway
from tests.faults.accounts import gauge, idle, note, resident_mb
from tests.faults.streams import SURFACES, body
from tests.rig import until

pytestmark = pytest.mark.alone

CALLS = 20_000


def _calls(gateway: Gateway, key: str, surface: str, requests: int) -> dict[str, Any]:
    path, model = SURFACES[surface]
    headers = [["content-type", "application/json"], ["authorization", f"Bearer {key}"]]
    options = {
        "url": gateway.url + path,
        "headers": headers,
        "body": json.dumps(body(model)),
        "connections": 32,
        "requests": requests,
    }
    report: dict[str, Any] = json.loads(_core.run_load(json.dumps(options).encode()))
    return report


def _rest(gateway: Gateway) -> float:
    """Resident memory once every record is in the store."""
    idle(gateway)
    until(lambda: gauge(gateway, "penstock_usage_queue_records") == 0, "all records are stored", 60)
    return resident_mb(gateway.pid)


def test_twenty_thousand_unary_calls_leave_no_memory_behind(patient: Gateway) -> None:
    key = patient.new_key()
    cold = _rest(patient)
    assert _calls(patient, key, "chat", CALLS)["errors"] == 0
    warm = _rest(patient)
    report = _calls(patient, key, "chat", CALLS)
    assert (report["requests"], report["errors"]) == (CALLS, 0)
    after = _rest(patient)
    note(
        f"{cold:.1f} MB at rest, {warm:.1f} MB after {CALLS} calls, {after:.1f} MB after {2 * CALLS}; "
        f"{report['rps']:.0f} calls/s"
    )
    # The first round pays for buffers and for the store's pages, which allocators keep. A leak of one kilobyte per
    # call would show as 20 MB in the second.
    assert after - warm < 20
    assert after - cold < 90


def test_refused_and_control_calls_leave_no_memory_behind(patient: Gateway) -> None:
    assert _calls(patient, "sk-wrong", "chat", 2_000)["errors"] == 2_000
    warm = _rest(patient)
    assert _calls(patient, "sk-wrong", "chat", CALLS)["errors"] == CALLS
    assert _rest(patient) - warm < 6
