"""A sentinel as it is asked who the master is.

Apart from the client because of what redis-py tells when none of them answers: that there is no master, and of each sentinel
the kind of error. Whether it is a certificate or a password, an operator must read somewhere.
"""

from __future__ import annotations

from typing import Any

from redis import exceptions
from redis.asyncio import Redis


class AskedSentinel(Redis):
    """Remembers why it could not be asked."""

    reason = ""
    """Empty: it answered."""

    async def sentinel_masters(self) -> Any:
        """Its masters by name."""
        try:
            found = await super().sentinel_masters()
        except (exceptions.ConnectionError, exceptions.TimeoutError) as error:
            self.reason = f"{type(error).__name__}: {error}"
            raise
        self.reason = ""
        return found
