"""The loads that every round drives: how many connections, for how long, what is asked and what must come back.

The simulator takes an answer's shape from the model name, so that every target gets the same answer however it treats
headers.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import msgspec

from benchmarks.targets import Target
from penstock.bench import rpc, wire
from penstock.bench.load import GrpcOptions, Options, StreamOptions

Depth = Literal["quick", "normal", "full"]

DELTAS = 64
UNARY = "sim/tokens=16"
SHORT_STREAM = "sim/tokens=2"
STREAM_5MS = f"sim/tokens={DELTAS},tps=200"
STREAM_20MS = f"sim/tokens={DELTAS},tps=50"
STREAM_125MS = f"sim/tokens={DELTAS},tps=8"
MODELS = {
    "bench-unary": UNARY,
    "bench-stream-short": SHORT_STREAM,
    "bench-stream-5ms": STREAM_5MS,
    "bench-stream-20ms": STREAM_20MS,
    "bench-stream-125ms": STREAM_125MS,
}
"""Public names, where the target has its own, and the upstream's."""
BODY_BYTES = 300
TIMEOUT_MS = 20_000
PACED = StreamOptions(deltas=DELTAS, order="numbered", done=True, usage=True)
ANY_STREAM = StreamOptions(order="any")

OURS = frozenset({"direct", "nginx", "penstock (native)"})
WITH_GRANIAN = OURS | {"penstock (granian)"}
BUSY = frozenset({"penstock (native, busy polling)"})
SHARED = frozenset({"penstock (native, PostgreSQL and Redis)"})
RPC = frozenset({"penstock (native)"})


@dataclass(frozen=True)
class Scenario:
    """One load."""

    name: str
    note: str
    connections: int
    model: str
    milliseconds: Mapping[Depth, int]
    """During which requests are sent; those in flight are waited for."""
    warmup: int
    """Requests before those that count, in a run of their own; for streams, short ones."""
    requests: int | None = None
    """Ends the load when it comes first."""
    rate: float | None = None
    """Requests per second of an open loop; None: closed."""
    stream: StreamOptions | None = None
    stream_ms: int = 0
    """How long one paced stream takes. The streams begin spread over this time, so that their frames are not in step."""
    body_bytes: int = BODY_BYTES
    calls: int | None = None
    """Over gRPC, with so many calls at a time on each connection; None: over HTTP/1.1."""
    like: str | None = None
    """Of a load over gRPC: the same load over REST. There is no upstream that speaks gRPC to measure alone, so what the
    gateway adds is the difference to this load on the upstream alone."""
    only: frozenset[str] | None = None
    """Labels of the targets it is for; None: all of this repository's and every peer."""
    peers: bool = False

    def concerns(self, target: Target) -> bool:
        """Whether this target is measured in it."""
        if self.calls is not None and target.rpc_url is None:
            return False
        return (self.only is None or target.label in self.only) or (self.peers and target.listener == "-")

    def seconds(self, depth: Depth) -> float:
        """How long one run takes when all is well, starting the load generator included."""
        return (self.milliseconds[depth] + 2 * self.stream_ms) / 1e3 + 1.0

    def timeout(self, depth: Depth) -> float:
        """Seconds after which a run has gone wrong."""
        return self.seconds(depth) + TIMEOUT_MS / 1e3 + 10

    def warm(self, target: Target) -> Options:
        """The load before the load: it opens the connections that the measured one will need."""
        model = SHORT_STREAM if self.stream else self.model
        requests, connections = self.warmup, min(self.connections, self.warmup)
        stream = ANY_STREAM if self.stream else None
        return request(
            target, model, self.body_bytes, stream, connections=connections, requests=requests, calls=self.calls
        )

    def options(self, target: Target, depth: Depth) -> Options:
        """The load generator's options for one run against a target."""
        return request(
            target,
            self.model,
            self.body_bytes,
            self.stream,
            connections=self.connections,
            requests=self.requests,
            duration_ms=self.milliseconds[depth],
            rate=self.rate,
            ramp_ms=self.stream_ms,
            calls=self.calls,
        )


def chat(model: str, *, stream: bool) -> str:
    """The request body; the load generator fills it to size."""
    body: dict[str, object] = {
        "model": model,
        "messages": [
            {"role": "system", "content": "You are a concise assistant."},
            {"role": "user", "content": "{pad}"},
        ],
        "max_tokens": 128,
    }
    if stream:
        body |= {"stream": True, "stream_options": {"include_usage": True}}
    return json.dumps(body, separators=(",", ":"))


