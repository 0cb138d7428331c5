"""The channel on which replicas tell each other what changed, so that nobody waits for the next look at the audit trail.

It only makes things faster: a message that is lost is found by that look half a second later. Apart from the trail because
it works while the database does not: whoever hears of a revoked key forgets the key without asking anybody.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any, Final

import msgspec

from penstock.shared.redis import SharedRedis, SharedUnavailable

logger = logging.getLogger("penstock.shared")

CHANNEL: Final = "penstock:changes"
_DEADLINE_S = 0.25
_SILENCE_S = 2.0
"""After which the connection is tried; one that does not answer is opened anew."""
_AGAIN_S = 0.25


class Announced(msgspec.Struct, frozen=True):
    """One row of the audit trail, committed."""

    object_type: str
    object_id: str
    action: str


class _Message(msgspec.Struct, frozen=True):
    origin: str
    changes: list[Announced]


Heard = Callable[[list[Announced]], Awaitable[None]]
"""Takes what another replica changed; an empty list: something may have been missed, look at the trail."""

_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(_Message)


class ChangeBus:
    """Tells and hears. ``origin`` is the audit trail's: one does not listen to oneself."""

    def __init__(self, shared: SharedRedis, origin: str) -> None:
        self._shared = shared
        self._origin = origin
        self.is_listening = False

    async def publish(self, changes: list[Announced]) -> bool:
        """Tell the others, after the commit. False: they were not told, and will see it in the trail."""
        try:
            message = _encoder.encode(_Message(self._origin, changes))
            await self._shared.run(self._shared.client.publish(CHANNEL, message), _DEADLINE_S)
        except SharedUnavailable as error:
            logger.warning(
                "a change was not announced; the others see it in the trail",
                extra={"event": "bus.publish", "reason": str(error)},
            )
            return False
        return True

    async def listen(self, heard: Heard) -> None:
        """Call ``heard`` for each message until cancelled, and with nothing whenever the connection is there anew."""
        while True:
            subscription = self._shared.client.pubsub()
            try:
                await self._shared.run(self._subscribe(subscription), self._shared.connect_timeout_s)
                self.is_listening = True
                await heard([])
                await self._hear(subscription, heard)
            except SharedUnavailable as error:
                logger.warning(
                    "changes are not heard; the trail is looked at instead",
                    extra={"event": "bus.lost", "reason": str(error)},
                )
            finally:
                self.is_listening = False
                await self._close(subscription)
            await asyncio.sleep(_AGAIN_S)

    @staticmethod
    async def _subscribe(subscription: Any) -> None:
        await subscription.subscribe(CHANNEL)
        # Until Redis confirms it, changes pass unheard, and what is looked up now may miss them.
        while await subscription.get_message(timeout=_SILENCE_S) is None:
            pass

    async def _hear(self, subscription: Any, heard: Heard) -> None:
        run = self._shared.run
        is_asked = False
        while True:
            message = await run(subscription.get_message(timeout=_SILENCE_S), _SILENCE_S + _DEADLINE_S)
            if message is None:
                if is_asked:
                    raise SharedUnavailable("the subscription does not answer")
                await run(subscription.ping(), _DEADLINE_S)
                is_asked = True
                continue
            is_asked = False
            if message["type"] == "message":
                await self._take(message["data"], heard)

    async def _take(self, data: bytes, heard: Heard) -> None:
        try:
            message = _decoder.decode(data)
        except msgspec.DecodeError as error:
            # Another version's, or somebody else's: the trail has what matters.
            logger.warning("a message is not understood", extra={"event": "bus.message", "reason": str(error)})
            await heard([])
            return
        if message.origin != self._origin:
            await heard(message.changes)

    async def _close(self, subscription: Any) -> None:
        try:
            await self._shared.run(subscription.aclose(), _DEADLINE_S)
        except SharedUnavailable as error:
            logger.debug("a subscription was not closed", extra={"event": "bus.close", "reason": str(error)})
