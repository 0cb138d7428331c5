"""A fake gateway and clients on it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

pytest.importorskip("grpc", reason="the gRPC client's libraries are not installed")

from penstock.client import AsyncClient, Client
from tests.unit.client.gateway import Gateway


@pytest.fixture
def gateway() -> Iterator[Gateway]:
    """Answers as the test tells it to."""
    made = Gateway()
    yield made
    made.stop()


@pytest.fixture
def client(gateway: Gateway) -> Iterator[Client]:
    """The sync client."""
    with Client(gateway.target, api_key="sk-test", timeout=10) as made:
        yield made


@pytest.fixture
async def aclient(gateway: Gateway) -> AsyncIterator[AsyncClient]:
    """The asyncio client."""
    async with AsyncClient(gateway.target, api_key="sk-test", timeout=10) as made:
        yield made
