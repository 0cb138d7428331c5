"""From what stands on the command line to settings: everything is checked here, before anything is sent."""

from __future__ import annotations

import itertools
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

from penstock.bench import credentials, parsing, processes, rpc, wire
from penstock.bench.settings import Checks, Point, Settings, Target
from penstock.bench.thresholds import Condition, parse
from penstock.bench.wire import PAD, Surface, UsageError
from penstock.config.env import Environment

DEFAULT_DURATION_MS: Final = 10_000
DEFAULT_TOKENS: Final = 64
OPEN_CONNECTIONS: Final = 64
"""Of an open loop, where the rate decides how many are busy."""
COMPARED_ROUNDS: Final = 3
MOST_IN_FLIGHT: Final = 65_536


@dataclass(frozen=True)
class Asked:
    """The command line, as it was given."""

    url: str
    label: str = "target"
    compare: Sequence[str] = ()
    compare_key_env: Sequence[str] = ()
    compare_model: Sequence[str] = ()
    baseline: str | None = None
    rounds: int | None = None
    key: str | None = field(default=None, repr=False)
    key_file: Path | None = None
    key_env: str | None = None
    header: Sequence[str] = field(default=(), repr=False)
    model: str | None = None
    surface: Surface | None = None
    grpc: bool = False
    stream: bool | None = None
    max_tokens: int | None = None
    body: Path | None = None
    body_bytes: str | None = None
    prompt_tokens: int | None = None
    connections: str | None = None
    calls_per_connection: int | None = None
    rate: str | None = None
    duration: str | None = None
    requests: int | None = None
    warmup: int | None = None
    ramp: str | None = None
    timeout: str = "60s"
    threads: int = 1
    client_cores: str | None = None
    deltas: int | None = None
    check_order: Literal["none", "same", "numbered"] | None = None
    check_usage: bool = False
    check_done: bool = True
    process: Sequence[str] = ()
    ca_file: Path | None = None
    insecure: bool = False
    fail_on: Sequence[str] = ()

    def conditions(self) -> list[Condition]:
        """Of `--fail-on`.

        Raises:
            UsageError: one cannot be read, or names a target that is not there.
        """
        found = [parse(text) for text in self.fail_on]
        labels = {self.label, *(parsing.pair(text, "--compare", "LABEL=URL")[0] for text in self.compare)}
        for condition in found:
            if condition.target is not None and condition.target not in labels:
                raise UsageError(f"--fail-on {condition.expression!r}: no target is called {condition.target!r}")
            if condition.metric.startswith("added_") and self.baseline is None:
                raise UsageError(f"--fail-on {condition.expression!r}: needs --baseline LABEL, to which it is added")
        return found

    def settings(self, environment: Environment) -> Settings:
        """What to measure.

        Raises:
            UsageError: an option cannot be used; the message names it and the fix.
        """
        urls, surface = self._urls()
        if self.baseline is not None and (self.baseline not in urls or len(urls) < 2):
            raise UsageError(f"--baseline {self.baseline!r}: is no target; there are {', '.join(urls)} (see --compare)")
        streamed, bodies = self._bodies(surface, list(urls))
        key = credentials.given(self.key, self.key_file, self.key_env, environment)
        keys = credentials.by_target(key, self.compare_key_env, list(urls), environment)
        extra = [parsing.header(text) for text in self.header]
        read = self._processes(list(urls))
        targets = []
        for label, where in urls.items():
            one = keys.get(label)
            usual = rpc.metadata(one) if rpc.is_rpc(where) else wire.headers(surface, one)
            targets.append(Target(label, where, credentials.merged(usual, extra), bodies[label], read.get(label, ())))
        points = self._points()
        for target, point in itertools.product(targets, points):
            if target.is_rpc:
                # Tried here, so that what cannot be sent is a wrong command line.
                rpc.message(target.body, point.body_bytes)
        self._check_tls(list(urls.values()))
        duration = None if self.duration is None else parsing.duration(self.duration, "--duration")
        rounds = self.rounds or (COMPARED_ROUNDS if self.compare else 1)
        return Settings(
            targets=targets,
            points=points,
            surface=surface,
            stream=self._checks() if streamed else None,
            rounds=rounds,
            duration_ms=duration if duration or self.requests else DEFAULT_DURATION_MS,
            requests=self.requests,
            warmup=self.warmup,
            ramp_ms=0 if self.ramp is None else parsing.duration(self.ramp, "--ramp"),
            timeout_ms=parsing.duration(self.timeout, "--timeout"),
            threads=self.threads,
            cores=self._cores(),
            ca_file=str(self.ca_file) if self.ca_file is not None else None,
            insecure=self.insecure,
            baseline=self.baseline,
            secrets=credentials.secrets(keys, extra, urls.values()),
        )

    def _urls(self) -> tuple[dict[str, str], Surface]:
        """By label: a whole endpoint each, or the address of a gRPC server; and the API that all of them speak."""
        if self.grpc and not rpc.is_rpc(self.url, bare=True):
            raise UsageError("--grpc: the URL is of REST; write host:port, or grpc://host:port")
        surface: Surface | None = self.surface
        urls: dict[str, str] = {}
        compared = (parsing.pair(text, "--compare", "LABEL=URL") for text in self.compare)
        for label, where in ((self.label, self.url), *compared):
            if label in urls:
                raise UsageError(f"--compare: two targets are called {label!r}; --label names the first")
            if rpc.is_rpc(where, bare=self.grpc):
                if surface not in (None, "chat"):
                    raise UsageError(f"--surface {surface}: over gRPC there is chat to measure, and nothing else")
                urls[label], surface = rpc.address(where), "chat"
            else:
                urls[label], surface = wire.endpoint(where, surface)
        if self.calls_per_connection is not None and not any(map(rpc.is_rpc, urls.values())):
            raise UsageError("--calls-per-connection: over HTTP/1.1 a connection has one request at a time; see --grpc")
        return urls, surface or "chat"

    def _bodies(self, surface: Surface, labels: Sequence[str]) -> tuple[bool, dict[str, str]]:
        """Whether answers are streams, and the body for each target."""
        models = dict(parsing.pair(text, "--compare-model", "LABEL=MODEL") for text in self.compare_model)
        parsing.known(models, labels, "--compare-model")
        if self.body is not None:
            own = {
                "--model": self.model,
                "--compare-model": self.compare_model or None,
                "--max-tokens": self.max_tokens,
                "--prompt-tokens": self.prompt_tokens,
            }
            for option, value in own.items():
                if value is not None:
                    raise UsageError(f"{option}: is for bodies that the tool makes; write it into the file of --body")
            text = self._body_file()
            streamed = wire.streams(text)
            if self.stream is not None and self.stream != streamed:
                wanted, given = ("--stream", "false") if self.stream else ("--unary", "true")
                raise UsageError(f"{wanted}: the body's `stream` is {given}; change the file of --body")
            if self.body_bytes is not None and PAD not in text:
                raise UsageError(f"--body-bytes: the body has no {PAD} to fill; write it where the filler shall go")
            return streamed, dict.fromkeys(labels, text)
        if self.model is None:
            raise UsageError("--model: which model shall be asked? Give its name, or a whole request with --body")
        if self.body_bytes is not None and self.prompt_tokens is not None:
            raise UsageError("--prompt-tokens: --body-bytes says how long the prompt is, too; give one of them")
        prompt = PAD if self.body_bytes is not None else wire.prose(self.prompt_tokens or DEFAULT_TOKENS)
        streamed = bool(self.stream)
        made = {
            label: wire.body(
                surface,
                model=models.get(label, self.model),
                text=prompt,
                stream=streamed,
                max_tokens=self.max_tokens or DEFAULT_TOKENS,
            )
            for label in labels
        }
        return streamed, made

    def _body_file(self) -> str:
        assert self.body is not None
        try:
            return self.body.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as e:
            raise UsageError(f"--body: {self.body}: {e}") from e

    def _points(self) -> list[Point]:
        rates: list[float | None] = [None]
        if self.rate is not None:
            said = parsing.numbers(
                self.rate, "--rate", float, lambda n: 0 < n <= 1_000_000, "above 0 and at most 1000000"
            )
            rates = [*said]
            if self.ramp is not None:
                raise UsageError("--ramp: is for closed loops; with --rate the rate says when requests are due")
        default = [OPEN_CONNECTIONS] if self.rate is not None else [1]
        connections = default
        if self.connections is not None:
            connections = parsing.numbers(
                self.connections, "--connections", int, lambda n: 0 < n <= 65_536, "1 to 65536"
            )
        sizes: list[int | None] = [None]
        if self.body_bytes is not None:
            sizes = [
                *parsing.numbers(self.body_bytes, "--body-bytes", int, lambda n: 0 < n <= 1 << 30, "1 to 1073741824")
            ]
        calls = self.calls_per_connection or 1
        if (most := calls * max(connections)) > MOST_IN_FLIGHT:
            raise UsageError(
                f"--calls-per-connection: {most:,} calls at a time; at most {MOST_IN_FLIGHT:,} are possible"
            )
        return [Point(c, r, b, calls) for b, r, c in itertools.product(sizes, rates, connections)]

    def _checks(self) -> Checks:
        order = self.check_order or "none"
        return Checks(self.deltas, "any" if order == "none" else order, self.check_done, self.check_usage)

    def _processes(self, labels: Sequence[str]) -> dict[str, list[str]]:
        """Selectors by target; one without a label is read for the first target."""
        found: dict[str, list[str]] = {}
        if self.process and not processes.available():
            raise UsageError("--process: needs /proc, which this system does not have")
        for text in self.process:
            label, sign, selector = text.partition("=")
            if not sign:
                label, selector = self.label, text
            parsing.known([label], labels, "--process")
            try:
                roots = processes.find(selector)
            except processes.NotFound as e:
                raise UsageError(f"--process: {e}") from e
            if len(roots) > 1:
                ids = ", ".join(map(str, roots))
                raise UsageError(
                    f"--process: {selector!r} is the name of {len(roots)} processes: give their ids ({ids})"
                )
            found.setdefault(label, []).append(selector)
        return found

    def _check_tls(self, urls: Sequence[str]) -> None:
        if (self.insecure or self.ca_file is not None) and not any(wire.is_secure(url) for url in urls):
            option = "--insecure" if self.insecure else "--ca-file"
            raise UsageError(f"{option}: no URL is https:// or grpcs://; leave the option out, or change the URL")
        if self.insecure and self.ca_file is not None:
            raise UsageError("--insecure: accepts any certificate, so --ca-file would not be asked; give one of them")

    def _cores(self) -> frozenset[int] | None:
        if self.client_cores is None:
            return None
        if not hasattr(os, "sched_getaffinity"):
            raise UsageError("--client-cores: this system cannot pin processes")
        usable = os.sched_getaffinity(0)
        said = f"one of {', '.join(map(str, sorted(usable)))}"
        return frozenset(parsing.numbers(self.client_cores, "--client-cores", int, lambda n: n in usable, said))
