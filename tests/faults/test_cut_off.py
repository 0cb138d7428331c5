"""One of two gateways loses its way to Redis in the middle of a crowd: the limit is one limit all the same."""

from __future__ import annotations

import secrets
from collections.abc import Callable

import pytest

from tests.conftest import Gateway
from tests.faults.accounts import note
from tests.faults.conftest import CONFIG
from tests.faults.hammer import figure, run
from tests.rig import until
from tests.servers.proxy import Proxy
from tests.servers.redis import Redis

pytestmark = pytest.mark.alone
_LIMIT = 300


@pytest.mark.parametrize("pace, cut_s", [(50, 2.0), (200, 0.6)])
def test_the_others_draw_on_and_nothing_is_given_twice(
    start_gateway: Callable[..., Gateway],
    database_url: str,
    own_redis: Redis,
    start_proxy: Callable[[int], Proxy],
    pace: float,
    cut_s: float,
) -> None:
    proxy = start_proxy(own_redis.port)
    shared = {
        "DATABASE_URL": database_url,
        "PENSTOCK_PEPPER": secrets.token_hex(32),
        "PENSTOCK_SECRET_KEY": secrets.token_hex(32),
    }
    two = [
        start_gateway(
            config=CONFIG % (0, "60s", "60s"), environment={**shared, "REDIS_URL": f"redis://127.0.0.1:{port}/0"}
        )
        for port in (own_redis.port, proxy.port)
    ]
    for gateway in two:
        until(lambda gateway=gateway: figure(gateway, "penstock_quota_replicas") == 2, "both are known")  # type: ignore[misc]
    key = two[0].new_key(rpm_limit=_LIMIT)
    crowd = run(two, key, lambda crowd: crowd.hammer(pace, 12, {cut_s: proxy.hang}))
    note(f"{crowd.admitted()} of {_LIMIT} admitted, {figure(two[1], 'penstock_quota_granted_alone_total'):.0f} alone")
    assert not crowd.others
    # Until the others have noticed they may draw what is left, so that less than all may be given.
    assert _LIMIT / 2 <= crowd.admitted() <= _LIMIT
