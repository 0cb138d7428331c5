"""What a webhook receives: LiteLLM's budget alert."""

from __future__ import annotations

import msgspec

SOFT = "soft_budget_crossed"
HARD = "budget_crossed"


class Alert(msgspec.Struct, kw_only=True):
    """A row of `alerts`. Money in nano-dollars, times in Unix milliseconds."""

    scope: str
    """`kind:id`."""
    event: str
    """`soft_budget_crossed` or `budget_crossed`."""
    threshold: int
    window_start: int
    spend: int
    """When it was noted."""
    max_budget: int | None
    created_at: int
    attempts: int = 0
    next_attempt_at: int = 0
    delivered_at: int | None = None


class WebhookEvent(msgspec.Struct, frozen=True, kw_only=True):
    """The body of the POST; US dollars."""

    event: str
    event_group: str
    """`key`, `team`, `internal_user`, `organization`, `customer`, `tag`, `team_member` or `proxy`."""
    event_message: str
    scope: str
    """As the gateway calls it, `kind:id`; of a limit per model `model:<kind:id>/<model>`."""
    spend: float
    max_budget: float | None
    soft_budget: float | None
    budget_window_start: str | None
    token: str | None = None
    user_id: str | None = None
    team_id: str | None = None
    organization_id: str | None = None
    customer_id: str | None = None
    tag: str | None = None
    key_alias: str | None = None
    user_email: str | None = None
    projected_exceeded_date: str | None = None
    projected_spend: float | None = None
