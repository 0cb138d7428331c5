"""One gateway for this folder, whose every model leads to the simulator."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

pytest.importorskip("grpc", reason="the gRPC client's libraries are not installed")

from tests.conftest import Gateway
from tests.faults import accounts
from tests.integration.grpc.calls import Rpc
from tests.integration.grpc.frames import Raw
from tests.integration.grpc.serving import CONFIG


@pytest.fixture(scope="session")
def port(tmp_path_factory: pytest.TempPathFactory, simulator_url: str) -> Iterator[Gateway]:
    """The gateway of :data:`CONFIG`."""
    running = Gateway(tmp_path_factory.mktemp("grpc"), simulator_url, config=CONFIG)
    try:
        yield running
    finally:
        running.close()


@pytest.fixture
def rpc(port: Gateway) -> Iterator[Rpc]:
    """A channel of a key of this test's own."""
    with Rpc(port, port.new_key()) as made:
        yield made


@pytest.fixture
def raw(port: Gateway) -> Iterator[Raw]:
    """A connection of the administrator."""
    with Raw(port) as made:
        yield made


@pytest.fixture
def start(start_gateway: Callable[..., Gateway]) -> Callable[..., Gateway]:
    """Starts gateways for one test, by default with :data:`CONFIG`."""

    def made(**options: Any) -> Gateway:
        return start_gateway(**{"config": CONFIG, **options})

    return made


@pytest.fixture(autouse=True)
def _leaves_nothing_behind(request: pytest.FixtureRequest) -> Iterator[None]:
    """Whatever happened to the shared gateway, it runs and nothing is in flight afterwards."""
    yield
    if "port" in request.fixturenames:
        gateway: Gateway = request.getfixturevalue("port")
        assert gateway.process.process.poll() is None, f"the gateway has ended:\n{gateway.process.output()}"
        accounts.idle(gateway)
