"""`--fail-on` judges what was measured, in the unit it names."""

from __future__ import annotations

import pytest

from penstock.bench import results, thresholds
from penstock.bench.results import Threshold
from penstock.bench.settings import Point
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
        where=results.machine(),
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


def test_a_condition_without_rows_fails() -> None:
    condition = thresholds.parse("p99_ms>50")
    assert [one.failed for one in thresholds.judge([condition], [], settings())] == [True]


def test_every_metric_that_is_measured_can_be_asked_for() -> None:
    from penstock.bench.results import measured

    names = measured(report(ttft=(1.0, 2.0), send_delay=(1.0, 2.0)))
    for name in names:
        assert thresholds.parse(f"{name}>1").metric == name
