"""What the load generator reports, through the extension, is what the simulator was told to inject."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from penstock import _core
from tests.stalls import again_after_a_stall

SLACK_US = 20_000
"""Timers and a busy machine only ever add time."""


@pytest.fixture
def url() -> Iterator[str]:
    simulator = _core.Simulator(json.dumps({"port": 0, "threads": 1}).encode())
    port = simulator.start()
    yield f"http://127.0.0.1:{port}/v1/chat/completions"
    simulator.stop()


def load(url: str, model: str, **options: object) -> dict[str, Any]:
    body: dict[str, object] = {"model": model, "messages": [{"role": "user", "content": "hello"}]}
    if "stream" in options:
        body |= {"stream": True, "stream_options": {"include_usage": True}}
    given = {"url": url, "headers": [["content-type", "application/json"]], "body": json.dumps(body), **options}
    report: dict[str, Any] = json.loads(_core.run_load(json.dumps(given).encode()))
    return report


@again_after_a_stall(0.03)
def test_time_to_first_token_and_gaps(url: str) -> None:
    stream = {"deltas": 10, "order": "numbered", "usage": True}
    report = load(url, "sim/ttft=60,tps=50,tokens=10", connections=4, requests=12, stream=stream)
    assert (report["requests"], report["errors"]) == (12, 0), report["errors_by_kind"]
    assert report["stream"]["deltas"] == 120
    assert 60_000 <= report["stream"]["ttft_us"]["p50"] <= 60_000 + SLACK_US
    assert report["stream"]["gap_us"]["count"] == 108
    assert abs(report["stream"]["gap_us"]["mean"] - 20_000) <= SLACK_US / 4


@again_after_a_stall(0.03)
def test_a_unary_delay(url: str) -> None:
    report = load(url, "sim/ttft=40", connections=2, requests=10)
    assert (report["requests"], report["errors"]) == (10, 0), report["errors_by_kind"]
    assert 40_000 <= report["latency_us"]["min"] <= report["latency_us"]["p50"] <= 40_000 + SLACK_US


@again_after_a_stall(0.03)
def test_an_open_loop_keeps_its_rate(url: str) -> None:
    report = load(url, "sim/tokens=4", connections=8, rate=500, duration_ms=600)
    assert (report["requests"], report["errors"]) == (300, 0), report["errors_by_kind"]
    assert 0.58 <= report["elapsed_s"] <= 0.8


def test_an_injected_status_is_counted_by_kind(url: str) -> None:
    report = load(url, "sim/status=503", requests=5)
    assert report["requests"] == 0
    assert report["errors_by_kind"] == {"status_503": 5}


def test_a_wrong_option_is_named() -> None:
    with pytest.raises(ValueError, match="requests"):
        _core.run_load(b'{"url": "http://127.0.0.1:1/"}')
