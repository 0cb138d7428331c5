"""What is asked of the ledger and how its rows are shown."""

from __future__ import annotations

import base64
import binascii
from typing import Annotated, Any

import msgspec

from penstock.errors import bad_request


class LogFilter(msgspec.Struct, frozen=True):
    """What a list of calls is narrowed to; None: no matter. Times are Unix milliseconds."""

    tokens: list[str] | None = None
    user_id: str | None = None
    call_id: str | None = None
    start: int | None = None
    end: int | None = None
    """Exclusive."""


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


class SpendCalculateRequest(msgspec.Struct, forbid_unknown_fields=True):
    """`POST /spend/calculate`: either a request that is only counted, or an answer with its usage."""

    model: str | None = None
    messages: list[dict[str, Any]] | None = None
    completion_response: dict[str, Any] | None = None
