"""The connection to Redis: standalone, TLS, Cluster or Sentinel behind one client, with deadlines and one error type.

Apart from its users because what may go wrong outside is the same for all of them: nothing here retries, and everything
that is not the caller's mistake is :class:`SharedUnavailable`. Broken connections are opened anew by the next command.
"""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeVar

from penstock.config.redis import RedisSettings
from penstock.shared.patience import patience

if TYPE_CHECKING:
    from redis.asyncio import Redis, RedisCluster

    from penstock.shared.sentinels import AskedSentinel

T = TypeVar("T")
PREFIX: Final = "penstock"
STREAM_DEADLINE_S: Final = 5.0
"""For work that no call waits for."""
_OUTSIDE: Final = ("LOADING", "MASTERDOWN", "CLUSTERDOWN", "TRYAGAIN", "MISCONF", "NOREPLICAS", "BUSY ", "UNKILLABLE")
"""What error replies begin with that say something about the server and not about the command."""


class SharedUnavailable(Exception):
    """Redis cannot be asked now: unreachable, too slow, loading, read-only, out of memory or not letting us in."""


class SharedTooSlow(SharedUnavailable):
    """There was no answer within the deadline."""


class SharedRedis:
    """A pool of connections. Create it with :func:`connect`."""

    def __init__(
        self, client: Redis | RedisCluster, settings: RedisSettings, *, sentinels: Sequence[AskedSentinel] = ()
    ) -> None:
        self.client: Any = client
        """A `redis.asyncio` client that answers with bytes; its awaitables go through :meth:`run`."""
        self._sentinels = sentinels
        self.settings = settings
        self.is_cluster = settings.is_cluster
        self.deadline_s = settings.deadline_ms / 1000
        self.connect_timeout_s = settings.connect_timeout_ms / 1000

    @staticmethod
    def key(*parts: str, tag: str | None = None) -> str:
        """`penstock:{tag}:part:part`. Keys of one tag are in one slot of a cluster, as scripts need them."""
        # A brace inside would end the hash tag early.
        named = "" if tag is None else "{" + tag.replace("{", "(").replace("}", ")") + "}:"
        return f"{PREFIX}:{named}{':'.join(parts)}"

    async def run(self, work: Awaitable[T], deadline_s: float = 0.05) -> T:
        """Await a command or pipeline for at most ``deadline_s`` seconds, waiting for a connection included. Time in which this
        process stood still when they were over does not count (:mod:`penstock.shared.patience`).

        Whether a command that ran out of time took effect is not known.

        Raises:
            SharedUnavailable: for every reason that lies outside of this process.
            redis.exceptions.RedisError: the command itself is wrong.
        """
        from redis.exceptions import RedisClusterException, RedisError

        try:
            async with patience(deadline_s):
                return await work
        except TimeoutError as error:
            raise SharedTooSlow(f"no answer within {deadline_s * 1000:.0f} ms") from error
        except (RedisError, RedisClusterException, OSError) as error:
            reason = outside_reason(error)
            if reason is None:
                raise
            raise SharedUnavailable(self._in_detail(reason)) from error

    def _in_detail(self, reason: str) -> str:
        """What sentinels said, if it is they that could not be asked."""
        told = dict.fromkeys(one.reason for one in self._sentinels if one.reason)
        return "; ".join([reason, *told]) if reason.startswith("MasterNotFoundError") else reason

    async def ping(self) -> None:
        """Open a connection if there is none, with the time that TLS and a login take.

        Raises:
            SharedUnavailable: there is no way to the server.
        """
        await self.run(self.client.ping(), self.connect_timeout_s)

    async def close(self) -> None:
        """Close all connections. Idempotent."""
        await self.client.aclose()
        for sentinel in self._sentinels:
            await sentinel.aclose()


def outside_reason(error: Exception) -> str | None:
    """Why Redis cannot be asked, when that is what an error (or an error reply in a pipeline) says."""
    from redis import exceptions

    always = (
        exceptions.ConnectionError,
        exceptions.TimeoutError,
        OSError,
        exceptions.ReadOnlyError,
        exceptions.OutOfMemoryError,
        exceptions.NoPermissionError,
        exceptions.ClusterError,
        exceptions.RedisClusterException,
        exceptions.AskError,
        exceptions.TryAgainError,
    )
    if isinstance(error, always) or str(error).startswith(_OUTSIDE):
        return f"{type(error).__name__}: {error}"
    return None


