"""Saying that the public port answers, once it does.

Apart from the runtime because with the second door somebody else opens the port, and does not say when.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from penstock import __version__
from penstock.cores import available_cores
from penstock.engine import background

if TYPE_CHECKING:
    from penstock.engine.runtime import Runtime

logger = logging.getLogger("penstock")

_PROBE_INTERVAL_S = 0.002


class Announcer:
    """One per process."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._task: asyncio.Task[None] | None = None
        self._is_over = False

    def announce_when_reachable(self) -> None:
        """:meth:`announce` as soon as the control plane's socket answers; the ASGI server opens it after the app's start."""
        socket = self._runtime.settings.control_socket
        if socket is None:
            self.announce()
        elif self._task is None:
            self._task = background.start(self._when_reachable(str(socket)), "announce")

    async def _when_reachable(self, path: str) -> None:
        while not self._is_over:
            try:
                _, writer = await asyncio.open_unix_connection(path)
            except (ConnectionError, FileNotFoundError):
                await asyncio.sleep(_PROBE_INTERVAL_S)
                continue
            writer.close()
            if not self._is_over:
                self.announce()
            return

    def announce(self) -> None:
        """Say it now."""
        runtime = self._runtime
        threads, cores = runtime.settings.threads, available_cores()
        more = {"advice": f"--threads {cores} would use every core"} if threads < cores else {}
        logger.info(
            "listening",
            extra={
                "event": "ready",
                "address": runtime.address,
                "port": runtime.port,
                "listener": runtime.settings.listener,
                "version": __version__,
                "models": len(runtime.snapshot.groups),
                "snapshot_version": runtime.snapshot.version,
                "threads": threads,
                "cores": cores,
                **more,
            },
        )

    def end(self) -> None:
        """The process is on its way out: nothing is announced any more."""
        self._is_over = True

    async def stop(self) -> None:
        """Wait for nothing any more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
