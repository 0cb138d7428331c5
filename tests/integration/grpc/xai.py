"""The published `xai-sdk` against a gateway, and what reached the provider.

The package has no types, so its parts are taken as they come.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from typing import Any

import grpc
import pytest

from tests.conftest import Gateway
from tests.integration.grpc.calls import address, told
from tests.rig import Sim

sdk: Any = pytest.importorskip("xai_sdk", reason="the xai-sdk package is not installed")
chat: Any = pytest.importorskip("xai_sdk.chat")
proto: Any = pytest.importorskip("xai_sdk.proto")

Metadata = tuple[tuple[str, str], ...]


def _options(gateway: Gateway, key: str | None, seconds: float, sim: dict[str, Any]) -> dict[str, Any]:
    metadata = tuple((name, str(value)) for name, value in told(sim))
    return {
        "api_key": key or gateway.admin_key,
        "api_host": address(gateway),
        "use_insecure_channel": True,
        "timeout": seconds,
        "metadata": metadata or None,
        # Channels to one address share connections otherwise, and tests would meet in them.
        "channel_options": [("grpc.use_local_subchannel_pool", 1)],
    }


@contextlib.contextmanager
def client(gateway: Gateway, key: str | None = None, seconds: float = 30, **sim: Any) -> Iterator[Any]:
    """A client; `sim` is told to the simulator with every call."""
    made = sdk.Client(**_options(gateway, key, seconds, sim))
    try:
        yield made
    finally:
        made.close()


@contextlib.asynccontextmanager
async def async_client(gateway: Gateway, key: str | None = None, seconds: float = 30, **sim: Any) -> Any:
    """The same for asyncio."""
    made = sdk.AsyncClient(**_options(gateway, key, seconds, sim))
    try:
        yield made
    finally:
        await made.close()


@contextlib.contextmanager
def channel(gateway: Gateway) -> Iterator[grpc.Channel]:
    """For the generated stubs of services that the package has no client for."""
    with grpc.insecure_channel(address(gateway), options=[("grpc.use_local_subchannel_pool", 1)]) as made:
        yield made


def received(sim: Sim) -> dict[str, Any]:
    """The body of the latest request that the provider got."""
    return dict(json.loads(sim.last().body))


def call_id(sim: Sim) -> str:
    """Of the latest call that reached the provider."""
    return str(sim.ledger(sim.mark() - 1)[-1]["call_id"])


@contextlib.contextmanager
def failing(code: grpc.StatusCode, *parts: str) -> Iterator[None]:
    """A block that ends with this status, whose message has these parts."""
    with pytest.raises(grpc.RpcError) as raised:
        yield
    error: Any = raised.value
    assert error.code() is code, error
    for part in parts:
        assert part in error.details(), error.details()
