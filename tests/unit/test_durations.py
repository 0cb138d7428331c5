"""Durations and budget windows."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.durations import from_iso, iso, parse_duration


def _ms(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


@pytest.mark.parametrize(
    "text,seconds", [("30s", 30), ("15m", 900), ("1h", 3_600), ("30d", 2_592_000), ("2w", 1_209_600)]
)
def test_fixed_durations(text: str, seconds: int) -> None:
    assert parse_duration(text, "duration").after(1_000) == 1_000 + seconds * 1000


@pytest.mark.parametrize(
    "start,months,end",
    [("2026-01-31", 1, "2026-02-28"), ("2026-11-20", 2, "2027-01-20"), ("2024-01-30", 1, "2024-02-29")],
)
def test_months_follow_the_calendar(start: str, months: int, end: str) -> None:
    assert parse_duration(f"{months}mo", "duration").after(_ms(start)) == _ms(end)


@pytest.mark.parametrize("text", ["", "30", "d", "-1d", "0d", "1y", "99999999999d", "101000d", "30 d x", "٣d"])
def test_other_texts_are_refused_by_name(text: str) -> None:
    with pytest.raises(ValueError, match="`budget_duration`"):
        parse_duration(text, "budget_duration")


@given(st.sampled_from(["1s", "7m", "1h", "30d", "1mo", "5mo"]), st.integers(0, 10**12), st.integers(0, 10**10))
def test_the_next_window_contains_now(text: str, end: int, late: int) -> None:
    following = parse_duration(text, "d").next_end(end, end + late)
    assert following > end + late
    assert following <= parse_duration(text, "d").after(end + late) + 4 * 86_400_000


def test_dates() -> None:
    assert iso(0) == "1970-01-01T00:00:00.000Z"
    assert from_iso("1970-01-02", "start_date") == 86_400_000
    assert from_iso("1970-01-01", "end_date", end_of_day=True) == 86_400_000
    assert from_iso("1970-01-01T01:00:00+01:00", "start_date") == 0
    with pytest.raises(ValueError, match="`start_date`"):
        from_iso("yesterday", "start_date")
