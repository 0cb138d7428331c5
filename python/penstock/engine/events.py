"""What the data plane hands up to Python: usage records and log records.

Written by ``rust_core/gateway/src/ledger`` as arrays of values in the order of the fields below.
"""

from __future__ import annotations

import msgspec


class UsageRecord(msgspec.Struct, frozen=True, kw_only=True, array_like=True, forbid_unknown_fields=True, gc=False):
    """One call, settled. Never a prompt, never an answer.

    The fields are the columns of the ledger, in its order and ready to be bound: a text that is not there is empty (and
    NULL in the ledger, where a column allows it), `ttft_us` is -1 then, a boolean is 0 or 1.
    """

    event_id: str
    """Call id + `:` + attempt; unique for ever, so that writing a record twice is harmless."""
    call_id: str
    seq: int
    """Ordinal of the record in this process."""
    started_at: int
    """Unix milliseconds. Where a call began in one budget window and was let in by the next, the beginning of that."""
    surface: str
    """`chat`, `completions`, `embeddings`, `messages`, `passthrough`."""
    route: str
    """Route template, e.g. `/v1/chat/completions`."""
    token: str
    """Digest of the key."""
    key_alias: str
    user_id: str
    team_id: str
    org_id: str
    end_user: str
    """The request's `user`."""
    model: str
    """As the client sent it."""
    model_group: str
    deployment_id: str
    provider: str
    upstream_model: str
    stream: int
    """1: the client asked for a stream."""
    status: int
    """HTTP status the client got; 499 when it left before."""
    outcome: str
    """`ok`, `error`, `client_disconnect`, `deadline_exceeded`, `upstream_cut`, `shutdown`, or `gateway_lost`: the gateway was
    killed during the call, and the record is made of what its journal had of it. `status` is then what the client had been
    told, 503 when nothing."""
    error_code: str
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
    ttft_us: int
    """Microseconds from the call's arrival to the first byte of the answer sent to the client; -1: there was none."""
    duration_us: int
    overhead_us: int
    """Microseconds spent in the gateway before the request was sent upstream."""
    attempts: int
    cache: str
    """`off`, `hit`, `miss`."""
    tags: str
    """JSON list of the key's tags, then the request's."""
    request_bytes: int
    response_bytes: int


class Recovered(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A record that a process which was killed left in its journal."""

    incarnation: str
    """Which process."""
    row: UsageRecord
    """`seq` is its ordinal among the records of that process; calls that were cut come after those that were settled."""
