"""A soft budget that is used up reaches the configured webhook, once."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.integration.managed import CONFIG, Managed, until


@pytest.fixture
def received() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Address of a webhook and what it was sent."""
    bodies: list[dict[str, Any]] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            bodies.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            return

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/alerts", bodies
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize("place", ["penstock", "general_settings"])
def test_a_soft_budget_is_told_once(
    start_managed: Callable[..., Managed], received: tuple[str, list[dict[str, Any]]], place: str
) -> None:
    url, bodies = received
    section = (
        f"  alerts: {{webhook_url: '{url}'}}\n"
        if place == "penstock"
        else f"general_settings: {{alert_to_webhook_url: {{budget_alerts: '{url}'}}}}\n"
    )
    managed = start_managed(config=CONFIG + section)
    team = managed.post("/team/new", team_alias="ours", soft_budget=0.000001, max_budget=5).json()["team_id"]
    key = managed.key(team_id=team, soft_budget=0.000001)
    for _ in range(3):
        assert managed.chat(key).status_code == 200
        managed.info(key)
    until(lambda: managed.info(key) and len(bodies) >= 2, what="the alerts")
    told = {body["event_group"]: body for body in bodies}
    assert (told["team"]["event"], told["team"]["team_id"]) == ("soft_budget_crossed", team)
    assert told["team"]["spend"] > 0
    assert (told["team"]["max_budget"], told["team"]["soft_budget"]) == (5.0, 0.000001)
    assert told["key"]["token"] == managed.info(key)["token"]
    managed.chat(key)
    managed.info(key)
    assert len(bodies) == 2
    assert key not in json.dumps(bodies)
