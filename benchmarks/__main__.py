"""``python -m benchmarks``: starts everything, measures, writes the results, stops everything."""

from __future__ import annotations

import argparse
import contextlib
import os
import shlex
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import NoReturn

from benchmarks import machine, nginx, processes, report, scenarios, table
from benchmarks.client import Client, LoadError
from benchmarks.gateway import FeatureError, Gateway
from benchmarks.measure import run_all
from benchmarks.processes import Cores, Process, StartError
from benchmarks.targets import NotMeasured, Target, chat_url

ROOT = Path(__file__).resolve().parent.parent
TARGETS = ("direct", "nginx", "penstock", "penstock-granian")
TIME_LIMIT_SECONDS = {True: 180, False: 480}
"""By ``--quick``."""
IDLE_SECONDS = 1.0
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGALRM)


def arguments(argv: Sequence[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="3 short rounds instead of 5: a check, not a result")
    parser.add_argument("--rounds", type=int, help="rounds per scenario (default 5, with --quick 3)")
    parser.add_argument("--scenarios", help=f"comma-separated, of {', '.join(s.name for s in scenarios.ALL)}")
    parser.add_argument("--targets", default=",".join(TARGETS), help="comma-separated (default %(default)s)")
    parser.add_argument("--results", type=Path, default=ROOT / "benchmarks" / "results", help="where to write")
    parser.add_argument("--simulator", help="command that starts the upstream; {port} is replaced")
    parser.add_argument("--loadgen", help="command of the load generator: options on stdin, report on stdout")
    parsed = parser.parse_args(argv)
    unknown = [name for name in parsed.targets.split(",") if name not in TARGETS]
    if unknown:
        parser.error(f"--targets: no target is called {', '.join(unknown)}; there are {', '.join(TARGETS)}")
    if parsed.rounds is not None and parsed.rounds < 1:
        parser.error("--rounds: must be at least 1")
    try:
        parsed.scenarios = scenarios.choose(parsed.scenarios)
    except ValueError as e:
        parser.error(str(e))
    return parsed


class Interrupted(BaseException):
    """A signal that must not skip the clean-up."""


def on_signal(number: int, _frame: FrameType | None) -> NoReturn:
    """Turns the first signal into an exception, so that every process is stopped on the way out; ignores the rest."""
    for other in SIGNALS:
        signal.signal(other, signal.SIG_IGN)
    raise Interrupted("the time limit was reached" if number == signal.SIGALRM else signal.Signals(number).name)


def start_simulator(command: str | None, folder: Path, cores: frozenset[int] | None) -> tuple[int, Process]:
    """Starts the upstream and returns its port."""
    port = processes.free_port()
    if command is None:
        program = [sys.executable, "-c", "from penstock.cli import main; main()", "simulate", "--port", str(port)]
    else:
        program = shlex.split(command.replace("{port}", str(port)))
    process = Process("simulator", program, folder / "simulator.log", cores)
    try:
        process.wait_until(lambda: processes.accepts(port), 20)
    except BaseException:
        process.stop()
        raise
    return port, process


class Bench:
    """The processes of one run, and what became of those that were asked for."""

    def __init__(self, folder: Path, upstream: int, cores: Cores, stack: contextlib.ExitStack) -> None:
        self._folder, self._upstream, self._cores, self._stack = folder, upstream, cores, stack
        self.targets: list[Target] = []
        self.gateways: list[Gateway] = []
        self.not_measured: list[str] = []
        self.failed = False
        self.nginx_version: str | None = None

    def add(self, name: str) -> None:
        """Starts a target; one that cannot be measured is reported, and the others go on."""
        try:
            self.targets.append(self._start(name))
        except NotMeasured as e:
            self._skip(name, str(e))
        except (StartError, FeatureError) as e:
            self.failed = True
            self._skip(name, str(e))

    def _start(self, name: str) -> Target:
        if name == "direct":
            return Target("direct", chat_url(self._upstream), chat_url(self._upstream))
        if name == "nginx":
            path = nginx.find()
            self.nginx_version = nginx.version(path)
            target, process = nginx.start(path, self._folder / "nginx", self._upstream, self._cores.gateway)
            self._stack.callback(process.stop)
            return target
        listener = "granian" if name.endswith("-granian") else "native"
        gateway = Gateway(listener, self._folder / name, self._upstream, self._cores.gateway)
        self._stack.callback(gateway.process.stop)
        self.gateways.append(gateway)
        return gateway.target()

    def _skip(self, name: str, reason: str) -> None:
        print(f"NOT MEASURED: {name}: {reason}", flush=True)
        self.not_measured.append(f"{name}: {reason.splitlines()[0]}")

    def rss(self) -> dict[str, float]:
        """Resident memory of every target that has processes, in megabytes."""
        return {t.label: processes.rss_mb(t.pid) for t in self.targets if t.pid is not None}

    def prove_accounting(self) -> None:
        """Every gateway paid for its load."""
        for gateway in self.gateways:
            gateway.prove_accounting()


def bench(args: argparse.Namespace, stack: contextlib.ExitStack) -> int:
    """Measures and writes; the exit status."""
    cores = Cores.choose()
    if cores.load is None:
        print("fewer than two cores: nothing is pinned, and client, upstream and gateway share them", flush=True)
    else:
        os.sched_setaffinity(0, cores.load)
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="penstock-bench-")))
    upstream, simulator = start_simulator(args.simulator, folder, cores.load)
    stack.callback(simulator.stop)
    running = Bench(folder, upstream, cores, stack)
    for name in args.targets.split(","):
        running.add(name)
    described = machine.describe(nginx=running.nginx_version, pinned=cores.load is not None)
    command = shlex.split(args.loadgen) if args.loadgen else [sys.executable, "-m", "benchmarks.client"]
    time.sleep(IDLE_SECONDS)
    idle = running.rss()
    rounds = args.rounds or (3 if args.quick else 5)
    samples = run_all(Client(command, cores.load), args.scenarios, running.targets, rounds, quick=args.quick)
    running.prove_accounting()
    results = report.Results(
        targets=running.targets,
        scenarios=args.scenarios,
        rounds=rounds,
        quick=args.quick,
        samples=samples,
        idle_rss_mb=idle,
        after_rss_mb=running.rss(),
        not_measured=running.not_measured,
    )
    document = report.Document(machine=described, commit=machine.commit(ROOT), rows=report.rows(results))
    text = table.markdown(document, results)
    report.write(args.results, document, text)
    print(f"\n{text}\nwritten to {args.results / 'latest.json'}", flush=True)
    errors = sum(row.get("errors", 0) for row in document["rows"])
    if errors:
        print(f"{errors} requests failed; the numbers count only those that did not", file=sys.stderr)
    return 1 if running.failed or errors else 0


def main(argv: Sequence[str]) -> int:
    """Runs the benchmark within its time limit; the exit status."""
    args = arguments(argv)
    for number in SIGNALS:
        signal.signal(number, on_signal)
    signal.alarm(TIME_LIMIT_SECONDS[args.quick])
    try:
        with contextlib.ExitStack() as stack:
            return bench(args, stack)
    except (StartError, LoadError, FeatureError, OSError) as e:
        print(f"no results: {e}", file=sys.stderr)
        return 1
    except Interrupted as e:
        print(f"no results: interrupted ({e})", file=sys.stderr)
        return 130
    finally:
        signal.alarm(0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
