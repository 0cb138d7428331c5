"""Measures the gateway against its upstream alone and against nginx, in one run on one machine.

``python -m benchmarks`` starts the simulator (the upstream), nginx and the gateway with every
feature on, drives the same load through each of them in turn, and writes ``results/latest.json``
and ``results/latest.md``. It is apart from ``tests/`` because it judges speed, not behaviour, and
needs the machine for itself. Linux only: CPU time and memory are read from ``/proc``.
"""
