"""One log record for each call that went wrong, written when it is settled.

Apart from the ledger because it is for people who look at what happens now: it names the call, so that a client's
complaint, the upstream's log and the usage record can be brought together. Bounded, so that an outage does not
become a flood of lines.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable

from penstock.engine.events import UsageRecord

logger = logging.getLogger("penstock.calls")

_LINES_PER_BATCH = 50


def tell(records: Iterable[UsageRecord]) -> None:
    """Log failures of the gateway and of upstreams as warnings, other calls at level debug."""
    told = untold = 0
    debug = logger.isEnabledFor(logging.DEBUG)
    for record in records:
        is_failure = record.status >= 500 or record.outcome in ("upstream_cut", "shutdown")
        if not is_failure:
            if debug:
                logger.debug("call", extra=_fields(record))
            continue
        if told < _LINES_PER_BATCH:
            told += 1
            logger.warning("call failed", extra=_fields(record))
        else:
            untold += 1
    if untold:
        logger.warning("further calls failed", extra={"event": "call.more", "calls": untold})


def _fields(record: UsageRecord) -> dict[str, object]:
    # What the client wrote (the model's name, the end user) is left out: it may be anything.
    return {
        "event": "call",
        "call_id": record.call_id,
        "status": record.status,
        "outcome": record.outcome,
        "code": record.error_code or None,
        "route": record.route,
        "model_group": record.model_group,
        "deployment": record.deployment_id,
        "provider": record.provider,
        "attempts": record.attempts,
        "duration_ms": record.duration_us // 1000,
    }
