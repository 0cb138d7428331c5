"""The data plane's questions and notes about shared limits, as bytes.

Apart from the service because these are the shapes of the boundary, and the service is used without it too.
"""

from __future__ import annotations

import msgspec

from penstock.quota.models import Held, QuotaAnswer, QuotaAsked, Returned
from penstock.quota.service import QuotaService

_asked = msgspec.json.Decoder(QuotaAsked)
_returned = msgspec.json.Decoder(Returned)
_held = msgspec.json.Decoder(Held)
_encoder = msgspec.json.Encoder()


class QuotaHooks:
    """For the event pump."""

    def __init__(self, service: QuotaService) -> None:
        self._service = service

    async def answer(self, payload: bytes) -> bytes:
        """`hook.quota`: the JSON of :class:`QuotaAsked`, answered with that of :class:`QuotaAnswer`."""
        return _encoder.encode(QuotaAnswer(await self._service.draw(_asked.decode(payload).asks)))

    def on_event(self, kind: str, payload: bytes) -> None:
        """`quota.return` and `quota.overdrawn` (:class:`Returned`), `quota.hold` (:class:`Held`).

        Raises:
            ValueError: there is no such event.
        """
        if kind == "quota.return":
            back = _returned.decode(payload)
            self._service.give_back(back.scope, back.kind, back.units, lease=back.lease)
        elif kind == "quota.overdrawn":
            over = _returned.decode(payload)
            self._service.overdrawn(over.scope, over.units, tag=over.tag)
        elif kind == "quota.hold":
            held = _held.decode(payload)
            self._service.hold(held.scope, held.kind, held.amount, held.drawn)
        else:
            raise ValueError(f"no such event: {kind}")
