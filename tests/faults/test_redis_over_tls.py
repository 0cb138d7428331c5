"""Gateways that reach Redis over TLS: they share limits as over any connection, and tell a server that is not the right one nothing."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Gateway, at_once
from tests.faults.conftest import CONFIG
from tests.faults.hammer import Callers, again_after_an_outage, figure, run
from tests.faults.test_shared_gateways import never_over_in
from tests.integration.listener.certificates import Authority, needs_openssl
from tests.rig import until
from tests.servers.redis import MASTER_NAME, Redis, RedisCluster, RedisSentinel, Tls
from tests.stalls import Stopwatch

Start = Callable[..., Gateway]
_USER = "gateway"
_LIMIT = 60


class Secured:
    """A Redis with a user of its own for gateways. Tests look inside as another one, who needs no password."""

    def __init__(self, tls: Tls | None) -> None:
        self.password = secrets.token_hex(24)
        user = ["--user", _USER, "on", f">{self.password}", "~*", "&*", "+@all"]
        self.node = Redis(tls=tls, arguments=user)

    def url(self, host: str = "127.0.0.1", password: str = "") -> str:
        """`rediss://`, whatever the server takes."""
        return f"rediss://{_USER}:{password or self.password}@{host}:{self.node.port}/0"

    def is_told_the_password(self) -> bool:
        """Somebody has logged in, or has tried to."""
        with self.node.client() as client:
            found: Any = client.info("commandstats")
        return "cmdstat_auth" in found

    def users(self) -> set[str]:
        """Of the connections that are open."""
        with self.node.client() as client:
            return {str(one["user"]) for one in client.client_list()}

    def keys(self) -> int:
        """How many it has."""
        return int(self.node.command("DBSIZE"))


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Of the servers."""
    needs_openssl()
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def other_authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """One that has signed nothing."""
    needs_openssl()
    return Authority(tmp_path_factory.mktemp("other-authority"), "other-ca")


@pytest.fixture
def secured(authority: Authority) -> Iterator[Secured]:
    """A server that takes TLS connections only."""
    made = Secured(Tls(*authority.issue("redis"), authority.certificate))
    yield made
    made.node.close()


@pytest.fixture
def plain() -> Iterator[Secured]:
    """A server without TLS."""
    made = Secured(None)
    yield made
    made.node.close()


def _config(ca: Path | None, connect_timeout: str = "5s", more: str = "") -> str:
    trusted = "" if ca is None else f", ca_file: {ca}"
    redis = f"{{deadline: 500ms, connect_timeout: {connect_timeout}{trusted}{more}}}"
    return CONFIG % (0, "60s", "60s") + f"  redis: {redis}\n"


def _alone(gateway: Gateway) -> dict[str, Any] | None:
    """What it said when it gave Redis up."""
    lines = [line for line in gateway.process.output().splitlines() if '"quota.alone"' in line]
    return dict(json.loads(lines[0])) if lines else None


def _statuses(gateway: Gateway, key: str, count: int) -> list[int]:
    """Of calls one after the other."""

    async def in_turn(crowd: Callers) -> None:
        for number in range(count):
            await crowd.call(number)

    return [status for _, status in run([gateway], key, in_turn).answers]


@again_after_an_outage
def test_a_limit_is_one_limit_for_both(
    secured: Secured, database_url: str, authority: Authority, start_gateway: Start
) -> None:
    shared = {
        "DATABASE_URL": database_url,
        "REDIS_URL": secured.url(),
        "PENSTOCK_PEPPER": secrets.token_hex(32),
        "PENSTOCK_SECRET_KEY": secrets.token_hex(32),
    }
    start = partial(start_gateway, config=_config(authority.certificate), environment=shared)
    gateways = at_once(start, start)
    for gateway in gateways:
        until(lambda gateway=gateway: figure(gateway, "penstock_quota_replicas") == 2, "both are known")  # type: ignore[misc]
    key = gateways[0].new_key(rpm_limit=_LIMIT)

    async def work(crowd: Callers) -> None:
        await asyncio.gather(*(crowd.call(number) for number in range(2 * _LIMIT)))
        await crowd.use_up()

    watch = Stopwatch()
    crowd = run(gateways, key, work)
    never_over_in(watch.seconds, crowd.admitted(), _LIMIT)
    assert not crowd.others
    assert crowd.admitted() >= _LIMIT
    assert _USER in secured.users()
    assert secured.is_told_the_password(), "what the other tests look for is seen"
    for gateway in gateways:
        assert gateway.process.stop() == 0
        assert secured.password not in gateway.process.output()


