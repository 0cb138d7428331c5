"""How long a start takes, with the machine to itself."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import pytest

from tests.conftest import Gateway
from tests.faults.accounts import note
from tests.stalls import Stopwatch, again_after_a_stall

pytestmark = pytest.mark.alone


_IMPORTS = 4
"""Times what the web framework alone takes to be imported: less than two seconds wherever a core is not slowed down."""


@again_after_a_stall(0.05)
def test_a_gateway_is_ready_within_two_seconds(start_gateway: Callable[..., Gateway]) -> None:
    took, imported = [], []
    for _ in range(3):
        watch = Stopwatch()
        subprocess.run([sys.executable, "-c", "import litestar"], check=True)
        imported.append(watch.ran_s)
        watch = Stopwatch()
        gateway = start_gateway()
        took.append(watch.ran_s)
        with gateway.client() as client:
            assert client.get("/_health/ready").status_code == 200
        gateway.close()
    note(
        f"ready after {', '.join(f'{seconds:.2f}' for seconds in took)} s, {min(imported):.2f} s of it Litestar's import"
    )
    assert min(took) < max(2, _IMPORTS * min(imported))
