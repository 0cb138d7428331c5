"""File descriptors of the process: a call takes two, and the usual soft limit is far below what the data plane accepts.

Apart from `serve` because it is about the machine, and changes it for this process.
"""

from __future__ import annotations

import logging
import resource

from penstock.engine.snapshot import EngineOptions

logger = logging.getLogger("penstock")

_PER_CONNECTION = 2
"""The client's socket and the provider's."""
_RESERVE = 64
"""Database, listeners, logs, libraries."""


def raise_limit() -> int | None:
    """Raise the soft limit to the hard one; returns what is in force, None when there is no limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        except (OSError, ValueError) as error:
            # Some systems let nobody have what they name as the hard limit.
            logger.warning(
                "the limit on open files cannot be raised",
                extra={"event": "descriptors", "limit": soft, "reason": str(error)},
            )
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return None if limit == resource.RLIM_INFINITY else limit


def provide(max_connections: int | None) -> None:
    """:func:`raise_limit`, and say so when the connections that are allowed do not fit. None: the default."""
    allowed = EngineOptions().max_connections if max_connections is None else max_connections
    limit = raise_limit()
    if limit is None or _PER_CONNECTION * allowed + _RESERVE <= limit:
        return
    logger.warning(
        "penstock.listener.max_connections does not fit into the limit on open files: raise the limit (`ulimit -Hn`, "
        "LimitNOFILE of the service) or lower the setting",
        extra={
            "event": "descriptors",
            "limit": limit,
            "max_connections": allowed,
            "fits": max(0, (limit - _RESERVE) // _PER_CONNECTION),
        },
    )
