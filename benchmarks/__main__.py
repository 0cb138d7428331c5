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

from benchmarks import experiments, figures, goals, limits, machine, report, scenarios, stack, table
from benchmarks.experiments import coworker, many_streams, starts, state_growth, token_count
from benchmarks.findings import Findings
from benchmarks.gateway import FeatureError
from benchmarks.measure import run_all
from benchmarks.processes import Cores, StartError
from benchmarks.scenarios import Depth, Scenario
from benchmarks.stack import OURS, Stack, start_simulator
from benchmarks.targets import NotMeasured
from penstock.bench.load import Client, LoadError
from penstock.cli.descriptors import raise_limit

HERE = Path(__file__).resolve().parent
ROUNDS: dict[Depth, int] = {"quick": 2, "normal": 5, "full": 7}
ONLY_FULL = frozenset({"state_growth", "coworker"})
"""Take minutes, or servers; part of a normal run when they are asked for by name."""
IDLE_SECONDS = 1.0
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGALRM)


def peer_names() -> tuple[str, ...]:
    """The other gateways that may be there."""
    from benchmarks import peers

    return tuple(peers.NAMES)


def arguments(argv: Sequence[str]) -> argparse.Namespace:
    """The command line. `depth`, `loads` and `experiments` are worked out from it."""
    known = {**{s.name: s.note for s in scenarios.ALL}, **experiments.NAMES}
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="scenarios:\n" + "\n".join(f"  {name:17} {note}" for name, note in known.items()),
    )
    depth = parser.add_mutually_exclusive_group()
    depth.add_argument("--quick", action="store_true", help="a few seconds: shows that it works, not how fast")
    depth.add_argument(
        "--full",
        action="store_true",
        help=f"longer and more rounds, {', '.join(sorted(ONLY_FULL | stack.ONLY_FULL))}, and {goals.PEER}, if it is installed",
    )
    parser.add_argument("--rounds", type=int, help="rounds of all loads (default 5, with --full 7, with --quick 2)")
    parser.add_argument("--scenarios", help="comma-separated; default: all, state_growth and coworker with --full only")
    everything = ", ".join((*OURS, *peer_names()))
    parser.add_argument(
        "--targets",
        help=f"comma-separated, of {everything}; default: those of this"
        f" repository and nginx, {', '.join(stack.ONLY_FULL)} with --full only",
    )
    parser.add_argument("--peers", action="store_true", help="all peers too; those that are not installed are reported")
    parser.add_argument("--results", type=Path, default=HERE, help="folder to write RESULTS.md and results/ into")
    parser.add_argument("--simulator", help="command that starts the upstream; {port} is replaced")
    parser.add_argument("--loadgen", help="command of the load generator: options on stdin, report on stdout")
    parsed = parser.parse_args(argv)
    parsed.depth = "quick" if parsed.quick else "full" if parsed.full else "normal"
    chosen = parsed.targets.split(",") if parsed.targets else _targets(parsed.depth, peers=parsed.peers)
    parsed.targets = list(dict.fromkeys(chosen))
    if unknown := [name for name in parsed.targets if name not in (*OURS, *peer_names())]:
        parser.error(f"--targets: no target is called {', '.join(unknown)}")
    if parsed.rounds is not None and parsed.rounds < 1:
        parser.error("--rounds: must be at least 1")
    usual = [name for name in known if parsed.full or name not in ONLY_FULL]
    wanted = parsed.scenarios.split(",") if parsed.scenarios else usual
    if unknown := [name for name in wanted if name not in known]:
        parser.error(f"--scenarios: no scenario is called {', '.join(unknown)}; there are {', '.join(known)}")
    parsed.loads = [scenario for scenario in scenarios.ALL if scenario.name in wanted]
    parsed.experiments = [name for name in experiments.NAMES if name in wanted]
    return parsed


def _targets(depth: Depth, *, peers: bool) -> tuple[str, ...]:
    """All that is ours, and the peers that were asked for or that a goal names."""
    full = depth == "full"
    named = (goals.PEER,) if full else ()
    own = [name for name in OURS if full or name not in stack.ONLY_FULL]
    return (*own, *(peer_names() if peers else named))


class Interrupted(BaseException):
    """A signal that must not skip the clean-up."""


def on_signal(number: int, _frame: FrameType | None) -> NoReturn:
    """Turns the first signal into an exception, so that every process is stopped on the way out; ignores the rest."""
    for other in SIGNALS:
        signal.signal(other, signal.SIG_IGN)
    raise Interrupted("the time limit was reached" if number == signal.SIGALRM else signal.Signals(number).name)


def rounds_of(args: argparse.Namespace) -> int:
    """How many rounds were asked for."""
    rounds: int | None = args.rounds
    depth: Depth = args.depth
    return ROUNDS[depth] if rounds is None else rounds


