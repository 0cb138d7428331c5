"""Which database, and its bounds: from the configuration, the environment and the defaults.

Apart from `penstock.persistence`, which opens it, because an address is checked when a configuration is. PostgreSQL's is in
libpq's form, with the parameters that Prisma and pgbouncer made common.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import msgspec

from penstock.config.env import Environment
from penstock.config.problems import ConfigError, Problem
from penstock.config.schema import Config
from penstock.config.secret import Secret

DEFAULT_POOL_SIZE: Final = 10
DEFAULT_WAIT_MS: Final = 5_000
DEFAULT_STATEMENT_MS: Final = 10_000
_SMALLEST_POOL = 2
_FILE_NAME = "penstock.db"
_SQLITE = "sqlite:///"
_FORMS = "write `postgresql://user:password@host/database` or `sqlite:///path/to/penstock.db`"
_SCHEMES = ("postgresql", "postgres")
_TRUE = frozenset({"1", "true", "yes", "on"})
_NO_EFFECT = frozenset({"socket_timeout", "statement_cache_size", "sslaccept", "sslidentity", "connect_timeout"})
"""Of other clients; sent to the server they would be refused."""


class PostgresAddress(msgspec.Struct, frozen=True, kw_only=True):
    """A checked address."""

    dsn: Secret
    """What is given to the driver: hosts, user, password, database, TLS (`sslmode`, `sslrootcert`, ...)."""
    shown: str
    """Hosts and database, for messages."""
    is_pooled: bool = False
    """`pgbouncer=true`: a pooler gives each transaction another server, so nothing may be kept on a connection."""
    connections: int | None = None
    """`connection_limit`."""
    wait_s: float | None = None
    """`pool_timeout`, seconds."""
    schema: str | None = None
    """Where the tables are when not in the user's search path."""


def _is_postgres(url: str) -> bool:
    """It is for this store."""
    return url.partition(":")[0] in _SCHEMES


def postgres_address(url: str) -> PostgresAddress:
    """Read an address.

    Raises:
        ValueError: it cannot be used; the message does not repeat it.
    """
    try:
        parts = urlsplit(url)
        query = dict(parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query)))
    except ValueError as error:
        raise ValueError("is not an address: write `postgresql://user:password@host:port/database`") from error
    if parts.scheme not in _SCHEMES:
        raise ValueError("must begin with `postgresql://`")
    if parts.fragment:
        raise ValueError("has a `#`: write it as `%23` in the password")
    hosts = parts.netloc.rpartition("@")[2] or query.get("host", "")
    for host in parts.netloc.rpartition("@")[2].split(","):
        port = host.rpartition("]")[2].partition(":")[2]
        if port and not (port.isascii() and port.isdigit() and int(port) < 65_536):
            raise ValueError("has a port that is none: write special characters of the password as `%xx`")
    limit = _number(query.pop("connection_limit", None), "connection_limit")
    wait = _number(query.pop("pool_timeout", None), "pool_timeout")
    is_pooled = query.pop("pgbouncer", "").lower() in _TRUE
    schema = query.pop("schema", None)
    for name in _NO_EFFECT:
        query.pop(name, None)
    # A node that refuses writes is never the right one.
    query["target_session_attrs"] = "read-write"
    dsn = urlunsplit((parts.scheme, parts.netloc, parts.path, urlencode(query), ""))
    return PostgresAddress(
        dsn=Secret(dsn),
        shown=f"postgresql://{hosts}{parts.path}",
        is_pooled=is_pooled,
        connections=None if limit is None else max(1, limit),
        wait_s=None if not wait else float(wait),
        schema=schema or None,
    )


def _number(text: str | None, name: str) -> int | None:
    if text is None:
        return None
    if not (text.isascii() and text.isdigit()):
        raise ValueError(f"has a `{name}` that is not a whole number")
    return int(text)


class DatabaseSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Where the state is."""

    target: Path | PostgresAddress
    """A SQLite file, or a PostgreSQL server."""
    pool_size: int = DEFAULT_POOL_SIZE
    """Connections to a server at most."""
    wait_ms: int = DEFAULT_WAIT_MS
    """How long a caller waits for one."""
    statement_ms: int = DEFAULT_STATEMENT_MS
    """How long a statement may take on a server."""

    @property
    def place(self) -> str:
        """For messages; without user and password."""
        return str(self.target) if isinstance(self.target, Path) else self.target.shown


def database_settings(
    config: Config, environment: Environment, data_dir: Path, url: str | None = None
) -> DatabaseSettings:
    """What is configured; ``url`` goes before it. Without an address it is a file in the data directory.

    Raises:
        ConfigError: the address cannot be used.
    """
    general, own = config.general_settings, config.penstock.database
    configured = general.database_url or environment.database_url
    address = url or (None if configured is None else configured.reveal())
    try:
        target = data_dir / _FILE_NAME if address is None else target_of(address)
    except ValueError as error:
        raise ConfigError([Problem(severity="error", path="database_url", message=str(error))]) from error
    size: int | None = own.pool_size or general.database_connection_pool_limit
    wait_ms: int | None = own.wait or general.database_connection_timeout
    if isinstance(target, PostgresAddress):
        size = size or target.connections
        wait_ms = wait_ms or (None if target.wait_s is None else int(target.wait_s * 1000))
    return DatabaseSettings(
        target=target,
        pool_size=max(_SMALLEST_POOL, size or DEFAULT_POOL_SIZE),
        wait_ms=wait_ms or DEFAULT_WAIT_MS,
        statement_ms=own.deadline or DEFAULT_STATEMENT_MS,
    )


def target_of(url: str) -> Path | PostgresAddress:
    """What an address names.

    Raises:
        ValueError: it cannot be used; the message does not repeat it.
    """
    if _is_postgres(url):
        return postgres_address(url)
    if not url.startswith(_SQLITE) or url == _SQLITE:
        raise ValueError(f"names neither PostgreSQL nor SQLite: {_FORMS}")
    # As everywhere: three slashes before a relative path, four before an absolute one.
    return Path(url.removeprefix(_SQLITE))
