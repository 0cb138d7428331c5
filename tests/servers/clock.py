"""A wall clock that a test moves under the processes which it starts: gateways, PostgreSQL, Redis. Monotonic clocks run on.

It needs Linux and a C compiler, which a machine that builds the extension has; tests that ask for one skip elsewhere.
"""

from __future__ import annotations

import functools
import shutil
import struct
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.servers.child import new_directory

_SOURCE = Path(__file__).with_name("moved_clock.c")


@functools.cache
def _folder() -> Path:
    """Of the library, where every user may read it."""
    compiler = shutil.which("cc")
    if compiler is None or not sys.platform.startswith("linux"):
        pytest.skip("a clock is moved on Linux only and with a C compiler, so clocks that jump are NOT TESTED")
    folder = new_directory("clock")
    folder.chmod(0o755)
    command = [compiler, "-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o", str(folder / "clock.so"), str(_SOURCE)]
    subprocess.run(command, check=True)
    return folder


class MovedClock:
    """One clock. Processes that are started with :attr:`environment` have it."""

    def __init__(self) -> None:
        file = tempfile.NamedTemporaryFile(dir=_folder(), delete=False)  # noqa: SIM115 - it is written as long as processes map it
        self._file = file
        Path(file.name).chmod(0o644)
        self._moved_ms = 0
        self.move_to(None)

    @property
    def environment(self) -> dict[str, str]:
        """Variables of a process that has this clock."""
        return {"LD_PRELOAD": str(_folder() / "clock.so"), "MOVED_CLOCK": self._file.name}

    def move(self, seconds: float) -> None:
        """Forward, or back."""
        self._set(self._moved_ms + round(seconds * 1000))

    def move_to(self, moment: datetime | None) -> None:
        """So that it is that moment now; None: as the machine has it."""
        self._set(0 if moment is None else round((moment.timestamp() - time.time()) * 1000))

    def now(self) -> datetime:
        """What the processes take for the time."""
        return datetime.fromtimestamp(time.time() + self._moved_ms / 1000, UTC)

    def _set(self, milliseconds: int) -> None:
        self._moved_ms = milliseconds
        self._file.seek(0)
        self._file.write(struct.pack("q", milliseconds))
        self._file.flush()

    def close(self) -> None:
        """Remove the file."""
        self._file.close()
        Path(self._file.name).unlink()
