"""How one process runs: what the flags of `penstock serve`, the environment, the configuration and the defaults come to.

Apart from the configuration, which says what the gateway does; this says where and with what it does it. The order
of precedence is flag, environment, configuration file, default.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import msgspec

from penstock.config import load_or_raise
from penstock.config.env import Environment
from penstock.config.problems import Problem
from penstock.config.schema import Config
from penstock.config.values import first as _first

Listener = Literal["native", "granian"]

DEFAULT_HOST = "127.0.0.1"
DEFAULT_PORT = 4000
DEFAULT_DATA_DIR = Path(".penstock")
DEFAULT_GRACE_MS = 25_000


class Flags(msgspec.Struct, frozen=True, kw_only=True):
    """What the command line said; None: nothing."""

    config: Path | None = None
    host: str | None = None
    port: int | None = None
    threads: int | None = None
    data_dir: Path | None = None
    log_level: str | None = None
    listener: Listener = "granian"
    show_key: bool = False
    banner: bool = False


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Fixed for the life of the process."""

    data_dir: Path
    """Holds the database and the generated secrets; created with mode 0700."""
    config: Path | None = None
    """The configuration file; None: the built-in demo and whatever provider keys the environment has."""
    host: str = DEFAULT_HOST
    port: int = DEFAULT_PORT
    """TCP port of the public listener; 0 picks a free one."""
    threads: int = 1
    """Data-plane threads."""
    listener: Listener = "granian"
    """Who owns the public port: the data plane (`native`), or the ASGI server that runs the app (`granian`)."""
    control_socket: Path | None = None
    """Unix socket on which the ASGI server answers what the data plane relays; only with `native`."""
    log_level: str = "info"
    show_key: bool = False
    """Print the master key at start even when it was generated earlier."""
    banner: bool = False
    """Print the address and a command to try, for people at a terminal."""
    shutdown_delay_ms: int = 0
    """How long calls are taken after the first signal to stop."""
    grace_ms: int = DEFAULT_GRACE_MS
    """How long calls in flight may go on after that; below the 30 s after which orchestrators kill."""


class Prepared(msgspec.Struct, frozen=True):
    """Everything an app is made from, read and checked."""

    settings: Settings
    config: Config
    environment: Environment
    """With the configuration's `environment_variables`."""
    warnings: list[Problem]
    outside: Environment
    """Without them: what a later reading of the configuration starts from."""


def prepare(flags: Flags, environment: Environment) -> Prepared:
    """Read the configuration and settle what the process runs with.

    Raises:
        ConfigError: the configuration or a variable cannot be used; carries every problem.
    """
    path = flags.config or environment.config
    outside, loaded = environment, load_or_raise(path, environment)
    config, environment = loaded.config, loaded.environment
    own, listener = config.penstock, config.penstock.listener
    settings = Settings(
        config=path,
        data_dir=flags.data_dir or environment.data_dir or Path(own.data_dir or DEFAULT_DATA_DIR),
        host=flags.host or environment.host or listener.host or DEFAULT_HOST,
        port=_first(flags.port, environment.port, listener.port, DEFAULT_PORT),
        threads=_first(flags.threads, environment.threads, listener.threads, 1),
        log_level=flags.log_level or environment.log_level or own.log_level or "info",
        listener=flags.listener,
        show_key=flags.show_key,
        banner=flags.banner,
        shutdown_delay_ms=_first(listener.shutdown_delay, 0),
        grace_ms=_first(listener.grace, DEFAULT_GRACE_MS),
    )
    return Prepared(settings, config, environment, loaded.problems, outside)
