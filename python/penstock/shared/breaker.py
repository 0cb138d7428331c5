"""A breaker: after some failures in a row nobody waits for a server that does not answer, but for one probe now and then.

Apart from the connection because each use of Redis has its own: a slow stream must not switch the limits off.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable
from typing import Literal, TypeVar

from penstock.shared.redis import SharedUnavailable

logger = logging.getLogger("penstock.shared")

State = Literal["closed", "open", "half_open"]
"""closed: calls go through; open: none does; half_open: one does, and decides."""
T = TypeVar("T")


class Breaker:
    """Counts failures of one use of one server. Not thread-safe: it belongs to an event loop."""

    def __init__(
        self,
        name: str,
        *,
        failures: int = 3,
        pause_s: float = 0.25,
        longest_pause_s: float = 2.0,
        final: type[SharedUnavailable] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Open after ``failures`` in a row, or one that is ``final``, for ``pause_s`` at first and twice as long after each failed
        probe."""
        self._name = name
        self._threshold = failures
        self._final = final
        self._first_pause, self._longest_pause = pause_s, longest_pause_s
        self._clock = clock
        self._failures = 0
        self._pause = pause_s
        self._probe_at = 0.0
        self._is_probing = False
        self._is_open = False
        self.opened = 0
        """How often it has opened."""

    @property
    def state(self) -> State:
        """As metrics show it."""
        if not self._is_open:
            return "closed"
        return "half_open" if self._is_probing else "open"

    def allows(self) -> bool:
        """Whether a call would be let through now."""
        return not self._is_open or (not self._is_probing and self._clock() >= self._probe_at)

    async def call(self, work: Callable[[], Awaitable[T]]) -> T:
        """Await ``work()``; :class:`SharedUnavailable` is what counts as a failure.

        Raises:
            SharedUnavailable: it failed, or the breaker is open.
        """
        if not self.allows():
            raise SharedUnavailable(
                f"Redis failed {self._failures} times in a row ({self._name}); it is tried again soon"
            )
        is_probe = self._is_open
        self._is_probing = is_probe
        try:
            result = await work()
        except SharedUnavailable as error:
            self._failed(error)
            raise
        finally:
            if is_probe:
                self._is_probing = False
        self._succeeded()
        return result

    def _failed(self, error: SharedUnavailable) -> None:
        self._failures += 1
        if self._is_open:
            self._pause = min(self._pause * 2, self._longest_pause)
        elif self._failures < self._threshold and (self._final is None or not isinstance(error, self._final)):
            return
        else:
            self._is_open = True
            self._pause = self._first_pause
            self.opened += 1
            logger.error(
                "Redis does not answer",
                extra={"event": "redis.breaker_open", "breaker": self._name, "reason": str(error)},
            )
        self._probe_at = self._clock() + self._pause

    def _succeeded(self) -> None:
        if self._is_open:
            logger.warning("Redis answers again", extra={"event": "redis.breaker_closed", "breaker": self._name})
        self._is_open = False
        self._failures = 0
