"""One run after another: which target when, and what is read around each run.

Targets take turns within a point (A B C, A B C, ...), so that a machine that slows down slows all of them.
"""

from __future__ import annotations

import select
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import chain

import msgspec

from penstock.bench import load, processes
from penstock.bench.settings import Point, Settings, Target
from penstock.bench.wire import shown

_HOPELESS = frozenset({400, 401, 402, 403, 404, 405, 406, 413, 415, 422})
"""Statuses that every request would get: the request is wrong, not the moment."""
_HOPELESS_KINDS = frozenset({"connect", "tls", "framing", "closed"})


class Unusable(Exception):
    """A target does not answer requests like these; the message says why and what to change."""


class ProcessUse(msgspec.Struct, frozen=True):
    """What a process and its descendants used in one run."""

    cpu_us: float
    """Of the measured run, warm-up excluded."""
    rss_idle_mb: float
    """Before the tool sent anything."""
    rss_peak_mb: float
    """Highest: as the system keeps it when the run raised that, else as seen four times a second."""
    rss_after_mb: float
    """When the run was over and had settled."""


class Sample(msgspec.Struct, frozen=True):
    """One measured run."""

    target: str
    point: int
    """Index into the points."""
    round: int
    report: load.Report
    processes: Mapping[str, ProcessUse] = {}
    """By selector; one that ended during the run is missing."""


@dataclass(frozen=True)
class Step:
    """Where the tool is, for whoever shows it."""

    number: int
    of: int
    target: str
    point: Point
    round: int
    progress: load.Progress | None = None


@dataclass
class Runner:
    """Measures what the settings say. ``stop`` ends it early; what was measured until then is kept."""

    settings: Settings
    show: Callable[[Step], None]
    stop: threading.Event = field(default_factory=threading.Event)
    samples: list[Sample] = field(default_factory=list)
    failure: str | None = None
    """Why it ended before its end, when the load generator failed; what was measured until then is kept."""
    _idle: dict[str, float] = field(default_factory=dict)

    def run(self) -> list[Sample]:
        """All runs, or those until the stop.

        Raises:
            Unusable: a target refuses what it is asked.
            processes.NotFound: a process to read is not there.
            LoadError: the load generator failed before anything was measured.
        """
        settings = self.settings
        for target in settings.targets:
            for selector in target.processes:
                self._idle[selector] = _rss(selector)
        for target in settings.targets:
            self._probe(target)
        order = [
            (point, number, target)
            for point in range(len(settings.points))
            for number in range(settings.rounds)
            for target in settings.targets
        ]
        for done, (point, number, target) in enumerate(order):
            if self.stop.is_set():
                break
            step = Step(done + 1, len(order), target.label, settings.points[point], number)
            self.show(step)
            try:
                sample = self._measure(target, point, number, step)
            except load.LoadError as e:
                if not self.samples and not self.stop.is_set():
                    raise
                said = settings.hidden(str(e))
                self.failure = f"{target.label}, {step.point.label}: {said}; nothing was measured after that"
                break
            if sample is not None:
                self.samples.append(sample)
        return self.samples

    def _client(self) -> load.Client:
        return load.Client(cores=self.settings.cores)

    def _probe(self, target: Target) -> None:
        """One request, so that a wrong URL, key, model or certificate is a message and not a table of zeros."""
        options = self.settings.options(target, self.settings.points[0])
        once = msgspec.structs.replace(
            options, connections=1, threads=1, rate=None, requests=1, duration_ms=None, ramp_ms=0
        )
        report = self._client().run(once, stop=self.stop)
        if report.requests or report.first_error is None:
            return
        kind = report.first_error.kind
        detail = message_of(report.first_error.detail, self.settings.hidden)
        status = int(kind.removeprefix("status_")) if kind.startswith("status_") else 0
        if kind in _HOPELESS_KINDS or status in _HOPELESS:
            raise Unusable(
                f"{target.label}: {shown(target.url)}: {_said(kind, status)}: {detail or 'no body'}{_fix(kind, status)}"
            )

    def _measure(self, target: Target, point: int, number: int, step: Step) -> Sample | None:
        settings = self.settings
        options = settings.options(target, settings.points[point])
        if warmup := settings.warmups(settings.points[point]):
            # A run of its own, so that what processes use for it can be told apart.
            warm = msgspec.structs.replace(options, rate=None, requests=warmup, duration_ms=None, ramp_ms=0)
            self._client().run(warm, stop=self.stop)
        if self.stop.is_set():
            return None
        roots = _running(target.processes)
        peaks = {selector: [processes.Peak(pid) for pid in pids] for selector, pids in roots.items()}

        def meanwhile(progress: load.Progress) -> None:
            self.show(Step(step.number, step.of, step.target, step.point, step.round, progress))
            for peak in chain.from_iterable(peaks.values()):
                peak.look()

        before = {selector: [processes.cpu(pid) for pid in pids] for selector, pids in roots.items()}
        report = self._client().run(options, meanwhile=meanwhile, stop=self.stop)
        if report.stopped and not report.requests + report.errors:
            return None
        if roots:
            # Not a wait for the event, whose lock a signal handler could then need.
            select.select([], [], [], settings.settle_ms / 1e3)
        used = {}
        for selector, pids in roots.items():
            if not all(processes.is_running(pid) for pid in pids):
                # Whatever it used is gone with it; the results say that it is missing.
                continue
            after = _rss_of(pids)
            for peak in peaks[selector]:
                peak.look()
            used[selector] = ProcessUse(
                cpu_us=sum(processes.cpu(pid).used_since(was) for pid, was in zip(pids, before[selector], strict=True)),
                rss_idle_mb=self._idle[selector],
                rss_peak_mb=max(after, sum(peak.highest_mb for peak in peaks[selector])),
                rss_after_mb=after,
            )
        if report.first_error is not None:
            detail = message_of(report.first_error.detail, settings.hidden)
            report = msgspec.structs.replace(report, first_error=load.FirstError(report.first_error.kind, detail))
        return Sample(target.label, point, number, report, used)


