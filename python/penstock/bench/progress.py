"""One line on a terminal that says where the tool is; nothing where nobody looks."""

from __future__ import annotations

import shutil
from typing import TextIO

from penstock.bench.runner import Step


class Line:
    """Overwrites itself. On anything but a terminal it stays silent."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._is_live = out.isatty()
        self._width = 0

    def show(self, step: Step) -> None:
        """Where the tool is."""
        if not self._is_live:
            return
        said = f"[{step.number}/{step.of}] {step.target}: {step.point.label}"
        progress = step.progress
        if progress is None or progress.elapsed_s == 0:
            said += ", warming up"
        else:
            said += f", {progress.elapsed_s:,.1f} s, {progress.requests:,} answered"
            if progress.errors:
                said += f", {progress.errors:,} failed"
        said = said[: shutil.get_terminal_size().columns - 1]
        self._out.write("\r" + said.ljust(self._width))
        self._out.flush()
        self._width = len(said)

    def clear(self) -> None:
        """Leaves nothing behind."""
        if self._is_live and self._width:
            self._out.write("\r" + " " * self._width + "\r")
            self._out.flush()
            self._width = 0
