"""When a failed call is tried again, and after how long. Pure, so that both clients share it.

The server decides wherever it says something: `grpc-retry-pushback-ms` and `google.rpc.RetryInfo` are obeyed. Left to
itself the client tries again only what failed for want of a gateway, as OpenAI's SDK does. That includes a connection
that broke under a call, which the provider may then answer twice; `max_retries=0` rules that out. A budget of tokens,
as in gRPC's own retry throttling, keeps a client whose calls all fail from multiplying its load. Connections that ended
and gateways that stop are not charged to it: one that is told to go fails all that was sent or about to be sent over it at
once, however much that is.
"""

from __future__ import annotations

import secrets
import threading
from typing import Final

import grpc

from penstock.client.errors import BudgetExceeded, CallError, InvalidRequest

_TOKENS: Final = 10.0
_REFILL: Final = 0.1
"""Tokens that a call which succeeds gives back; one that fails takes a whole one."""
_FIRST_BACKOFF_S: Final = 0.1
_LONGEST_BACKOFF_S: Final = 5.0
_LATER: Final = 0.25
"""By how much of the time that the server names a retry may come later."""
_STOPS: Final = "shutting_down"
"""The code of calls that a gateway which stops could not finish."""


class RetryBudget:
    """How many retries a client still has. Shared by all calls of a client, and by its threads."""

    def __init__(self) -> None:
        self._tokens = _TOKENS
        self._lock = threading.Lock()

    def succeeded(self) -> None:
        """A call succeeded."""
        with self._lock:
            self._tokens = min(_TOKENS, self._tokens + _REFILL)

    def failed(self) -> bool:
        """A call failed in a way that may be tried again; whether it still should be."""
        with self._lock:
            self._tokens = max(0.0, self._tokens - 1.0)
            return self._tokens > _TOKENS / 2


def delay(error: CallError, attempt: int, max_retries: int, remaining_s: float) -> float | None:
    """Seconds to wait before the next attempt, or None when there is to be none.

    ``attempt`` counts from 0; ``remaining_s`` is what is left of the call's deadline.
    """
    if attempt >= max_retries or error.may_retry is False or not _is_retryable(error):
        return None
    if error.retry_after is None:
        wait = _backoff(attempt, least=0.5 if lost_its_gateway(error) else 0.0)
    else:
        # All that a gateway sent away were told the same. Who has just enough time left for that is not kept beyond it.
        latest = min(error.retry_after * (1.0 + _LATER), (error.retry_after + remaining_s) / 2)
        wait = error.retry_after + max(0.0, latest - error.retry_after) * secrets.randbelow(1000) / 1000
    # Waiting past the deadline would only hide the real error behind "deadline exceeded".
    return wait if wait < remaining_s else None


def _is_retryable(error: CallError) -> bool:
    told = error.may_retry or error.retry_after is not None
    if error.status is grpc.StatusCode.UNAVAILABLE:
        # The gateway has failed over by itself. What it says about the provider is its last word unless it names a time.
        return bool(told) or error.source != "upstream"
    if error.status is grpc.StatusCode.RESOURCE_EXHAUSTED:
        return bool(told) and not isinstance(error, BudgetExceeded | InvalidRequest)
    return bool(told) and error.status in (grpc.StatusCode.ABORTED, grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN)


def lost_its_gateway(error: CallError) -> bool:
    """Whether the call failed for want of a gateway, which says nothing of how others are: there was no connection, it
    ended, or the gateway stops.

    A gateway's own failures all have a code. Metadata does not tell: a proxy adds its own where it found no gateway, and a
    connection may end after the answer's first part.
    """
    return error.status is grpc.StatusCode.UNAVAILABLE and error.code in (None, _STOPS)


def _backoff(attempt: int, least: float) -> float:
    """Exponential with jitter, so that clients that failed together do not return together. ``least``: of the ceiling, from 0
    to 1. A channel takes a moment to see that a connection is over, and gives it calls until then."""
    ceiling = min(_LONGEST_BACKOFF_S, _FIRST_BACKOFF_S * 2.0**attempt)
    return ceiling * (least + (1.0 - least) * (secrets.randbelow(1000) + 1) / 1000)
