"""What load is driven through: the upstream itself, or something in front of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from penstock.bench.report import Report


class NotMeasured(Exception):
    """A target that this machine cannot run; the message says why."""


def chat_url(port: int) -> str:
    """Chat completions on a port of the loopback interface."""
    return f"http://127.0.0.1:{port}/v1/chat/completions"


def _nothing(_report: Report) -> None:
    pass


@dataclass(frozen=True, eq=False)
class Target:
    """One thing to measure."""

    name: str
    """`direct`, `nginx`, `penstock`, or a peer's name."""
    unary_url: str
    stream_url: str
    pid: int | None = None
    """Root of the process tree whose CPU time and memory count; None: not measured (the upstream itself)."""
    listener: str = "-"
    features: str = "-"
    headers: tuple[tuple[str, str], ...] = ()
    rpc_url: str | None = None
    """`grpc://host:port`, where it is measured over gRPC, too."""
    models: Mapping[str, str] = field(default_factory=dict)
    """This target's names for the upstream's models, where they differ."""
    version: str | None = None
    """What was measured, where it is not part of this repository."""
    after_load: Callable[[Report], None] = _nothing
    """Called after each load with its report; returns when the work that the target has put off is done."""

    @property
    def label(self) -> str:
        """Name, listener and, where they are off, features: what tells it from every other target of a run."""
        if self.listener == "-":
            return self.name
        off = ", features off" if self.features == "off" else ""
        return f"{self.name} ({self.listener}{off})"
