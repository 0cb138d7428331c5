"""Gateways that are known to have ended: what they had of shared limits is everybody's again.

Apart from the runtime because it is about others. What they held is let go of beside the start: nothing waits for that.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable

from penstock.persistence import DatabaseUnavailable
from penstock.quota.service import QuotaService
from penstock.shared.redis import SharedUnavailable

logger = logging.getLogger("penstock")

_TRIES = 10
_PAUSE_S = 1.0


async def take_out(quota: QuotaService, ended: Iterable[str]) -> None:
    """Take these incarnations out of the register of gateways."""
    for incarnation in ended:
        try:
            await quota.bury(incarnation)
        except (SharedUnavailable, DatabaseUnavailable) as error:
            logger.warning(
                "a gateway that ended counts as missing until Redis forgets it",
                extra={"event": "quota.bury", "reason": str(error)},
            )
            # The start waits for this, and the others would fare no better.
            return


async def release(quota: QuotaService, ended: Iterable[str]) -> None:
    """What these incarnations held of budgets: all that they spent is in the ledger."""
    left = list(ended)
    for attempt in range(_TRIES):
        try:
            while left:
                await quota.release(left[0])
                left.pop(0)
            return
        except (SharedUnavailable, DatabaseUnavailable) as error:
            is_last = attempt == _TRIES - 1
            logger.log(
                logging.WARNING if is_last else logging.DEBUG,
                "money that a gateway held that ended is free later",
                extra={"event": "quota.release", "reason": str(error)},
            )
        if not is_last:
            await asyncio.sleep(_PAUSE_S)
