"""Budget alerts: once per window and threshold, repeated until the webhook takes them."""

from __future__ import annotations

import asyncio
import http.server
import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from penstock import clock
from penstock.alerts import service as alerts_module
from penstock.alerts.webhook import Undelivered, post
from penstock.persistence import Transaction
from penstock.scopes.models import ModelLimit
from tests.unit.scopes.rig import Rig, record


class Hook:
    """A webhook that answers as it is told and keeps what it got."""

    def __init__(self) -> None:
        self.statuses: list[int] = []
        self.bodies: list[dict[str, Any]] = []
        hook = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                hook.bodies.append(json.loads(body))
                self.send_response(hook.statuses.pop(0) if hook.statuses else 204)
                self.send_header("location", "/elsewhere")
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                return

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/hook"
        self._thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    def close(self) -> None:
        self.server.shutdown()
        self._thread.join()
        self.server.server_close()


@pytest.fixture
def hook() -> Iterator[Hook]:
    running = Hook()
    yield running
    running.close()


async def test_a_threshold_is_told_once_in_a_window(rig: Rig, hook: Hook) -> None:
    rig.alerts.url = hook.url
    await rig.put("team:t", soft_budget=1_000_000_000, max_budget=2_000_000_000, alias="ours", budget_duration="1d")
    await rig.charge(record(999_999_999, team_id="t", started_at=10**14))
    assert await rig.alerts.deliver_due() == 0
    await rig.charge(record(1, team_id="t", started_at=10**14))
    await rig.charge(record(500_000_000, team_id="t", started_at=10**14))
    assert await rig.alerts.deliver_due() == 1
    assert await rig.alerts.deliver_due() == 0
    (told,) = hook.bodies
    assert (told["event"], told["event_group"], told["team_id"]) == ("soft_budget_crossed", "team", "t")
    assert (told["spend"], told["max_budget"], told["soft_budget"]) == (1.0, 2.0, 1.0)
    await rig.charge(record(600_000_000, team_id="t", started_at=10**14))
    assert await rig.alerts.deliver_due() == 1
    assert hook.bodies[-1]["event"] == "budget_crossed"


async def test_what_is_not_taken_is_sent_again(rig: Rig, hook: Hook, monkeypatch: pytest.MonkeyPatch) -> None:
    rig.alerts.url = hook.url
    hook.statuses = [500, 302]
    await rig.put("user:u", soft_budget=1)
    await rig.charge(record(1, user_id="u"))
    later = [0]
    real = clock.now_ms
    monkeypatch.setattr(alerts_module, "now_ms", lambda: real() + later[0])
    for wait, delivered in ((0, 0), (0, 0), (60_000, 0), (300_000, 1), (900_000, 0)):
        later[0] += wait
        assert await rig.alerts.deliver_due() == delivered
    assert len(hook.bodies) == 3


async def test_two_processes_send_an_alert_once(rig: Rig, hook: Hook) -> None:
    rig.alerts.url = hook.url
    await rig.put("user:u", soft_budget=1)
    await rig.charge(record(1, user_id="u"))
    store = rig.alerts._store
    (alert,) = await store.due(10**15, 10)
    assert await store.claim(alert, 10**15)
    assert not await store.claim(alert, 10**15)
    assert await rig.alerts.deliver_due() == 0
    assert hook.bodies == []


async def test_without_a_webhook_nothing_waits(rig: Rig, hook: Hook) -> None:
    await rig.put("user:u", soft_budget=1)
    await rig.charge(record(1, user_id="u"))
    rig.alerts.url = hook.url
    assert await rig.alerts.deliver_due() == 0


def test_a_webhook_that_is_not_there_is_a_failure_and_no_crash() -> None:
    with pytest.raises(Undelivered):
        post("http://127.0.0.1:9/", b"{}", 1)


async def test_a_process_that_does_not_know_the_webhook_leaves_alerts_to_the_gateways(rig: Rig, hook: Hook) -> None:
    await rig.put("team:t", max_budget=10)
    rig.alerts.decides = False
    await rig.charge(record(10, team_id="t"))
    rig.alerts.decides, rig.alerts.url = True, hook.url
    assert await rig.alerts.deliver_due() == 1
    assert len(hook.bodies) == 1

    await rig.put("team:other", max_budget=10)
    rig.alerts.decides, rig.alerts.url = False, None
    await rig.charge(record(10, team_id="other"))
    assert await rig.alerts.deliver_due() == 0, "a gateway without a webhook has nobody to send it to"
    rig.alerts.url = hook.url
    assert await rig.alerts.deliver_due() == 0


@pytest.mark.parametrize("url", ["http://exämple/hook", "http:///x y", "nonsense"])
def test_an_odd_address_is_not_delivered_to_and_no_defect(url: str) -> None:
    with pytest.raises(Undelivered):
        post(url, b"{}", 1)


def test_the_environment_s_proxies_are_not_used(hook: Hook) -> None:
    from penstock.alerts import webhook

    assert not [handler for handler in vars(webhook._opener)["handlers"] if type(handler).__name__ == "ProxyHandler"]
    post(hook.url, b"{}", 5)
    assert hook.bodies == [{}]


async def test_two_that_cross_a_budget_together_tell_of_it(rig: Rig, hook: Hook) -> None:
    """Neither sees the other's charge when it begins, and both together have used up the budget."""
    if rig.database.dialect == "sqlite":
        pytest.skip("SQLite has one transaction at a time")
    rig.alerts.url = hook.url
    await rig.put("team:t", soft_budget=95, max_budget=100)
    await rig.put("user:u", {"m": ModelLimit(max_budget=100)})
    await rig.charge(record(92, team_id="t", user_id="u"))
    has_charged = asyncio.Event()

    async def first(tx: Transaction) -> None:
        await rig.scopes.charge(tx, [record(4, token="one", team_id="t", user_id="u")])
        has_charged.set()
        # Until the other one waits for this.
        async with asyncio.timeout(20):
            while not await tx.fetch_all(
                "SELECT pid FROM pg_locks WHERE NOT granted AND pg_backend_pid() = ANY(pg_blocking_pids(pid))"
            ):
                pass

    async def second(tx: Transaction) -> None:
        await rig.another().charge(tx, [record(4, token="two", team_id="t", user_id="u")])

    async def after_the_first() -> None:
        await has_charged.wait()
        await rig.database.run(second)

    await asyncio.gather(rig.database.run(first), after_the_first())
    assert await rig.spent("team:t") == (100, 100)
    while await rig.alerts.deliver_due():
        pass
    told = {(body["event"], body["scope"], body["spend"]) for body in hook.bodies}
    assert told == {
        ("soft_budget_crossed", "team:t", 96e-9),
        ("budget_crossed", "team:t", 100e-9),
        ("budget_crossed", "model:user:u/m", 100e-9),
    }
