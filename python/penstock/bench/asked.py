"""From what stands on the command line to settings: everything is checked here, before anything is sent."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal
from urllib.parse import urlsplit

from penstock.bench import parsing, processes, wire
from penstock.bench.settings import Checks, Point, Settings, Target
from penstock.bench.thresholds import Condition, parse
from penstock.bench.wire import PAD, Surface, UsageError
from penstock.config.env import Environment
from penstock.config.secret import Secret

KEY_VARIABLE: Final = "PENSTOCK_BENCH_KEY"
DEFAULT_DURATION_MS: Final = 10_000
DEFAULT_TOKENS: Final = 64
OPEN_CONNECTIONS: Final = 64
"""Of an open loop, where the rate decides how many are busy."""
COMPARED_ROUNDS: Final = 3
SHORTEST_SECRET: Final = 8
"""A shorter value of a header is no secret, and masking it would mask half of every message."""


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
    stream: bool | None = None
    max_tokens: int | None = None
    body: Path | None = None
    body_bytes: str | None = None
    prompt_tokens: int | None = None
    connections: str | None = None
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
        url, surface = wire.endpoint(self.url, self.surface)
        urls = {self.label: url}
        for text in self.compare:
            label, other = parsing.pair(text, "--compare", "LABEL=URL")
            if label in urls:
                raise UsageError(f"--compare: two targets are called {label!r}; --label names the first")
            urls[label] = wire.endpoint(other, surface)[0]
        if self.baseline is not None and (self.baseline not in urls or len(urls) < 2):
            raise UsageError(f"--baseline {self.baseline!r}: is no target; there are {', '.join(urls)} (see --compare)")
        streamed, bodies = self._bodies(surface, list(urls))
        keys = self._keys(list(urls), environment)
        extra = [parsing.header(text) for text in self.header]
        read = self._processes(list(urls))
        targets = [
            Target(
                label=label,
                url=where,
                headers=_merged(wire.headers(surface, keys.get(label)), extra),
                body=bodies[label],
                processes=read.get(label, ()),
            )
            for label, where in urls.items()
        ]
        self._check_tls(list(urls.values()))
        duration = None if self.duration is None else parsing.duration(self.duration, "--duration")
        rounds = self.rounds or (COMPARED_ROUNDS if self.compare else 1)
        return Settings(
            targets=targets,
            points=self._points(),
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
            secrets=[*keys.values(), *(Secret(text) for text in _quotable(extra, urls.values()))],
        )

    def _bodies(self, surface: Surface, labels: Sequence[str]) -> tuple[bool, dict[str, str]]:
        """Whether answers are streams, and the body for each target."""
        models = dict(parsing.pair(text, "--compare-model", "LABEL=MODEL") for text in self.compare_model)
        _known(models, labels, "--compare-model")
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

    def _keys(self, labels: Sequence[str], environment: Environment) -> dict[str, Secret]:
        given = [
            name
            for name, value in (("--key", self.key), ("--key-file", self.key_file), ("--key-env", self.key_env))
            if value is not None
        ]
        if len(given) > 1:
            raise UsageError(f"{given[1]}: the key is given by {given[0]} already; give one of them")
        key: Secret | None
        if self.key is not None:
            key = Secret(self.key)
        elif self.key_file is not None:
            key = _key_file(self.key_file)
        elif self.key_env is not None:
            key = _variable(self.key_env, "--key-env", environment)
        else:
            key = environment.secret(KEY_VARIABLE)
        keys = dict.fromkeys(labels, key) if key is not None else {}
        for text in self.compare_key_env:
            label, name = parsing.pair(text, "--compare-key-env", "LABEL=VARIABLE")
            _known([label], labels, "--compare-key-env")
            keys[label] = _variable(name, "--compare-key-env", environment)
        for label, one in keys.items():
            if not one.reveal().isascii() or any(c.isspace() for c in one.reveal()):
                raise UsageError(f"the key for {label} has white space or letters that a header cannot carry")
        return keys

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
        return [Point(c, r, b) for b, r, c in itertools.product(sizes, rates, connections)]

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
            _known([label], labels, "--process")
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
        if (self.insecure or self.ca_file is not None) and not any(urlsplit(url).scheme == "https" for url in urls):
            option = "--insecure" if self.insecure else "--ca-file"
            raise UsageError(f"{option}: no URL is https://; leave the option out, or change the URL")
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


def _known(given: Mapping[str, object] | Sequence[str], labels: Sequence[str], option: str) -> None:
    for label in given:
        if label not in labels:
            raise UsageError(f"{option}: no target is called {label!r}; there are {', '.join(labels)}")


def _merged(base: Sequence[tuple[str, str]], extra: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """The user's own go before the tool's."""
    own = {name for name, _ in extra}
    return [*(pair for pair in base if pair[0] not in own), *extra]


def _quotable(extra: Sequence[tuple[str, str]], urls: Iterable[str]) -> list[str]:
    """What an answer may quote of headers and URLs, and what must not be shown: a header's words too, since after
    `Bearer` it is the key alone that is quoted."""
    values = [value for _, value in extra]
    texts = [*values, *(word for value in values for word in value.split())]
    texts += [text for url in urls for text in wire.query_secrets(url)]
    return list(dict.fromkeys(text for text in texts if len(text) >= SHORTEST_SECRET))


def _key_file(path: Path) -> Secret:
    try:
        text = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as e:
        raise UsageError(f"--key-file: {path}: {e}") from e
    if not text:
        raise UsageError(f"--key-file: {path} is empty")
    return Secret(text)


def _variable(name: str, option: str, environment: Environment) -> Secret:
    value = environment.secret(name)
    if value is None:
        raise UsageError(f"{option}: the variable {name} is not set")
    return value
