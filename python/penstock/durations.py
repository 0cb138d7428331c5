"""Durations as LiteLLM writes them (`30s`, `15m`, `1h`, `30d`, `2w`, `1mo`) and the times they lead to.

Apart from keys because every domain with a budget window needs the same calendar.
"""

from __future__ import annotations

import calendar
import re
from datetime import UTC, datetime, timedelta

import msgspec

_SHAPE = re.compile(r"^([0-9]{1,9})(s|m|h|d|w|mo)$")
_SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}
_LONGEST_DAYS = 36_525


class Duration(msgspec.Struct, frozen=True):
    """A fixed number of milliseconds or a number of calendar months, never both."""

    milliseconds: int
    months: int

    def after(self, start: int) -> int:
        """The Unix millisecond at which a duration that begins at Unix millisecond `start` ends."""
        if not self.months:
            return start + self.milliseconds
        moment = datetime.fromtimestamp(start / 1000, UTC)
        month = moment.month - 1 + self.months
        year, month = moment.year + month // 12, month % 12 + 1
        day = min(moment.day, calendar.monthrange(year, month)[1])
        return start + round((moment.replace(year=year, month=month, day=day) - moment) / timedelta(milliseconds=1))

    def next_end(self, end: int, now: int) -> int:
        """The end of the window that contains `now`, given that some window ended at `end`."""
        if not self.months:
            return end + ((now - end) // self.milliseconds + 1) * self.milliseconds
        steps = 1
        while (following := Duration(0, self.months * steps).after(end)) <= now:
            steps += 1
        return following

    def nominal_milliseconds(self) -> int:
        """Milliseconds, a month taken as 30 days: for displays and first estimates only."""
        return self.milliseconds or self.months * 30 * 86_400_000


def parse_duration(text: str, field: str) -> Duration:
    """Read a duration.

    Raises:
        ValueError: the shape is wrong, or it is zero or longer than a century.
    """
    match = _SHAPE.match(text.strip())
    if match is None:
        raise ValueError(f"`{field}`: `{text}` is not a duration; write e.g. `30s`, `15m`, `1h`, `30d`, `2w`, `1mo`")
    count, unit = int(match[1]), match[2]
    days = count * 30 if unit == "mo" else count * _SECONDS[unit] / 86_400
    if count == 0 or days > _LONGEST_DAYS:
        raise ValueError(f"`{field}`: `{text}` must be longer than zero and at most a century")
    if unit == "mo":
        return Duration(0, count)
    return Duration(count * _SECONDS[unit] * 1000, 0)


def iso(milliseconds: int | None) -> str | None:
    """Unix milliseconds as RFC 3339 in UTC with a `Z`."""
    if milliseconds is None:
        return None
    return datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def from_iso(text: str, field: str, *, end_of_day: bool = False) -> int:
    """Unix milliseconds of a date (`2026-01-31`) or a date and time; without a zone it is UTC.

    A bare date means its first instant, or the first of the day after when `end_of_day` is set.

    Raises:
        ValueError: neither a date nor a time.
    """
    try:
        moment = datetime.fromisoformat(text.strip())
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        if end_of_day and len(text.strip()) == 10:
            moment += timedelta(days=1)
        return int(moment.timestamp() * 1000)
    except (ValueError, OverflowError) as error:
        raise ValueError(
            f"`{field}`: `{text}` is not a date; write e.g. `2026-01-31` or `2026-01-31T12:00:00Z`"
        ) from error
