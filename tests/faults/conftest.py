"""Gateways with small timeouts, shared by tests that leave nothing behind, and servers that a test may stop.

Tests name servers before what uses them: what is made first is closed last, and a gateway whose database is gone takes ten
seconds to stop.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.conftest import Gateway, close_all
from tests.faults import accounts
from tests.rig import Sim
from tests.servers.postgres import Postgres
from tests.servers.redis import Redis

CONFIG = """
model_list:
  - model_name: sim
    litellm_params: {model: openai/gpt-sim, api_base: $SIMULATOR/v1, api_key: sk-upstream}
    model_info: {id: sim-1, input_cost_per_token: 0.000001, output_cost_per_token: 0.000002}
  - model_name: sim-claude
    litellm_params: {model: anthropic/claude-sim, api_base: $SIMULATOR, api_key: sk-ant-upstream}
    model_info: {id: claude-1, input_cost_per_token: 0.000001, output_cost_per_token: 0.000002}
penstock:
  demo: false
  routing: {retries: %s, retry_backoff: 10ms, cooldown: 0}
  timeouts: {first_byte: %s, idle: %s}
  upstream: {forward_headers: [x-sim-]}
"""


@pytest.fixture(scope="session")
def hasty(tmp_path_factory: pytest.TempPathFactory, simulator_url: str) -> Iterator[Gateway]:
    """One attempt per call; an upstream may be silent for half a second."""
    running = Gateway(tmp_path_factory.mktemp("hasty"), simulator_url, config=CONFIG % (0, "500ms", "500ms"))
    yield running
    running.close()


@pytest.fixture(scope="session")
def single(tmp_path_factory: pytest.TempPathFactory, simulator_url: str) -> Iterator[Gateway]:
    """One attempt per call, and all the time in the world: an upstream that stands still for a second is not silent."""
    running = Gateway(tmp_path_factory.mktemp("single"), simulator_url, config=CONFIG % (0, "60s", "60s"))
    yield running
    running.close()


@pytest.fixture(scope="session")
def patient(tmp_path_factory: pytest.TempPathFactory, simulator_url: str) -> Iterator[Gateway]:
    """Two further attempts per call, and all the time in the world."""
    running = Gateway(tmp_path_factory.mktemp("patient"), simulator_url, config=CONFIG % (2, "60s", "60s"))
    yield running
    running.close()


@pytest.fixture(scope="module")
def lasting_database_url(postgres: Postgres) -> Iterator[str]:
    """The address of a database for all tests of a module."""
    name = postgres.new_database()
    yield postgres.url(name)
    postgres.retire_database(name)


@pytest.fixture(scope="module")
def start_lasting(tmp_path_factory: pytest.TempPathFactory, simulator_url: str) -> Iterator[Callable[..., Gateway]]:
    """Like `start_gateway`, but they live as long as the module's tests."""
    started: list[Gateway] = []

    def start(**options: Any) -> Gateway:
        started.append(Gateway(tmp_path_factory.mktemp("lasting"), simulator_url, **options))
        return started[-1]

    yield start
    close_all([gateway.process for gateway in started])


@pytest.fixture
def own_postgres() -> Iterator[Postgres]:
    """A PostgreSQL that the test may stop."""
    node = Postgres.create()
    yield node
    node.close()


@pytest.fixture
def own_redis() -> Iterator[Redis]:
    """A Redis that the test may stop."""
    node = Redis()
    yield node
    node.close()


@pytest.fixture
def sim(simulator_url: str) -> Iterator[Sim]:
    """What the upstream received and wrote."""
    looking = Sim(simulator_url)
    yield looking
    looking.close()


@pytest.fixture(autouse=True)
def _leaves_nothing_behind(request: pytest.FixtureRequest) -> Iterator[None]:
    """Whatever happened to a shared gateway, nothing is in flight afterwards and the next client is served."""
    yield
    for name in ("hasty", "single", "patient"):
        if name in request.fixturenames:
            gateway: Gateway = request.getfixturevalue(name)
            assert gateway.process.process.poll() is None, "the gateway has ended"
            accounts.idle(gateway)
            body = {"model": "sim", "max_tokens": 4, "messages": [{"role": "user", "content": "time"}]}
            with gateway.client() as client:
                answer = client.post("/v1/chat/completions", headers=gateway.admin, json=body)
            assert answer.json()["usage"]["completion_tokens"] == 4, answer.text
