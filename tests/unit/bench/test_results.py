"""Medians, spread, differences and warnings are those of the runs."""

from __future__ import annotations

import json

import msgspec
import pytest

from penstock.bench import files, results, tables
from penstock.bench.document import Document, Metric, machine
from penstock.bench.probing import message_of
from penstock.bench.report import Report
from penstock.bench.samples import ProcessUse, Sample
from penstock.bench.settings import Checks, Point, Settings
from tests.unit.bench.reports import report, sample, settings


def made(of: Settings, samples: list[Sample], *, partial: bool = False) -> Document:
    return results.document(
        of,
        samples,
        started_at="2026-01-01T00:00:00+00:00",
        partial=partial,
        where=machine(),
        judge=lambda _r, _s: [],
    )


def test_medians_and_spread_over_rounds() -> None:
    samples = [sample("target", number, report(p50, 2 * p50)) for number, p50 in enumerate((300.0, 100.0, 200.0))]
    (row,) = made(settings(rounds=3), samples).rows
    assert row.metrics["p50_us"] == Metric(200.0, 100.0, 300.0)
    assert row.metrics["p99_us"].median == 400.0
    assert row.rounds == 3


def test_what_is_added_is_compared_round_by_round() -> None:
    # The machine slows down; what the gateway adds stays 50.
    pairs = [(100.0, 150.0), (1_000.0, 1_050.0), (200.0, 250.0)]
    samples = [
        sample(target, number, report(p50, 2 * p50, ttft=(p50, p50)))
        for number, pair in enumerate(pairs)
        for target, p50 in zip(("direct", "gateway"), pair, strict=True)
    ]
    direct, gateway = made(settings("direct", "gateway", baseline="direct", stream=Checks()), samples).rows
    assert gateway.metrics["added_p50_us"] == Metric(50.0, 50.0, 50.0)
    assert gateway.metrics["added_p99_us"].median == 100.0
    assert gateway.metrics["added_ttft_p50_us"].median == 50.0
    assert not any(name.startswith("added_") for name in direct.metrics)


def test_a_missing_round_of_the_baseline_is_not_made_up() -> None:
    samples = [sample("gateway", number, report(100.0)) for number in range(2)] + [sample("direct", 1, report(40.0))]
    rows = made(settings("gateway", "direct", baseline="direct"), samples).rows
    assert rows[0].metrics["added_p50_us"] == Metric(60.0, 60.0, 60.0)


def test_processes_per_request_and_altogether() -> None:
    of = settings(processes=("1", "2"))
    errors = {"status_500": 20, "unsent": 30}
    uses = {"1": ProcessUse(12_000.0, 40.0, 60.0, 50.0), "2": ProcessUse(6_000.0, 4.0, 6.0, 5.0)}
    (row,) = made(of, [sample("target", 0, report(requests=100, rps=1000.0, errors=errors), use=uses)]).rows
    # 100 answered and 20 refused were sent; those never sent cost nothing.
    assert row.processes["1"]["cpu_us_per_request"].median == pytest.approx(100.0)
    assert row.processes["1"]["cores"].median == pytest.approx(0.12)
    assert row.metrics["cpu_us_per_request"].median == pytest.approx(150.0)
    assert row.metrics["rss_peak_mb"].median == pytest.approx(66.0)
    assert row.errors_by_kind == errors
    assert row.metrics["error_rate"].median == pytest.approx(1 / 3)


def test_a_run_that_was_ended_early_counts_only_when_there_is_no_other() -> None:
    whole, cut = report(100.0), report(900.0, stopped=True)
    (row,) = made(settings(rounds=2), [sample("target", 0, whole), sample("target", 1, cut)], partial=True).rows
    assert (row.metrics["p50_us"].median, row.stopped) == (100.0, False)
    (row,) = made(settings(), [sample("target", 0, cut)], partial=True).rows
    assert (row.metrics["p50_us"].median, row.stopped) == (900.0, True)


