"""What is asked about spending: filters, pages and ranges, and the sums that answers are made of."""

from __future__ import annotations

import base64
import binascii
from typing import Annotated, Any, Literal

import msgspec

from penstock.clock import now_ms
from penstock.durations import from_iso
from penstock.errors import bad_request
from penstock.ledger.rollups import DAY_MS

_USUAL_DAYS = 30


class LogFilter(msgspec.Struct, frozen=True):
    """What a list of calls is narrowed to; None: no matter. Times are Unix milliseconds, money nano-dollars."""

    tokens: list[str] | None = None
    user_id: str | None = None
    call_id: str | None = None
    start: int | None = None
    end: int | None = None
    """Exclusive."""
    team_id: str | None = None
    end_user: str | None = None
    model_group: str | None = None
    is_ok: bool | None = None
    min_cost: int | None = None
    max_cost: int | None = None


_Column = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]


class Cursor(msgspec.Struct, frozen=True, array_like=True):
    """The last row of a page; opaque to clients."""

    started_at: _Column
    id: _Column

    def encode(self) -> str:
        """URL-safe text."""
        return base64.urlsafe_b64encode(msgspec.json.encode(self)).decode().rstrip("=")

    @classmethod
    def decode(cls, text: str) -> Cursor:
        """The reverse; 400 when the text is not one of ours."""
        try:
            return msgspec.json.decode(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)), type=cls)
        except (binascii.Error, msgspec.DecodeError, ValueError) as error:
            raise bad_request("`cursor` is not one that this endpoint gave out", "cursor") from error


class Totals(msgspec.Struct, frozen=True):
    """Sums over the whole ledger; `cost` in nano-dollars."""

    cost: int = 0
    calls: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0


Dimension = Literal["key", "team", "user", "org", "customer", "tag", "model", "provider", "all"]
"""What sums are kept by. `all` has one name, which is `all` too."""


class Sums(msgspec.Struct):
    """What calls come to; `cost` in nano-dollars."""

    calls: int = 0
    failed_calls: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    reasoning_tokens: int = 0
    cost: int = 0

    @property
    def tokens(self) -> int:
        """Of prompt and completion."""
        return self.prompt_tokens + self.completion_tokens

    def add(self, other: Sums) -> None:
        """Take ``other`` in."""
        for name in self.__struct_fields__:
            setattr(self, name, getattr(self, name) + getattr(other, name))


class Days(msgspec.Struct, frozen=True):
    """Whole days in UTC, as Unix milliseconds."""

    start: int
    end: int
    """Exclusive."""


class Point(msgspec.Struct, frozen=True):
    """The sums of a day and a name."""

    day: int
    """Unix milliseconds of its beginning."""
    name: str
    sums: Sums


class SpendCalculateRequest(msgspec.Struct, forbid_unknown_fields=True):
    """`POST /spend/calculate`: either a request that is only counted, or an answer with its usage."""

    model: str | None = None
    messages: list[dict[str, Any]] | None = None
    completion_response: dict[str, Any] | None = None


def names_in(text: str | None, field: str) -> list[str] | None:
    """Names separated by commas, each once; None when the query does not have the field.

    Raises:
        ApiError: 400, there is none in it: everybody would be another question.
    """
    if text is None:
        return None
    found = list(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    if not found:
        raise bad_request(f"`{field}` must name at least one, or be left out", field)
    return found


def moment(text: str | None, field: str, *, end_of_day: bool = False) -> int | None:
    """A date or time of a query, or None; 400 naming the field when it is neither."""
    if not text:
        return None
    try:
        return from_iso(text, field, end_of_day=end_of_day)
    except ValueError as error:
        raise bad_request(str(error), field) from error


def days(start_date: str | None, end_date: str | None, *, usual: bool = True) -> Days:
    """The days from one date to the other, both included. What is absent: the last 30 days, or (not ``usual``) ever.

    Raises:
        ApiError: 400, it is no date, or they are the wrong way round.
    """
    for text, field in ((start_date, "start_date"), (end_date, "end_date")):
        if text and (moment(text, field) or 0) % DAY_MS:
            raise bad_request(f"`{field}`: sums are kept by whole days in UTC; write e.g. `2026-01-31`", field)
    today = now_ms() // DAY_MS * DAY_MS
    end = moment(end_date, "end_date")
    end = (today if end is None else end) + DAY_MS
    start = moment(start_date, "start_date")
    if start is None:
        start = max(0, end - _USUAL_DAYS * DAY_MS) if usual else 0
    if start >= end:
        raise bad_request("`start_date` must not be after `end_date`", "start_date")
    return Days(start, end)
