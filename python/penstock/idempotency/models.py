"""What crosses the borders of this package: the data plane's questions and notes, and what Redis says to them."""

from __future__ import annotations

from typing import Literal

import msgspec

Verdict = Literal["run", "running", "other_request", "answered", "not_kept"]
"""run: it is the asker's to run. running: another runs it. other_request: the key was used for another one. answered: the
sealed answer follows. not_kept: it was answered, and the answer was too large."""


class Claim(msgspec.Struct, frozen=True, kw_only=True):
    """`hook.claim`: may this gateway run the request?"""

    id: str
    """Keyed digest of caller, route and idempotency key."""
    request: str
    """Keyed digest of what is asked."""
    owner: str
    """Names this claim among all of all gateways."""
    ttl_ms: int
    """After so long a claim that nobody renews is over."""


class Answered(msgspec.Struct, frozen=True, kw_only=True):
    """`hook.answered`, on the first line of the payload; the sealed answer follows."""

    id: str
    request: str
    owner: str
    keep_ms: int
    is_kept: bool
    """False: it was too large; nothing follows."""


class Release(msgspec.Struct, frozen=True, kw_only=True):
    """`claim.release`: the claim ended without an answer, or its answer made room for others."""

    id: str
    owner: str


class Reply(msgspec.Struct, frozen=True):
    """To a claim."""

    verdict: Verdict
    answer: bytes = b""
    """Sealed; of `answered`."""
