"""The gateways that Penstock is compared with, each in an environment of its own.

A peer is a folder with ``launch.toml`` (how it is run) and an entry in ``pins.toml`` (what is
installed). ``python -m benchmarks.peers install`` makes the environments, outside the checkout and
before anything is measured; :func:`start` runs a peer from its environment and compares an answer
of its with the upstream's before it is measured. It is apart from the targets that are ours because
a peer that cannot be had on a machine is no failure of the benchmark. ``README.md`` says why each
runs with the settings it has.
"""

from __future__ import annotations

from benchmarks.peers.catalogue import NAMES
from benchmarks.peers.running import start, version

__all__ = ["NAMES", "start", "version"]