def _running(selectors: Sequence[str]) -> dict[str, list[int]]:
    """The processes that are there. They all were when the tool began; the results say which have ended since."""
    found = {}
    for selector in selectors:
        with suppress(processes.NotFound):
            found[selector] = processes.find(selector)
    return found


def message_of(detail: str, hide: Callable[[str], str] = str) -> str:
    """What an answer's body says went wrong, in at most 200 characters: the message of the usual JSON shapes, with
    what must not be seen hidden."""
    try:
        said = msgspec.json.decode(detail)
    except msgspec.DecodeError:
        said = detail
    for name in ("error", "message", "detail"):
        if isinstance(said, dict) and name in said:
            said = said[name]
    text = said if isinstance(said, str) else msgspec.json.encode(said).decode()
    # Hidden before it is cut: a part of a key is still a secret.
    return " ".join(hide(text).split())[:200]


def _rss(selector: str) -> float:
    return _rss_of(processes.find(selector))


def _rss_of(pids: list[int]) -> float:
    return sum(processes.rss_mb(pid) for pid in pids)


def _said(kind: str, status: int) -> str:
    if status:
        return f"answered with status {status}"
    return {
        "connect": "cannot connect",
        "tls": "the TLS handshake failed",
        "framing": "the answer is not HTTP/1.1",
        "closed": "closed the connection without an answer",
    }[kind]


def _fix(kind: str, status: int) -> str:
    hints = {
        "connect": "is the gateway running there?",
        "tls": "give the CA's certificate with --ca-file, or use --insecure; or is it plain http://?",
        "framing": "is it https://?",
        "closed": "is it https://?",
    }
    by_status = {
        401: "give a key with --key-file, --key-env or --key",
        403: "may the key use this model? see --model and --key-file",
        404: "check the URL, --surface and --model",
        405: "check the URL and --surface",
        413: "the body is too large for the gateway: see --body-bytes",
        400: "check --model, --max-tokens and --body",
        422: "check --model, --max-tokens and --body",
    }
    hint = by_status.get(status) if status else hints[kind]
    return f" ({hint})" if hint else ""
