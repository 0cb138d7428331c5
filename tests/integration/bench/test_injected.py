"""What the tool reports is what the simulator was told to inject."""

from __future__ import annotations

import secrets

import pytest

from tests.integration.bench.conftest import SLACK_MS, Bench
from tests.stalls import again_after_a_stall


def between(value_us: float, injected_ms: float, slack_ms: float = SLACK_MS) -> bool:
    return injected_ms * 1e3 <= value_us <= (injected_ms + slack_ms) * 1e3


@again_after_a_stall(0.03)
def test_a_unary_delay(bench: Bench, simulator_url: str) -> None:
    ended = bench(simulator_url, "--model", "sim/ttft=40", "--connections", "4", "--requests", "60")
    row = ended.row()
    assert ended.metric("requests") == 60
    assert row["errors_by_kind"] == {}
    assert between(ended.metric("min_us"), 40)
    assert between(ended.metric("p50_us"), 40)
    # Four connections, each with an answer every 40 ms.
    assert 100 * 0.35 <= ended.metric("rps") <= 100


@pytest.mark.parametrize("surface", ["chat", "completions", "messages", "responses"])
@again_after_a_stall(0.03)
def test_time_to_first_token_gaps_and_the_whole(bench: Bench, simulator_url: str, surface: str) -> None:
    arguments = ["--stream", "--surface", surface, "--model", "sim/ttft=80,tps=50,tokens=10"]
    checks = ["--deltas", "10", "--check-order", "numbered", "--check-usage"]
    ended = bench(simulator_url, *arguments, *checks, "--connections", "3", "--requests", "12")
    assert ended.row()["errors_by_kind"] == {}
    assert (ended.metric("requests"), ended.metric("deltas")) == (12, 120)
    assert between(ended.metric("ttft_p50_us"), 80)
    # Neither nothing, nor two of them, nor the time to the first token.
    assert abs(ended.metric("gap_mean_us") - 20_000) <= 8_000
    assert abs(ended.metric("gap_p50_us") - 20_000) <= 8_000
    assert between(ended.metric("p50_us"), 80 + 9 * 20)


def test_errors_at_a_known_rate(bench: Bench, simulator_url: str) -> None:
    key = secrets.token_hex(6)
    model = f"sim/fail_first=31:429,key={key}"
    ended = bench(simulator_url, "--model", model, "--requests", "120", "--warmup", "0", "--connections", "2")
    # The tool's first look takes one of the 31.
    assert ended.row()["errors_by_kind"] == {"status_429": 30}
    assert (ended.metric("requests"), ended.metric("errors")) == (90, 30)
    assert ended.metric("error_rate") == pytest.approx(0.25)
    # Latencies are of the answered ones; a refusal keeps its connection.
    assert ended.document["runs"][0]["report"]["latency_us"]["count"] == 90
    assert ended.metric("reconnects") == 0
    # On a busy machine there is another one, of the client itself.
    assert any("25 % of the requests failed" in warning for warning in ended.document["warnings"])


@pytest.mark.parametrize(
    "fault, kind",
    [
        ("no_done", "sse_not_done"),
        ("no_usage", "sse_no_usage"),
        ("error_event:3", "sse_error"),
        ("close_after:3", "closed_body"),
        ("reset_after:3", "closed_body"),
        ("bad_chunk:3", "framing_body"),
        ("hang_after:3", "timeout_body"),
    ],
)
@again_after_a_stall(0.2)
def test_broken_streams_are_told_apart(bench: Bench, simulator_url: str, fault: str, kind: str) -> None:
    arguments = ["--stream", "--model", f"sim/tokens=8,fault={fault}", "--check-usage", "--timeout", "400ms"]
    ended = bench(simulator_url, *arguments, "--requests", "4", "--warmup", "0", status=1)
    assert ended.row()["errors_by_kind"] == {kind: 4}
    assert ended.metric("requests") == 0


@pytest.mark.parametrize("fault, kind", [("truncate", "closed_body"), ("hang_after:0", "timeout")])
@again_after_a_stall(0.2)
def test_broken_answers_are_told_apart(bench: Bench, simulator_url: str, fault: str, kind: str) -> None:
    arguments = ["--model", f"sim/fault={fault}", "--timeout", "400ms", "--requests", "3", "--warmup", "0"]
    assert bench(simulator_url, *arguments, status=1).row()["errors_by_kind"] == {kind: 3}


