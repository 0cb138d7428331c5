"""Durations and budget windows."""

import calendar
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.durations import Duration, from_iso, iso, parse_duration


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
    start, following = parse_duration(text, "d").fixed_after(None, end, end + late)
    assert end <= start <= end + late < following
    assert following <= parse_duration(text, "d").after(start) + 4 * 86_400_000


@given(
    st.integers(1, 40),
    st.builds(
        lambda year, month, day: datetime(
            year, month, min(day, calendar.monthrange(year, month)[1]), 13, 14, 15, tzinfo=UTC
        ),
        st.integers(2023, 2028),
        st.integers(1, 12),
        st.one_of(st.integers(1, 31), st.integers(28, 31)),
    ),
    st.lists(st.integers(0, 15), min_size=1, max_size=40),
)
def test_the_ends_of_windows_of_months_do_not_depend_on_who_looks(
    months: int, begun: datetime, later: list[int]
) -> None:
    anchor = int(begun.timestamp() * 1000)
    duration = Duration(0, months)
    ends = [duration.fixed_end(anchor)]
    window = anchor, ends[0]
    for _ in range(sum(later) + len(later)):
        window = duration.fixed_after(*window, window[1])
        ends.append(window[1])
    assert ends == sorted(set(ends))
    # Who looks now and then sees windows of these, whichever were left out.
    window, place = (anchor, ends[0]), 0
    for skipped in later:
        place += skipped + 1
        for now in (ends[place - 1], ends[place] - 1):
            assert duration.fixed_after(*window, now) == (ends[place - 1], ends[place])
        window = ends[place - 1], ends[place]
    moments = [datetime.fromtimestamp(end / 1000, UTC) for end in ends]
    wanted = begun.day
    if months % 12 == 0 and begun.month == 2:
        wanted = min(wanted, 28)
    elif months > 1 and months % 12 and wanted == 30:
        wanted = 31
    for moment in moments:
        assert moment.day == min(wanted, calendar.monthrange(moment.year, moment.month)[1])
        assert (moment.hour, moment.minute, moment.second) == (begun.hour, begun.minute, begun.second)


@pytest.mark.parametrize(
    "text,begun,ends",
    [
        ("1mo", "2026-01-31", ["2026-02-28", "2026-03-31", "2026-04-30", "2026-05-31"]),
        ("1mo", "2026-12-30", ["2027-01-30", "2027-02-28", "2027-03-30"]),
        ("2mo", "2026-12-31", ["2027-02-28", "2027-04-30", "2027-06-30", "2027-08-31"]),
        ("2mo", "2026-12-30", ["2027-02-28", "2027-04-30", "2027-06-30", "2027-08-31"]),
        ("12mo", "2024-02-29", ["2025-02-28", "2026-02-28", "2027-02-28", "2028-02-28"]),
        ("12mo", "2024-12-30", ["2025-12-30", "2026-12-30"]),
    ],
)
def test_windows_of_months_keep_their_day(text: str, begun: str, ends: list[str]) -> None:
    duration, start = parse_duration(text, "d"), _ms(begun)
    window = start, duration.fixed_end(start)
    for end in ends:
        assert window[1] == _ms(end)
        window = duration.fixed_after(*window, window[1])


def test_dates() -> None:
    assert iso(0) == "1970-01-01T00:00:00.000Z"
    assert from_iso("1970-01-02", "start_date") == 86_400_000
    assert from_iso("1970-01-01", "end_date", end_of_day=True) == 86_400_000
    assert from_iso("1970-01-01T01:00:00+01:00", "start_date") == 0
    with pytest.raises(ValueError, match="`start_date`"):
        from_iso("yesterday", "start_date")


@pytest.mark.parametrize(
    "text,now,end",
    [
        ("1d", "2026-11-20T13:14:15", "2026-11-21T00:00:00"),
        ("1d", "2026-11-20T00:00:00", "2026-11-21T00:00:00"),
        ("24h", "2026-11-20T13:14:15", "2026-11-21T00:00:00"),
        ("7d", "2026-11-20T13:14:15", "2026-11-23T00:00:00"),
        ("1w", "2026-11-23T00:00:00", "2026-11-30T00:00:00"),
        ("30d", "2026-01-31T23:59:59", "2026-02-01T00:00:00"),
        ("30d", "2026-12-15T10:00:00", "2027-01-01T00:00:00"),
        ("1mo", "2024-02-29T12:00:00", "2024-03-01T00:00:00"),
        ("3mo", "2026-11-20T12:00:00", "2027-02-01T00:00:00"),
        ("10d", "2026-11-25T12:00:00", "2026-12-05T00:00:00"),
        ("1h", "2026-11-20T13:14:15", "2026-11-20T14:00:00"),
        ("6h", "2026-11-20T13:14:15", "2026-11-20T18:00:00"),
        ("6h", "2026-11-20T23:14:15", "2026-11-21T00:00:00"),
        ("15m", "2026-11-20T13:14:15", "2026-11-20T13:15:00"),
        ("90m", "2026-11-20T13:14:15", "2026-11-20T14:44:00"),
        ("30s", "2026-11-20T13:14:15", "2026-11-20T13:14:30"),
        # Where clocks go back or forward an hour, UTC does not: the day has 24 hours all the same.
        ("1d", "2026-03-29T00:30:00", "2026-03-30T00:00:00"),
        ("1d", "2026-10-25T01:30:00", "2026-10-26T00:00:00"),
        ("1d", "2026-12-31T23:59:59", "2027-01-01T00:00:00"),
    ],
)
def test_budget_windows_end_on_the_calendar(text: str, now: str, end: str) -> None:
    assert iso(parse_duration(text, "budget_duration").window_end(_ms(now))) == f"{end}.000Z"


@given(
    st.sampled_from(["1s", "7s", "90s", "7m", "61m", "1h", "5h", "36h", "1d", "7d", "10d", "30d", "1mo", "5mo"]),
    st.integers(0, 4 * 10**12),
)
def test_a_budget_window_ends_in_the_future_and_its_end_begins_the_next(text: str, now: int) -> None:
    duration = parse_duration(text, "d")
    end = duration.window_end(now)
    assert now < end <= now + duration.nominal_milliseconds() + 86_400_000
    # Every moment of the window gives the same end, so that two processes that look at different times agree.
    if text in {"1s", "1h", "1d", "7d", "30d", "1mo"}:
        assert duration.window_end(end - 1) == end
    assert duration.window_end(end) > end
