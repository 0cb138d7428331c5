"""Whether a request costs more when there is more of everything: keys stored, keys in memory, deployments.

One gateway has one key and one deployment; the other a million keys in its database, a hundred thousand of them in
memory because each has made a call, and a thousand deployments. The keys are copies of one that the gateway itself has
made, under tokens from the product's own digest, written straight into the file.
"""

from __future__ import annotations

import random
import sqlite3
import time
from contextlib import ExitStack, closing
from pathlib import Path
from statistics import median

import msgspec

from benchmarks.experiments import Bench
from benchmarks.experiments.keyload import KeyLoad
from benchmarks.gateway import FeatureError, Gateway, JsonObject, call, config, deployment
from benchmarks.scenarios import BODY_BYTES, UNARY, chat
from penstock import _core
from penstock.bench.processes import cpu, rss_mb

KEYS = {"quick": 2_000, "normal": 1_000_000, "full": 1_000_000}
IN_TABLE = {"quick": 500, "normal": 100_000, "full": 100_000}
DEPLOYMENTS = 1_000
WIDE = 500
"""Of the deployments, those that one group has; each other has a group of its own."""
ROUNDS = {"quick": 2, "normal": 5, "full": 7}
SECONDS = {"quick": 0.2, "normal": 2.0, "full": 2.0}
NARROW_GROUP, WIDE_GROUP = "bench-unary", "bench-wide"


class Grown(msgspec.Struct, frozen=True):
    """One kind of traffic on the gateway with much state, beside the gateway with little."""

    traffic: str
    cpu_us_per_request: list[float]
    """By round."""
    baseline_us_per_request: list[float]
    """The gateway with one key and one deployment, in the same rounds."""

    @property
    def growth(self) -> float:
        """Median over rounds of the ratio within each; 1: it costs the same."""
        return median(
            mine / base for mine, base in zip(self.cpu_us_per_request, self.baseline_us_per_request, strict=True)
        )


class StateGrowth(msgspec.Struct, frozen=True):
    """What was there, what it took to have it, and what requests cost then."""

    keys_stored: int
    keys_in_memory: int
    """As the gateway says."""
    deployments: int
    fill_s: float
    """Until each of the keys in memory had made its first call."""
    rss_mb: float
    """Of the gateway with all of it."""
    traffic: list[Grown]


def measure(bench: Bench) -> StateGrowth:
    """Both gateways, in turns.

    Raises:
        StartError: a gateway did not come up.
        FeatureError: keys have no effect, or are not in memory.
        LoadError: a call failed.
    """
    little = Gateway(bench.folder / "little", bench.upstream, bench.cores.gateway, settings=_one(bench.upstream))
    try:
        much, keys = _with_much(bench)
        try:
            return _compare(bench, little, much, keys)
        finally:
            much.process.stop()
    finally:
        little.process.stop()


def _one(upstream: int) -> JsonObject:
    return config(upstream, features=True) | {"model_list": [deployment(NARROW_GROUP, UNARY, upstream, priced=True)]}


def _thousand(upstream: int, capacity: int) -> JsonObject:
    """The measured group, groups that nobody asks for, and one group of many deployments."""
    names = [NARROW_GROUP, *(f"other-{n}" for n in range(DEPLOYMENTS - WIDE - 1)), *[WIDE_GROUP] * WIDE]
    return {
        "model_list": [deployment(name, UNARY, upstream, priced=True) for name in names],
        "penstock": {"demo": False, "limits": {"key_table_capacity": capacity}},
    }


def _with_much(bench: Bench) -> tuple[Gateway, list[str]]:
    """Makes the keys while no gateway runs; the gateway, and the keys that shall be in memory."""
    folder = bench.folder / "much"
    # No more room than there are keys: the table holds what its capacity says.
    settings = _thousand(bench.upstream, IN_TABLE[bench.depth])
    first = Gateway(folder, bench.upstream, bench.cores.gateway, settings=settings)
    # A key for every model: the copies take its permissions.
    made = call(first.port, "POST", "/key/update", first.admin, {"key": first.key, "models": []})
    first.process.stop()
    if made.status != 200:
        raise FeatureError(f"/key/update answered {made.status}: {made.excerpt()}")
    begun = time.perf_counter()
    keys = _multiply(folder / "data", first.key, KEYS[bench.depth] - 1, IN_TABLE[bench.depth] - 1)
    print(f"  state_growth: {KEYS[bench.depth]:,} keys stored in {time.perf_counter() - begun:.0f} s", flush=True)
    much = Gateway(folder, bench.upstream, bench.cores.gateway, settings=settings, admin=first.admin, key=first.key)
    return much, [first.key, *keys]


