"""The event pump: what the data plane asks of Python and hands to it, drained in one take per wake-up.

Apart from the runtime because it is the only code that runs on the loop for every batch of events.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Protocol

import msgspec

from penstock.lookups import Resolve
from penstock.persistence import DatabaseUnavailable

logger = logging.getLogger("penstock.hooks")


class EventSource(Protocol):
    """The part of `penstock._core.Engine` that events come from."""

    def event_fd(self) -> int:
        """Readable when there are events."""

    def drain_events(self) -> list[tuple[int, str, bytes]]:
        """All of them."""

    def resolve_hook(self, id: int, answer: bytes) -> None:
        """Answer a hook."""


class _KeyHook(msgspec.Struct):
    token: str


class _ScopeHook(msgspec.Struct):
    scope: str


CallSink = Callable[[int, str, bytes], None]
"""Takes `call.*` events."""
Lookup = Callable[[str, Resolve], Awaitable[None]]
"""Looks a token up, or a customer or a tag by the name of its scope, and calls back with the answer."""

_key_hook = msgspec.json.Decoder(_KeyHook)
_scope_hook = msgspec.json.Decoder(_ScopeHook)


class SharedLimits(Protocol):
    """The part of :class:`penstock.quota.hooks.QuotaHooks` that events go to."""

    async def answer(self, payload: bytes) -> bytes:
        """Of `hook.quota`."""

    def on_event(self, kind: str, payload: bytes) -> None:
        """Take `quota.*`."""


class SharedAnswers(Protocol):
    """The part of :class:`penstock.idempotency.hooks.IdempotencyHooks` that events go to."""

    async def claim(self, payload: bytes) -> bytes:
        """Of `hook.claim`."""

    async def answered(self, payload: bytes) -> bytes:
        """Of `hook.answered`."""

    def released(self, payload: bytes) -> None:
        """Take `claim.release`."""


class EventPump:
    """Registered with the loop; dispatches `hook.*`, `quota.*`, `claim.*` and `call.*` events."""

    def __init__(
        self,
        source: EventSource,
        calls: CallSink,
        keys: Lookup,
        scopes: Lookup | None = None,
        quota: SharedLimits | None = None,
        answers: SharedAnswers | None = None,
    ) -> None:
        self._quota = quota
        self._answers = answers
        self._source = source
        self._calls = calls
        self._keys = keys
        self._scopes = scopes
        self._fd = source.event_fd()
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop: asyncio.AbstractEventLoop | None = None

    def start(self) -> None:
        """Watch the event descriptor from the running loop."""
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._fd, self.drain)

    async def stop(self) -> None:
        """Stop watching; hooks under way are answered first."""
        if self._loop is not None:
            self._loop.remove_reader(self._fd)
            self._loop = None
        self.drain()
        if self._tasks:
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def drain(self) -> None:
        """Dispatch everything that waits."""
        for id, kind, payload in self._source.drain_events():
            if kind.startswith("call."):
                self._calls(id, kind, payload)
            elif kind == "hook.key":
                self._spawn(self._answer(id, self._keys, _key_hook.decode(payload).token))
            elif kind == "hook.scope" and self._scopes is not None:
                self._spawn(self._answer(id, self._scopes, _scope_hook.decode(payload).scope))
            elif kind == "hook.quota" and self._quota is not None:
                self._spawn(self._answer_with(id, self._quota.answer(payload)))
            elif kind.startswith("quota.") and self._quota is not None:
                self._quota.on_event(kind, payload)
            elif kind == "hook.claim" and self._answers is not None:
                self._spawn(self._answer_with(id, self._answers.claim(payload)))
            elif kind == "hook.answered" and self._answers is not None:
                self._spawn(self._answer_with(id, self._answers.answered(payload)))
            elif kind == "claim.release" and self._answers is not None:
                self._answers.released(payload)
            else:
                logger.error("unknown event", extra={"event": "hook.unknown", "kind": kind})

    def _spawn(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Future[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("hook failed", exc_info=error, extra={"event": "hook.error"})

    async def _answer_with(self, id: int, work: Awaitable[bytes]) -> None:
        answer = b""
        try:
            answer = await work
        finally:
            # Empty if that failed: the waiting call must not wait for the end of its time.
            self._source.resolve_hook(id, answer)

    async def _answer(self, id: int, lookup: Lookup, name: str) -> None:
        try:
            await lookup(name, lambda answer: self._source.resolve_hook(id, answer))
        except BaseException as error:
            # Not "unknown", which would be a lie that the data plane remembers: it refuses the waiting calls with 503.
            self._source.resolve_hook(id, b"")
            if not isinstance(error, DatabaseUnavailable):
                raise
            logger.error("lookup failed", extra={"event": "hook.lookup", "reason": str(error)})
