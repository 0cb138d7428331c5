"""A gateway whose listener has small bounds, shared by tests that leave nothing behind."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.conftest import Gateway
from tests.integration.listener import wire

BODY: dict[str, Any] = {"model": "sim", "max_tokens": 4, "messages": [{"role": "user", "content": "hello there"}]}

CONFIG = """
model_list:
  - model_name: sim
    litellm_params: {model: openai/gpt-sim, api_base: $SIMULATOR/v1, api_key: sk-upstream}
penstock:
  demo: false
  listener: {%s}
  upstream: {forward_headers: [x-sim-]}
"""

SMALL = "max_body_mb: 1, header_timeout: 1500ms, body_timeout: 1500ms, max_streams: 16, trusted_proxies: [127.0.0.9]"

"""Times that a client keeps although the machine stands still for a second."""


@pytest.fixture(scope="session")
def port(tmp_path_factory: pytest.TempPathFactory, simulator_url: str) -> Iterator[Gateway]:
    """The gateway."""
    running = Gateway(tmp_path_factory.mktemp("listener"), simulator_url, config=CONFIG % SMALL)
    try:
        yield running
    finally:
        running.close()


@pytest.fixture(autouse=True)
def _stays_healthy(request: pytest.FixtureRequest) -> Iterator[None]:
    """Whatever a test did to the shared gateway, it answers the next client."""
    yield
    if "port" in request.fixturenames:
        gateway: Gateway = request.getfixturevalue("port")
        assert gateway.process.process.poll() is None, "the gateway has ended"
        with wire.connect(gateway.url) as client:
            ready = client.send("GET /_health/ready HTTP/1.1\r\nHost: gateway\r\n\r\n").answer()
            assert ready.status == 200
            answer = client.send(wire.chat(gateway.admin_key, BODY)).answer()
            assert answer.json()["usage"]["completion_tokens"] == 4, answer


@pytest.fixture
def upstream_calls(port: Gateway) -> Callable[[], int]:
    """How many requests the simulator received since the test began."""

    def received() -> int:
        with wire.connect(port.simulator_url) as client:
            page = client.send("GET /_sim/ledger?limit=1 HTTP/1.1\r\nHost: simulator\r\n\r\n").answer().json()
        return int(page["totals"]["requests"])

    before = received()
    return lambda: received() - before