def _multiply(data_dir: Path, key: str, copies: int, wanted: int) -> list[str]:
    """Copies a stored key under fresh tokens; the first ``wanted`` of the new keys themselves."""
    pepper = bytes.fromhex((data_dir / "pepper").read_text().strip())
    keys: list[str] = []
    rows: list[tuple[str, str]] = []
    for _ in range(copies):
        secret = _core.generate_key()
        if len(keys) < wanted:
            keys.append(secret)
        rows.append((_core.key_digest(pepper, secret), f"sk-...{secret[-4:]}"))
    # In the order of the primary key the file grows at its end.
    rows.sort()
    with closing(sqlite3.connect(data_dir / "penstock.db")) as database:
        names = [row[1] for row in database.execute("PRAGMA table_info(keys)")]
        same = [name for name in names if name not in ("token", "key_name", "key_alias")]
        template = database.execute(
            f"SELECT {', '.join(same)} FROM keys WHERE token = ?", (_core.key_digest(pepper, key),)
        ).fetchone()
        if template is None:
            raise FeatureError("the key that the gateway made is not stored under its digest")
        marks = ", ".join("?" * (2 + len(same)))
        sql = f"INSERT INTO keys (token, key_name, {', '.join(same)}) VALUES ({marks})"
        with database:
            database.executemany(sql, ((token, name, *template) for token, name in rows))
    return keys


def _body(group: str) -> str:
    body = chat(group, stream=False)
    return body.replace("{pad}", "water " * ((BODY_BYTES - len(body)) // 6))


def _fill(much: Gateway, keys: list[str]) -> float:
    """Each key's first call, which brings it into memory; how many seconds all of them took."""
    begun = time.perf_counter()
    load = KeyLoad(much.port, _body(NARROW_GROUP))
    try:
        much.expect(load.once(keys))
    finally:
        load.close()
    return time.perf_counter() - begun


def _compare(bench: Bench, little: Gateway, much: Gateway, keys: list[str]) -> StateGrowth:
    fill_s = _fill(much, keys)
    print(f"  state_growth: {len(keys):,} keys made their first call in {fill_s:.0f} s", flush=True)
    in_memory = _gauge(much, "penstock_key_table_keys")
    if in_memory < len(keys):
        raise FeatureError(f"{in_memory} keys are in memory, not {len(keys)}")
    random.Random(1).shuffle(keys)
    kinds = [
        ("one key, a group of one deployment", NARROW_GROUP, [much.key]),
        (f"one key, a group of {WIDE} deployments", WIDE_GROUP, [much.key]),
        (f"spread over {len(keys):,} keys, a group of one deployment", NARROW_GROUP, keys),
    ]
    baseline: list[float] = []
    costs: dict[str, list[float]] = {name: [] for name, _, _ in kinds}
    with ExitStack() as cleanup:
        sides = [(baseline, little, NARROW_GROUP, [little.key])]
        sides += [(costs[name], much, group, used) for name, group, used in kinds]
        loads = [KeyLoad(gateway.port, _body(group)) for _, gateway, group, _ in sides]
        for load in loads:
            cleanup.callback(load.close)
        for number in range(ROUNDS[bench.depth] + 1):
            for load, (into, gateway, _, used) in zip(loads, sides, strict=True):
                cost = _cost(gateway, load, used, SECONDS[bench.depth])
                # The first round warms connections and caches.
                if number:
                    into.append(round(cost, 2))
            print(f"  state_growth {number}/{ROUNDS[bench.depth]}", flush=True)
    for gateway in (little, much):
        gateway.prove_accounting(failures=0)
    return StateGrowth(
        keys_stored=KEYS[bench.depth],
        keys_in_memory=in_memory,
        deployments=DEPLOYMENTS,
        fill_s=round(fill_s, 1),
        rss_mb=round(rss_mb(much.process.pid), 1),
        traffic=[Grown(name, cost, baseline) for name, cost in costs.items()],
    )


def _cost(gateway: Gateway, load: KeyLoad, keys: list[str], seconds: float) -> float:
    """CPU microseconds per request, usage records and charges included."""
    # Whoever asks what was spent is told when everything is charged: each load pays for its own, and for no other.
    gateway.spend()
    before = cpu(gateway.process.pid)
    answered = load.during(seconds, keys)
    gateway.expect(answered)
    gateway.spend()
    return cpu(gateway.process.pid).used_since(before) / answered


def _gauge(gateway: Gateway, name: str) -> int:
    text = call(gateway.port, "GET", "/metrics", gateway.admin).body.decode()
    for line in text.splitlines():
        if line.startswith((f"{name} ", f"{name}{{")):
            return int(float(line.rpartition(" ")[2]))
    raise FeatureError(f"/metrics does not have {name}")
