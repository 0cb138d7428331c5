"""A thousand streams at once through the public port, and what is left of them afterwards."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from penstock import _core
from tests.conftest import Gateway
from tests.faults.accounts import (
    descriptors,
    differences,
    gauge,
    idle,
    note,
    resident_mb,
    rows_of,
    settled,
    usage,
    verdict,
)
from tests.faults.streams import PROMPT_TOKENS, SURFACES, body
from tests.rig import Sim, until

pytestmark = pytest.mark.alone

STREAMS = 1_000
WORDS = 30


def load(gateway: Gateway, key: str, path: str, request: dict[str, Any], **options: Any) -> dict[str, Any]:
    """Run the load generator; `x-sim-*` headers go under ``sim``."""
    sim = options.pop("sim", {})
    headers = [["content-type", "application/json"], ["authorization", f"Bearer {key}"]]
    headers += [[f"x-sim-{name}", value] for name, value in sim.items()]
    given = {"url": gateway.url + path, "headers": headers, "body": json.dumps(request), **options}
    report: dict[str, Any] = json.loads(_core.run_load(json.dumps(given).encode()))
    return report


@pytest.mark.parametrize("surface", list(SURFACES))
def test_a_thousand_paced_streams_at_once(patient: Gateway, sim: Sim, surface: str) -> None:
    path, model = SURFACES[surface]
    key, since = patient.new_key(), sim.mark()
    idle(patient)
    before, files = resident_mb(patient.pid), descriptors(patient.pid)
    highest = 0.0
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(
            load,
            patient,
            key,
            path,
            body(model, stream=True, stream_options={"include_usage": True})
            if surface != "messages"
            else body(model, stream=True),
            connections=STREAMS,
            requests=STREAMS,
            ramp_ms=300,
            # Long enough that the last begins before the first ends, on a slow machine too.
            sim={"tokens": str(WORDS), "tps": "8"},
            stream={"deltas": WORDS, "order": "numbered", "done": True, "usage": True},
        )

        def all_open() -> bool:
            nonlocal highest
            highest = max(highest, resident_mb(patient.pid))
            return gauge(patient, "penstock_in_flight_requests") == STREAMS or running.done()

        until(all_open, "a thousand streams in flight", 20)
        assert not running.done(), "all were in flight together"
        highest = max(highest, resident_mb(patient.pid))
        report = running.result()
    assert (report["requests"], report["errors"], report["errors_by_kind"]) == (STREAMS, 0, {})
    assert report["stream"]["deltas"] == STREAMS * WORDS
    idle(patient)
    until(lambda: gauge(patient, "penstock_connections") <= 1, "no client connection is open")
    left = descriptors(patient.pid) - files
    rows = rows_of(patient, key)
    assert len(rows) == STREAMS
    assert {(verdict(row), usage(row)) for row in rows} == {(("ok", "upstream"), (PROMPT_TOKENS, WORDS))}
    assert differences(rows, settled(sim, since)) == []
    after = resident_mb(patient.pid)
    note(
        f"{surface}: {before:.0f} MB before, {highest:.0f} MB with {STREAMS} streams "
        f"({(highest - before) * 1000 / STREAMS:.0f} kB each), {after:.0f} MB after; {left:+d} descriptors; "
        f"gap p99 {report['stream']['gap_us']['p99'] / 1000:.1f} ms"
    )
    assert highest - before < 120
    # What stays open are idle connections to the upstream, of which the next calls make use.
    assert left <= 1_024