@pytest.mark.parametrize(
    "trusts", ["another authority", "the system's authorities", "another name", "a wrong password"]
)
def test_a_server_that_is_not_the_right_one_is_named_and_not_used(
    secured: Secured, authority: Authority, other_authority: Authority, start_gateway: Start, trusts: str
) -> None:
    wrong = secrets.token_hex(24)
    ca, url, reason = {
        "another authority": (other_authority.certificate, secured.url(), "certificate verify failed"),
        "the system's authorities": (None, secured.url(), "certificate verify failed"),
        "another name": (authority.certificate, secured.url("127.0.0.2"), "IP address mismatch"),
        "a wrong password": (authority.certificate, secured.url(password=wrong), "invalid username-password pair"),
    }[trusts]
    gateway = start_gateway(config=_config(ca), environment={"REDIS_URL": url}, arguments=["--log-level", "debug"])
    said = until(lambda: _alone(gateway), "it says that it is alone")
    assert said is not None
    assert (said["level"], reason in said["reason"]) == ("error", True), said
    # Calls go on, and the limits of one gateway hold.
    assert _statuses(gateway, gateway.new_key(rpm_limit=2), 3) == [200, 200, 429]
    assert figure(gateway, "penstock_quota_shared") == 0
    assert secured.is_told_the_password() is (trusts == "a wrong password")
    assert secured.keys() == 0
    assert gateway.process.stop() == 0
    output = gateway.process.output()
    assert secured.password not in output
    assert wrong not in output


def test_a_server_without_tls_is_told_nothing(plain: Secured, authority: Authority, start_gateway: Start) -> None:
    # Such a server may wait for the rest of what it takes for a command, and say nothing.
    config = _config(authority.certificate, "1s")
    gateway = start_gateway(config=config, environment={"REDIS_URL": plain.url()})
    until(lambda: _alone(gateway), "it says that it is alone")
    assert _statuses(gateway, gateway.new_key(rpm_limit=2), 3) == [200, 200, 429]
    assert figure(gateway, "penstock_quota_shared") == 0
    assert not plain.is_told_the_password()
    assert plain.keys() == 0
    assert plain.password not in gateway.process.output()


def test_without_a_bundle_the_system_s_authorities_are_trusted(
    secured: Secured, authority: Authority, start_gateway: Start
) -> None:
    system = {"SSL_CERT_FILE": str(authority.certificate)}
    gateway = start_gateway(config=_config(None), environment={"REDIS_URL": secured.url(), **system})
    until(lambda: figure(gateway, "penstock_quota_shared") == 1, "limits are shared")


def test_with_a_bundle_the_system_s_authorities_are_not_trusted(
    secured: Secured, authority: Authority, other_authority: Authority, start_gateway: Start
) -> None:
    system = {"SSL_CERT_FILE": str(authority.certificate)}
    config = _config(other_authority.certificate)
    gateway = start_gateway(config=config, environment={"REDIS_URL": secured.url(), **system})
    # One way or the other, it has found out when it is ready.
    assert _alone(gateway) is not None, "it takes a server that does not chain to the bundle"
    assert figure(gateway, "penstock_quota_shared") == 0
    assert not secured.is_told_the_password()


@pytest.fixture(params=["cluster", "sentinel"])
def several(request: pytest.FixtureRequest, authority: Authority) -> Iterator[tuple[str, str]]:
    """An address and how it is written in `penstock.redis` that several servers, all of them with TLS only, are behind it."""
    tls = Tls(*authority.issue("several"), authority.certificate)
    if request.param == "cluster":
        cluster = RedisCluster(3, tls=tls)
        yield cluster.url, ", cluster: true"
        cluster.close()
    else:
        sentinel = RedisSentinel(tls=tls)
        host, port = sentinel.address
        yield "rediss://ignored", f", sentinel: {{service: {MASTER_NAME}, nodes: ['{host}:{port}']}}"
        sentinel.close()


@pytest.mark.parametrize("is_trusted", [True, False])
def test_a_cluster_and_a_sentinel_are_reached_over_tls(
    several: tuple[str, str], authority: Authority, other_authority: Authority, start_gateway: Start, is_trusted: bool
) -> None:
    url, more = several
    ca = (authority if is_trusted else other_authority).certificate
    gateway = start_gateway(config=_config(ca, more=more), environment={"REDIS_URL": url})
    if is_trusted:
        until(lambda: figure(gateway, "penstock_quota_shared") == 1, "limits are shared")
    else:
        said = until(lambda: _alone(gateway), "it says that it is alone")
        assert said is not None
        assert "certificate verify failed" in said["reason"], said
    assert _statuses(gateway, gateway.new_key(rpm_limit=2), 3) == [200, 200, 429]
    # On a busy machine it may be given up for a moment.
    until(lambda: figure(gateway, "penstock_quota_shared") == is_trusted, "it is as it was")