async def connect(settings: RedisSettings) -> SharedRedis:
    """A client of the server, cluster or sentinels of ``settings``. It connects when it is first used, so that a gateway
    starts without Redis and finds it later.
    """
    from redis.asyncio.connection import parse_url

    # redis-py's own `socket_timeout` stays off: commands that block on purpose have their deadlines from `run`.
    options: dict[str, Any] = dict(parse_url(settings.url.reveal()))
    options |= {
        "socket_timeout": None,
        "socket_connect_timeout": settings.connect_timeout_ms / 1000,
        "socket_keepalive": True,
        "protocol": 2,
        "driver_info": None,
    }
    is_tls = "SSL" in getattr(options.pop("connection_class", None), "__name__", "")
    if is_tls and settings.ca_file is not None:
        options["ssl_ca_certs"] = settings.ca_file
    if settings.service is not None:
        return _watched(settings, settings.service, options, is_tls=is_tls)
    if settings.is_cluster:
        return SharedRedis(_cluster(settings, options, is_tls=is_tls), settings)
    return SharedRedis(_standalone(settings, options, is_tls=is_tls), settings)


def _standalone(settings: RedisSettings, options: dict[str, Any], *, is_tls: bool) -> Redis:
    from redis.asyncio import BlockingConnectionPool, Connection, Redis, SSLConnection, UnixDomainSocketConnection

    from penstock.shared.trust import trust_the_bundle

    kind: Any = SSLConnection if is_tls else Connection
    if "path" in options:
        kind = UnixDomainSocketConnection
        options = {name: value for name, value in options.items() if name != "socket_keepalive"}
    pool = BlockingConnectionPool(
        max_connections=settings.max_connections,
        timeout=STREAM_DEADLINE_S,
        connection_class=kind,
        retry=_retry(0),
        **options,
    )
    client: Redis = Redis.from_pool(pool)
    trust_the_bundle(client)
    return client


def _cluster(settings: RedisSettings, options: dict[str, Any], *, is_tls: bool) -> RedisCluster:
    from redis.asyncio import RedisCluster
    from redis.asyncio.cluster import ClusterNode

    from penstock.shared.trust import trust_the_bundle_in

    if is_tls:
        options["ssl"] = True
    own = (str(options.pop("host", "localhost")), int(options.pop("port", 6379)))
    nodes = dict.fromkeys([own, *settings.nodes])
    cluster = RedisCluster(
        startup_nodes=[ClusterNode(host, port) for host, port in nodes],
        max_connections=settings.max_connections,
        # One more try after a redirection or a lost node, within the caller's deadline.
        retry=_retry(1),
        require_full_coverage=False,
        **options,
    )
    trust_the_bundle_in(cluster)
    return cluster


def _watched(settings: RedisSettings, service: str, options: dict[str, Any], *, is_tls: bool) -> SharedRedis:
    from redis.asyncio import Redis
    from redis.asyncio.sentinel import Sentinel

    from penstock.shared.sentinels import AskedSentinel
    from penstock.shared.trust import trust_the_bundle

    for name in ("host", "port", "path"):
        options.pop(name, None)
    timeout = options["socket_connect_timeout"]
    asked: dict[str, Any] = {"socket_timeout": timeout, "socket_connect_timeout": timeout}
    if is_tls:
        options["ssl"] = True
        asked |= {"ssl": True, "ssl_ca_certs": settings.ca_file}
    if settings.sentinel_password is not None:
        asked["password"] = settings.sentinel_password.reveal()
    # Its constructor has no types.
    sentinel: Any = Sentinel([])  # type: ignore[no-untyped-call]
    sentinel.sentinels = [AskedSentinel(host=host, port=port, **asked) for host, port in settings.nodes]
    master: Redis = sentinel.master_for(
        service, Redis, max_connections=settings.max_connections, retry=_retry(0), **options
    )
    for client in (master, *sentinel.sentinels):
        trust_the_bundle(client)
    return SharedRedis(master, settings, sentinels=sentinel.sentinels)


def _retry(times: int) -> Any:
    from redis.asyncio.retry import Retry
    from redis.backoff import NoBackoff

    return Retry(NoBackoff(), times)
