"""One call's attempts: what is left of its time, and whether there is another. Shared by both clients."""

from __future__ import annotations

import time
from typing import Any

import grpc

from penstock.client import _retry
from penstock.client._calls import Options
from penstock.client._settings import text_metadata
from penstock.client.errors import CallError, Cancelled, from_status


class Attempts:
    """Begins when it is made."""

    def __init__(self, budget: _retry.RetryBudget, options: Options) -> None:
        self._budget = budget
        self._max_retries = options.max_retries
        self._deadline = time.monotonic() + options.timeout
        self._attempt = 0

    @property
    def remaining(self) -> float:
        """Seconds left; zero, which grpcio takes for an expired deadline, when there are none."""
        return max(0.0, self._deadline - time.monotonic())

    def succeeded(self) -> None:
        """The call was answered."""
        self._budget.succeeded()

    def wait_after(self, error: CallError) -> float:
        """Seconds to wait before the next attempt.

        Raises:
            CallError: ``error``, when there is no next attempt.
        """
        wait = _retry.delay(error, self._attempt, self._max_retries, self.remaining)
        if wait is None or not (_retry.lost_its_gateway(error) or self._budget.failed()):
            raise error
        self._attempt += 1
        return wait


def error_of(error: grpc.RpcError) -> CallError:
    """The typed error of a failed call of the sync client."""
    # grpcio raises objects that are error and call at once, which its types do not say.
    call: Any = error
    return from_status(
        call.code(), call.details(), tuple(call.trailing_metadata() or ()), text_metadata(call.initial_metadata())
    )


def aio_error_of(error: grpc.aio.AioRpcError) -> CallError:
    """The typed error of a failed call of the asyncio client."""
    trailing = tuple(error.trailing_metadata() or ())
    return from_status(error.code(), error.details(), trailing, text_metadata(tuple(error.initial_metadata() or ())))


def closed(what: str = "client") -> CallError:
    """What a call on a closed client, or session, ends with."""
    return Cancelled(grpc.StatusCode.CANCELLED, f"The {what} is closed.")
