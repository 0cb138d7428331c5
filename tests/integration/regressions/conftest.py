"""The rig of these tests."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.integration.regressions.rig import Rig


@pytest.fixture
def rig() -> Iterator[Rig]:
    """Providers and data planes in this process."""
    from tests.integration.regressions.rig import rigged

    yield from rigged()
