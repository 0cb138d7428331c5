"""Clients that leave: the upstream is told within a second, each call is settled once, and both books agree to the token."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.conftest import Gateway
from tests.faults.accounts import BooksDiffer, Row, gauge, idle, never_differ, note, rows_of, settled, usage, verdict
from tests.faults.conftest import CONFIG
from tests.faults.raw import Client, ask
from tests.faults.streams import PROMPT_TOKENS, SURFACES, body
from tests.rig import Sim, until
from tests.stalls import again_after_a_stall

pytestmark = pytest.mark.alone

PROMPTLY_S = 1.0
"""How soon an upstream must have been told that nobody waits any more."""
_STOOD_S = 0.2
"""A machine that stands still for so long tells it later, and takes requests whose clients have left before it had them."""


def _ended_ms(entry: Row) -> float:
    return float(entry["at_ms"] + entry["duration_us"] / 1000)


async def _stays_for(
    gateway: Gateway, request: bytes, seconds: float, *, reset: bool, after: asyncio.Event | None = None
) -> tuple[str | None, float]:
    """One client; the call's id, if it learned it, and when it left (Unix milliseconds; 0: it got the whole answer).

    ``after``: the seconds begin with this.
    """
    client = await Client.connect(gateway)
    client.writer.write(request)
    if after is not None:
        await after.wait()
    ended = await client.read_for(seconds)
    whole = ended or client.received.endswith(b"0\r\n\r\n")
    client.leave(reset=reset)
    return client.call_id, 0 if whole else time.time() * 1000


async def _books(gateway: Gateway, sim: Sim, key: str, since: int, calls: int) -> tuple[list[Row], list[Row]]:
    """Ours of at most so many calls, and theirs, once all has ended."""
    await asyncio.to_thread(until, lambda: not any(e["outcome"] == "open" for e in sim.ledger(since)), "none open", 20)
    entries = await asyncio.to_thread(settled, sim, since)
    await asyncio.to_thread(idle, gateway)
    rows = await asyncio.to_thread(rows_of, gateway, key)
    never_differ(rows, entries)
    if len(rows) > calls:
        raise BooksDiffer(f"{len(rows)} records of {calls} calls")
    ours = sum(usage(row)[1] for row in rows)
    theirs = sum(e["completion_tokens"] if e["outcome"] == "completed" else e["tokens_sent"] for e in entries)
    if ours != theirs:
        raise BooksDiffer(f"{ours} tokens are recorded, {theirs} were written")
    return rows, entries


def _promptly(entries: list[Row], left: dict[str, float]) -> None:
    """No answer goes on for longer than a second after its client left."""
    late = [_ended_ms(entry) - left[entry["call_id"]] for entry in entries if left.get(entry["call_id"])]
    assert late, "some clients knew their call"
    note(f"the upstream knew after {sorted(late)[len(late) // 2]:.1f} ms (median), {max(late):.1f} ms (worst)")
    assert max(late) < PROMPTLY_S * 1000


@again_after_a_stall(_STOOD_S)
async def test_500_clients_leave_in_mid_stream_at_random_points(patient: Gateway, sim: Sim) -> None:
    choose = random.Random(4711)
    key, since = patient.new_key(), sim.mark()

    def request() -> tuple[bytes, float, bool]:
        surface = choose.choice(["chat", "chat", "messages", "translated"])
        path, model = SURFACES[surface]
        control = {
            # Enough long answers that most clients leave within one, on a slow machine too.
            "x-sim-tokens": str(choose.choice([5, 20, 400, 400])),
            "x-sim-tps": str(choose.choice([20, 100, 300])),
            "x-sim-ttft": str(choose.choice([0, 0, 30, 400])),
        }
        fields: dict[str, Any] = {"stream": True}
        if model == "sim" and choose.random() < 0.5:
            fields["stream_options"] = {"include_usage": True}
        stay = choose.uniform(0.01, 1.5)
        return ask(path, key, body(model, **fields), control), stay, choose.random() < 0.3

    requests = [request() for _ in range(500)]
    results = await asyncio.gather(*(_stays_for(patient, r, stay, reset=reset) for r, stay, reset in requests))
    last = time.time() * 1000
    rows, entries = await _books(patient, sim, key, since, len(requests))
    # Whoever left before a byte came does not know its call, so the bound is on the last to leave.
    assert max(_ended_ms(entry) for entry in entries) < last + PROMPTLY_S * 1000
    _promptly(entries, {call: left for call, left in results if call})
    cut = [entry for entry in entries if entry["outcome"] == "cut"]
    assert len(cut) > 250, "most clients left in time"
    assert sum(entry["tokens_sent"] > 0 for entry in cut) > 150
    note(f"{len(rows)} records, {len(entries)} upstream calls, {len(cut)} cut")
    assert len(rows) >= 450


@pytest.mark.parametrize("surface", list(SURFACES))
async def test_clients_that_leave_just_as_the_answer_begins(patient: Gateway, sim: Sim, surface: str) -> None:
    choose = random.Random(surface)
    path, model = SURFACES[surface]
    key, since = patient.new_key(), sim.mark()
    # Far from its end when a client leaves, also when that is late.
    control = {"x-sim-ttft": "150", "x-sim-tps": "100", "x-sim-tokens": "400"}
    request = ask(path, key, body(model, stream=True), control)
    leaving = [
        _stays_for(patient, request, choose.uniform(0.14, 0.18), reset=choose.random() < 0.3) for _ in range(100)
    ]
    await asyncio.gather(*leaving)
    _, entries = await _books(patient, sim, key, since, len(leaving))
    assert {entry["outcome"] for entry in entries} == {"cut"}
    assert any(entry["events_sent"] for entry in entries)


@again_after_a_stall(_STOOD_S)
async def test_unary_clients_that_do_not_wait(patient: Gateway, sim: Sim) -> None:
    choose = random.Random(17)
    key, since = patient.new_key(), sim.mark()
    paths = [SURFACES[choose.choice(list(SURFACES))] for _ in range(120)]
    requests = [ask(path, key, body(model), {"x-sim-ttft": "60000"}) for path, model in paths]
    begun, upstream = time.time() * 1000, asyncio.Event()
    leaving = asyncio.gather(
        *(_stays_for(patient, r, choose.uniform(0, 0.5), reset=choose.random() < 0.3, after=upstream) for r in requests)
    )
    await asyncio.to_thread(until, lambda: len(sim.ledger(since)) == len(requests), "all are upstream", 20)
    upstream.set()
    await leaving
    last = time.time() * 1000
    rows, entries = await _books(patient, sim, key, since, len(requests))
    assert {entry["outcome"] for entry in entries} == {"cut"}
    assert begun < max(_ended_ms(entry) for entry in entries) < last + PROMPTLY_S * 1000
    assert len(rows) == len(entries) == 120
    assert {verdict(row) for row in rows} == {("client_disconnect", "none")}
    assert {row["metadata"]["http_status"] for row in rows} == {499}


async def test_uploads_that_are_never_finished_reach_no_upstream(patient: Gateway, sim: Sim) -> None:
    choose = random.Random(5)
    key, since = patient.new_key(), sim.mark()
    whole = ask("/v1/chat/completions", key, body("sim", padding="river " * 20_000))
    head = whole.index(b"\r\n\r\n") + 4

    async def abandon(at: int, *, reset: bool) -> None:
        client = await Client.connect(patient)
        client.writer.write(whole[:at])
        await client.writer.drain()
        assert not await client.read_for(0.05), "nothing is answered before the request is whole"
        client.leave(reset=reset)

    points = [choose.randrange(head, len(whole) - 1) for _ in range(100)]
    await asyncio.gather(*(abandon(at, reset=at % 3 == 0) for at in points))
    await asyncio.to_thread(idle, patient)
    assert sim.ledger(since) == []
    rows = rows_of(patient, key)
    assert len(rows) <= 100
    assert {(verdict(row), usage(row), row["spend"]) for row in rows} <= {(("client_disconnect", "none"), (0, 0), 0)}


@pytest.mark.parametrize("surface", list(SURFACES))
async def test_one_call_cut_at_a_known_word_is_billed_to_the_token(patient: Gateway, sim: Sim, surface: str) -> None:
    path, model = SURFACES[surface]
    key, since = patient.new_key(), sim.mark()
    client = await Client.connect(patient)
    client.writer.write(ask(path, key, body(model, stream=True), {"x-sim-tps": "10", "x-sim-tokens": "400"}))
    await client.read_until(b" from")
    client.leave()
    entry = (await asyncio.to_thread(settled, sim, since))[0]
    await asyncio.to_thread(idle, patient)
    (row,) = rows_of(patient, key)
    assert entry["outcome"] == "cut"
    assert 6 <= entry["tokens_sent"] <= 30
    assert verdict(row) == ("client_disconnect", "counted")
    assert usage(row) == (PROMPT_TOKENS, entry["tokens_sent"])
    assert entry["prompt_tokens"] == PROMPT_TOKENS


@again_after_a_stall(_STOOD_S)
async def test_the_other_door_hands_on_that_clients_leave(start_gateway: Callable[..., Gateway], sim: Sim) -> None:
    """Through Granian: forty streams and twenty unary calls that nobody waits for."""
    gateway = start_gateway(listener="granian", config=CONFIG % (2, "60s", "60s"))
    choose = random.Random(99)
    key, since = gateway.new_key(), sim.mark()
    path, model = SURFACES["chat"]
    streams = [ask(path, key, body(model, stream=True), {"x-sim-tps": "20", "x-sim-tokens": "400"}) for _ in range(40)]
    unary = [ask(path, key, body(model), {"x-sim-ttft": "60000"}) for _ in range(20)]
    upstream = asyncio.Event()
    leaving = asyncio.gather(
        *(
            _stays_for(gateway, r, choose.uniform(0.1, 0.8), reset=choose.random() < 0.3, after=upstream)
            for r in streams + unary
        )
    )
    await asyncio.to_thread(until, lambda: len(sim.ledger(since)) == 60, "all are upstream", 20)
    upstream.set()
    results = await leaving
    last = time.time() * 1000
    rows, entries = await _books(gateway, sim, key, since, 60)
    assert len(entries) == 60
    assert {entry["outcome"] for entry in entries} == {"cut"}
    assert max(_ended_ms(entry) for entry in entries) < last + PROMPTLY_S * 1000
    _promptly(entries, {call: left for call, left in results if call})
    assert {verdict(row)[0] for row in rows} == {"client_disconnect"}


async def test_leaving_frees_what_the_call_held(patient: Gateway) -> None:
    key = patient.new_key(max_parallel_requests=1)
    request = ask("/v1/chat/completions", key, body("sim", stream=True), {"x-sim-tps": "10", "x-sim-tokens": "400"})
    for _ in range(5):
        client = await Client.connect(patient)
        client.writer.write(request)
        await client.read_until(b" time")
        second = await Client.connect(patient)
        second.writer.write(request)
        await second.read_until(b"\r\n\r\n")
        assert second.received.startswith(b"HTTP/1.1 429"), "the only slot is taken"
        second.leave()
        client.leave()
        await asyncio.to_thread(idle, patient)
    await asyncio.to_thread(until, lambda: gauge(patient, "penstock_connections") <= 2, "no connection is left")
