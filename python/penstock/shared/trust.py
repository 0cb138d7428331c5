"""Whom a connection to Redis trusts: what chains to the bundle that is named, and nothing else.

Apart from the client because redis-py adds a bundle to the system's roots, so that whoever has a certificate of any public
authority would be taken for the server. It is imported with the client, when Redis is used.
"""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Any

from redis.asyncio.connection import RedisSSLContext, SSLConnection
from redis.asyncio.sentinel import SentinelManagedConnection, SentinelManagedSSLConnection

if TYPE_CHECKING:
    from redis.asyncio import Redis, RedisCluster


class _Bundle(RedisSSLContext):
    """Everything else as redis-py has it."""

    __slots__ = ()

    def get(self) -> ssl.SSLContext:
        """The context of a connection."""
        if self.context is None:
            context = ssl.create_default_context(cafile=self.ca_certs, capath=self.ca_path, cadata=self.ca_data)
            context.check_hostname = self.check_hostname
            context.verify_mode = self.cert_reqs
            for flag in self.include_verify_flags or ():
                context.verify_flags |= flag
            for flag in self.exclude_verify_flags or ():
                context.verify_flags &= ~flag
            if self.certfile is not None:
                context.load_cert_chain(self.certfile, self.keyfile, self.password)
            if self.min_version is not None:
                context.minimum_version = self.min_version
            if self.ciphers is not None:
                context.set_ciphers(self.ciphers)
            self.context = context
        return self.context


class _Trusting(SSLConnection):
    """Without a bundle the system's roots are trusted, here as there."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        found = self.ssl_context
        settings = {name: getattr(found, name) for name in RedisSSLContext.__slots__ if name != "context"}
        self.ssl_context = _Bundle(**settings)


class _ManagedTrusting(SentinelManagedConnection, _Trusting):
    """To the server that sentinels name."""


_CLASSES: dict[type, type] = {SSLConnection: _Trusting, SentinelManagedSSLConnection: _ManagedTrusting}


def trust_the_bundle(client: Redis) -> None:
    """For the connections that a client makes from now on, if they are of TLS."""
    pool = client.connection_pool
    pool.connection_class = _CLASSES.get(pool.connection_class, pool.connection_class)


def trust_the_bundle_in(cluster: RedisCluster) -> None:
    """The same for all nodes, also those that are found later."""
    nodes: Any = cluster.nodes_manager
    for options in (cluster.connection_kwargs, nodes.connection_kwargs):
        options["connection_class"] = _CLASSES.get(options["connection_class"], options["connection_class"])
    for node in nodes.startup_nodes.values():
        node.connection_class = _CLASSES.get(node.connection_class, node.connection_class)
