"""`penstock serve`: Granian, the app and the data plane in one process and one event loop.

Signals: the first drains (readiness goes 503, after `shutdown_delay` the port is closed, calls in flight finish, usage is
written), the second cuts what is left, the third ends the process as it is. SIGHUP reads the configuration and the TLS files
again.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import socket
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import click
import msgspec

from penstock import logs
from penstock.cli import descriptors
from penstock.cli.failure import explained
from penstock.config.env import Environment
from penstock.config.problems import describe
from penstock.engine import background
from penstock.settings import Flags, Prepared, prepare

if TYPE_CHECKING:
    from granian.server.embed import Server
    from litestar import Litestar

    from penstock.engine.runtime import Runtime

logger = logging.getLogger("penstock")

_IMMEDIATE_EXIT = 130
_PORT_INTERVAL_S = 0.01


def run(flags: Flags, workers: int) -> None:
    """Serve until a signal to stop."""
    if workers > 1:
        raise click.ClickException(
            "--workers above 1 needs a shared store: limits, budgets and the key table are kept per process. "
            "Use --threads for more cores; the data plane scales with threads."
        )
    with explained():
        prepared = prepare(flags, Environment())
        logs.configure(prepared.settings.log_level)
        for problem in prepared.warnings:
            logger.warning("configuration", extra={"event": "config", "problem": describe(problem)})
        descriptors.provide(prepared.config.penstock.listener.max_connections)
        _run(prepared)


def _run(prepared: Prepared) -> None:
    import uvloop

    prepared.settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="penstock-") as private:
        if prepared.settings.listener == "native":
            # A short path: the kernel bounds the path of a unix socket to 107 bytes. The directory's mode is 0700.
            control = Path(private) / "control.sock"
            prepared = msgspec.structs.replace(
                prepared, settings=msgspec.structs.replace(prepared.settings, control_socket=control)
            )
        else:
            settings = prepared.settings
            try:
                port = _usable_port(settings.host, settings.port)
            except OSError as error:
                raise OSError(f"cannot listen on {settings.host}:{settings.port}: {error.strerror}") from error
            settings = msgspec.structs.replace(settings, port=port)
            prepared = msgspec.structs.replace(prepared, settings=settings)
        uvloop.run(_serve(prepared))


def _usable_port(host: str, port: int) -> int:
    """The port that Granian will get: it neither tells which one it chose for 0 nor says plainly that one is taken.

    Raises:
        OSError: it cannot be bound.
    """
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    with socket.socket(family, kind, protocol) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(address)
        return int(probe.getsockname()[1])


async def _serve(prepared: Prepared) -> None:
    from penstock.app import create_app
    from penstock.engine.runtime import Runtime

    runtime = await Runtime.open(prepared)
    try:
        # Before the server, so that a port in use is a plain message; what is relayed meanwhile waits for the socket.
        await runtime.start()
        server = _server(create_app(runtime), prepared)
        signals = _Signals(runtime, server)
        signals.install()
        # What exists now lives as long as the process; the collector need not look at it again.
        gc.collect()
        gc.freeze()
        announcing = background.start(_announce(runtime), "announce")
        await server.serve()
        announcing.cancel()
        await signals.finished()
    finally:
        await runtime.close()
    if signals.is_immediate:
        raise SystemExit(_IMMEDIATE_EXIT)


async def _announce(runtime: Runtime) -> None:
    from penstock.cli.banner import show

    await runtime.ready.wait()
    if runtime.settings.listener == "granian":
        await _until_open(urlsplit(runtime.address).hostname, runtime.port)
    runtime.announce()
    if runtime.settings.banner:
        try:
            show(runtime)
        except OSError as error:
            # Whoever started it closed the output; calls are served all the same.
            logger.warning("the banner cannot be shown", extra={"event": "banner", "reason": str(error)})


async def _until_open(host: str | None, port: int) -> None:
    """Wait for the port, which Granian opens some time after the app is ready and does not tell."""
    while True:
        try:
            _, writer = await asyncio.open_connection(host, port)
        except OSError:
            await asyncio.sleep(_PORT_INTERVAL_S)
        else:
            writer.close()
            return


def _server(app: Litestar, prepared: Prepared) -> Server:
    from granian.constants import HTTPModes, Interfaces
    from granian.log import LogLevels
    from granian.server.embed import Server

    settings = prepared.settings
    level = LogLevels.debug if settings.log_level == "debug" else LogLevels.error
    tls = prepared.config.penstock.listener.tls if settings.control_socket is None else None
    server = Server(
        app,
        address=settings.host,
        port=settings.port,
        uds=settings.control_socket,
        interface=Interfaces.ASGI,
        http=HTTPModes.auto,
        backlog=1024,
        backpressure=4096,
        log_level=level,
        log_dictconfig=logs.granian_config(),
        ssl_cert=Path(tls.certificate) if tls is not None else None,
        ssl_key=Path(tls.key) if tls is not None else None,
        ssl_ca=Path(tls.client_ca) if tls is not None and tls.client_ca is not None else None,
        ssl_client_verify=tls is not None and tls.client_ca is not None,
    )
    server.uds_permissions = 0o600
    return server


class _Signals:
    """From signals to the states of shutting down."""

    def __init__(self, runtime: Runtime, server: Server) -> None:
        self._runtime = runtime
        self._server = server
        self._count = 0
        self._second = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._reloading: asyncio.Task[None] | None = None

    @property
    def is_immediate(self) -> bool:
        """A second signal came."""
        return self._count > 1

    def install(self) -> None:
        """Take SIGTERM, SIGINT and SIGHUP on the running loop."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._received)
        loop.add_signal_handler(signal.SIGHUP, self._reload)

    async def finished(self) -> None:
        """Wait until a drain that was begun is over."""
        if self._task is not None:
            await asyncio.gather(self._task, return_exceptions=True)

    def _received(self) -> None:
        self._count += 1
        if self._count == 1:
            self._task = background.start(self._shut_down(), "shutdown")
        elif self._count == 2:
            logger.warning("second signal: cutting calls in flight", extra={"event": "cut"})
            self._second.set()
            self._runtime.cut()
        else:
            os._exit(_IMMEDIATE_EXIT)

    def _reload(self) -> None:
        self._runtime.certificates.reload()
        # One at a time, and the last signal's reading is the one that stays.
        before = self._reloading
        self._reloading = background.start(self._reload_after(before), "reload")

    async def _reload_after(self, before: asyncio.Task[None] | None) -> None:
        if before is not None:
            await asyncio.gather(before, return_exceptions=True)
        await self._runtime.reload()

    async def _be_left(self) -> None:
        """Take calls for a while in which load balancers find out that they should go elsewhere."""
        delay_ms = self._runtime.settings.shutdown_delay_ms
        if not delay_ms or not self._runtime.is_ready:
            return
        self._runtime.readiness.end()
        logger.info("leaving", extra={"event": "leaving", "delay_ms": delay_ms})
        with suppress(TimeoutError):
            await asyncio.wait_for(self._second.wait(), delay_ms / 1000)

    async def _shut_down(self) -> None:
        try:
            await self._be_left()
            # The control plane keeps answering while calls finish; only then does Granian stop.
            await self._runtime.drain(self._runtime.settings.grace_ms)
        finally:
            # What Granian's own `stop` does, which has no types. A drain that failed must not keep the process alive.
            self._server.interrupt_signal = True
            self._server.main_loop_interrupt.set()
