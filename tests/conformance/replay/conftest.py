"""The gateway in front of recordings, shared by this folder's tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.conformance.replay.replayer import Replayer, config
from tests.conftest import Gateway


@pytest.fixture(scope="session")
def replayer(tmp_path_factory: pytest.TempPathFactory, simulator_url: str) -> Iterator[Replayer]:
    """A gateway in front of recordings, for the whole session."""
    gateway = Gateway(tmp_path_factory.mktemp("replay"), simulator_url, config=config())
    replayer = Replayer(gateway)
    try:
        yield replayer
        assert gateway.process.process.poll() is None, "the gateway ended"
    finally:
        replayer.close()
        gateway.close()
