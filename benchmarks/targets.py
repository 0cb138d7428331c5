"""What load is driven through: the upstream itself, or something in front of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


class NotMeasured(Exception):
    """A target that this machine cannot run; the message says why."""


def chat_url(port: int) -> str:
    """Chat completions on a port of the loopback interface."""
    return f"http://127.0.0.1:{port}/v1/chat/completions"


@dataclass(frozen=True)
class Target:
    """One thing to measure."""

    name: str
    """`direct`, `nginx`, `penstock`."""
    unary_url: str
    stream_url: str
    pid: int | None = None
    """Root of the process tree whose CPU time and memory count; None: not measured (the upstream itself)."""
    listener: str = "-"
    features: str = "-"
    headers: tuple[tuple[str, str], ...] = ()
    models: Mapping[str, str] = field(default_factory=dict)
    """This target's names for the upstream's models, where they differ."""
    ready_seconds: float | None = None
    """From the start of its process to its first readiness."""

    @property
    def label(self) -> str:
        """Name and listener, as reports show it."""
        return self.name if self.listener == "-" else f"{self.name} ({self.listener})"
