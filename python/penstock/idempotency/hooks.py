"""The data plane's questions and notes about idempotency keys, as bytes.

Apart from the service because these are the shapes of the boundary, and the service is used without it too.
"""

from __future__ import annotations

import msgspec

from penstock.idempotency.models import Answered, Claim, Release
from penstock.idempotency.service import IdempotencyService

_claim = msgspec.json.Decoder(Claim)
_answered = msgspec.json.Decoder(Answered)
_release = msgspec.json.Decoder(Release)


class IdempotencyHooks:
    """For the event pump."""

    def __init__(self, service: IdempotencyService) -> None:
        self._service = service

    async def claim(self, payload: bytes) -> bytes:
        """`hook.claim`: the JSON of :class:`Claim`, answered with the verdict and, of an answer, a line feed and its sealed
        bytes; empty: nobody can say."""
        reply = await self._service.claim(_claim.decode(payload))
        if reply is None:
            return b""
        word = reply.verdict.encode()
        return word + b"\n" + reply.answer if reply.verdict == "answered" else word

    async def answered(self, payload: bytes) -> bytes:
        """`hook.answered`: the JSON of :class:`Answered`, a line feed, the sealed answer. Answered with nothing, when it is
        not in memory any more."""
        head, _, sealed = payload.partition(b"\n")
        await self._service.answered(_answered.decode(head), sealed)
        return b""

    def released(self, payload: bytes) -> None:
        """`claim.release`: the JSON of :class:`Release`."""
        self._service.release(_release.decode(payload))