EVENT = 'data: {{"choices":[{{"index":0,"delta":{{"content":"{0}"}}}}]}}\n\n'
WORDS = [" time", " river", " that", " this", " with"]


@pytest.mark.parametrize(
    "words, checks, kind",
    [
        (WORDS, ["--deltas", "5", "--check-order", "numbered"], None),
        ([*WORDS[:2], *WORDS[3:]], ["--check-order", "numbered"], "sse_order"),
        ([*WORDS[:2], *WORDS[3:]], ["--deltas", "5"], "sse_delta_count"),
        ([WORDS[0], WORDS[2], WORDS[1], *WORDS[3:]], ["--check-order", "numbered"], "sse_order"),
        ([WORDS[0], WORDS[2], WORDS[1], *WORDS[3:]], ["--check-order", "same"], None),
        ([*WORDS, WORDS[4]], ["--check-order", "numbered"], "sse_order"),
    ],
    ids=["whole", "dropped", "dropped, counted", "swapped", "swapped alike", "repeated"],
)
def test_frames_dropped_and_swapped(
    bench: Bench, simulator_url: str, words: list[str], checks: list[str], kind: str | None
) -> None:
    import base64
    import json
    import urllib.request

    name = f"bench-{secrets.token_hex(6)}"
    body = "".join(EVENT.format(word) for word in words) + "data: [DONE]\n\n"
    recording = {"content_type": "text/event-stream", "body_base64": base64.b64encode(body.encode()).decode()}
    request = urllib.request.Request(
        f"{simulator_url}/_sim/replay/{name}", json.dumps(recording).encode(), method="PUT"
    )
    with urllib.request.urlopen(request, timeout=10) as answer:
        assert answer.status == 200
    arguments = ["--stream", "--model", f"replay/{name}", "--requests", "6", "--warmup", "0", *checks]
    ended = bench(simulator_url, *arguments, status=0 if kind is None else 1)
    assert ended.row()["errors_by_kind"] == ({} if kind is None else {kind: 6})


def test_large_bodies_arrive_whole(bench: Bench, simulator_url: str) -> None:
    sizes = (2_000, 100_000, 1_000_000)
    ended = bench(
        simulator_url, "--model", "sim/tokens=4", "--body-bytes", ",".join(map(str, sizes)), "--requests", "5"
    )
    for point, size in enumerate(sizes):
        sent = ended.document["runs"][point]["report"]["bytes_sent"] / 5
        # The head of the request is some 200 bytes.
        assert size < sent < size + 400
        assert ended.row(point=point)["errors_by_kind"] == {}


@again_after_a_stall(0.03)
def test_a_sweep_reports_each_point(bench: Bench, simulator_url: str) -> None:
    arguments = ["--model", "sim/ttft=20", "--duration", "600ms"]
    ended = bench(simulator_url, *arguments, "--connections", "1,4,16")
    assert [point["connections"] for point in ended.document["points"]] == [1, 4, 16]
    for point, connections in enumerate((1, 4, 16)):
        assert connections * 50 * 0.35 <= ended.metric("rps", point=point) <= connections * 50
    rated = bench(simulator_url, *arguments, "--rate", "50,200")
    assert [point["rate"] for point in rated.document["points"]] == [50, 200]
    assert [rated.metric("requests", point=point) for point in range(2)] == [30, 120]


@again_after_a_stall(0.03)
def test_targets_take_turns_and_are_compared(bench: Bench, simulator_url: str) -> None:
    arguments = [
        "--model",
        "sim/ttft=80",
        "--compare",
        f"direct={simulator_url}",
        "--compare-model",
        "direct=sim/ttft=30",
    ]
    ended = bench(
        simulator_url, *arguments, "--label", "gateway", "--baseline", "direct", "--requests", "15", "--rounds", "3"
    )
    order = [(run["round"], run["target"]) for run in ended.document["runs"]]
    assert order == [(number, target) for number in range(3) for target in ("gateway", "direct")]
    row = ended.row("gateway")
    assert row["rounds"] == 3
    added = row["metrics"]["added_p50_us"]
    # 50: neither what one of them takes nor their sum.
    assert 35_000 <= added["median"] <= 75_000
    assert added["min"] <= added["median"] <= added["max"]
    assert "added_p50_us" not in ended.row("direct")["metrics"]
