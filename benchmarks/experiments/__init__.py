"""What is measured once, not in every round: starts, many streams at a time, token counting, growing state.

Each experiment starts what it needs, fresh, and stops it; its result is a struct that goes into ``latest.json`` as it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from benchmarks.processes import Cores
from benchmarks.scenarios import Depth
from penstock.bench.load import Client

NAMES = {
    "starts": "start to ready and memory when idle, with an empty configuration",
    "token_count": "token counting beside tiktoken",
    "many_streams": "2,000 paced streams at a time",
    "grpc_many_streams": "2,000 paced streams at a time over gRPC, on 20 connections",
    "coworker": "records that one coworker writes, with 10 keys and with 20,000",
    "state_growth": "1,000,000 virtual keys stored, 100,000 in memory, 1,000 deployments",
}


@dataclass(frozen=True)
class Bench:
    """What an experiment may use."""

    folder: Path
    """For configs, data and logs."""
    upstream: int
    """The simulator's port."""
    cores: Cores
    client: Client
    depth: Depth
