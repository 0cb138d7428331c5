"""``python -m benchmarks.peers install|check [names]``: makes environments; tries the peers in them."""

from __future__ import annotations

import argparse
import contextlib
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks import peers
from benchmarks.peers.install import install
from benchmarks.processes import Cores, Process, StartError, accepts, free_port
from benchmarks.scenarios import ALL
from benchmarks.targets import NotMeasured
from penstock.bench.load import Client, LoadError
from penstock.bench.processes import cpu

TRIED = ("unary_c32", "sse_c16")
"""Scenarios of the benchmark that tell a peer that is set up badly from one that is not."""


def installed(name: str) -> str:
    """Installs one peer; a line that says so."""
    where = install(name)
    return f"{peers.version(name)} in {where}"


def checked(name: str, folder: Path, upstream: int, cores: Cores) -> str:
    """Starts one peer, whose answers are then compared, and drives a short load through it; a line with what came out."""
    target, process = peers.start(name, folder / name, upstream, cores.gateway)
    said, client = [f"{target.version} answers as the upstream does"], Client(cores.load)
    try:
        for scenario in (scenario for scenario in ALL if scenario.name in TRIED):
            client.run(scenario.warm(target), timeout=60)
            before = cpu(process.pid)
            load = client.run(scenario.options(target, "normal"), timeout=60)
            per_request = cpu(process.pid).used_since(before) / max(1, load.requests)
            said.append(f"{scenario.name} {load.rps:,.0f}/s, {per_request:,.0f} us CPU each, {load.errors} errors")
    finally:
        process.stop()
    return "; ".join(said)


def each(names: Sequence[str], act: Callable[[str], str]) -> int:
    """Does one thing for every peer, whatever becomes of the others; how many failed."""
    failed = 0
    for name in names:
        try:
            print(f"{name}: {act(name)}", flush=True)
        except (NotMeasured, LoadError) as e:
            print(f"{name}: NOT AVAILABLE: {e}", file=sys.stderr, flush=True)
            failed += 1
    return failed


def main(argv: Sequence[str]) -> int:
    """Runs the command; 1 when a peer that was named, or every peer, failed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers", description=__doc__)
    parser.add_argument("command", choices=("install", "check"))
    parser.add_argument("names", nargs="*", metavar="name", help=f"of {', '.join(peers.NAMES)} (default: all)")
    parser.add_argument("--upstream", type=int, help="port of a running simulator for check (default: starts one)")
    args = parser.parse_args(argv)
    if unknown := [name for name in args.names if name not in peers.NAMES]:
        parser.error(f"no peer is called {', '.join(unknown)}; there are {', '.join(peers.NAMES)}")
    names = args.names or list(peers.NAMES)
    if args.command == "install":
        failed = each(names, installed)
    else:
        try:
            failed = _check(names, args.upstream)
        except StartError as e:
            print(e, file=sys.stderr)
            return 1
    return 1 if failed and (args.names or failed == len(names)) else 0


def _check(names: Sequence[str], upstream: int | None) -> int:
    cores = Cores.choose()
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="penstock-peers-")))
        if upstream is None:
            upstream = free_port()
            command = [sys.executable, "-m", "penstock", "simulate", "--port", str(upstream)]
            simulator = Process("simulator", command, folder / "simulator.log", cores.load)
            stack.callback(simulator.stop)
            simulator.wait_until(lambda: accepts(upstream), 20)
        return each(names, lambda name: checked(name, folder, upstream, cores))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
