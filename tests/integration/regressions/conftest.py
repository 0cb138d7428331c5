"""The rig of these tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

pytest.importorskip("penstock._core", reason="the extension is not built: `make setup`")

from tests.integration.regressions.rig import Rig, rigged


@pytest.fixture
def rig() -> Iterator[Rig]:
    """Providers and data planes in this process."""
    yield from rigged()
