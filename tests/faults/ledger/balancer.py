"""Clients behind a load balancer: calls go round the gateways that say they are ready, and to the next one where nobody listens.

Apart from the crowd because what it may do again is the point of it: a call that was sent is never sent a second time, as no
load balancer would do with a POST.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

from tests.conftest import Gateway
from tests.faults.ledger.crowd import Crowd
from tests.faults.raw import Client

_PROBE_S = 0.1
_PROBED_FOR_S = 2.0
_PROBE = b"GET /_health/ready HTTP/1.1\r\nhost: gateway\r\nconnection: close\r\n\r\n"


class Balanced(Crowd):
    """A crowd of all gateways of :attr:`members`; what is added to it gets calls when it is ready."""

    def __init__(self, members: list[Gateway], key: str, **options: Any) -> None:
        """``members`` may be shared with other crowds; the options are those of :class:`Crowd`."""
        super().__init__(members[0], key, **options)
        self.members = members
        self.elsewhere = 0
        """Calls for which a gateway was tried that did not listen any more."""
        self._ready: set[Gateway] = set(members)
        self._turn = 0

    async def _run(self) -> None:
        probing = asyncio.ensure_future(self._watch())
        try:
            await super()._run()
        finally:
            probing.cancel()
            with suppress(asyncio.CancelledError):
                await probing

    async def _connect(self) -> Client:
        tried: set[Gateway] = set()
        while choice := [member for member in self.members if member in self._ready and member not in tried]:
            self._turn += 1
            member = choice[self._turn % len(choice)]
            try:
                return await Client.connect(member)
            except ConnectionRefusedError:
                tried.add(member)
                self._ready.discard(member)
                self.elsewhere += 1
        raise AssertionError("there is no gateway that takes calls")

    async def _watch(self) -> None:
        while True:
            members = list(self.members)
            answers = await asyncio.gather(*(_is_ready(member) for member in members))
            self._ready = {member for member, ready in zip(members, answers, strict=True) if ready}
            await asyncio.sleep(_PROBE_S)


async def _is_ready(gateway: Gateway) -> bool:
    try:
        async with asyncio.timeout(_PROBED_FOR_S):
            client = await Client.connect(gateway)
            try:
                client.writer.write(_PROBE)
                return (await client.reader.readline()).split()[1:2] == [b"200"]
            finally:
                client.leave()
    except (OSError, TimeoutError):
        return False
