"""Rows are medians over rounds with their spread, differences are taken round by round, what was not measured is absent."""

from __future__ import annotations

import json
from pathlib import Path
from typing import cast

import pytest

from benchmarks import limits, report, scenarios, table
from benchmarks.experiments.starts import Starts
from benchmarks.goals import judge
from benchmarks.machine import Machine
from benchmarks.targets import Target
from tests.unit.benchmarks.samples import DIRECT, GATEWAY, NGINX, PEER, PLAIN, results, sample, scenario

MACHINE = Machine(
    cpu="c", cores=2, memory_gb=1.0, kernel="k", python="3", pinned=True, load_average=0.0, measured_at="t"
)


def test_medians_spread_and_paired_differences() -> None:
    direct = [sample(p50, p50 * 2) for p50 in (10.0, 20.0, 60.0)]
    gateway = [
        sample(p50, p50 * 2, errors=n, cpu_us=cpu)
        for n, (p50, cpu) in enumerate([(40.0, 900.0), (50.0, 2_000.0), (85.0, 1_500.0)])
    ]
    floor, mine = report.rows(results({("unary_c1", DIRECT): direct, ("unary_c1", GATEWAY): gateway}))[:2]
    assert (floor["target"], floor["listener"], floor["features"], floor["rounds"]) == ("direct", "-", "-", 3)
    assert floor["p50_us"] == 20.0
    assert "added_p50_us" not in floor
    assert "cpu_us_per_request" not in floor
    assert mine["p50_us"] == 50.0
    assert mine["added_p50_us"] == 30.0, "the median of 30, 30 and 25, not 50 - 20 by luck"
    assert mine["added_p99_us"] == 60.0
    assert mine["cpu_us_per_request"] == 15.0
    assert mine["spread"]["cpu_us_per_request"] == (9.0, 20.0)
    assert mine["spread"]["added_p50_us"] == (25.0, 30.0)
    assert mine["client_cpu_us_per_request"] == 5.0
    assert "cpu_us_per_frame" not in mine
    assert mine["errors"] == 3


def test_streams_have_cpu_per_frame_and_added_gaps() -> None:
    direct = [sample(frames=6_800, ttft_p99=100.0, gap_p99=5_000.0)] * 3
    mine = [sample(cpu_us=68_000.0, frames=6_800, ttft_p99=150.0, gap_p99=5_400.0)] * 3
    row = report.rows(results({("sse_c16", DIRECT): direct, ("sse_c16", GATEWAY): mine}))[1]
    assert row["cpu_us_per_frame"] == 10.0
    assert row["ttft_p99_us"] == 150.0
    assert row["added_ttft_p99_us"] == 50.0
    assert row["added_gap_p99_us"] == 400.0


def test_a_round_without_an_answer_has_no_figures() -> None:
    failed = sample(requests=0, errors=7, cpu_us=1.0)
    row = report.rows(results({("unary_c1", DIRECT): [failed], ("unary_c1", GATEWAY): [failed]}))[1]
    assert row["errors"] == 7
    assert "p50_us" not in row
    assert "cpu_us_per_request" not in row


def test_start_and_memory_have_rows_of_their_own() -> None:
    found = results({("unary_c1", GATEWAY): [sample()]})
    found.samples.clear()
    found.idle_rss_mb[GATEWAY.label] = 61.04
    found.starts = [Starts("native", [0.4, 0.5, 9.0], [70.0])]
    rows = report.rows(found)
    assert [(row["scenario"], row.get("p50_us"), row.get("rss_mb")) for row in rows] == [
        ("start", 500_000, None),
        ("idle", None, 61.0),
    ]


def test_every_target_is_asked_the_same_of_the_upstream() -> None:
    direct, gateway = (scenario("unary_c1").options(target, "normal") for target in (DIRECT, GATEWAY))
    assert json.loads(direct.body)["model"] == scenarios.UNARY
    assert json.loads(gateway.body)["model"] == "m"
    prompt = [(options.body_bytes or 0) - len(options.body) for options in (direct, gateway)]
    assert prompt[0] == prompt[1]


