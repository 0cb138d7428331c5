"""Certificates that are renewed under a running gateway: taken up when their files change, or on SIGHUP.

Apart from the runtime because it has a state of its own: what the files were when they were last read. Looking is
cheap (a few `stat` calls a second) and works where change notifications do not: mounted secrets, symlink swaps.
"""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import TYPE_CHECKING

from penstock.engine import background

if TYPE_CHECKING:
    from penstock._core import Engine
    from penstock.engine.snapshot import ListenerTls

logger = logging.getLogger("penstock")

_INTERVAL_S = 1.0

_Stamp = tuple[tuple[int, int, int] | None, ...]


class TlsUnusable(Exception):
    """The TLS files of the public port cannot be used; the message names the file."""


class CertificateWatch:
    """Keeps the TLS of the public port in step with its files. Without TLS it does nothing."""

    def __init__(self, engine: Engine, files: ListenerTls | None) -> None:
        self._engine = engine
        named = (files.certificate, files.key, files.client_ca) if files is not None else ()
        self._files = [Path(name) for name in named if name is not None]
        self._asked = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to look; what the files are now counts as read."""
        if self._files and self._task is None:
            self._task = background.start(self._watch(self._stamp()), "certificates")

    def reload(self) -> None:
        """Read the files at once, whether they changed or not."""
        self._asked.set()

    async def stop(self) -> None:
        """Look no more. Idempotent."""
        if self._task is not None:
            await background.end(self._task)
            self._task = None

    async def _watch(self, read: _Stamp) -> None:
        while True:
            try:
                await asyncio.wait_for(self._asked.wait(), _INTERVAL_S)
            except TimeoutError:
                if self._stamp() == read:
                    continue
            self._asked.clear()
            # Before reading: a file that is replaced meanwhile is then read again.
            read = self._stamp()
            try:
                await asyncio.to_thread(self._engine.reload_tls)
            except ValueError as error:
                # Half of a renewal looks like this too: the other half is the next change.
                logger.error(
                    "the TLS files cannot be used; the former certificate stays in force",
                    extra={"event": "tls.refused", "reason": str(error)},
                )
            else:
                logger.info("the TLS files were read again", extra={"event": "tls.reloaded"})

    def _stamp(self) -> _Stamp:
        return tuple(_identity(path) for path in self._files)


def _identity(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return (found.st_mtime_ns, found.st_size, found.st_ino)
