"""`--fail-on` judges what was measured, in the unit it names."""

from __future__ import annotations

import pytest

from penstock.bench import results, tables, thresholds
from penstock.bench.document import Threshold, machine
from penstock.bench.settings import Point
from penstock.bench.wire import UsageError
from tests.unit.bench.reports import report, sample, settings


def judged(text: str, **given: object) -> list[Threshold]:
    of = settings("a", "b", points=(Point(1), Point(8)), baseline="a")
    samples = [
        sample(target, 0, report(p50, 2 * p50, ttft=(p50 / 2, p50)), point=point)
        for point, p50 in enumerate((10_000.0, 30_000.0))
        for target in ("a", "b")
    ]
    document = results.document(
        of,
        samples,
        started_at="",
        partial=False,
        where=machine(),
        judge=lambda rows, made: thresholds.judge([thresholds.parse(text)], rows, made),
    )
    return list(document.thresholds)


@pytest.mark.parametrize(
    "text, failed, value",
    [
        ("p99_ms>50", [False, False, True, True], 20.0),
        ("p99_us>50000", [False, False, True, True], 20_000.0),
        ("p99_s > 0.05", [False, False, True, True], 0.02),
        ("p99_ms>=20", [True, True, True, True], 20.0),
        ("p99_ms<20", [False, False, False, False], 20.0),
        ("ttft_p50_ms<=5", [True, True, False, False], 5.0),
        ("rps<1000", [False] * 4, 1000.0),
        ("error_rate>0", [False] * 4, 0.0),
        ("b:p50_ms>20", [False, True], 10.0),
        ("added_p50_us>0", [False, False], 0.0),
    ],
)
def test_conditions(text: str, failed: list[bool], value: float) -> None:
    found = judged(text)
    assert [one.failed for one in found] == failed
    assert found[0].value == pytest.approx(value)
    assert found[0].expression == text


@pytest.mark.parametrize("text", ["send_delay_p99_ms>1", "cpu_us_per_request>5", "rss_peak_mb>1", "gap_max_ms>1e9"])
def test_what_was_not_measured_fails(text: str) -> None:
    found = judged(text)
    expected = text.startswith("gap")
    assert [one.failed for one in found] == [not expected] * 4
    assert all((one.value is not None) == expected for one in found)


@pytest.mark.parametrize("text", ["error_rate>0", "errors>=9", "errors>0"])
def test_requests_that_failed_in_one_round_of_three_are_not_lost_in_the_median(text: str) -> None:
    of = settings(rounds=3)
    runs = [report(), report(requests=91, errors={"status_500": 9}), report()]
    document = results.document(
        of,
        [sample("target", number, run) for number, run in enumerate(runs)],
        started_at="",
        partial=False,
        where=machine(),
        judge=lambda rows, made: thresholds.judge([thresholds.parse(text)], rows, made),
    )
    assert [one.failed for one in document.thresholds] == [True]
    assert document.thresholds[0].value == (0.09 if text.startswith("error_rate") else 9)
    assert ": 3 % of the requests failed" in document.warnings[0]
    table = next(line for line in tables.markdown(document).splitlines() if line.startswith("| target | 1,000 |"))
    assert table.split("|")[3].strip() == "9"


@pytest.mark.parametrize("limit", ["nan", "inf", "-inf", "1e999", "NaN"])
def test_what_nothing_can_be_compared_with_is_refused(limit: str) -> None:
    with pytest.raises(UsageError, match=r"--fail-on .*finite"):
        thresholds.parse(f"p99_ms>{limit}")


def test_a_condition_without_rows_fails() -> None:
    condition = thresholds.parse("p99_ms>50")
    assert [one.failed for one in thresholds.judge([condition], [], settings())] == [True]


def test_every_metric_that_is_measured_can_be_asked_for() -> None:
    from penstock.bench.results import measured

    names = measured(report(ttft=(1.0, 2.0), send_delay=(1.0, 2.0)))
    for name in names:
        assert thresholds.parse(f"{name}>1").metric == name
