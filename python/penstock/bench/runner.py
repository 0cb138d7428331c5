"""One run after another: which target when, and what is read around each run.

Targets take turns within a point (A B C, A B C, ...), so that a machine that slows down slows all of them.
"""

from __future__ import annotations

import select
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import chain

import msgspec

from penstock.bench import load, probing, processes
from penstock.bench.probing import message_of
from penstock.bench.report import FirstError
from penstock.bench.samples import ProcessUse, Sample
from penstock.bench.settings import Point, Settings, Target
from penstock.bench.wire import shown


class Unusable(Exception):
    """A target does not answer requests like these; the message says why and what to change."""


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
        if once.grpc is not None:
            once = msgspec.structs.replace(once, grpc=msgspec.structs.replace(once.grpc, calls_per_connection=1))
        report = self._client().run(once, stop=self.stop)
        why = probing.verdict(report, is_rpc=target.is_rpc, hide=self.settings.hidden)
        if why is not None:
            raise Unusable(f"{target.label}: {shown(target.url)}: {why}")

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
            report = msgspec.structs.replace(report, first_error=FirstError(report.first_error.kind, detail))
        return Sample(target.label, point, number, report, used)


def _running(selectors: Sequence[str]) -> dict[str, list[int]]:
    """The processes that are there. They all were when the tool began; the results say which have ended since."""
    found = {}
    for selector in selectors:
        with suppress(processes.NotFound):
            found[selector] = processes.find(selector)
    return found


def _rss(selector: str) -> float:
    return _rss_of(processes.find(selector))


def _rss_of(pids: list[int]) -> float:
    return sum(processes.rss_mb(pid) for pid in pids)
