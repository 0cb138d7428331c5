"""What the data plane hands up to Python: usage records and log records.

Written by ``rust_core/gateway/src/ledger`` with the same field names.
"""

from __future__ import annotations

import msgspec


class UsageRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One call, settled. Never a prompt, never an answer."""

    event_id: str
    """Call id + `:` + attempt; unique for ever, so that writing a record twice is harmless."""
    call_id: str
    seq: int
    """Ordinal of the record in this process."""
    started_at: int
    """Unix milliseconds."""
    surface: str
    """`chat`, `completions`, `embeddings`, `messages`, `passthrough`."""
    route: str
    """Route template, e.g. `/v1/chat/completions`."""
    token: str
    """Digest of the key."""
    key_alias: str | None
    user_id: str | None
    team_id: str | None
    org_id: str | None
    end_user: str | None
    """The request's `user`."""
    model: str
    """As the client sent it."""
    model_group: str
    deployment_id: str
    provider: str
    upstream_model: str
    stream: bool
    status: int
    """HTTP status the client got; 499 when it left before."""
    outcome: str
    """`ok`, `error`, `client_disconnect`, `upstream_cut`, `shutdown`."""
    error_code: str | None
    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int
    """Part of `prompt_tokens` read from the provider's cache."""
    cache_write_tokens: int
    """Part of `prompt_tokens` written to the provider's cache."""
    reasoning_tokens: int
    """Part of `completion_tokens`."""
    usage_source: str
    """`upstream` (the provider said so), `counted` (by us, because it did not), `none` (nothing was generated)."""
    cost: int
    """Nano-dollars."""
    price_version: str
    snapshot_version: int
    ttft_us: int | None
    """Microseconds from the call's arrival to the first byte of the answer sent to the client."""
    duration_us: int
    overhead_us: int
    """Microseconds spent in the gateway before the request was sent upstream."""
    attempts: int
    cache: str
    """`off`, `hit`, `miss`."""
    tags: list[str]
    request_bytes: int
    response_bytes: int
