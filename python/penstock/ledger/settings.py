"""What the ledger's parts run with, from the configuration."""

from __future__ import annotations

import msgspec

from penstock.config import Config, ConfigError, Problem
from penstock.durations import parse_duration
from penstock.ledger.wire import LONGEST_STREAM

_RETENTION = "general_settings.maximum_spend_logs_retention_period"


class LedgerOptions(msgspec.Struct, frozen=True):
    """Fixed for the life of the process."""

    kept_ms: int | None = None
    """Age at which the rows of calls are removed; None: never. Sums and spending stay."""
    runs_coworker: bool = True
    """Take batches out of the Redis stream, too."""
    longest_stream: int = LONGEST_STREAM
    """Batches that may wait in the stream."""
    warm_keys: int = 1_000
    """Keys told to the data plane at start."""


def ledger_options(config: Config) -> LedgerOptions:
    """The configured ones.

    Raises:
        ConfigError: a value cannot be used.
    """
    own, kept = config.penstock.ledger, config.general_settings.maximum_spend_logs_retention_period
    try:
        kept_ms = parse_duration(kept, _RETENTION).nominal_milliseconds() if kept else None
    except ValueError as error:
        raise ConfigError([Problem(severity="error", path=_RETENTION, message=str(error))]) from error
    return LedgerOptions(kept_ms, own.coworker, own.stream_length or LONGEST_STREAM)
