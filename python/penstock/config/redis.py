"""Where Redis is and how it is used: environment, `penstock.redis` and LiteLLM's keys come to one set of settings.

Apart from the schema because five places may name an address and only here is it said which of them wins.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import msgspec

from penstock.config.env import Environment, redis_address
from penstock.config.problems import ConfigError, Problem
from penstock.config.schema import CacheParams, Config, RouterSettings
from penstock.config.secret import Secret

_SCHEMES = ("redis://", "rediss://", "unix://")


class RedisSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Fixed for the life of the process."""

    url: Secret
    """`redis://`, `rediss://` or `unix://`; with sentinels only login, database and TLS count."""
    is_cluster: bool = False
    nodes: tuple[tuple[str, int], ...] = ()
    """Host and port of nodes of the cluster beside the URL's, or of the sentinels."""
    service: str | None = None
    """Name of the master; None: there are no sentinels."""
    sentinel_password: Secret | None = None
    ca_file: str | None = None
    deadline_ms: int = 50
    """One round trip on the path of a call."""
    connect_timeout_ms: int = 1_000
    max_connections: int = 16
    expected_replicas: int = 1
    local_share_ms: int = 60_000
    """How long the replica's share of a limit holds without Redis."""
    when_gone: Literal["fail_open", "local_share", "fail_closed"] = "fail_closed"


def redis_settings(config: Config, environment: Environment) -> RedisSettings | None:
    """None: there is no Redis, and limits are kept in the process.

    Raises:
        ConfigError: the address or the combination cannot be used.
    """
    own, cache = config.penstock.redis, config.litellm_settings.cache_params
    pairs = _sentinel_pairs(cache)
    if own.sentinel is not None:
        service, nodes, password = own.sentinel.service, _addresses(own.sentinel.nodes), own.sentinel.password
    elif cache.service_name and pairs:
        service, nodes, password = cache.service_name, pairs, cache.sentinel_password
    else:
        service, password = None, None
        nodes = _addresses(own.cluster_nodes) or tuple((node.host, node.port) for node in cache.redis_startup_nodes)
    url = environment.redis_url or own.url or _of_router(config.router_settings) or _of_cache(cache, nodes)
    if url is None:
        return None
    if not url.reveal().startswith(_SCHEMES):
        raise _refused("penstock.redis.url", "the address of Redis must start with redis://, rediss:// or unix://")
    is_cluster = own.cluster or (service is None and bool(nodes))
    if is_cluster and service is not None:
        raise _refused("penstock.redis.cluster", "is not used together with sentinels: take one of them out")
    defaults = RedisSettings(url=url)
    return RedisSettings(
        url=url,
        is_cluster=is_cluster,
        nodes=nodes,
        service=service,
        sentinel_password=password,
        ca_file=own.ca_file,
        deadline_ms=own.deadline or defaults.deadline_ms,
        connect_timeout_ms=own.connect_timeout or defaults.connect_timeout_ms,
        max_connections=own.max_connections or defaults.max_connections,
        expected_replicas=own.expected_replicas or defaults.expected_replicas,
        local_share_ms=defaults.local_share_ms if own.local_share_for is None else own.local_share_for,
        when_gone=own.when_gone,
    )


def _of_router(router: RouterSettings) -> Secret | None:
    if router.redis_url is not None or router.redis_host is None:
        return router.redis_url
    return redis_address(
        router.redis_host,
        router.redis_port,
        router.redis_username,
        _text(router.redis_password),
        database=router.redis_db,
        is_tls=router.redis_ssl,
    )


def _of_cache(cache: CacheParams, nodes: tuple[tuple[str, int], ...]) -> Secret | None:
    if cache.url is not None or (cache.host is None and not nodes):
        return cache.url
    host, port = (cache.host, cache.port) if cache.host is not None else nodes[0]
    return redis_address(host, port, cache.username, _text(cache.password), database=cache.db, is_tls=cache.ssl)


def _sentinel_pairs(cache: CacheParams) -> tuple[tuple[str, int], ...]:
    pairs = []
    for pair in cache.sentinel_nodes:
        if len(pair) != 2 or not pair[1].isdigit():
            raise _refused("litellm_settings.cache_params.sentinel_nodes", "must be a list of [host, port]")
        pairs.append((pair[0], int(pair[1])))
    return tuple(pairs)


def _addresses(nodes: Sequence[str]) -> tuple[tuple[str, int], ...]:
    split = (node.rpartition(":") for node in nodes)
    return tuple((host.strip("[]"), int(port)) for host, _, port in split)


def _text(secret: Secret | None) -> str | None:
    return None if secret is None else secret.reveal()


def _refused(path: str, message: str) -> ConfigError:
    return ConfigError([Problem(severity="error", path=path, message=message)])
