"""Rows are medians over rounds, differences are taken round by round, what was not measured is absent."""

from __future__ import annotations

import json
from pathlib import Path

from benchmarks import report, scenarios
from benchmarks.client import Load
from benchmarks.measure import Sample
from benchmarks.targets import Target

DIRECT = Target("direct", "http://127.0.0.1:1/", "http://127.0.0.1:1/")
GATEWAY = Target(
    "penstock", "u", "s", pid=1, listener="native", features="on", models={"m": scenarios.UNARY}, ready_seconds=0.5
)
UNARY, STREAM = scenarios.choose("unary_c1,sse_c16")


def load(p50: float, p99: float, *, errors: int = 0, frames: int = 0) -> Load:
    stream = {"ttft_p99_us": p99 / 2, "gap_p99_us": 1.0} if frames else {}
    return Load(100, errors, {"closed": errors} if errors else {}, 1e6 / p50, p50, p99, 5.0, frames=frames, **stream)


def results(direct: list[Sample], gateway: list[Sample], scenario: scenarios.Scenario) -> report.Results:
    samples = {(scenario.name, DIRECT.label): direct, (scenario.name, GATEWAY.label): gateway}
    return report.Results([DIRECT, GATEWAY], [scenario], len(direct), quick=False, samples=samples)


def test_medians_and_paired_differences() -> None:
    direct = [Sample(load(p50, p50 * 2), None, None) for p50 in (10.0, 20.0, 60.0)]
    gateway = [
        Sample(load(p50, p50 * 2, errors=n), cpu, 50.0)
        for n, (p50, cpu) in enumerate([(40.0, 900.0), (50.0, 2_000.0), (85.0, 1_500.0)])
    ]
    floor, mine = report.rows(results(direct, gateway, UNARY))[:2]
    assert floor == {
        "target": "direct", "listener": "-", "features": "-", "scenario": "unary_c1", "rounds": 3,
        "rps": 50_000.0, "p50_us": 20.0, "p99_us": 40.0, "errors": 0,
    }  # fmt: skip
    assert mine["p50_us"] == 50.0
    assert mine["added_p50_us"] == 30.0, "the median of 30, 30 and 25, not 50 - 20 by luck"
    assert mine["added_p99_us"] == 60.0
    assert mine["cpu_us_per_request"] == 15.0
    assert "cpu_us_per_frame" not in mine
    assert mine["errors"] == 3


def test_streams_have_cpu_per_frame() -> None:
    samples = [Sample(load(10.0, 20.0, frames=6_800), 68_000.0, 40.0)] * 3
    row = report.rows(results(samples, samples, STREAM))[1]
    assert row["cpu_us_per_frame"] == 10.0
    assert row["ttft_p99_us"] == 10.0


def test_a_round_without_an_answer_has_no_latency() -> None:
    failed = Sample(Load(0, 7, {"connect": 7}, 0.0, 0.0, 0.0, None), 1.0, 1.0)
    row = report.rows(results([failed], [failed], UNARY))[1]
    assert row["errors"] == 7
    assert "p50_us" not in row
    assert "cpu_us_per_request" not in row


def test_start_and_memory_have_rows_of_their_own() -> None:
    found = results([], [], UNARY)
    found.samples.clear()
    found.idle_rss_mb[GATEWAY.label] = 61.04
    rows = report.rows(found)
    assert [(row["scenario"], row.get("p50_us"), row.get("rss_mb")) for row in rows] == [
        ("start", 500_000, None),
        ("idle", None, 61.0),
    ]


def test_every_target_is_asked_the_same_of_the_upstream() -> None:
    direct, gateway = (UNARY.options(target, quick=False) for target in (DIRECT, GATEWAY))
    assert json.loads(str(direct["body"]))["model"] == scenarios.UNARY
    assert json.loads(str(gateway["body"]))["model"] == "m"
    prompt = [int(str(o["body_bytes"])) - len(str(o["body"])) for o in (direct, gateway)]
    assert prompt[0] == prompt[1]


def test_files_are_replaced_whole(tmp_path: Path) -> None:
    machine = {"cpu": "c", "cores": 2, "memory_gb": 1.0, "kernel": "k", "python": "p", "pinned": True}
    document = {"machine": machine | {"load_average": 0.0, "measured_at": "t"}, "commit": "c", "rows": []}
    report.write(tmp_path, document, "# text\n")  # type: ignore[arg-type]
    assert json.loads((tmp_path / "latest.json").read_text()) == document
    assert sorted(p.name for p in tmp_path.iterdir()) == ["latest.json", "latest.md"]
