"""Measures the gateway against its upstream alone, nginx and other gateways, in one run on one machine, and judges the goals.

``python -m benchmarks`` starts the simulator (the upstream), nginx, the gateway in several ways and whatever peers were
asked for, drives the same loads through each of them in turn, and writes ``RESULTS.md``, ``results/latest.json`` and
charts. It is apart from ``tests/`` because it judges speed, not behaviour, and needs the machine for itself; the load
generator, the reading of processes and the charts are those of ``penstock bench``. Linux only: CPU time and memory are
read from ``/proc``.
"""
