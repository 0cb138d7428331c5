"""The loads: how many connections, for how long, what is asked and what must come back.

The simulator takes an answer's shape from the model name, so that every target gets the same
answer however it treats headers.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from benchmarks.targets import Target

UNARY = "sim/tokens=16"
DELTAS = 64
STREAM_5MS = f"sim/tokens={DELTAS},tps=200"
STREAM_20MS = f"sim/tokens={DELTAS},tps=50"
MODELS = {"bench-unary": UNARY, "bench-stream-5ms": STREAM_5MS, "bench-stream-20ms": STREAM_20MS}
"""Public names, where the target has its own, and the upstream's."""
BODY_BYTES = 300
TIMEOUT_MS = 20_000


@dataclass(frozen=True)
class Scenario:
    """One load."""

    name: str
    note: str
    connections: int
    model: str
    warmup: int
    """Requests before those that count; sent by a run of their own."""
    requests: int | None = None
    duration_ms: int | None = None
    quick_duration_ms: int | None = None
    stream: bool = False
    ramp_ms: int = 0
    """The streams begin spread over the time that one takes, so that their frames are not in step."""

    def duration(self, quick: bool) -> int | None:
        """Milliseconds during which requests are sent; None: until there were enough."""
        return self.quick_duration_ms if quick else self.duration_ms

    def timeout(self, quick: bool) -> float:
        """Seconds after which a run has gone wrong."""
        return (self.duration(quick) or 10_000) / 1e3 + TIMEOUT_MS / 1e3 + 10

    def options(self, target: Target, quick: bool, *, warmup: bool = False) -> dict[str, object]:
        """The load generator's options for one run against a target."""
        public = {upstream: name for name, upstream in target.models.items()}
        body: dict[str, object] = {
            "model": public.get(self.model, self.model),
            "messages": [
                {"role": "system", "content": "You are a concise assistant."},
                {"role": "user", "content": "{pad}"},
            ],
            "max_tokens": 128,
        }
        if self.stream:
            body |= {"stream": True, "stream_options": {"include_usage": True}}
        # The names differ in length; the prompts shall not, so the size asked for grows with the name.
        size = BODY_BYTES + len(str(body["model"])) - len(self.model)
        options: dict[str, object] = {
            "url": target.stream_url if self.stream else target.unary_url,
            "headers": [["content-type", "application/json"], *map(list, target.headers)],
            "body": json.dumps(body, separators=(",", ":")),
            "body_bytes": size,
            "connections": self.connections,
            "timeout_ms": TIMEOUT_MS,
        }
        if self.stream:
            options["stream"] = {"deltas": DELTAS, "order": "numbered", "done": True, "usage": True}
        if warmup:
            return options | {"requests": self.warmup}
        options["ramp_ms"] = self.ramp_ms
        if self.requests is not None:
            options["requests"] = self.requests
        if (duration := self.duration(quick)) is not None:
            options["duration_ms"] = duration
        return options


ALL = (
    Scenario("unary_c1", "1 connection, 2,000 requests, 16 tokens", 1, UNARY, warmup=200, requests=2_000),
    Scenario(
        "unary_c32",
        "32 connections, closed loop, 16 tokens",
        32,
        UNARY,
        warmup=1_000,
        duration_ms=4_000,
        quick_duration_ms=1_500,
    ),
    Scenario(
        "sse_c16",
        f"16 streams at a time, {DELTAS} deltas 5 ms apart",
        16,
        STREAM_5MS,
        warmup=16,
        duration_ms=3_000,
        quick_duration_ms=1_500,
        stream=True,
        ramp_ms=5 * DELTAS,
    ),
    Scenario(
        "sse_c128",
        f"128 streams at a time, {DELTAS} deltas 20 ms apart",
        128,
        STREAM_20MS,
        warmup=64,
        duration_ms=3_500,
        quick_duration_ms=2_000,
        stream=True,
        ramp_ms=20 * DELTAS,
    ),
)


def choose(names: str | None) -> list[Scenario]:
    """The scenarios with these comma-separated names; None: all.

    Raises:
        ValueError: there is no such scenario.
    """
    if names is None:
        return list(ALL)
    by_name = {scenario.name: scenario for scenario in ALL}
    unknown = [name for name in names.split(",") if name not in by_name]
    if unknown:
        raise ValueError(f"--scenarios: no scenario is called {', '.join(unknown)}; there are {', '.join(by_name)}")
    return [by_name[name] for name in names.split(",")]
