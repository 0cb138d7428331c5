"""`penstock simulate`: the upstream simulator on a port of its own."""

from __future__ import annotations

import signal

import click
import msgspec


def run(host: str, port: int, threads: int, ttft_ms: float, tokens_per_second: float, tokens: int) -> None:
    """Block until a signal to stop."""
    from penstock import _core
    from penstock.cli.failure import explained
    from penstock.engine.snapshot import SimulatorOptions

    stop = {signal.SIGINT, signal.SIGTERM}
    # Blocked before the simulator starts its threads, so that they inherit it and only `sigwait` sees the signals.
    signal.pthread_sigmask(signal.SIG_BLOCK, stop)
    options = SimulatorOptions(
        host=host,
        port=port,
        threads=threads,
        ttft_ms=ttft_ms,
        tokens_per_second=tokens_per_second,
        tokens=tokens,
    )
    simulator = _core.Simulator(msgspec.json.encode(options))
    with explained():
        bound = simulator.start()
    click.echo(msgspec.json.encode({"event": "ready", "address": f"http://{host}:{bound}", "port": bound}).decode())
    signal.sigwait(stop)
    simulator.stop()
