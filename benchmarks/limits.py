"""How long a run may take, worked out from what it does, and how it is shown that it was asked for."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from benchmarks.scenarios import Depth, Scenario
from benchmarks.stack import OURS

EXPERIMENT_SECONDS = {
    "starts": 120,
    "token_count": 120,
    "many_streams": 300,
    "grpc_many_streams": 200,
    "state_growth": 900,
    "coworker": 300,
}
"""Far more than they take."""
PEER_SECONDS = 600
"""To install and start one."""
SLACK = 2.0
"""Loads may take this much longer than they should."""
NOT_SHOWN = ("--results", "--simulator", "--loadgen")


def seconds(
    loads: Sequence[Scenario], experiments: Sequence[str], targets: Sequence[str], rounds: int, depth: Depth
) -> int:
    """After which the run is ended."""
    once = sum(scenario.seconds(depth) + 1 for scenario in loads) * len(targets)
    peers = sum(PEER_SECONDS for target in targets if target not in OURS)
    return round(120 + SLACK * rounds * once + sum(EXPERIMENT_SECONDS[name] for name in experiments) + peers)


def command(argv: Sequence[str]) -> str:
    """The command line without paths of this machine."""
    shown: list[str] = []
    rest = iter(argv)
    for word in rest:
        if word in NOT_SHOWN:
            next(rest, None)
        elif not word.startswith(tuple(f"{option}=" for option in NOT_SHOWN)):
            shown.append(word)
    return shlex.join(["python", "-m", "benchmarks", *shown])