def run_experiments(bench: experiments.Bench, names: Sequence[str], results: Findings, all_: Stack) -> None:
    """Those that were asked for, one after the other."""
    for name in names:
        print(f"{name}: {experiments.NAMES[name]}", flush=True)
        try:
            if name == "starts":
                results.starts = starts.measure(bench)
            elif name == "token_count":
                results.token_count = token_count.measure(bench)
            elif name == "many_streams":
                results.many_streams = many_streams.measure(bench)
            elif name == "grpc_many_streams":
                results.grpc_many_streams = many_streams.measure_rpc(bench)
            elif name == "coworker":
                results.coworker = coworker.measure(bench)
            else:
                results.state_growth = state_growth.measure(bench)
        except NotMeasured as e:
            all_.skip(name, str(e))
        except (StartError, FeatureError, LoadError, ValueError) as e:
            # The rounds are measured; they are not lost for this.
            all_.failed = True
            all_.skip(name, str(e))


def measure(args: argparse.Namespace, cleanup: contextlib.ExitStack) -> tuple[Findings, machine.Machine, bool]:
    """Everything that was asked for, where, and whether something of it failed."""
    cores = Cores.choose()
    if cores.load is None:
        print("fewer than two cores: nothing is pinned, and client, upstream and gateway share them", flush=True)
    else:
        os.sched_setaffinity(0, cores.load)
    folder = Path(cleanup.enter_context(tempfile.TemporaryDirectory(prefix="penstock-bench-")))
    described = machine.describe(pinned=cores.load is not None)
    upstream, simulator = start_simulator(args.simulator, folder, cores.load)
    cleanup.callback(simulator.stop)
    client = Client(cores.load, shlex.split(args.loadgen)) if args.loadgen else Client(cores.load)
    loads: list[Scenario] = args.loads
    all_ = Stack(folder, upstream, cores, cleanup)
    if loads:
        for name in args.targets:
            all_.add(name)
        time.sleep(IDLE_SECONDS)
    results = Findings(all_.targets, loads, rounds_of(args), args.depth, not_measured=all_.not_measured)
    results.idle_rss_mb = all_.rss()
    results.samples = run_all(client, loads, all_.targets, results.rounds, args.depth, drop=all_.drop)
    results.accounting = all_.prove_accounting(results.samples)
    results.after_rss_mb = all_.rss()
    bench = experiments.Bench(folder, upstream, cores, client, args.depth)
    run_experiments(bench, args.experiments, results, all_)
    return results, described, all_.failed


def publish(
    args: argparse.Namespace, argv: Sequence[str], results: Findings, described: machine.Machine, commit: str
) -> None:
    """Writes everything and shows the text."""
    folder: Path = args.results
    judged = goals.judge(results)
    document = report.document(results, judged, described, commit, limits.command(argv))
    drawn = [(title, f"results/{name}") for title, name in figures.draw(results, folder / "results")]
    if not drawn:
        print("no charts: nothing to draw, or matplotlib is missing", flush=True)
    text = table.markdown(document, results, judged, drawn)
    report.write(folder, document, text)
    print(f"\n{text}\nwritten to {folder / 'RESULTS.md'}", flush=True)


def errors_of(results: Findings) -> tuple[int, int]:
    """Failed requests: of this repository's targets, and of peers."""
    own, others = 0, 0
    peers = {target.label for target in results.targets if target.name not in ("direct", "nginx", "penstock")}
    for (_, label), runs in results.samples.items():
        errors = sum(sample.report.errors for sample in runs)
        own, others = (own, others + errors) if label in peers else (own + errors, others)
    return own + sum(s.failed for s in (*results.many_streams, *results.grpc_many_streams)), others


def bench(args: argparse.Namespace, argv: Sequence[str], cleanup: contextlib.ExitStack) -> int:
    """Measures and writes; the exit status. Goals that are not met do not change it."""
    before = machine.commit(HERE.parent)
    results, described, failed = measure(args, cleanup)
    publish(args, argv, results, described, machine.commit(HERE.parent, before))
    own, others = errors_of(results)
    if own or others:
        print(
            f"{own} requests failed, and {others} of peers; the numbers count only those that did not", file=sys.stderr
        )
    return 1 if failed or own else 0


def main(argv: Sequence[str]) -> int:
    """Runs the benchmark within its time limit; the exit status."""
    args = arguments(argv)
    # For the load generator and all that is started; 2,000 streams are more than the usual soft limit.
    raise_limit()
    for number in SIGNALS:
        signal.signal(number, on_signal)
    signal.alarm(limits.seconds(args.loads, args.experiments, args.targets, rounds_of(args), args.depth))
    try:
        with contextlib.ExitStack() as cleanup:
            return bench(args, argv, cleanup)
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
