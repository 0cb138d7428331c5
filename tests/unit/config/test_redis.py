"""Where Redis is, whoever says it."""

from __future__ import annotations

import pytest

from penstock.config import ConfigError
from penstock.config.env import Environment
from penstock.config.loader import load_text
from penstock.config.redis import RedisSettings, redis_settings


def read(text: str, **variables: str) -> RedisSettings | None:
    loaded = load_text(text, "c.yaml", Environment(variables))
    return redis_settings(loaded.config, loaded.environment)


def address(text: str, **variables: str) -> str | None:
    found = read(text, **variables)
    return None if found is None else found.url.reveal()


_OWN = "penstock: {redis: {url: 'redis://own'}}\n"
_ROUTER = "router_settings: {redis_host: router, redis_port: 1, redis_password: p@ss, redis_db: 2, redis_ssl: true}\n"
_CACHE = "litellm_settings: {cache_params: {type: redis, host: cache, username: me, password: x}}\n"


def test_without_an_address_there_is_no_redis() -> None:
    assert read("model_list: []\n") is None


@pytest.mark.parametrize(
    "text, variables, expected",
    [
        (_OWN, {"REDIS_URL": "redis://env", "REDIS_HOST": "host"}, "redis://env"),
        (_OWN, {"REDIS_HOST": "::1", "REDIS_PORT": "7", "REDIS_SSL": "true"}, "rediss://[::1]:7"),
        (_OWN, {"REDIS_HOST": "h", "REDIS_USERNAME": "u", "REDIS_PASSWORD": "p:@"}, "redis://u:p%3A%40@h:6379"),
        (_OWN + _ROUTER + _CACHE, {}, "redis://own"),
        (_ROUTER + _CACHE, {}, "rediss://:p%40ss@router:1/2"),
        (_CACHE, {}, "redis://me:x@cache:6379"),
    ],
)
def test_the_first_that_says_it_wins(text: str, variables: dict[str, str], expected: str) -> None:
    assert address(text, **variables) == expected


def test_sentinels_and_clusters_in_both_schemas() -> None:
    own = read(
        "penstock: {redis: {url: 'redis://:pw@ignored', sentinel: {service: m, nodes: ['s1:26379', '[::1]:2']}}}\n"
    )
    assert own is not None
    assert (own.service, own.nodes, own.is_cluster) == ("m", (("s1", 26379), ("::1", 2)), False)
    theirs = read(
        "litellm_settings: {cache_params: {service_name: m, sentinel_nodes: [[s1, 26379]], sentinel_password: x}}\n"
    )
    assert theirs is not None
    assert (theirs.service, theirs.nodes) == ("m", (("s1", 26379),))
    cluster = read("litellm_settings: {cache_params: {redis_startup_nodes: [{host: a, port: 1}, {host: b}]}}\n")
    assert cluster is not None
    assert (cluster.is_cluster, cluster.url.reveal(), cluster.nodes) == (True, "redis://a:1", (("a", 1), ("b", 6379)))


@pytest.mark.parametrize(
    "text, path",
    [
        ("penstock: {redis: {url: 'http://own'}}\n", "penstock.redis.url"),
        (
            "penstock: {redis: {url: 'redis://h', cluster: true, sentinel: {service: m, nodes: ['s:1']}}}\n",
            "penstock.redis.cluster",
        ),
        (
            "litellm_settings: {cache_params: {service_name: m, sentinel_nodes: [[s1]]}}\n",
            "litellm_settings.cache_params.sentinel_nodes",
        ),
    ],
)
def test_what_cannot_be_used_is_refused_with_its_field(text: str, path: str) -> None:
    with pytest.raises(ConfigError) as refused:
        read(text)
    assert [problem.path for problem in refused.value.problems] == [path]
    # The checker says it too.
    assert path in [problem.path for problem in load_text(text, "c.yaml", Environment({})).problems]


def test_the_section_is_strict_and_has_its_own_times() -> None:
    found = read(
        "penstock: {redis: {url: 'redis://h', deadline: 20ms, local_share_for: 0, when_gone: fail_open, expected_replicas: 3}}\n"
    )
    assert found is not None
    assert (found.deadline_ms, found.local_share_ms, found.when_gone, found.expected_replicas) == (
        20,
        0,
        "fail_open",
        3,
    )
    problems = load_text("penstock: {redis: {sentinel: {service: m, nodes: [s1]}}}\n", "c", Environment({})).problems
    assert any("host:port" in problem.message for problem in problems)
