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
_MOST_WINDOWS = 1_000
_MINUTE = 60_000
_HOUR = 60 * _MINUTE
_DAY = 24 * _HOUR


class Duration(msgspec.Struct, frozen=True):
    """A fixed number of milliseconds or a number of calendar months, never both."""

    milliseconds: int
    months: int

    def after(self, start: int) -> int:
        """The Unix millisecond at which a duration that begins at Unix millisecond `start` ends."""
        if not self.months:
            return start + self.milliseconds
        return _months_after(start, self.months, _moment(start).day)

    def fixed_end(self, start: int) -> int:
        """The end of the first of windows of this length that follow one another from `start` on, for :meth:`fixed_after`."""
        if not self.months:
            return start + self.milliseconds
        return _months_after(start, self.months, self._day_of(_moment(start).day, start))

    def fixed_after(self, began: int | None, ended: int, now: int) -> tuple[int, int]:
        """Beginning and end of the window that contains `now`, of windows of this length that follow one another, given
        that one began at `began` and ended at `ended`, not after `now`."""
        if not self.months:
            start = now - (now - ended) % self.milliseconds
            return start, start + self.milliseconds
        # A window that begins on a 31st is not moved by a shorter month: whichever of its ends was not in one has the day.
        day = self._day_of(max(_moment(ended).day, _moment(ended if began is None else began).day), ended)
        start, steps = ended, 1
        while (following := _months_after(ended, self.months * steps, day)) <= now:
            start, steps = following, steps + 1
        return start, following

    def _day_of(self, day: int, ended: int) -> int:
        """The day of the month on which windows end, where it is long enough, of which one ended or began on `day`.

        Of consecutive months at least one is long enough to show the day. Where months are left out that need not be so:
        windows from a 30th look like those from a 31st (February, April), and in years those from 28 February like those
        from the 29th. So that nobody has to remember which, the former are for the last day of a month, the latter for the 28th.
        """
        if self.months % 12 == 0:
            return min(day, 28) if _moment(ended).month == 2 else day
        return 31 if self.months > 1 and day == 30 else day

    def window_end(self, now: int) -> int:
        """The end of the budget window that contains `now`, as LiteLLM's windows end: on the calendar, in UTC.

        A day ends at midnight, 7 days on Monday, 30 days and months on the first of a month; other numbers of days at
        midnight. Hours, minutes and seconds end on multiples of their number within the day, the hour and the minute,
        and when there are more of them than that, on a whole hour, minute or second.
        """
        if self.months:
            return _first_of_month(now, self.months)
        if self.milliseconds % _DAY == 0:
            return self._day_end(now, self.milliseconds // _DAY)
        for unit, whole in ((_HOUR, _DAY), (_MINUTE, _HOUR), (1_000, _MINUTE)):
            if self.milliseconds % unit == 0:
                start = now - now % (whole if self.milliseconds <= whole else unit)
                return now + self.milliseconds - (now - start) % self.milliseconds
        return now + self.milliseconds

    def window_after(self, ended: int, now: int) -> tuple[int, int]:
        """Beginning and end of the window that contains `now`, given that one ended at `ended`, not after `now`."""
        start = ended
        for _ in range(_MOST_WINDOWS):
            if (end := self.window_end(start)) > now:
                return start, end
            start = end
        # Nobody looked for very many windows: where this one began matters no more than what is spent since.
        return now, self.window_end(now)

    @staticmethod
    def _day_end(now: int, days: int) -> int:
        midnight = now - now % _DAY
        if days == 7:
            weekday = datetime.fromtimestamp(midnight / 1000, UTC).weekday()
            return midnight + (7 - weekday) * _DAY
        if days == 30:
            return _first_of_month(now, 1)
        return midnight + days * _DAY

    def nominal_milliseconds(self) -> int:
        """Milliseconds, a month taken as 30 days: for displays and first estimates only."""
        return self.milliseconds or self.months * 30 * 86_400_000


def _moment(at: int) -> datetime:
    return datetime.fromtimestamp(at / 1000, UTC)


def _months_after(start: int, months: int, day: int) -> int:
    """So many months later at the same time of this day, or of the last one of a shorter month."""
    moment = _moment(start)
    month = moment.month - 1 + months
    year, month = moment.year + month // 12, month % 12 + 1
    day = min(day, calendar.monthrange(year, month)[1])
    return start + round((moment.replace(year=year, month=month, day=day) - moment) / timedelta(milliseconds=1))


def _first_of_month(now: int, months: int) -> int:
    """Midnight of the first day of the month that comes so many months after the one of `now`."""
    moment = datetime.fromtimestamp(now / 1000, UTC)
    month = moment.month - 1 + months
    return int(datetime(moment.year + month // 12, month % 12 + 1, 1, tzinfo=UTC).timestamp()) * 1000


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
