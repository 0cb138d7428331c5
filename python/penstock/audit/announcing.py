"""Tells the other replicas what this one has committed, as soon as the trail shows it.

Apart from the trail because a row is written inside a transaction and may only be told after its commit.
"""

from __future__ import annotations

import asyncio
import logging

from penstock.audit.service import AuditTrail
from penstock.persistence import DatabaseUnavailable
from penstock.shared.bus import Announced, ChangeBus

logger = logging.getLogger("penstock.audit")

_PAUSES_S = (0.0, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5)
"""Between two looks whether the transaction has ended; what takes longer is found by the others in the trail."""


async def announce(trail: AuditTrail, bus: ChangeBus) -> None:
    """Publish committed changes until cancelled."""
    while True:
        await trail.appended.wait()
        trail.appended.clear()
        for pause in _PAUSES_S:
            await asyncio.sleep(pause)
            try:
                changes = await trail.own_changes()
            except DatabaseUnavailable as error:
                # It may have been committed just before: whoever hears of a revocation that was not loses a key until it is
                # looked up again, whoever does not hear of one goes on serving a revoked key.
                logger.warning("changes are announced unseen", extra={"event": "audit.announce", "reason": str(error)})
                changes = trail.take_uncertain()
            if changes:
                await bus.publish([Announced(row.object_type, row.object_id, row.action) for row in changes])
                break
        else:
            # Rolled back, or of a transaction that takes longer than anybody's.
            trail.take_uncertain()
