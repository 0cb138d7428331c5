"""Eight gateways, each a process with a port of its own, and one limit that clients ask ten times as much as it allows."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.conftest import Gateway
from tests.faults.accounts import note, rows_of, settled
from tests.faults.conftest import CONFIG
from tests.faults.hammer import Callers, figure, run, trips
from tests.integration.quota.rig import most_in_a_window
from tests.rig import Sim, until

pytestmark = pytest.mark.alone

_GATEWAYS = 8
_WINDOW_S = 60.0
_HAMMERED_S = 66.0
"""Into the second minute, when what was used first is free again."""
_BEAT_S = 0.3
"""How often each gateway reports to Redis whether it has calls or not."""


@pytest.fixture
def eight(tmp_path: Path, simulator_url: str, database_url: str, redis_url: str) -> Iterator[list[Gateway]]:
    """Gateways that share everything and know of each other."""
    shared = {
        "DATABASE_URL": database_url,
        "REDIS_URL": redis_url,
        "PENSTOCK_PEPPER": secrets.token_hex(32),
        "PENSTOCK_SECRET_KEY": secrets.token_hex(32),
    }
    # Eight pools of the usual size would be more connections than the server takes; and eight gateways share a few cores with
    # their clients here, so that a round trip may take longer than it should.
    config = CONFIG % (0, "60s", "60s") + "  database: {pool_size: 2}\n  redis: {deadline: 500ms}\n"

    def start(number: int) -> Gateway:
        directory = tmp_path / str(number)
        directory.mkdir()
        return Gateway(directory, simulator_url, config=config, environment=shared)

    with ThreadPoolExecutor(_GATEWAYS) as at_once:
        starting = [at_once.submit(start, number) for number in range(_GATEWAYS)]
    gateways = [each.result() for each in starting if each.exception() is None]
    try:
        assert len(gateways) == _GATEWAYS, [each.exception() for each in starting]
        for gateway in gateways:
            until(lambda gateway=gateway: figure(gateway, "penstock_quota_replicas") == _GATEWAYS, "all are known", 20)  # type: ignore[misc]
        yield gateways
    finally:
        for gateway in gateways:
            gateway.process.process.terminate()
        for gateway in gateways:
            gateway.close()


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.timeout(500)
@pytest.mark.parametrize("limit", [240, 900])
def test_eight_gateways_keep_one_limit(eight: list[Gateway], sim: Sim, limit: int) -> None:
    key, since = eight[0].new_key(rpm_limit=limit), sim.mark()
    asked = trips(eight)
    began = time.monotonic()
    crowd: Callers = run(eight, key, lambda crowd: crowd.hammer(10 * limit / _WINDOW_S, _HAMMERED_S))
    alone = sum(figure(gateway, "penstock_quota_granted_alone_total") for gateway in eight)
    beats = _GATEWAYS * (time.monotonic() - began) / _BEAT_S
    asked = trips(eight) - asked
    assert crowd.others == []
    # The upstream's own record of when each of them came.
    admitted = sorted(entry["at_ms"] / 1000 for entry in settled(sim, since))
    assert len(admitted) == crowd.admitted()
    first = sum(1 for at in admitted if at < admitted[0] + _WINDOW_S)
    note(
        f"limit {limit}: {first} of {len(crowd.answers)} admitted in the first minute,"
        f" at most {most_in_a_window(admitted, _WINDOW_S)} in any; {asked / len(admitted):.2f} round trips per admitted call,"
        f" {max(0.0, asked - beats) / len(admitted):.2f} without the {beats:.0f} beats;"
        f" {alone:.0f} draws without Redis; client at {len(crowd.answers) / (crowd.answers[-1][0] - crowd.answers[0][0]):.0f}/s"
    )
    assert alone == 0, "Redis was there all the time"
    assert most_in_a_window(admitted, _WINDOW_S) <= limit
    assert first >= 0.97 * limit
    until(lambda: len(rows_of(eight[-1], key)) == len(crowd.answers), "every call is in the ledger", 20)