def request(
    target: Target,
    model: str,
    body_bytes: int,
    stream: StreamOptions | None,
    *,
    connections: int,
    requests: int | None = None,
    duration_ms: int | None = None,
    rate: float | None = None,
    ramp_ms: int = 0,
    calls: int | None = None,
) -> Options:
    """Load on a target that asks the upstream's ``model`` by the target's name for it; ``calls``: over gRPC, so many at a
    time on each connection."""
    name = next((name for name, upstream in target.models.items() if upstream == model), model)
    body = chat(name, stream=stream is not None)
    # The names differ in length; the prompts shall not, so the size asked for grows with the name.
    size = body_bytes + len(name) - len(model)
    options = Options(
        url=target.stream_url if stream else target.unary_url,
        headers=(("content-type", "application/json"), *target.headers),
        body=body,
        body_bytes=size,
        connections=connections,
        requests=requests,
        duration_ms=duration_ms,
        rate=rate,
        ramp_ms=ramp_ms,
        timeout_ms=TIMEOUT_MS,
        stream=stream,
    )
    if calls is None:
        return options
    if target.rpc_url is None:
        raise ValueError(f"{target.label} is not measured over gRPC")
    # With the prompt of the REST request: the message is what that becomes, and shorter.
    filled = body.replace(wire.PAD, wire.prose_of(size - len(body) + len(wire.PAD)), 1)
    return msgspec.structs.replace(
        options,
        url=rpc.endpoint(target.rpc_url, stream=stream is not None),
        headers=target.headers,
        body="",
        body_bytes=None,
        grpc=GrpcOptions(rpc.message(filled, None), calls),
    )


ALL = (
    Scenario(
        "unary_c1",
        "1 connection, closed loop, 300-byte requests, answers of 16 tokens",
        1,
        UNARY,
        {"quick": 200, "normal": 1_000, "full": 1_500},
        warmup=100,
        only=WITH_GRANIAN | BUSY | SHARED,
        peers=True,
    ),
    Scenario(
        "unary_c32",
        "32 connections, closed loop, 300-byte requests, answers of 16 tokens",
        32,
        UNARY,
        {"quick": 200, "normal": 1_500, "full": 2_500},
        warmup=500,
        peers=True,
    ),
    Scenario(
        "open_2000",
        "2,000 requests/s at constant intervals over 64 connections; latency counts from when a request was due",
        64,
        UNARY,
        {"quick": 200, "normal": 1_500, "full": 2_500},
        warmup=200,
        rate=2_000,
        only=OURS,
    ),
    Scenario(
        "sse_c16",
        f"16 streams at a time, {DELTAS} deltas 5 ms apart",
        16,
        STREAM_5MS,
        {"quick": 350, "normal": 1_000, "full": 2_000},
        warmup=64,
        stream=PACED,
        stream_ms=5 * DELTAS,
        only=WITH_GRANIAN,
        peers=True,
    ),
    Scenario(
        "sse_c128",
        f"128 streams at a time, {DELTAS} deltas 20 ms apart",
        128,
        STREAM_20MS,
        {"quick": 300, "normal": 1_500, "full": 2_500},
        warmup=512,
        stream=PACED,
        stream_ms=20 * DELTAS,
        only=WITH_GRANIAN,
        peers=True,
    ),
    Scenario(
        "body_100kb",
        "1 connection, closed loop, requests of 100,000 bytes",
        1,
        UNARY,
        {"quick": 200, "normal": 700, "full": 1_000},
        warmup=20,
        body_bytes=100_000,
        only=OURS,
    ),
    Scenario(
        "body_1mb",
        "1 connection, closed loop, requests of 1,000,000 bytes",
        1,
        UNARY,
        {"quick": 200, "normal": 1_000, "full": 1_500},
        warmup=10,
        body_bytes=1_000_000,
        only=OURS,
    ),
    Scenario(
        "grpc_unary_c1",
        "unary_c1 over gRPC; added: to REST without a gateway",
        1,
        UNARY,
        {"quick": 200, "normal": 1_000, "full": 1_500},
        warmup=100,
        calls=1,
        like="unary_c1",
        only=RPC | BUSY,
    ),
    Scenario(
        "grpc_unary_c32",
        "unary_c32 over gRPC, 32 calls at a time over 2 connections; added: to REST without a gateway",
        2,
        UNARY,
        {"quick": 200, "normal": 1_500, "full": 2_500},
        warmup=500,
        calls=16,
        like="unary_c32",
        only=RPC,
    ),
    Scenario(
        "grpc_stream_c16",
        "sse_c16 over gRPC, 16 streams at a time over 2 connections; added: to REST without a gateway",
        2,
        STREAM_5MS,
        {"quick": 350, "normal": 1_000, "full": 2_000},
        warmup=64,
        stream=PACED,
        stream_ms=5 * DELTAS,
        calls=8,
        like="sse_c16",
        only=RPC,
    ),
    Scenario(
        "grpc_stream_c128",
        "sse_c128 over gRPC, 128 streams at a time over 4 connections; added: to REST without a gateway",
        4,
        STREAM_20MS,
        {"quick": 300, "normal": 1_500, "full": 2_500},
        warmup=512,
        stream=PACED,
        stream_ms=20 * DELTAS,
        calls=32,
        like="sse_c128",
        only=RPC,
    ),
)
