"""Spending as people ask for it: list settled calls, sum them up, price a call that was not made here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

import msgspec

from penstock.durations import iso
from penstock.engine.snapshot import Price
from penstock.money import dollars
from penstock.persistence import Row
from penstock.spend.activity import Activity
from penstock.spend.models import Cursor, Days, LogFilter, Totals
from penstock.spend.reports import Reports
from penstock.spend.store import SpendStore

_CALL_TYPES = {"chat": "acompletion", "completions": "atext_completion", "embeddings": "aembedding"}


def price_of(price: Price, prompt: int, completion: int, cached: int = 0, written: int = 0, reasoning: int = 0) -> int:
    """Nano-dollars of a call, by the formula that the data plane settles with.

    `cached` and `written` are parts of `prompt`, `reasoning` is a part of `completion`.
    """
    tier = next(
        (tier for tier in reversed(price.tiers) if tier.from_input_tokens <= prompt),
        price.tiers[0],
    )
    cached, written, reasoning = min(cached, prompt), min(written, max(0, prompt - cached)), min(reasoning, completion)
    millionths = (
        (prompt - cached - written) * tier.input
        + cached * (tier.input if tier.cache_read is None else tier.cache_read)
        + written * (tier.input if tier.cache_write is None else tier.cache_write)
        + (completion - reasoning) * tier.output
        + reasoning * (tier.output if tier.reasoning is None else tier.reasoning)
    )
    return tier.request + (millionths + 500_000) // 1_000_000


class SpendService:
    """The spend domain's public face."""

    def __init__(self, store: SpendStore) -> None:
        self._store = store
        self.reports = Reports(store)
        self.activity = Activity(store)

    async def are_all_of(self, tokens: Sequence[str], team_id: str, within: Days) -> bool:
        """Whether every call of these days with a key, by the tokens that it had, is known to have been within the team."""
        summed = sum(point.sums.calls for point in await self._store.points_of("key", tokens, within))
        # Of calls that are kept no more nobody knows whose they were.
        return summed <= await self._store.count_within(tokens, team_id, within)

    async def totals(self) -> Totals:
        """Sums over everything ever settled."""
        return await self._store.totals()

    async def logs(
        self, where: LogFilter, cursor: Cursor | None, limit: int
    ) -> tuple[list[dict[str, Any]], str | None]:
        """A page of calls in LiteLLM's shape, latest first, and the cursor of the next page."""
        rows = await self._store.logs(where, cursor, limit + 1)
        following = None
        if len(rows) > limit:
            rows = rows[:limit]
            following = Cursor(int(rows[-1]["started_at"] or 0), int(rows[-1]["id"] or 0)).encode()
        return [_shown(row) for row in rows], following


def _arrived_at(call_id: str, started_at: int) -> int:
    """Unix milliseconds of a call's arrival. A call that waited for the next budget window is charged to that one, and
    `started_at` is the window's beginning then; its id (RFC 9562, version 7) begins with when it was made."""
    try:
        id = UUID(call_id)
    except ValueError:
        return started_at
    return min(id.int >> 80, started_at) if id.version == 7 else started_at


def _shown(row: Row) -> dict[str, Any]:
    value: dict[str, Any] = dict(row)
    started, duration = value["started_at"], value["duration_us"]
    # What was measured was measured from the arrival.
    arrived = _arrived_at(value["call_id"], started)
    ttft = value["ttft_us"]
    prompt, completion = value["prompt_tokens"], value["completion_tokens"]
    return {
        "request_id": value["call_id"],
        "call_type": _CALL_TYPES.get(value["surface"], value["surface"]),
        "api_key": value["token"],
        "spend": dollars(value["cost"]),
        "total_tokens": prompt + completion,
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "startTime": iso(started),
        "endTime": iso(max(started, arrived + duration // 1000)),
        "completionStartTime": iso(max(started, arrived + ttft // 1000)) if ttft is not None else None,
        "request_duration_ms": duration // 1000,
        "model": value["upstream_model"] or value["model"],
        "model_id": value["deployment_id"],
        "model_group": value["model_group"],
        "custom_llm_provider": value["provider"],
        "user": value["user_id"] or "",
        "team_id": value["team_id"],
        "organization_id": value["org_id"],
        "end_user": value["end_user"] or "",
        "cache_hit": str(value["cache"] == "hit"),
        "request_tags": msgspec.json.decode(value["tags"]),
        "status": "success" if value["outcome"] == "ok" else "failure",
        "metadata": {
            "event_id": value["event_id"],
            "user_api_key_alias": value["key_alias"],
            "requested_model": value["model"],
            "route": value["route"],
            "stream": bool(value["stream"]),
            "http_status": value["status"],
            "outcome": value["outcome"],
            "error_code": value["error_code"],
            "cost_nanodollars": value["cost"],
            "price_version": value["price_version"],
            "snapshot_version": value["snapshot_version"],
            "usage_source": value["usage_source"],
            "cached_tokens": value["cached_tokens"],
            "cache_write_tokens": value["cache_write_tokens"],
            "reasoning_tokens": value["reasoning_tokens"],
            "ttft_us": ttft,
            "duration_us": duration,
            "overhead_us": value["overhead_us"],
            "attempts": value["attempts"],
            "cache": value["cache"],
            "request_bytes": value["request_bytes"],
            "response_bytes": value["response_bytes"],
        },
    }