def test_over_grpc_the_prompt_is_that_of_rest() -> None:
    pytest.importorskip("google.protobuf", reason="the client's libraries are not installed")
    from penstock.client._messages import ChatCreateRequest

    rest = scenario("unary_c32").options(GATEWAY, "normal")
    over = scenario("grpc_unary_c32").options(GATEWAY, "normal")
    assert over.url == "http://127.0.0.1:1/penstock.v1.Chat/Create"
    assert over.grpc is not None
    assert over.connections * over.grpc.calls_per_connection == rest.connections
    message = ChatCreateRequest.FromString(over.grpc.message)
    letters = (rest.body_bytes or 0) - len(rest.body.replace("{pad}", ""))
    assert (message.model, len(message.messages[1].text), message.max_tokens) == ("m", letters, 128)
    assert (over.duration_ms, over.headers) == (rest.duration_ms, GATEWAY.headers)
    for name, like in ((s.name, s.like) for s in scenarios.ALL if s.calls is not None):
        mine, of_rest = scenario(name), scenario(like or "")
        assert (mine.model, mine.milliseconds, mine.body_bytes) == (
            of_rest.model,
            of_rest.milliseconds,
            of_rest.body_bytes,
        )
        assert mine.connections * (mine.calls or 0) == of_rest.connections


def test_who_is_measured_where() -> None:
    def concerned(name: str) -> list[Target]:
        return [t for t in (DIRECT, NGINX, GATEWAY, PLAIN, PEER) if scenario(name).concerns(t)]

    assert concerned("unary_c32") == [DIRECT, NGINX, GATEWAY, PLAIN, PEER]
    assert concerned("unary_c1") == [DIRECT, NGINX, GATEWAY, PEER]
    assert concerned("body_1mb") == [DIRECT, NGINX, GATEWAY]
    assert concerned("grpc_unary_c1") == concerned("grpc_stream_c128") == [GATEWAY]


def test_the_time_limit_grows_with_what_is_done() -> None:
    loads, targets = list(scenarios.ALL), ["direct", "nginx"]
    few = limits.seconds(loads, [], targets, 5, "normal")
    many = limits.seconds(loads, [], targets, 50, "normal")
    once = sum(s.seconds("normal") for s in loads) * len(targets)
    assert few > 5 * once
    assert many > 50 * once
    assert limits.seconds(loads, ["state_growth"], targets, 5, "normal") > few
    assert limits.seconds(loads, [], [*targets, "smg"], 5, "normal") > few


def test_the_command_shows_no_path() -> None:
    shown = limits.command(["--full", "--results", "/a/b", "--simulator=/c/d --port {port}", "--rounds", "5"])
    assert shown == "python -m benchmarks --full --rounds 5"


def test_files_are_replaced_whole_and_say_what_was_found(tmp_path: Path) -> None:
    found = results({("unary_c32", t): [sample(10.0, cpu_us=c)] * 5 for t, c in ((NGINX, 1_000.0), (GATEWAY, 3_000.0))})
    found.not_measured.append("vllm-router: is not installed")
    goals = judge(found)
    document = report.document(found, goals, MACHINE, "abc", "python -m benchmarks")
    text = table.markdown(document, found, goals, [("A chart", "results/a.png")])
    report.write(tmp_path, document, text)
    kept = json.loads((tmp_path / "results" / "latest.json").read_text())
    assert kept["rows"][1]["cpu_us_per_request"] == 30.0
    assert kept["versions"] == {"nginx": "1.22.1"}
    assert kept["goals"][0] == {
        "measure": "CPU per unary request, all features on, to nginx's",
        "goal": "<= 4x",
        "measured": "3.00x (30.0 us : 10.0 us)",
        "met": True,
    }
    assert (tmp_path / "RESULTS.md").read_text() == text
    for said in ("| <= 4x | 3.00x (30.0 us : 10.0 us) | met |", "vllm-router: is not installed", "results/a.png"):
        assert said in text
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["RESULTS.md", "latest.json", "results"]
    assert cast(dict[str, object], kept["machine"])["cpu"] == "c"