@pytest.mark.parametrize(
    "of, stream, says",
    [
        (report(client_cpu=950.0, rps=1000.0), None, "the client used 0.95 of its 1 core"),
        (
            report(50_000.0, 90_000.0, send_delay=(5_000.0, 40_000.0), rps=100.0),
            None,
            "because all connections were busy",
        ),
        (report(100.0, 9_000.0, send_delay=(1.0, 5_000.0), service=(50.0, 60.0)), None, "connections were free"),
        (report(reconnects=50), None, "opened again"),
        (report(errors={"status_429": 25}), None, "20 % of the requests failed"),
        (report(ttft=(1.0, 2.0)), Checks(), None),
        (report(), None, None),
        (report(send_delay=(1.0, 5.0)), None, None),
    ],
)
def test_what_a_reader_must_know(of: Report, stream: Checks | None, says: str | None) -> None:
    warnings = made(settings(stream=stream), [sample("target", 0, of)]).warnings
    if says is None:
        assert not warnings
    else:
        assert len(warnings) == 1
        assert says in warnings[0]


def test_a_secret_is_hidden_before_the_message_is_cut() -> None:
    said = message_of(f'{{"error": "{"x" * 190} sk-1234567890"}}', lambda text: text.replace("sk-1234567890", "***"))
    assert said == "x" * 190 + " ***"


def test_a_sum_without_one_of_its_processes_is_none() -> None:
    of = settings(processes=("1", "2"))
    use = {"1": ProcessUse(12_000.0, 40.0, 60.0, 50.0)}
    (row,) = made(of, [sample("target", 0, report(), use=use)]).rows
    assert "cpu_us_per_request" in row.processes["1"]
    assert "cpu_us_per_request" not in row.metrics


def test_a_process_that_ended_is_told() -> None:
    assert "ended" in made(settings(processes=("77",)), [sample("target", 0, report())]).warnings[0]


def test_documents_carry_neither_keys_nor_bodies() -> None:
    encoded = files.encoded(made(settings(), [sample("target", 0, report())]))
    assert b"sk-hidden" not in encoded
    said = json.loads(encoded)
    assert said["targets"] == {"target": "http://127.0.0.1:1/target"}
    assert said["runs"][0]["report"]["latency_us"]["p50"] == 100.0
    assert msgspec.json.decode(encoded, type=Document).rows[0].metrics["p50_us"].median == 100.0


def test_tables_show_what_there_is() -> None:
    of = settings("a", "b|c", points=(Point(1), Point(8, 500.0)), baseline="a", rounds=2)
    samples = [
        sample(target, number, report(100.0 + number, 200.0, send_delay=(1.0, 2.0), errors={"timeout": 1}), point=point)
        for point in range(2)
        for number in range(2)
        for target in ("a", "b|c")
    ]
    document = made(of, samples, partial=True)
    markdown, plain = tables.markdown(document, [("Latency", "latency.png")]), tables.text(document)
    assert "## 1 connection\n" in markdown
    assert "## 8 connections, 500/s" in markdown
    assert "| b\\|c |" in markdown
    assert "![Latency](latency.png)" in markdown
    assert "PARTIAL" in markdown
    assert "service p99 us" in plain
    assert "added p50 us" in plain
    assert "a: 2 timeout" in plain
    widths = {line.count("|") - 2 * line.count("\\|") for line in markdown.splitlines() if line.startswith("| a ")}
    heads = {line.count("|") for line in markdown.splitlines() if line.startswith(("| target", "| to "))}
    assert widths <= heads


def test_milliseconds_when_microseconds_would_be_long() -> None:
    assert "p99 ms" in tables.text(made(settings(), [sample("target", 0, report(20_000.0, 30_000.0))]))
    assert "p99 us" in tables.text(made(settings(), [sample("target", 0, report(20.0, 30.0))]))


@pytest.mark.parametrize(
    "body, said",
    [
        ('{"error": {"message": "no such model", "type": "x"}}', "no such model"),
        ('{"error": "slow down"}', "slow down"),
        ('{"detail": "Not Found"}', "Not Found"),
        ('{"detail": [{"msg": "field required"}]}', '[{"msg":"field required"}]'),
        ("<html>\n  <b>502</b></html>", "<html> <b>502</b></html>"),
        ("", ""),
        ("x" * 900, "x" * 200),
    ],
)
def test_the_message_in_an_answer(body: str, said: str) -> None:
    assert message_of(body) == said
