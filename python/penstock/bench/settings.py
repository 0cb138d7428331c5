"""What one run of the tool measures: targets, points, rounds. Checked, so that whoever works with it need not.

Apart from the command line, which only says it, and from the runner, which only does it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from penstock.bench import rpc
from penstock.bench.load import GrpcOptions, Options, Order, StreamOptions
from penstock.bench.wire import MASK, Surface, is_secure
from penstock.config.secret import Secret

_SHORTEST_PART = 4
"""Fewer characters of a secret at the end of a text are chance."""


@dataclass(frozen=True)
class Target:
    """Something that answers."""

    label: str
    url: str
    """Full endpoint, or `grpc[s]://host:port`."""
    headers: Sequence[tuple[str, str]] = field(repr=False)
    """With the key."""
    body: str
    """With `{pad}` where filler goes, when the points have sizes."""
    processes: Sequence[str] = ()
    """Selectors (see :func:`penstock.bench.processes.find`) of what is read while this target is measured."""

    @property
    def is_rpc(self) -> bool:
        """It is asked over gRPC."""
        return rpc.is_rpc(self.url)


@dataclass(frozen=True)
class Point:
    """One load."""

    connections: int
    rate: float | None = None
    """Requests per second; None: closed loop."""
    body_bytes: int | None = None
    """None: the body as it is."""
    calls: int = 1
    """At a time on each connection. HTTP/1.1 has no such thing: there it is more connections."""

    @property
    def in_flight(self) -> int:
        """Requests at a time."""
        return self.connections * self.calls

    @property
    def label(self) -> str:
        """`32 connections, 2 calls on each, 500/s, 10,000 bytes`."""
        said = ["1 connection" if self.connections == 1 else f"{self.connections:,} connections"]
        if self.calls > 1:
            said.append(f"{self.calls:,} calls on each")
        if self.rate is not None:
            said.append(f"{self.rate:,.10g}/s")
        if self.body_bytes is not None:
            said.append(f"{self.body_bytes:,} bytes")
        return ", ".join(said)

    @property
    def slug(self) -> str:
        """The same for names of files: `c32-m2-r500-b10000`."""
        calls = "" if self.calls == 1 else f"-m{self.calls}"
        rate = "" if self.rate is None else f"-r{self.rate:.10g}"
        size = "" if self.body_bytes is None else f"-b{self.body_bytes}"
        return f"c{self.connections}{calls}{rate}{size}"


@dataclass(frozen=True)
class Checks:
    """What is expected of each stream."""

    deltas: int | None = None
    order: Order = "any"
    done: bool = True
    usage: bool = False


@dataclass(frozen=True)
class Settings:
    """One run of the tool."""

    targets: Sequence[Target]
    """The first is the one that the user came for."""
    points: Sequence[Point]
    surface: Surface
    stream: Checks | None = None
    """None: unary answers."""
    rounds: int = 1
    duration_ms: int | None = None
    requests: int | None = None
    warmup: int | None = None
    """Requests before each measured run; None: two per connection, of streams one."""
    ramp_ms: int = 0
    timeout_ms: int = 60_000
    threads: int = 1
    cores: frozenset[int] | None = None
    """Of the client."""
    ca_file: str | None = None
    insecure: bool = False
    baseline: str | None = None
    """Label of the target to which the others are compared."""
    secrets: Sequence[Secret] = ()
    """What must not appear in any output, even when an answer quotes it."""
    settle_ms: int = 500
    """After a run, before processes are read: work that a gateway puts off is waited for and counted."""

    def warmups(self, point: Point) -> int:
        """Requests before a measured run."""
        if self.warmup is not None:
            return self.warmup
        return point.in_flight * (1 if self.stream is not None else 2)

    def options(self, target: Target, point: Point) -> Options:
        """The load generator's options of one measured run, without warm-up."""
        checks = self.stream
        options = Options(
            url=target.url,
            headers=list(target.headers),
            body=target.body,
            body_bytes=point.body_bytes,
            connections=point.in_flight,
            threads=min(self.threads, point.connections),
            rate=point.rate,
            requests=self.requests,
            duration_ms=self.duration_ms,
            ramp_ms=self.ramp_ms if point.rate is None else 0,
            timeout_ms=self.timeout_ms,
            stream=None
            if checks is None
            else StreamOptions(deltas=checks.deltas, order=checks.order, done=checks.done, usage=checks.usage),
            ca_file=self.ca_file if is_secure(target.url) else None,
            insecure=self.insecure and is_secure(target.url),
        )
        if not target.is_rpc:
            return options
        return msgspec.structs.replace(
            options,
            url=rpc.endpoint(target.url, stream=checks is not None),
            body="",
            body_bytes=None,
            connections=point.connections,
            grpc=GrpcOptions(rpc.message(target.body, point.body_bytes), point.calls),
        )

    def hidden(self, text: str) -> str:
        """The text with every secret in it masked, and the beginning of one at its end, where it may have been cut."""
        secrets = sorted((secret.reveal() for secret in self.secrets if secret), key=len, reverse=True)
        for secret in secrets:
            text = text.replace(secret, MASK)
        for secret in secrets:
            for length in range(len(secret) - 1, _SHORTEST_PART - 1, -1):
                if text.endswith(secret[:length]):
                    return text[:-length] + MASK
        return text


def described(settings: Settings) -> Mapping[str, object]:
    """What a reader of the results must know of how they were made; no header values, no body."""
    checks = settings.stream
    return {
        "surface": settings.surface,
        "stream": checks is not None,
        "check_order": checks.order if checks is not None else None,
        "rounds": settings.rounds,
        "duration_ms": settings.duration_ms,
        "requests": settings.requests,
        "warmup_requests": [settings.warmups(point) for point in settings.points],
        "ramp_ms": settings.ramp_ms,
        "timeout_ms": settings.timeout_ms,
        "threads": settings.threads,
        "client_cores": sorted(settings.cores) if settings.cores is not None else None,
        "insecure": settings.insecure,
        "protocols": protocols(settings),
    }


def protocols(settings: Settings) -> list[str]:
    """Those that are spoken: `HTTP/1.1`, `gRPC`."""
    return list(dict.fromkeys("gRPC" if target.is_rpc else "HTTP/1.1" for target in settings.targets))
