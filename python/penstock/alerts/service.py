"""Budget alerts: noted once per window and threshold where the charge is made, sent by a task that nobody waits for."""

from __future__ import annotations

import asyncio
import logging
from typing import Protocol

import msgspec

from penstock.alerts.models import HARD, SOFT, Alert, WebhookEvent
from penstock.alerts.store import AlertStore
from penstock.alerts.webhook import Undelivered, post
from penstock.clock import now_ms
from penstock.durations import iso
from penstock.engine import background
from penstock.money import dollars, dollars_or_none
from penstock.persistence import DatabaseUnavailable, Transaction

logger = logging.getLogger("penstock.alerts")

_INTERVAL_S = 0.5
_BATCH = 20
_TIMEOUT_S = 10
_FIRST_BACKOFF_MS = 2_000
_LONGEST_BACKOFF_MS = 600_000
_MOST_ATTEMPTS = 12
_GROUPS = {"org": "organization", "user": "internal_user", "member": "team_member", "global": "proxy"}


class Budgeted(Protocol):
    """What an alert can be about."""

    name: str
    max_budget: int | None
    soft_budget: int | None


class AlertService:
    """The alerts domain's public face."""

    def __init__(self, store: AlertStore) -> None:
        self._store = store
        self.url: str | None = None
        """Where alerts are sent; None: they are only logged."""
        self.decides = True
        """This process knows whether alerts are sent; one without a gateway's configuration leaves that to the gateways."""
        self._task: background.Kept | None = None

    async def note(self, tx: Transaction, scope: Budgeted, window_start: int, spend: int, now: int) -> None:
        """Note in the charging transaction what its charge has brought a scope to."""
        for event, threshold in ((SOFT, scope.soft_budget), (HARD, scope.max_budget)):
            if threshold is None or spend < threshold:
                continue
            alert = Alert(
                scope=scope.name,
                event=event,
                threshold=threshold,
                window_start=window_start,
                spend=spend,
                max_budget=scope.max_budget,
                created_at=now,
                next_attempt_at=now,
                delivered_at=now if self.decides and self.url is None else None,
            )
            if await self._store.note(tx, alert):
                logger.warning("a budget is used up to a threshold", extra={"event": event, "scope": scope.name})

    def start(self) -> None:
        """Begin delivering in the background."""
        self._task = background.Kept(self._run, "alerts")

    async def stop(self) -> None:
        """Stop; what was not delivered is delivered after the next start."""
        if self._task is not None:
            await self._task.stop()
            self._task = None

    async def deliver_due(self) -> int:
        """Try what is due once; returns how many were delivered."""
        url, done = self.url, 0
        for alert in await self._store.due(now_ms(), _BATCH):
            if url is None:
                # Noted by a process that left it to this one, which has nobody to send it to.
                await self._store.delivered(alert, now_ms())
                continue
            if not await self._store.claim(alert, now_ms() + _backoff_ms(alert.attempts) + _TIMEOUT_S * 1_000):
                continue
            try:
                await asyncio.to_thread(post, url, msgspec.json.encode(event_of(alert)), _TIMEOUT_S)
            except Undelivered as error:
                has_given_up = alert.attempts + 1 >= _MOST_ATTEMPTS
                fields = {"event": "alert.failed", "scope": alert.scope, "reason": str(error), "last": has_given_up}
                logger.warning("an alert was not delivered", extra=fields)
                if not has_given_up:
                    continue
            else:
                done += 1
            await self._store.delivered(alert, now_ms())
        return done

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(_INTERVAL_S)
            try:
                await self.deliver_due()
            except DatabaseUnavailable as error:
                logger.warning("alerts wait for the database", extra={"event": "alert.retry", "reason": str(error)})


def event_of(alert: Alert) -> WebhookEvent:
    """An alert in the words of the webhook."""
    name = alert.scope
    if name.startswith("model:"):
        name = name.removeprefix("model:")
    kind, _, id = name.partition(":")
    is_soft = alert.event == SOFT
    what = "Soft budget" if is_soft else "Budget"
    team_id, _, member_id = id.rpartition("/") if kind == "member" else (id, "", id)
    return WebhookEvent(
        event=alert.event,
        event_group=_GROUPS.get(kind, kind),
        event_message=f"{what} crossed: {alert.scope} spent {dollars(alert.spend)} of {dollars(alert.threshold)} USD",
        scope=alert.scope,
        spend=dollars(alert.spend),
        max_budget=dollars_or_none(alert.max_budget),
        soft_budget=dollars(alert.threshold) if is_soft else None,
        budget_window_start=iso(alert.window_start or None),
        token=id if kind == "key" else None,
        user_id=member_id if kind in ("user", "member") else None,
        team_id=team_id if kind in ("team", "member") else None,
        organization_id=id if kind == "org" else None,
        customer_id=id if kind == "customer" else None,
        tag=id if kind == "tag" else None,
    )


def _backoff_ms(attempts: int) -> int:
    return int(min(_LONGEST_BACKOFF_MS, _FIRST_BACKOFF_MS * 2**attempts))
